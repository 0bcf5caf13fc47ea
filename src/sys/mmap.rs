//! Windows on the arena: reserved, mapped, populated.

#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::sys::fork::{Instance, Reserved};

/// Size and alignment of a huge page, in bytes. Windows start on such a boundary, because the
/// kernel collapses small pages only if file offset and address agree modulo this.
pub(crate) const HUGE_BYTES: usize = 2 << 20;

/// Size of a small page, in bytes. Used only where a larger true size does no harm.
const PAGE_BYTES: usize = 4096;

/// The permitted accesses to a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A write is a segmentation fault.
    ReadOnly,
    /// Reads and writes.
    ReadWrite,
}

/// A shared mapping of a whole memory file, which children do not inherit and core dumps omit.
///
/// Owns its addresses: they stay mapped until it is dropped in the process that made it.
#[derive(Debug)]
pub(crate) struct Window {
    base: NonNull<u8>,
    len_bytes: usize,
    made_in: Instance,
    /// Set once the window is mapped, and cleared before it is unmapped.
    reserved: Option<Reserved>,
}

// SAFETY: the window owns an address range, not data; the bytes are accessed only through raw
// pointers, whose users establish exclusion themselves.
unsafe impl Send for Window {}

// SAFETY: as for `Send`; the only accesses to the bytes by methods are reads that fault pages in.
unsafe impl Sync for Window {}

impl Window {
    /// Maps the first `len_bytes` of `fd`, a positive multiple of [`HUGE_BYTES`] that does not
    /// exceed the file.
    pub(crate) fn map(fd: BorrowedFd<'_>, len_bytes: usize, access: Access) -> Result<Window> {
        Window::map_each(fd, len_bytes, [access]).map(|[window]| window)
    }

    /// Maps the same bytes once for each of `accesses`, in adjacent ranges. A worker starts sooner
    /// if both of its windows are reserved, and excluded from dumps and forks, at once.
    pub(crate) fn map_each<const N: usize>(
        fd: BorrowedFd<'_>,
        len_bytes: usize,
        accesses: [Access; N],
    ) -> Result<[Window; N]> {
        if len_bytes == 0 || !len_bytes.is_multiple_of(HUGE_BYTES) {
            let expected = "a positive multiple of 2 MiB";
            return Err(Error::invalid("the size of a window", len_bytes, expected));
        }
        // From here on dropping `all` unmaps, if any step fails. A product that is too large fails
        // as a reservation.
        let all = Window::reserve(len_bytes.saturating_mul(N))?;
        let windows: [_; N] = std::array::from_fn(|index| {
            // SAFETY: `index < N`, and the reservation is one of `N * len_bytes`.
            let base = unsafe { all.base.add(index * len_bytes) };
            ManuallyDrop::new(Window { base, len_bytes, made_in: all.made_in, reserved: None })
        });
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        for window in &windows {
            let address = window.base.as_ptr().cast();
            // SAFETY: the range replaced is part of the reservation, which has no other user.
            let mapped = unsafe {
                libc::mmap(address, len_bytes, libc::PROT_NONE, flags, fd.as_raw_fd(), 0)
            };
            if mapped == libc::MAP_FAILED {
                return Err(window.failed("mmap"));
            }
        }
        // While the range is inaccessible: locked memory would be populated as soon as it is
        // accessible.
        all.munlock();
        all.advise(libc::MADV_DONTDUMP)?;
        all.advise(libc::MADV_DONTFORK)?;
        for (window, access) in windows.iter().zip(accesses) {
            window.permit(access)?;
        }
        std::mem::forget(all);
        Ok(windows.map(|window| {
            let mut window = ManuallyDrop::into_inner(window);
            window.reserved = Some(Reserved::new(window.base.addr().get(), len_bytes));
            window
        }))
    }

    /// Whether this process has `len_bytes` of contiguous free address space.
    pub(crate) fn has_room(len_bytes: usize) -> bool {
        Window::reserve(len_bytes).is_ok()
    }

    fn permit(&self, access: Access) -> Result<()> {
        let protection = match access {
            Access::ReadOnly => libc::PROT_READ,
            Access::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
        };
        let address = self.base.as_ptr().cast();
        // SAFETY: the range is this window's own mapping, and no pointer to it was given out yet.
        match unsafe { libc::mprotect(address, self.len_bytes, protection) } {
            0 => Ok(()),
            _ => Err(self.failed("mprotect")),
        }
    }

