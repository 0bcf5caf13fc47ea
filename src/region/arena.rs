//! The host's one anonymous memory file, and its spans.
//!
//! Every anonymous array, task payload and control block of a host is a [`Span`] of one sparse
//! memory file, named by its offset. The file has no name, so nothing of it outlives its
//! processes. Its size is fixed and sealed; what it costs is the pages that were touched.
//!
//! Guarantees: two live spans never overlap; a span given out as zeroed reads as zeros; a
//! request is refused with [`Error::NoSpace`] before it could end in SIGBUS or in the
//! out-of-memory killer; a span that is dropped in a forked child changes nothing.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Limit, Result};
use crate::region::budget::MemoryLimits;
use crate::region::settings;
use crate::region::spans::{BLOCK_BYTES, LARGE_BYTES, PageState, Run, Spans, blocks_for};
use crate::sys::mmap::{Access, HUGE_BYTES, Window};
use crate::sys::{clock, limits, memfd, random};

/// Spans above this size are zeroed by two threads and more, in bytes.
const PARALLEL_ZERO_BYTES: usize = 32 << 20;

/// Free runs that were unused for this long lose their pages at the next check.
pub(crate) const DECAY_TIME: Duration = Duration::from_secs(30);

/// The most bytes that [`Arena::decay`] frees at once, which takes about ten milliseconds.
const DECAY_STEP_BYTES: u64 = 256 << 20;

/// The largest arena: a worker maps it twice, in an address space of 47 bits.
const SIZE_BYTES_MAX: u64 = 1 << 45;

/// The size in bytes of an arena for which `wish_bytes` are requested, and what limits it.
fn fitting_size(wish_bytes: u64) -> (u64, Limit) {
    let limits = [
        (SIZE_BYTES_MAX, Limit::Arena),
        (limits::file_size_bytes_max(), Limit::FileSize),
        (limits::address_space_bytes_max() / 4, Limit::AddressSpace),
    ];
    let mut size = (wish_bytes, Limit::Arena);
    for limit in limits {
        if limit.0 < size.0 {
            size = limit;
        }
    }
    // Much of the address space may be in use, or unavailable under an emulator.
    let has_room = |bytes| usize::try_from(bytes).is_ok_and(Window::has_room);
    while size.0 >= BLOCK_BYTES && !has_room(2 * size.0) {
        size = (size.0 / 2, Limit::AddressSpace);
    }
    size
}

/// The required contents of a new span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    /// Zeros.
    Zeroed,
    /// This many zeros, then any initialised bytes.
    ZeroedUpTo(usize),
    /// Any initialised bytes: zeros, or those of an earlier owner.
    Stale,
}

/// The memory file, the host's read-write window on it, and the map of its spans.
#[derive(Debug)]
pub(crate) struct Arena {
    id: u64,
    fd: OwnedFd,
    window: Window,
    commits_strictly: bool,
    /// Bytes that the last measurement allows beyond its request; changed under the spans' lock.
    granted_ahead_bytes: AtomicU64,
    /// The default for how many bytes of free runs keep their pages.
    cache_bytes_default: u64,
    /// When a large span was last reserved or freed, on the monotonic clock. It shows how long the
    /// free runs have been unused.
    last_use_ns: AtomicU64,
    /// The limit that determined its size.
    size_limit: Limit,
    spans: Mutex<Spans>,
}

