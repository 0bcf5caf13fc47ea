//! The ring's data: bytes addressed by positions that wrap.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use crate::atomics::{AtomicU64, Ordering};

const WORD: usize = 8;

/// The data: words in shared memory, their number in private memory. Positions are read from shared
/// memory too, so they may be any number, and all arithmetic on them wraps.
///
/// | field   | written by          | read by             | guard  | if the writer dies         |
/// |---------|---------------------|---------------------|--------|----------------------------|
/// | `words` | holder of push lock | holder of pop lock  | `tail` | what it wrote is not       |
/// |         |                     |                     |        | committed, and is not read |
///
/// A hostile process may write at any time, so words are copied by relaxed atomics: a read then
/// yields arbitrary bytes, and not undefined behaviour. This costs nothing for small messages, and
/// for large ones 8 bytes a cycle are faster than another core's cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingData {
    words: NonNull<AtomicU64>,
    mask: u64,
}

impl RingData {
    /// # Safety
    ///
    /// - `words` are initialised and stay valid while the data are used;
    /// - all users write them by atomics;
    /// - their number is a power of two.
    pub(super) unsafe fn new(words: NonNull<[AtomicU64]>) -> RingData {
        debug_assert!(words.len().is_power_of_two());
        RingData { words: words.cast(), mask: words.len() as u64 - 1 }
    }

    /// The word that holds the byte at `position`.
    #[inline]
    fn word(&self, position: u64) -> &AtomicU64 {
        let index = (position / WORD as u64) & self.mask;
        #[expect(clippy::cast_possible_truncation, reason = "mask was made from a usize")]
        let index = index as usize;
        // SAFETY: `index <= mask`, the index of the last word, by the contract of `new`.
        let word = unsafe { self.words.add(index) };
        // SAFETY: valid, initialised and atomic, by the contract of `new`.
        unsafe { word.as_ref() }
    }

    #[inline]
    pub(super) fn load(&self, position: u64) -> u64 {
        // Relaxed: ordered by the Release and Acquire of the ring's `tail`.
        self.word(position).load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn store(&self, position: u64, word: u64) {
        // Relaxed: ordered by the Release and Acquire of the ring's `tail`.
        self.word(position).store(word, Ordering::Relaxed);
    }

    /// Copies `bytes` to `position`. The later bytes of the last word keep their value.
    #[inline]
    pub(super) fn write(&self, mut position: u64, mut bytes: &[u8]) {
        let skip = offset_in_word(position);
        if skip != 0 {
            let (first, rest) = bytes.split_at(bytes.len().min(WORD - skip));
            self.patch(position, first);
            position = position.wrapping_add(first.len() as u64);
            bytes = rest;
        }
        let (words, last) = bytes.as_chunks::<WORD>();
        for word in words {
            self.store(position, u64::from_ne_bytes(*word));
            position = position.wrapping_add(WORD as u64);
        }
        if !last.is_empty() {
            self.patch(position, last);
        }
    }

    /// Copies a few bytes into one word.
    fn patch(&self, position: u64, bytes: &[u8]) {
        let skip = offset_in_word(position);
        let mut word = self.load(position).to_ne_bytes();
        word[skip..skip + bytes.len()].copy_from_slice(bytes);
        self.store(position, u64::from_ne_bytes(word));
    }

    /// Copies the bytes at `position` to `into`.
    #[inline]
    pub(super) fn read(&self, mut position: u64, mut into: &mut [u8]) {
        let skip = offset_in_word(position);
        if skip != 0 {
            let (first, rest) = into.split_at_mut(into.len().min(WORD - skip));
            first.copy_from_slice(&self.load(position).to_ne_bytes()[skip..skip + first.len()]);
            position = position.wrapping_add(first.len() as u64);
            into = rest;
        }
        let (words, last) = into.as_chunks_mut::<WORD>();
        for word in words {
            *word = self.load(position).to_ne_bytes();
            position = position.wrapping_add(WORD as u64);
        }
        if !last.is_empty() {
            last.copy_from_slice(&self.load(position).to_ne_bytes()[..last.len()]);
        }
    }

    /// Appends the `length` bytes at `position`, a multiple of a word's size, to `into`.
    #[inline]
    pub(super) fn append(&self, mut position: u64, length: usize, into: &mut Vec<u8>) {
        let padded = length.next_multiple_of(WORD);
        into.reserve(padded);
        let (words, _) = into.spare_capacity_mut()[..padded].as_chunks_mut::<WORD>();
        for word in words {
            *word = self.load(position).to_ne_bytes().map(MaybeUninit::new);
            position = position.wrapping_add(WORD as u64);
        }
        let end = into.len() + length;
        // SAFETY: the loop has written `padded >= length` bytes of the spare capacity.
        unsafe { into.set_len(end) };
    }

    /// The addresses of the `length` bytes at `position`: two parts, the second empty unless they
    /// wrap.
    pub(super) fn parts(&self, position: u64, length: usize) -> [NonNull<[u8]>; 2] {
        let capacity = (self.mask + 1) * WORD as u64;
        #[expect(clippy::cast_possible_truncation, reason = "the data's size is a usize")]
        let (start, capacity) = ((position & (capacity - 1)) as usize, capacity as usize);
        let first = length.min(capacity - start);
        let base = self.words.cast::<u8>();
        // SAFETY: `start < capacity`, the size of the data.
        let begin = unsafe { base.add(start) };
        [
            NonNull::slice_from_raw_parts(begin, first),
            NonNull::slice_from_raw_parts(base, length - first),
        ]
    }
}

#[inline]
fn offset_in_word(position: u64) -> usize {
    // The low byte suffices: a word's size divides 256.
    usize::from(position.to_le_bytes()[0]) % WORD
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The index in 64 bytes of data of the byte `index` bytes after a position.
    fn place(position: u64, index: usize) -> usize {
        usize::try_from(position.wrapping_add(index as u64) % 64).unwrap()
    }

    proptest! {
        #[test]
        fn ring_data_are_an_array_that_wraps(
            writes in proptest::collection::vec(
                (any::<u64>(), proptest::collection::vec(any::<u8>(), 0..64)), 1..20),
        ) {
            let words: Vec<AtomicU64> = (0..8).map(|_| AtomicU64::new(0)).collect();
            // SAFETY: the words outlive the data, and there are eight.
            let data = unsafe { RingData::new(NonNull::from(&words[..])) };
            let mut oracle = [0u8; 64];
            for (position, bytes) in &writes {
                let position = *position;
                data.write(position, bytes);
                for (index, byte) in bytes.iter().enumerate() {
                    oracle[place(position, index)] = *byte;
                }
                let mut read = vec![0; bytes.len()];
                data.read(position, &mut read);
                prop_assert_eq!(&read, bytes);
                let aligned = position & !7;
                let mut appended = vec![9];
                data.append(aligned, bytes.len(), &mut appended);
                let expected: Vec<u8> = (0..bytes.len())
                    .map(|index| oracle[place(aligned, index)]).collect();
                prop_assert_eq!(&appended[1..], &expected[..]);
                let parts = data.parts(position, bytes.len());
                // SAFETY: the words are valid, and not written meanwhile.
                let parts = parts.map(|part| unsafe { part.as_ref() }.to_vec());
                prop_assert_eq!(&parts.concat(), bytes);
            }
            let mut all = [0; 64];
            data.read(0, &mut all);
            prop_assert_eq!(all, oracle);
        }
    }
}
