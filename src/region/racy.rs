//! Copies to and from memory that other programs may write meanwhile.
//!
//! A plain copy of bytes that change under it is undefined behaviour; a sequence of relaxed
//! atomic loads or stores is not. Such a copy may mix old and new values, but an aligned
//! element of up to 8 bytes is never torn.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

const WORD_BYTES: usize = size_of::<u64>();

/// How many bytes to copy one by one before the shared address is aligned to words.
fn head_bytes(address: usize, len_bytes: usize) -> usize {
    (address.next_multiple_of(WORD_BYTES) - address).min(len_bytes)
}

/// Copies shared bytes into `target`.
///
/// # Safety
///
/// - `source` is valid for reads and writes of `target.len()` bytes for the whole call.
pub(crate) unsafe fn copy_out(source: *mut u8, target: &mut [u8]) {
    let (head, rest) = target.split_at_mut(head_bytes(source.addr(), target.len()));
    let (words, tail) = rest.as_chunks_mut::<WORD_BYTES>();
    let mut at = source;
    for byte in head {
        // SAFETY: `at` stays below `source + target.len()`, which the caller vouches for.
        *byte = unsafe { load_byte(at) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, for 8 bytes; `head_bytes` made `at` a multiple of 8.
        let atomic = unsafe { AtomicU64::from_ptr(at.cast()) };
        // Relaxed: the copy orders nothing; see the module's documentation.
        *word = atomic.load(Ordering::Relaxed).to_ne_bytes();
        at = at.wrapping_add(WORD_BYTES);
    }
    for byte in tail {
        // SAFETY: as above.
        *byte = unsafe { load_byte(at) };
        at = at.wrapping_add(1);
    }
}

/// Copies `source` over shared bytes.
///
/// # Safety
///
/// - `target` is valid for reads and writes of `source.len()` bytes for the whole call.
pub(crate) unsafe fn copy_in(target: *mut u8, source: &[u8]) {
    let (head, rest) = source.split_at(head_bytes(target.addr(), source.len()));
    let (words, tail) = rest.as_chunks::<WORD_BYTES>();
    let mut at = target;
    for &byte in head {
        // SAFETY: `at` stays below `target + source.len()`, which the caller vouches for.
        unsafe { store_byte(at, byte) };
        at = at.wrapping_add(1);
    }
    for word in words {
        // SAFETY: as above, for 8 bytes; `head_bytes` made `at` a multiple of 8.
        let atomic = unsafe { AtomicU64::from_ptr(at.cast()) };
        // Relaxed: the copy orders nothing; see the module's documentation.
        atomic.store(u64::from_ne_bytes(*word), Ordering::Relaxed);
        at = at.wrapping_add(WORD_BYTES);
    }
    for &byte in tail {
        // SAFETY: as above.
        unsafe { store_byte(at, byte) };
        at = at.wrapping_add(1);
    }
}

/// # Safety
///
/// - `at` is valid for reads and writes of one byte.
unsafe fn load_byte(at: *mut u8) -> u8 {
    // SAFETY: the caller's contract; a byte is always aligned.
    let atomic = unsafe { AtomicU8::from_ptr(at) };
    // Relaxed: the copy orders nothing; see the module's documentation.
    atomic.load(Ordering::Relaxed)
}

/// # Safety
///
/// - `at` is valid for reads and writes of one byte.
unsafe fn store_byte(at: *mut u8, byte: u8) {
    // SAFETY: the caller's contract; a byte is always aligned.
    let atomic = unsafe { AtomicU8::from_ptr(at) };
    // Relaxed: the copy orders nothing; see the module's documentation.
    atomic.store(byte, Ordering::Relaxed);
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