impl Arena {
    pub(super) fn new() -> Result<Arena> {
        let total_bytes = limits::memory()?.total_bytes;
        let wish_bytes = settings::arena_size_bytes()?;
        let wish_bytes = wish_bytes.unwrap_or_else(|| total_bytes.saturating_mul(4));
        let (size_bytes, size_limit) = fitting_size(wish_bytes);
        let blocks = size_bytes / BLOCK_BYTES;
        if blocks == 0 {
            let (requested_bytes, limited_by) = (BLOCK_BYTES, size_limit);
            return Err(Error::NoSpace { requested_bytes, free_bytes: size_bytes, limited_by });
        }
        let size_bytes = blocks * BLOCK_BYTES;
        let fd = memfd::create_sealed("brigade-arena", size_bytes)?;
        let window_bytes = usize::try_from(size_bytes)
            .map_err(|_| Error::invalid("the size of the arena", size_bytes, "a usize"))?;
        Ok(Arena {
            id: random::random_u64()?,
            window: Window::map(fd.as_fd(), window_bytes, Access::ReadWrite)?,
            fd,
            commits_strictly: limits::commits_strictly(),
            granted_ahead_bytes: AtomicU64::new(0),
            cache_bytes_default: (total_bytes / 8).max(256 << 20),
            last_use_ns: AtomicU64::new(clock::now_ns()),
            size_limit,
            spans: Mutex::new(Spans::new(blocks)),
        })
    }

    /// A random number that distinguishes this arena from every other.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The memory file, to be sent to workers.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The size of the memory file in bytes. This is address space; only touched pages are memory.
    pub(crate) fn size_bytes(&self) -> usize {
        self.window.len_bytes()
    }

    /// The host's read-write window.
    pub(crate) fn window(&self) -> &Window {
        &self.window
    }

