//! Plain data behind a lock's words in a body.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use bytemuck::Pod;

use crate::control::Memory;

/// Alignment of bodies, which bounds that of data in them.
const ALIGN_BYTES: usize = 128;

/// Where the data of a body is. What may be done there is said by the lock beside it.
#[derive(Debug)]
pub(super) struct Data<T>(NonNull<T>);

impl<T> Clone for Data<T> {
    fn clone(&self) -> Data<T> {
        *self
    }
}

impl<T> Copy for Data<T> {}

// SAFETY: a place in memory that its user keeps; it gives nothing out by itself.
unsafe impl<T: Send> Send for Data<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for Data<T> {}

impl<T: Pod> Data<T> {
    /// Where the data begins after `words_bytes` bytes of words, on a cache line of its own.
    pub(super) const fn offset(words_bytes: usize) -> usize {
        const { assert!(align_of::<T>() <= ALIGN_BYTES, "its alignment is more than 128 bytes") };
        let align = if align_of::<T>() > 64 { align_of::<T>() } else { 64 };
        words_bytes.next_multiple_of(align)
    }

    /// The size of a body that has the data after `words_bytes` bytes of words.
    pub(super) const fn end(words_bytes: usize) -> usize {
        Self::offset(words_bytes).saturating_add(size_of::<T>())
    }

    /// The data of a body that has at least [`end`](Data::end) bytes.
    ///
    /// # Safety
    ///
    /// - the body of `memory` has `end(words_bytes)` bytes.
    pub(super) unsafe fn of(memory: &Memory, words_bytes: usize) -> Data<T> {
        let (body, _) = memory.body();
        // SAFETY: inside, by the contract; aligned, since bodies are to 128 bytes.
        Data(unsafe { body.add(Self::offset(words_bytes)) }.cast())
    }

    /// Writes the first value.
    ///
    /// # Safety
    ///
    /// - nobody else knows the memory yet.
    pub(super) unsafe fn init(self, value: T) {
        // SAFETY: inside and aligned, by `of`; unknown to others, by the contract.
        unsafe { self.0.write(value) };
    }

    #[inline]
    pub(super) fn as_ptr(self) -> NonNull<T> {
        self.0
    }
}
