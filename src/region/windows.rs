//! A worker's view of the arena.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::region::arena::Arena;
use crate::sys::memfd;
use crate::sys::mmap::{Access, Window};

/// Two windows on one arena. A clone refers to the same windows.
///
/// Inputs are read through the read-only window, so a stray write to one is a segmentation fault of
/// the worker, and the data stay intact.
#[derive(Debug, Clone)]
pub(crate) struct Windows(Arc<View>);

#[derive(Debug)]
enum View {
    /// Mappings of a worker.
    Attached { id: u64, read: Window, write: Window },
    /// The host's window in both roles, when tasks run inside the host.
    Host(Arc<Arena>),
}

impl Windows {
    /// Maps the arena twice and closes the descriptor.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the file does not have `size_bytes`, or can be resized.
    pub(crate) fn attach(memfd: OwnedFd, id: u64, size_bytes: usize) -> Result<Windows> {
        let (actual_bytes, _) = memfd::size_and_use_bytes(memfd.as_fd())?;
        if actual_bytes != size_bytes as u64 || !memfd::size_is_sealed(memfd.as_fd()) {
            let found = format!("{actual_bytes} bytes instead of {size_bytes}, sealed");
            return Err(Error::Corrupt { what: "the arena's memory file", found });
        }
        let accesses = [Access::ReadOnly, Access::ReadWrite];
        let [read, write] = Window::map_each(memfd.as_fd(), size_bytes, accesses)?;
        Ok(Windows(Arc::new(View::Attached { id, read, write })))
    }

    /// The host's own window in both roles, for tasks that run inside the host.
    pub(crate) fn of_host(arena: &Arc<Arena>) -> Windows {
        Windows(Arc::new(View::Host(Arc::clone(arena))))
    }

    /// Panics in a child that was forked from the process that has the windows.
    pub(crate) fn assert_ours(&self) {
        match &*self.0 {
            View::Attached { read, .. } => read.assert_ours(),
            View::Host(arena) => arena.window().assert_ours(),
        }
    }

    /// The arena's random number.
    pub(crate) fn id(&self) -> u64 {
        match &*self.0 {
            View::Attached { id, .. } => *id,
            View::Host(arena) => arena.id(),
        }
    }

    /// The address of the `len_bytes` from `offset` on, to read.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not inside the arena; [`Error::Closed`] in a child that was
    /// forked from the process that mapped it.
    pub(crate) fn read(&self, offset: u64, len_bytes: usize) -> Result<*const u8> {
        let window = match &*self.0 {
            View::Attached { read, .. } => read,
            View::Host(arena) => arena.window(),
        };
        Ok(inside(window, offset, len_bytes)?.cast_const())
    }

    /// The address of the `len_bytes` from `offset` on, to write.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not inside the arena; [`Error::Closed`] in a child that was
    /// forked from the process that mapped it.
    pub(crate) fn write(&self, offset: u64, len_bytes: usize) -> Result<*mut u8> {
        inside(self.writable(), offset, len_bytes)
    }

    /// Populates a range, with huge pages if the kernel has them; contents stay.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] outside the arena, [`Error::Os`] without memory.
    pub(crate) fn populate(&self, offset: u64, len_bytes: usize) -> Result<()> {
        self.writable().populate(offset, len_bytes)
    }

    /// Copies out the `len` bytes at `offset`, through the read-only window.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not inside the arena.
    ///
    /// # Safety
    ///
    /// Nobody writes these bytes during the call.
    pub(crate) unsafe fn copy_out(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let from = self.read(offset, len)?;
        let mut bytes = vec![0u8; len];
        // SAFETY: `read` checked the bounds; every byte of an arena is initialised; nobody writes
        // them, by the caller's condition; the vector is fresh memory of the right size.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
        Ok(bytes)
    }

    /// Copies `bytes` to `offset`, through the read-write window.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not inside the arena.
    ///
    /// # Safety
    ///
    /// The bytes there belong to a span of which nothing is borrowed, and nobody else reads or
    /// writes them during the call.
    pub(crate) unsafe fn copy_in(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let to = self.write(offset, bytes.len())?;
        // SAFETY: `write` checked the bounds; nobody else uses the bytes there, by the caller's
        // condition, so they do not overlap `bytes`.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Addresses of the read-only window; empty in the host.
    pub(crate) fn read_only_range(&self) -> std::ops::Range<usize> {
        match &*self.0 {
            View::Attached { read, .. } => {
                let start = read.base() as usize;
                start..start + read.len_bytes()
            }
            View::Host(_) => 0..0,
        }
    }

    fn writable(&self) -> &Window {
        match &*self.0 {
            View::Attached { write, .. } => write,
            View::Host(arena) => arena.window(),
        }
    }
}

fn inside(window: &Window, offset: u64, len_bytes: usize) -> Result<*mut u8> {
    window.check()?;
    let start = window.at(offset, len_bytes).ok_or_else(|| Error::Corrupt {
        what: "an offset into the arena",
        found: format!("{offset} + {len_bytes} of {} bytes", window.len_bytes()),
    })?;
    Ok(start.as_ptr())
}