    /// Bytes of live spans and of free spans that are kept for reuse, in whole blocks.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.lock().reserved_bytes()
    }

    /// Reserves `len_bytes`, aligned to a cache line; large spans are aligned to 2 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if there is not enough memory, or no gap of that size in the arena.
    pub(crate) fn reserve(self: &Arc<Self>, len_bytes: usize, contents: Contents) -> Result<Span> {
        let (offset, found) = if len_bytes >= LARGE_BYTES {
            self.note_use();
            let (run, found) = self.take_run(len_bytes, blocks_for(len_bytes))?;
            (run.offset(), found)
        } else {
            self.take_small(len_bytes)?
        };
        let span = Span { arena: Arc::clone(self), offset, len_bytes };
        if found == PageState::Dirty {
            match contents {
                Contents::Zeroed => span.zero(len_bytes),
                Contents::ZeroedUpTo(end) => span.zero(end.min(len_bytes)),
                Contents::Stale => {}
            }
        }
        Ok(span)
    }

    fn take_small(&self, len_bytes: usize) -> Result<(u64, PageState)> {
        loop {
            if let Some(slot) = self.lock().take_slot(len_bytes) {
                return Ok(slot);
            }
            let (block, found) = self.take_run(len_bytes, 1)?;
            let mut spans = self.lock();
            spans.make_slab(block, len_bytes, found);
            // If another thread takes the new slab's last slot first, repeat.
            if let Some(slot) = spans.take_slot(len_bytes) {
                return Ok(slot);
            }
        }
    }

    /// A run of blocks: a dirty one, or a clean one if the budget allows.
    fn take_run(&self, requested_bytes: usize, count: u64) -> Result<(Run, PageState)> {
        if let Some(run) = self.lock().take_dirty(count) {
            return Ok((run, PageState::Dirty));
        }
        let run = match self.take_clean(requested_bytes, count) {
            // Cached runs count as reserved, so freeing them may make room.
            Err(Error::NoSpace { .. }) if self.trim(0) => {
                self.take_clean(requested_bytes, count)?
            }
            other => other?,
        };
        if self.commits_strictly {
            // Beyond its commit limit the kernel sends SIGBUS on a page fault: allocate the pages
            // now.
            if let Err(error) = memfd::allocate(self.fd(), run.offset(), run.len_bytes()) {
                self.punch(run);
                return Err(match error {
                    Error::NoSpace { free_bytes, .. } => Error::NoSpace {
                        requested_bytes: requested_bytes as u64,
                        free_bytes,
                        limited_by: Limit::Commit,
                    },
                    other => other,
                });
            }
        }
        Ok((run, PageState::Clean))
    }

    fn take_clean(&self, requested_bytes: usize, count: u64) -> Result<Run> {
        let requested_bytes = requested_bytes as u64;
        // The lock is held from the measurement to the taking: the same bytes must not be granted
        // twice.
        let mut spans = self.lock();
        let (_, touched_bytes) = memfd::size_and_use_bytes(self.fd())?;
        let cap_bytes = settings::memory_limit_bytes();
        let stated_bytes = settings::available_bytes()?;
        let reserved_bytes = spans.reserved_bytes();
        let needed_bytes = count.saturating_mul(BLOCK_BYTES);
        // Relaxed: changed under the lock only.
        let ahead_bytes = self.granted_ahead_bytes.load(Ordering::Relaxed);
        let measured = if needed_bytes <= ahead_bytes {
            MemoryLimits::unlimited()
        } else {
            MemoryLimits::measure(self.commits_strictly)?
        };
        let inputs =
            MemoryLimits { cap_bytes, stated_bytes, reserved_bytes, touched_bytes, ..measured };
        inputs.grant(requested_bytes, needed_bytes)?;
        let ahead_bytes = ahead_bytes
            .checked_sub(needed_bytes)
            .unwrap_or_else(|| inputs.ahead_bytes(needed_bytes));
        self.granted_ahead_bytes.store(ahead_bytes, Ordering::Relaxed);
        spans.take_clean(count).ok_or(Error::NoSpace {
            requested_bytes,
            free_bytes: spans.largest_bytes(),
            limited_by: self.size_limit,
        })
    }

    /// The most bytes of freed memory that are kept.
    pub(super) fn cache_bytes_max(&self) -> u64 {
        settings::cache_bytes().unwrap_or(self.cache_bytes_default)
    }

    fn note_use(&self) {
        // Relaxed: an independent number.
        self.last_use_ns.store(clock::now_ns(), Ordering::Relaxed);
    }

    /// Frees the pages of free runs if no large span was reserved or freed for [`DECAY_TIME`], at
    /// most [`DECAY_STEP_BYTES`] of them, because the caller has other work. Memory that the
    /// program set to be kept stays. `now_ns` is the time on the monotonic clock; the result is
    /// when to call again.
    pub(crate) fn decay(&self, now_ns: u64) -> Duration {
        // Relaxed: as above.
        let idle = now_ns.saturating_sub(self.last_use_ns.load(Ordering::Relaxed));
        if let Some(left) =
            DECAY_TIME.checked_sub(Duration::from_nanos(idle)).filter(|l| !l.is_zero())
        {
            return left;
        }
        let keep_bytes = settings::cache_bytes().unwrap_or(0);
        let cached_bytes = self.lock().cached_bytes();
        let step_bytes = cached_bytes.saturating_sub(DECAY_STEP_BYTES).max(keep_bytes);
        let has_more = self.trim(step_bytes) && step_bytes > keep_bytes;
        if has_more { Duration::ZERO } else { DECAY_TIME }
    }

    /// Punches out cached runs until at most `keep_bytes` are cached. Returns whether any was.
    pub(super) fn trim(&self, keep_bytes: u64) -> bool {
        let mut any = false;
        loop {
            let mut spans = self.lock();
            let excess = spans.cached_bytes().saturating_sub(keep_bytes).div_ceil(BLOCK_BYTES);
            if excess == 0 {
                return any;
            }
            let Some(run) = spans.take_largest_dirty(excess) else { return any };
            drop(spans);
            if !self.punch(run) {
                return any;
            }
            any = true;
        }
    }

    /// Frees the pages of a run that has no other user, and the run. Returns whether the kernel
    /// freed the pages.
    fn punch(&self, run: Run) -> bool {
        let done = memfd::punch_hole(self.fd(), run.offset(), run.len_bytes()).is_ok();
        let mut spans = self.lock();
        if done {
            spans.free_clean(run);
        } else {
            spans.free_dirty(run);
        }
        done
    }

    fn free(&self, offset: u64, len_bytes: usize) {
        if len_bytes < LARGE_BYTES {
            self.lock().free_slot(offset);
            return;
        }
        let run = Run { first: offset / BLOCK_BYTES, count: blocks_for(len_bytes) };
        self.note_use();
        self.lock().free_dirty(run);
        self.trim(self.cache_bytes_max());
    }

    fn lock(&self) -> MutexGuard<'_, Spans> {
        // A panic under this lock is a failed assertion about the map. The map stays consistent,
        // because each operation checks before it changes anything.
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this process made the arena; false in a forked child.
    pub(crate) fn is_ours(&self) -> bool {
        self.window.is_ours()
    }
}

