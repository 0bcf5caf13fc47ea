//! Aligned memory for packed blocks, kept by each thread.
//!
//! From one product to the next.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use super::params::ALIGN_BYTES;

/// Uninitialised memory, aligned to [`ALIGN_BYTES`].
#[derive(Debug)]
pub(super) struct Buffer {
    memory: Option<NonNull<u8>>,
    bytes: usize,
}

thread_local! {
    /// What the last product of this thread used.
    static SPARE: Cell<Buffer> = const { Cell::new(Buffer { memory: None, bytes: 0 }) };
}

impl Buffer {
    /// At least `bytes` bytes, from what this thread has kept if that is enough.
    ///
    /// Fresh pages cost as much as packing into them, so the buffer goes back by
    /// [`keep`](Buffer::keep).
    pub(super) fn of_bytes(bytes: usize) -> Buffer {
        let empty = || Buffer { memory: None, bytes: 0 };
        // Gone in a destructor that runs after this thread's values.
        let spare = SPARE.try_with(|spare| spare.replace(empty())).unwrap_or_else(|_| empty());
        if spare.bytes >= bytes {
            return spare;
        }
        drop(spare);
        let layout = Buffer::layout(bytes);
        // SAFETY: the size is not zero, since `spare.bytes >= bytes` otherwise.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        Buffer { memory: Some(memory), bytes }
    }

    /// Keeps the buffer for this thread's next product.
    pub(super) fn keep(self) {
        let _ = SPARE.try_with(|spare| spare.set(self));
    }

    /// Where it begins; null if it is empty.
    pub(super) fn start(&self) -> *mut u8 {
        self.memory.map_or(null_mut(), NonNull::as_ptr)
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGN_BYTES)
            .expect("the packed blocks of a product fit the address space")
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // SAFETY: `of_bytes` allocated it with the same layout, and nobody else frees it.
            unsafe { dealloc(memory.as_ptr(), Buffer::layout(self.bytes)) };
        }
    }
}
