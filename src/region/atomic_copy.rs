//! Copies by atomics, for memory that other programs may write.
//!
//! A plain copy of bytes that change under it is undefined behaviour. A sequence of relaxed atomic
//! loads or stores is not: it may mix old and new values, but an aligned element of up to 8 bytes
//! is never torn.

#![allow(unsafe_code)]

use std::slice;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

const WORD_BYTES: usize = size_of::<u64>();

/// Shared bytes as atomics: whole words, and the bytes before and after them.
type Parts<'a> = (&'a [AtomicU8], &'a [AtomicU64], &'a [AtomicU8]);

/// # Safety
///
/// - `start` is valid for reads and writes of `len_bytes` bytes for `'a`.
unsafe fn parts<'a>(start: *mut u8, len_bytes: usize) -> Parts<'a> {
    // SAFETY: valid for `'a`, by the caller's contract; a byte is always aligned, and an atomic may
    // be changed by others.
    let bytes = unsafe { slice::from_raw_parts(start.cast::<AtomicU8>(), len_bytes) };
    // SAFETY: eight bytes in a row are a valid word, and `align_to` aligns it.
    unsafe { bytes.align_to::<AtomicU64>() }
}

/// Copies shared bytes into `target`.
///
/// # Safety
///
/// - `source` is valid for reads and writes of `target.len()` bytes for the whole call.
pub(crate) unsafe fn copy_out(source: *mut u8, target: &mut [u8]) {
    // SAFETY: the caller's contract.
    let (head, words, tail) = unsafe { parts(source, target.len()) };
    let (target_head, rest) = target.split_at_mut(head.len());
    let (target_words, target_tail) = rest.as_chunks_mut::<WORD_BYTES>();
    // Relaxed: the copy orders nothing.
    for (word, shared) in target_words.iter_mut().zip(words) {
        *word = shared.load(Relaxed).to_ne_bytes();
    }
    let ends = target_head.iter_mut().zip(head).chain(target_tail.iter_mut().zip(tail));
    ends.for_each(|(byte, shared)| *byte = shared.load(Relaxed));
}

/// Copies `source` over shared bytes.
///
/// # Safety
///
/// - `target` is valid for reads and writes of `source.len()` bytes for the whole call.
pub(crate) unsafe fn copy_in(target: *mut u8, source: &[u8]) {
    // SAFETY: the caller's contract.
    let (head, words, tail) = unsafe { parts(target, source.len()) };
    let (source_head, rest) = source.split_at(head.len());
    let (source_words, source_tail) = rest.as_chunks::<WORD_BYTES>();
    // Relaxed: the copy orders nothing.
    for (word, shared) in source_words.iter().zip(words) {
        shared.store(u64::from_ne_bytes(*word), Relaxed);
    }
    let ends = source_head.iter().zip(head).chain(source_tail.iter().zip(tail));
    ends.for_each(|(&byte, shared)| shared.store(byte, Relaxed));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_copy_in_and_out_is_exact_at_any_alignment(
            bytes in prop::collection::vec(any::<u8>(), 0..70), shift in 0usize..9
        ) {
            let mut shared = vec![0xeeu8; 90];
            let at = shared.as_mut_ptr().wrapping_add(shift);
            // SAFETY: `shift + bytes.len()` is at most 78 of the 90 bytes.
            unsafe { copy_in(at, &bytes) };
            let mut back = vec![0u8; bytes.len()];
            // SAFETY: as above.
            unsafe { copy_out(at, &mut back) };
            prop_assert_eq!(&back, &bytes);
            prop_assert!(shared[..shift].iter().all(|&b| b == 0xee));
            prop_assert!(shared[shift + bytes.len()..].iter().all(|&b| b == 0xee));
        }
    }
}
