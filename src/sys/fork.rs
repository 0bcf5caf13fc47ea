//! What a fork changes: process identity, and inherited addresses.
//!
//! A handle that is used in a forked child must not reach memory that the child does not have, nor
//! act on behalf of its parent. A pid cannot distinguish the two: a host that is process 1 may have
//! a child that is process 1 of a new pid namespace. So each process has an [`Instance`], kept in a
//! page that the kernel clears in every child (fact P8 of `docs/internals/assumptions.md`).
#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags};

use crate::error::{Error, Result};

/// Identifies a process among its ancestors and descendants.
///
/// Unrelated processes may have equal values, so compare only values from the same memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance(u64);

/// Values that a process has stored about itself; zero in a forked child.
#[derive(Debug)]
struct InstancePage {
    instance: AtomicU64,
    pid: AtomicU32,
}

/// The page that the kernel clears on fork; null before its first use.
static PAGE: AtomicPtr<InstancePage> = AtomicPtr::new(ptr::null_mut());

/// Used if no page can be mapped. Never written.
static NO_PAGE: InstancePage = InstancePage { instance: AtomicU64::new(0), pid: AtomicU32::new(0) };

/// The last instance of this process and its ancestors. It is not cleared on fork: a child
/// continues to count from there, so its number is larger than that of every ancestor.
static LAST_INSTANCE: AtomicU64 = AtomicU64::new(0);

/// Set in an instance that is a pid, because no page could be mapped.
const OF_PID: u64 = 1 << 63;

impl Instance {
    /// The calling process. Costs two loads.
    #[inline]
    pub(crate) fn current() -> Instance {
        // Acquire: pairs with the compare-and-swap in `page`.
        let page = PAGE.load(Ordering::Acquire);
        // SAFETY: null, or a page that `page` published, which is never unmapped.
        if let Some(page) = unsafe { page.as_ref() } {
            // Relaxed: the number publishes nothing.
            let number = page.instance.load(Ordering::Relaxed);
            if number != 0 {
                return Instance(number);
            }
        }
        Instance::first()
    }

    /// Whether it is the calling process.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        self == Instance::current()
    }

    /// Returns an error unless it is the calling process.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::Closed { what: FORKED }) }
    }

    /// Panics unless it is the calling process.
    #[inline]
    pub(crate) fn assert_current(self) {
        if !self.is_current() {
            used_in_child();
        }
    }

    #[cold]
    fn first() -> Instance {
        let page = page();
        if ptr::eq(page, &raw const NO_PAGE) {
            return Instance(OF_PID | u64::from(std::process::id()));
        }
        // Relaxed: only distinctness matters, and a fork copies what this thread has stored.
        let fresh = LAST_INSTANCE.fetch_add(1, Ordering::Relaxed) + 1;
        let set = page.instance.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        Instance(set.map_or_else(|others| others, |_| fresh))
    }
}

/// The error for a use in a forked child.
const FORKED: &str = "memory of the process that this one was forked from";

#[cold]
fn used_in_child() -> ! {
    panic!("{FORKED} was used; a forked child has none of it: use it in the process that made it")
}

/// The id of this process; one system call for each process.
#[inline]
pub(crate) fn pid() -> u32 {
    let page = page();
    // Relaxed: every thread would store the same number.
    match page.pid.load(Ordering::Relaxed) {
        0 => {
            let pid = std::process::id();
            if !ptr::eq(page, &raw const NO_PAGE) {
                page.pid.store(pid, Ordering::Relaxed);
            }
            pid
        }
        pid => pid,
    }
}

fn page() -> &'static InstancePage {
    // Acquire: pairs with the compare-and-swap below.
    let current = PAGE.load(Ordering::Acquire);
    // SAFETY: null, or a page that the swap below published, which is never unmapped.
    if let Some(page) = unsafe { current.as_ref() } {
        return page;
    }
    let fresh = wiped_page().unwrap_or((&raw const NO_PAGE).cast_mut());
    // AcqRel: publishes the page to the Acquire above, or shows that of another thread. A page
    // that loses stays mapped; that happens once at most.
    let swapped =
        PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire);
    let published = swapped.map_or_else(|others| others, |_| fresh);
    // SAFETY: published, by this thread or another; see above.
    unsafe { &*published }
}

/// A page of zeros that is zero again in every child of this process; `None` if the kernel has no
/// such pages.
fn wiped_page() -> Option<*mut InstancePage> {
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_ANONYMOUS;
    let (access, len) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, NonZeroUsize::MIN);
    // SAFETY: a new mapping, at an address of the kernel's choice.
    let page = unsafe { nix::sys::mman::mmap_anonymous(None, len, access, flags) }.ok()?;
    // SAFETY: the page was mapped above and has no other user.
    let wiped = unsafe { libc::madvise(page.as_ptr(), 1, libc::MADV_WIPEONFORK) };
    (wiped == 0).then_some(page.as_ptr().cast())
}