    /// Reserves aligned addresses without memory.
    fn reserve(len_bytes: usize) -> Result<Window> {
        let fail = || {
            let what = format!("{len_bytes} bytes of address space");
            Error::os("mmap", what, io::Error::last_os_error())
        };
        let slack_bytes = HUGE_BYTES;
        let whole = len_bytes.checked_add(slack_bytes).ok_or_else(fail)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice replaces nothing.
        let raw = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, flags, -1, 0) };
        if raw == libc::MAP_FAILED {
            return Err(fail());
        }
        let raw: *mut u8 = raw.cast();
        let head = raw.addr().next_multiple_of(HUGE_BYTES) - raw.addr();
        let base = raw.wrapping_add(head);
        unmap(raw, head);
        unmap(base.wrapping_add(len_bytes), slack_bytes - head);
        let base = NonNull::new(base).ok_or_else(fail)?;
        Ok(Window { base, len_bytes, made_in: Instance::current(), reserved: None })
    }

    /// Whether this process mapped it. A child does not inherit it.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.made_in.is_current()
    }

    /// Returns an error in a child of the process that mapped the window.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`].
    pub(crate) fn check(&self) -> Result<()> {
        self.made_in.check()
    }

    /// Panics in a child of the process that mapped the window, which has no memory there.
    #[inline]
    pub(crate) fn assert_ours(&self) {
        self.made_in.assert_current();
    }

    /// The first byte.
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The size in bytes.
    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The address of `len_bytes` from `offset` on, if they lie inside.
    pub(crate) fn at(&self, offset: u64, len_bytes: usize) -> Option<NonNull<u8>> {
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len_bytes)?;
        (end <= self.len_bytes).then(|| {
            // SAFETY: `start <= end <= self.len_bytes`, checked in the line above, and the
            // window's mapping is one allocation of that length.
            unsafe { self.base.add(start) }
        })
    }

    /// Populates a range of a window, with huge pages if the kernel has them.
    ///
    /// Contents stay unchanged. Both ends are rounded outward to huge pages, so that several
    /// threads may populate adjoining ranges at the same time.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the range is not inside, [`Error::Os`] if there is no memory.
    pub(crate) fn populate(&self, offset: u64, len_bytes: usize) -> Result<()> {
        if self.at(offset, len_bytes).is_none() {
            let expected = format!("inside a window of {} bytes", self.len_bytes);
            let range = format!("{offset} + {len_bytes}");
            return Err(Error::invalid("the range to populate", range, expected));
        }
        if len_bytes == 0 {
            return Ok(());
        }
        let offset = self.len_bytes.min(usize::try_from(offset).unwrap_or(usize::MAX));
        let start = offset - offset % HUGE_BYTES;
        let end = (offset + len_bytes).next_multiple_of(HUGE_BYTES);
        if self.collapse(start, end) {
            return Ok(());
        }
        match self.advise_range(start, end - start, libc::MADV_POPULATE_WRITE) {
            Ok(()) => Ok(()),
            Err(Error::Os { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
                self.touch(start, end, PAGE_BYTES);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    /// Touches each huge page of the range once and collapses all of them; false if the kernel
    /// refuses.
    fn collapse(&self, start: usize, end: usize) -> bool {
        /// Set once the kernel has rejected the advice as unknown.
        static UNSUPPORTED: AtomicBool = AtomicBool::new(false);
        // Relaxed: a hint that saves a system call; it guards nothing.
        if UNSUPPORTED.load(Ordering::Relaxed) {
            return false;
        }
        // The kernel collapses only ranges that have at least one page.
        self.touch(start, end, HUGE_BYTES);
        match self.advise_range(start, end - start, libc::MADV_COLLAPSE) {
            Ok(()) => true,
            Err(Error::Os { source, .. }) => {
                if source.raw_os_error() == Some(libc::EINVAL) {
                    UNSUPPORTED.store(true, Ordering::Relaxed);
                }
                false
            }
            Err(_) => false,
        }
    }

    /// Reads one byte every `step` bytes: a read makes a page in a memory file, and does not
    /// interfere with writes of other processes.
    fn touch(&self, start: usize, end: usize, step: usize) {
        for position in (start..end).step_by(step) {
            let byte = self.base.as_ptr().wrapping_add(position);
            // SAFETY: `position < end`, which `populate` rounded to the window's own multiple,
            // so it is inside; volatile, because other processes may write the byte meanwhile,
            // and the value is not used.
            let _ = unsafe { byte.read_volatile() };
        }
    }

    fn advise(&self, advice: i32) -> Result<()> {
        self.advise_range(0, self.len_bytes, advice)
    }

    /// Gives advice that changes neither contents nor protection. Requires `start + len <=
    /// self.len_bytes`.
    fn advise_range(&self, start: usize, len: usize, advice: i32) -> Result<()> {
        debug_assert!(start + len <= self.len_bytes);
        loop {
            let address = self.base.as_ptr().wrapping_add(start).cast();
            // SAFETY: the range is this window's own (asserted above), and every caller passes
            // advice under which the bytes keep their values.
            if unsafe { libc::madvise(address, len, advice) } == 0 {
                return Ok(());
            }
            let cause = io::Error::last_os_error();
            if cause.kind() != io::ErrorKind::Interrupted {
                return Err(Error::os("madvise", format!("{len} bytes"), cause));
            }
        }
    }

    /// Undoes the effect of `mlockall(MCL_FUTURE)` on the mapping. Fails only if it was not locked.
    fn munlock(&self) {
        // SAFETY: the range is this window's own; unlocking changes no contents.
        let _ = unsafe { libc::munlock(self.base.as_ptr().cast(), self.len_bytes) };
    }

    fn failed(&self, call: &'static str) -> Error {
        let cause = io::Error::last_os_error();
        Error::os(call, format!("a window of {} bytes", self.len_bytes), cause)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // A forked child did not inherit the mapping, and keeps the addresses reserved: slices that
        // were borrowed before the fork may still be in use.
        if self.is_ours() {
            drop(self.reserved.take());
            unmap(self.base.as_ptr(), self.len_bytes);
        }
    }
}

/// Unmaps a range that the caller owns; the range may be empty.
fn unmap(start: *mut u8, len_bytes: usize) {
    if len_bytes > 0 {
        // SAFETY: private to this file; `reserve` passes parts of a reservation that it does not
        // keep, `drop` the range that the window owns. Neither range is used after that.
        let _ = unsafe { libc::munmap(start.cast(), len_bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::memfd;

    fn file(size_bytes: usize) -> std::os::fd::OwnedFd {
        memfd::create_sealed("brigade-test", size_bytes as u64).unwrap()
    }

    #[test]
    fn two_windows_show_the_same_bytes_at_aligned_addresses() {
        let fd = file(2 * HUGE_BYTES);
        let accesses = [Access::ReadOnly, Access::ReadWrite];
        let [read, write] = Window::map_each(fd.as_fd(), 2 * HUGE_BYTES, accesses).unwrap();
        assert_eq!(write.base().addr() % HUGE_BYTES, 0);
        assert_eq!(read.base().addr() % HUGE_BYTES, 0);
        let (to, from) = (write.at(12_345, 1).unwrap(), read.at(12_345, 1).unwrap());
        // SAFETY: `at` checked the range, and nothing else uses this file.
        unsafe { to.as_ptr().write_volatile(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { from.as_ptr().read_volatile() }, 7);
        // Each is unmapped by itself.
        drop(read);
        // SAFETY: as above.
        assert_eq!(unsafe { to.as_ptr().read_volatile() }, 7);
    }

    #[test]
    fn a_range_outside_the_window_has_no_address() {
        let fd = file(HUGE_BYTES);
        let window = Window::map(fd.as_fd(), HUGE_BYTES, Access::ReadWrite).unwrap();
        assert!(window.at(0, HUGE_BYTES).is_some());
        assert!(window.at(HUGE_BYTES as u64, 0).is_some());
        assert!(window.at(1, HUGE_BYTES).is_none());
        assert!(window.at(u64::MAX, 2).is_none());
        assert!(window.populate(1, HUGE_BYTES).is_err());
        assert!(Window::map(fd.as_fd(), 0, Access::ReadOnly).is_err());
    }

    #[test]
    fn populating_keeps_contents_and_fills_whole_huge_pages() {
        let fd = file(4 * HUGE_BYTES);
        let window = Window::map(fd.as_fd(), 4 * HUGE_BYTES, Access::ReadWrite).unwrap();
        let marked = window.at(HUGE_BYTES as u64 + 5, 1).unwrap();
        // SAFETY: `at` checked the range, and nothing else uses this file.
        unsafe { marked.as_ptr().write_volatile(9) };
        window.populate(HUGE_BYTES as u64 + 1, HUGE_BYTES).unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { marked.as_ptr().read_volatile() }, 9);
        let (_, used) = memfd::size_and_use_bytes(fd.as_fd()).unwrap();
        assert_eq!(used, 2 * HUGE_BYTES as u64);
    }

    #[test]
    fn a_sealed_file_cannot_be_resized() {
        let fd = file(HUGE_BYTES);
        assert!(memfd::size_is_sealed(fd.as_fd()));
        assert!(nix::unistd::ftruncate(&fd, 4096).is_err());
    }

    #[test]
    fn a_punched_hole_reads_as_zeros_and_costs_nothing() {
        let fd = file(HUGE_BYTES);
        let window = Window::map(fd.as_fd(), HUGE_BYTES, Access::ReadWrite).unwrap();
        // SAFETY: the base is inside the window, and nothing else uses this file.
        unsafe { window.base().write_volatile(9) };
        memfd::punch_hole(fd.as_fd(), 0, HUGE_BYTES as u64).unwrap();
        assert_eq!(memfd::size_and_use_bytes(fd.as_fd()).unwrap().1, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { window.base().read_volatile() }, 0);
    }
}
