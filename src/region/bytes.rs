//! Copying bytes into and out of spans and windows.
#![allow(unsafe_code)]

use crate::error::Result;
use crate::region::arena::Span;
use crate::region::windows::Windows;

impl Span {
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
}

impl Windows {
    /// Copies `len` bytes at `offset` out, through the read-only window.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if they are not inside the arena.
    pub(crate) fn copy_out(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let from = self.read(offset, len)?;
        let mut bytes = vec![0u8; len];
        // SAFETY: `read` checked the bounds; every byte of an arena is initialised; the vector is
        // fresh memory of the right size.
        unsafe { bytes.as_mut_ptr().copy_from_nonoverlapping(from, len) };
        Ok(bytes)
    }

    /// Copies `bytes` to `offset`, through the read-write window.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`](crate::Error::Corrupt) if they are not inside the arena.
    pub(crate) fn copy_in(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let to = self.write(offset, bytes.len())?;
        // SAFETY: `write` checked the bounds; the host granted the span to this worker alone, so
        // it overlaps nothing that safe code can borrow.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    /// Addresses of the read-only window, empty where there is none.
    pub(crate) fn read_only_range(&self) -> std::ops::Range<usize> {
        self.read_window().map_or(0..0, |window| {
            let start = window.base() as usize;
            start..start + window.len_bytes()
        })
    }
}