/// An address range that is inaccessible in a forked child.
///
/// A mapping with `MADV_DONTFORK` leaves a hole in the child, and the child's next mapping may fill
/// it: a slice that was borrowed before the fork would then alias, say, a new vector. While this
/// value exists, `fork` reserves inaccessible pages there before it returns in the child. A child
/// made by a raw `clone` call has the hole; only [`Instance`] protects it.
#[derive(Debug)]
pub(crate) struct Reserved(&'static ReservedRange);

/// An entry of the list of ranges, which only grows; an unused entry has the base 0.
#[derive(Debug)]
struct ReservedRange {
    base: AtomicUsize,
    len_bytes: AtomicUsize,
    next: *const ReservedRange,
}

// SAFETY: `next` is set before the entry is published, and leads to one that is never freed.
unsafe impl Sync for ReservedRange {}

/// The base of an entry that a thread has taken and not filled yet.
const BEING_FILLED: usize = 1;

static RANGES: AtomicPtr<ReservedRange> = AtomicPtr::new(ptr::null_mut());

impl Reserved {
    /// Reserves the `len_bytes` from `base` on in every child. The caller owns the addresses for as
    /// long as this exists.
    pub(crate) fn new(base: usize, len_bytes: usize) -> Reserved {
        /// Two threads may both register the function: it can run twice.
        static IS_REGISTERED: AtomicBool = AtomicBool::new(false);
        // Acquire and Release: if a thread sees `true`, the function is registered.
        if !IS_REGISTERED.load(Ordering::Acquire) {
            // SAFETY: the function makes system calls only and lives as long as this code.
            // Registration fails only for lack of memory; then children have holes.
            unsafe { libc::pthread_atfork(None, None, Some(reserve_in_child)) };
            IS_REGISTERED.store(true, Ordering::Release);
        }
        let range = ranges().find(|range| range.take()).unwrap_or_else(ReservedRange::add);
        range.len_bytes.store(len_bytes, Ordering::Relaxed);
        // Release: pairs with the Acquire in `reserve_in_child`.
        range.base.store(base, Ordering::Release);
        Reserved(range)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.0.base.store(0, Ordering::Release);
    }
}

impl ReservedRange {
    /// Takes the entry if it is unused; false if it is not.
    fn take(&self) -> bool {
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        self.base.compare_exchange(0, BEING_FILLED, success, failure).is_ok()
    }

    /// Adds an entry that is already taken.
    fn add() -> &'static ReservedRange {
        let mut next = RANGES.load(Ordering::Acquire);
        loop {
            let (base, len_bytes) = (AtomicUsize::new(BEING_FILLED), AtomicUsize::new(0));
            let range = Box::into_raw(Box::new(ReservedRange { base, len_bytes, next }));
            match RANGES.compare_exchange(next, range, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: published, and never freed.
                Ok(_) => return unsafe { &*range },
                Err(other) => {
                    // SAFETY: made by `Box::into_raw` above, and published nowhere.
                    drop(unsafe { Box::from_raw(range) });
                    next = other;
                }
            }
        }
    }
}

fn ranges() -> impl Iterator<Item = &'static ReservedRange> {
    // Acquire: pairs with the compare-and-swap in `add`.
    // SAFETY: null, or an entry that `add` published, which is never freed.
    let first = unsafe { RANGES.load(Ordering::Acquire).as_ref() };
    // SAFETY: as for the first.
    std::iter::successors(first, |range| unsafe { range.next.as_ref() })
}

/// Run by `fork` in the child, which has one thread.
extern "C" fn reserve_in_child() {
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    for range in ranges() {
        let base = range.base.load(Ordering::Acquire);
        if base <= BEING_FILLED {
            continue;
        }
        let len_bytes = range.len_bytes.load(Ordering::Relaxed);
        let address = ptr::without_provenance_mut(base);
        // SAFETY: replaces nothing: the call fails if something is mapped there.
        unsafe { libc::mmap(address, len_bytes, libc::PROT_NONE, flags, -1, 0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;

    #[test]
    fn a_process_has_one_instance_and_its_child_another() {
        let own = Instance::current();
        assert!(own.is_current() && pid() == std::process::id());
        // SAFETY: the child only loads and stores words, and leaves.
        match unsafe { libc::fork() } {
            0 => {
                let differs = !own.is_current() && Instance::current().is_current();
                process::exit_now(i32::from(!(differs && pid() == std::process::id())))
            }
            child => {
                let mut status = 0;
                // SAFETY: the pointer is to a local that lives across the call.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0);
            }
        }
        assert!(own.is_current());
    }

    #[test]
    fn entries_of_ranges_are_used_again() {
        let count = || ranges().count();
        drop((Reserved::new(4096, 1), Reserved::new(8192, 1)));
        let before = count();
        drop(Reserved::new(4096, 1));
        assert_eq!(count(), before);
    }
}
