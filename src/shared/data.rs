//! Plain data behind a lock's words in a body.
//!
//! In memory without a name only handles reach the data, and each takes the lock beside it first.
//! So the holder of the lock uses the data in place. Any program of this user can open memory with
//! a name, and write it without the lock; so can this program. There the holder gets a copy, made
//! by relaxed atomics when the lock is taken. If the copy was changed, it is written back before
//! the lock is released. Concurrent writes of other programs can corrupt the value, which is a `T`
//! whatever its bytes are, but are never seen through a reference.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use bytemuck::Pod;

use crate::object::Memory;
use crate::region::atomic_copy;
use crate::sys::fork::Instance;

/// The alignment of bodies, which limits the alignment of data in them.
const ALIGN_BYTES: usize = 128;

/// The place of a body's data. The lock beside it controls access.
#[derive(Debug)]
pub(super) struct Data<T> {
    place: NonNull<T>,
    /// Whether programs without a handle may write there.
    is_named: bool,
    /// The process that has the memory mapped.
    made_in: Instance,
}

impl<T> Clone for Data<T> {
    fn clone(&self) -> Data<T> {
        *self
    }
}

impl<T> Copy for Data<T> {}

// SAFETY: a place in memory that its user keeps; it gives no access by itself.
unsafe impl<T: Send> Send for Data<T> {}
// SAFETY: as for `Send`.
unsafe impl<T: Send> Sync for Data<T> {}

impl<T: Pod> Data<T> {
    /// The offset of the data after `words_bytes` bytes of words, on a separate cache line.
    pub(super) const fn offset(words_bytes: usize) -> usize {
        const { assert!(align_of::<T>() <= ALIGN_BYTES, "its alignment is more than 128 bytes") };
        let align = if align_of::<T>() > 64 { align_of::<T>() } else { 64 };
        words_bytes.next_multiple_of(align)
    }

    /// The size of a body with the data after `words_bytes` bytes of words.
    pub(super) const fn end(words_bytes: usize) -> usize {
        Self::offset(words_bytes).saturating_add(size_of::<T>())
    }

    /// The data of a body that has [`end`](Data::end) bytes.
    ///
    /// # Safety
    ///
    /// - the body of `memory` has `end(words_bytes)` bytes.
    pub(super) unsafe fn of(memory: &Memory, words_bytes: usize) -> Data<T> {
        let (body, _) = memory.body();
        // SAFETY: inside, by the contract; aligned, since bodies are to 128 bytes.
        let place = unsafe { body.add(Self::offset(words_bytes)) }.cast();
        Data { place, is_named: memory.name().is_some(), made_in: Instance::current() }
    }

    /// Writes the first value.
    ///
    /// # Safety
    ///
    /// - the memory has no other user yet.
    pub(super) unsafe fn init(self, value: T) {
        // SAFETY: inside and aligned, by `of`; without another user, by the contract.
        unsafe { self.place.write(value) };
    }
}

/// Access to the data for the holder of the lock.
pub(super) struct DataAccess<'a, T: Pod> {
    data: &'a Data<T>,
    /// The copy of data with a name. One word, so that a guard stays in registers.
    copy: Option<Box<Copied<'a, T>>>,
}

/// A copy of data that others may write.
struct Copied<'a, T: Pod> {
    value: T,
    data: &'a Data<T>,
    memory: &'a Memory,
    is_changed: bool,
}

impl<'a, T: Pod> DataAccess<'a, T> {
    /// Lends the data of `memory`.
    ///
    /// # Safety
    ///
    /// - `data` is that of `memory`;
    /// - while the result exists, its user holds the lock beside the data: alone, or, if
    ///   [`get_mut`](DataAccess::get_mut) is never called, without a writer;
    /// - every user of the data through handles takes that lock.
    #[inline]
    pub(super) unsafe fn new(data: &'a Data<T>, memory: &'a Memory) -> DataAccess<'a, T> {
        let copy = data.is_named.then(|| Copied::of(data, memory));
        DataAccess { data, copy }
    }

    #[inline]
    pub(super) fn get(&self) -> &T {
        self.data.made_in.assert_current();
        match &self.copy {
            Some(copy) => &copy.value,
            // SAFETY: inside and aligned, by `Data::of`, in memory that the handle keeps. It has no
            // name, so only users of the lock reach it, and none writes, by `new`. This process has
            // it mapped, as asserted above. Any bytes are a `T`.
            None => unsafe { self.data.place.as_ref() },
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self) -> &mut T {
        self.data.made_in.assert_current();
        match &mut self.copy {
            Some(copy) => {
                copy.is_changed = true;
                &mut copy.value
            }
            // SAFETY: as in `get`; and `&mut self` excludes other users in this process.
            None => unsafe { &mut *self.data.place.as_ptr() },
        }
    }
}

impl<'a, T: Pod> Copied<'a, T> {
    #[cold]
    fn of(data: &'a Data<T>, memory: &'a Memory) -> Box<Copied<'a, T>> {
        let value = T::zeroed();
        let mut copied = Box::new(Copied { value, data, memory, is_changed: false });
        let value = bytemuck::bytes_of_mut(&mut copied.value);
        // SAFETY: the place has a `T`'s bytes inside the body, by `Data::of`.
        unsafe { atomic_copy::copy_out(data.place.as_ptr().cast(), value) };
        copied
    }
}

impl<T: Pod> Drop for Copied<'_, T> {
    fn drop(&mut self) {
        // In a child that was forked meanwhile the shared place belongs to the parent.
        if self.is_changed && self.memory.check().is_ok() {
            // SAFETY: as in `of`.
            unsafe {
                atomic_copy::copy_in(
                    self.data.place.as_ptr().cast(),
                    bytemuck::bytes_of(&self.value),
                );
            }
        }
    }
}