/// The only owner of `len_bytes` bytes of the arena, which are freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Span {
    arena: Arc<Arena>,
    offset: u64,
    len_bytes: usize,
}

impl Span {
    /// Where the span begins in the arena, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The requested size in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The first byte in the host's window; aligned to a cache line, never null.
    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.start().as_ptr()
    }

    /// The arena it belongs to.
    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// Populates the span, with huge pages if it is large; contents stay.
    pub(crate) fn populate(&self) -> Result<()> {
        if self.len_bytes < HUGE_BYTES {
            return Ok(());
        }
        self.arena.window.populate(self.offset, self.len_bytes)
    }

    /// Copies `bytes` to the span's beginning.
    ///
    /// # Panics
    ///
    /// If there are more than the span holds.
    pub(crate) fn store(&self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len_bytes(), "{} bytes into {self:?}", bytes.len());
        // SAFETY: the span holds that many, checked above; a fresh span is reachable only through
        // its owner, so it overlaps nothing that safe code can borrow.
        unsafe { self.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    /// Copies the first `len` bytes out.
    ///
    /// # Panics
    ///
    /// If the span is shorter.
    pub(crate) fn load(&self, len: usize) -> Vec<u8> {
        assert!(len <= self.len_bytes(), "{len} bytes out of {self:?}");
        let mut bytes = vec![0u8; len];
        // SAFETY: the span holds that many, checked above; every byte of an arena is initialised;
        // the vector is fresh memory of the right size.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(self.as_ptr(), len) };
        bytes
    }

    fn start(&self) -> NonNull<u8> {
        self.arena.window.assert_ours();
        self.arena.window.at(self.offset, self.len_bytes).expect("a span lies inside its arena")
    }

    /// Writes zeros over the first `len_bytes` of the span, which has no other user yet.
    fn zero(&self, len_bytes: usize) {
        if len_bytes < PARALLEL_ZERO_BYTES {
            zero(self.as_ptr(), len_bytes);
            return;
        }
        // Determined only here: it takes tens of microseconds.
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
        let part_bytes = len_bytes.div_ceil(threads).next_multiple_of(HUGE_BYTES);
        std::thread::scope(|scope| {
            for start in (0..len_bytes).step_by(part_bytes) {
                let len = part_bytes.min(len_bytes - start);
                let part = move || zero(self.as_ptr().wrapping_add(start), len);
                // If no thread can be started, this one zeroes the part.
                if std::thread::Builder::new().spawn_scoped(scope, part).is_err() {
                    part();
                }
            }
        });
    }
}

/// Zeroes bytes of a span that is not given out yet.
fn zero(start: *mut u8, len_bytes: usize) {
    // SAFETY: private to this file; `Span::zero` passes disjoint parts of a span that has no other
    // user; `at` checked that they lie inside.
    unsafe { start.write_bytes(0, len_bytes) };
}

impl Drop for Span {
    fn drop(&mut self) {
        // A forked child has a copy of this handle, but neither the mapping nor the ownership.
        if self.arena.is_ours() {
            self.arena.free(self.offset, self.len_bytes);
        }
    }
}

#[cfg(test)]
#[path = "arena_tests.rs"]
mod tests;
