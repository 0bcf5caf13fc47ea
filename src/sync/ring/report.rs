//! What a ring says, for those who only look.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::header::{MAGIC, RingHeader};
use crate::atomics::Ordering;

/// A ring at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingReport {
    pub(crate) messages: u64,
}

/// Bytes that [`look`] reads.
pub(crate) const LOOK_BYTES: usize = size_of::<RingHeader>();

/// Looks at the ring whose header begins at `place`; `None` if there is none.
///
/// # Safety
///
/// - `place` is aligned to [`Ring::ALIGN`](super::Ring::ALIGN) and valid for [`LOOK_BYTES`] bytes,
///   all of them atomics to whoever else uses them.
pub(crate) unsafe fn look(place: NonNull<u8>) -> Option<RingReport> {
    // SAFETY: the caller's promise; every bit pattern is a header, of atomics.
    let header = unsafe { place.cast::<RingHeader>().as_ref() };
    if header.rare.0.magic.load(Ordering::Acquire) != MAGIC {
        return None;
    }
    let popped = header.pop.0.tally.read(&header.head.0);
    let pushed = header.push.0.tally.read(&header.tail.0);
    // Somebody may have written over one of them.
    Some(RingReport { messages: pushed.saturating_sub(popped) })
}
