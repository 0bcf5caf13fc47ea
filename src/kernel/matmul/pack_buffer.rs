//! Memory for packed blocks, which each thread keeps between products.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{NonNull, null_mut};

use super::blocking::ALIGN_BYTES;

/// Uninitialised memory, aligned to [`ALIGN_BYTES`].
#[derive(Debug)]
pub(super) struct PackBuffer {
    memory: Option<NonNull<u8>>,
    bytes: usize,
}

thread_local! {
    /// The buffer of this thread's last product.
    static SPARE: Cell<PackBuffer> = const { Cell::new(PackBuffer { memory: None, bytes: 0 }) };
}

impl PackBuffer {
    /// At least `bytes` bytes: the buffer that this thread has kept, if it is large enough.
    ///
    /// Fresh pages cost as much as packing into them, so callers return the buffer by
    /// [`keep`](PackBuffer::keep).
    pub(super) fn of_bytes(bytes: usize) -> PackBuffer {
        let empty = || PackBuffer { memory: None, bytes: 0 };
        // It fails in a destructor that runs after this thread's values were dropped.
        let spare = SPARE.try_with(|spare| spare.replace(empty())).unwrap_or_else(|_| empty());
        if spare.bytes >= bytes {
            return spare;
        }
        drop(spare);
        let layout = PackBuffer::layout(bytes);
        // SAFETY: the size is not zero, since `spare.bytes >= bytes` otherwise.
        let memory = unsafe { alloc(layout) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout) };
        PackBuffer { memory: Some(memory), bytes }
    }

    /// Keeps the buffer for this thread's next product.
    pub(super) fn keep(self) {
        let _ = SPARE.try_with(|spare| spare.set(self));
    }

    /// Its address; null if it is empty.
    pub(super) fn start(&self) -> *mut u8 {
        self.memory.map_or(null_mut(), NonNull::as_ptr)
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, ALIGN_BYTES)
            .expect("the packed blocks of a product fit the address space")
    }
}

impl Drop for PackBuffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            // SAFETY: `of_bytes` allocated it with the same layout, and nothing else frees it.
            unsafe { dealloc(memory.as_ptr(), PackBuffer::layout(self.bytes)) };
        }
    }
}
