//! Memory for packed blocks, which each thread keeps between products.

use std::cell::Cell;
use std::mem::MaybeUninit;

use super::blocking::ALIGN_BYTES;

/// A page, for its alignment.
#[repr(align(4096))]
struct Page {
    _bytes: MaybeUninit<[u8; ALIGN_BYTES]>,
}

const _: () = assert!(align_of::<Page>() == ALIGN_BYTES && size_of::<Page>() == ALIGN_BYTES);

/// Uninitialised memory, aligned to [`ALIGN_BYTES`].
pub(super) struct PackBuffer(Vec<Page>);

thread_local! {
    /// The memory of this thread's last product.
    static KEPT: Cell<Vec<Page>> = const { Cell::new(Vec::new()) };
}

impl PackBuffer {
    /// At least `bytes` bytes: the memory that this thread has kept, if it is large enough.
    ///
    /// New pages cost as much as packing into them, so callers keep the buffer for the next product
    /// by [`keep`](PackBuffer::keep).
    pub(super) fn of_bytes(bytes: usize) -> PackBuffer {
        let pages = bytes.div_ceil(ALIGN_BYTES);
        // This fails in a destructor that runs after this thread's values were dropped.
        let kept = KEPT.try_with(Cell::take).unwrap_or_default();
        if kept.capacity() >= pages {
            return PackBuffer(kept);
        }
        drop(kept);
        PackBuffer(Vec::with_capacity(pages))
    }

    /// Keeps the memory for this thread's next product.
    pub(super) fn keep(self) {
        let _ = KEPT.try_with(|kept| kept.set(self.0));
    }

    /// Its address, aligned even if it is empty.
    pub(super) fn start(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}
