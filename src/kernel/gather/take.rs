//! Rows of an array selected by index.
//!
//! In two passes: all indices are checked before anything is written.

#![allow(unsafe_code)] // `vectorized!` calls the version that the processor has.

use crate::kernel::vectorized::vectorized;

/// An index of a row: `u64`, `usize`, or `i64`, of which negative ones count from the end, as in
/// NumPy.
#[expect(unnameable_types, reason = "seals `RowIndex`: no other crate can name it")]
pub trait Index: Copy {
    /// The position in an axis of `n` elements; `n` or more if it is out of bounds.
    fn resolve(self, n: usize) -> usize;
}

impl Index for usize {
    #[inline]
    fn resolve(self, _: usize) -> usize {
        self
    }
}

impl Index for u64 {
    #[inline]
    fn resolve(self, _: usize) -> usize {
        usize::try_from(self).unwrap_or(usize::MAX)
    }
}

impl Index for i64 {
    #[inline]
    fn resolve(self, n: usize) -> usize {
        // No length is more than `i64::MAX`. A sum that is still negative becomes a very large
        // position.
        let from_end = if self < 0 { n as u64 } else { 0 };
        self.cast_unsigned().wrapping_add(from_end).resolve(n)
    }
}

/// Indices that are checked at a time.
const BLOCK: usize = 4096;

/// How many rows ahead the first cache line is prefetched.
const AHEAD: usize = 16;

/// The position of the first index that is out of bounds for an axis of `n`.
pub(crate) fn first_outside<I: Index>(indices: &[I], n: usize) -> Option<usize> {
    indices.chunks(BLOCK).enumerate().find_map(|(b, block)| {
        if all_within(block, n) {
            return None;
        }
        block.iter().position(|index| index.resolve(n) >= n).map(|i| b * BLOCK + i)
    })
}

vectorized! {
    fn all_within<I: Index>(indices: &[I], n: usize) -> bool {
        indices.iter().fold(true, |all, index| all & (index.resolve(n) < n))
    }
}

/// `out[i] = input[indices[i]]` for rows of `row_len` elements. Check the indices first.
///
/// # Panics
///
/// If `input` is not a whole number of rows, `out` does not have as many rows as there are indices,
/// or an index is out of bounds.
pub(crate) fn take_rows<T: Copy, I: Index>(
    out: &mut [T],
    input: &[T],
    row_len: usize,
    indices: &[I],
) {
    assert_eq!(out.len(), indices.len() * row_len);
    if row_len == 0 {
        return;
    }
    assert!(input.len().is_multiple_of(row_len));
    let n = input.len() / row_len;
    if row_len == 1 {
        for (out, index) in out.iter_mut().zip(indices) {
            *out = input[index.resolve(n)];
        }
        return;
    }
    for (i, (out, index)) in out.chunks_exact_mut(row_len).zip(indices).enumerate() {
        if let Some(next) = indices.get(i + AHEAD) {
            prefetch(input, next.resolve(n).saturating_mul(row_len));
        }
        out.copy_from_slice(&input[index.resolve(n) * row_len..][..row_len]);
    }
}

/// Prefetches the cache line of an element.
#[inline(always)]
fn prefetch<T>(input: &[T], place: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = input.as_ptr().wrapping_add(place).cast();
        // SAFETY: SSE is part of x86-64, and a prefetch of any address has no visible effect.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, reason = "small numbers")]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_those_of_the_indices(
            n in 1..50_usize,
            row_len in prop_oneof![Just(1_usize), 0..40_usize],
            picks in prop::collection::vec(any::<u32>(), 0..100),
        ) {
            let input: Vec<u32> = (0..(n * row_len) as u32).collect();
            let indices: Vec<usize> = picks.iter().map(|&pick| pick as usize % n).collect();
            let expected: Vec<u32> =
                indices.iter().flat_map(|&i| input[i * row_len..][..row_len].to_vec()).collect();
            let mut out = vec![u32::MAX; expected.len()];
            take_rows(&mut out, &input, row_len, &indices);
            prop_assert_eq!(&out, &expected);
            let same: Vec<u64> = indices.iter().map(|&i| i as u64).collect();
            out.fill(u32::MAX);
            take_rows(&mut out, &input, row_len, &same);
            prop_assert_eq!(&out, &expected);
            let from_end: Vec<i64> = indices.iter().map(|&i| i as i64 - n as i64).collect();
            out.fill(u32::MAX);
            take_rows(&mut out, &input, row_len, &from_end);
            prop_assert_eq!(&out, &expected);
        }

        #[test]
        fn the_first_bad_index_is_named(len in 1..10_000_usize, bad in any::<(u32, u32)>()) {
            let (first, second) = (bad.0 as usize % len, bad.1 as usize % len);
            let mut indices = vec![4_i64; len];
            (indices[first], indices[second]) = (5, 5);
            prop_assert_eq!(first_outside(&indices, 5), Some(first.min(second)));
        }
    }

    #[test]
    fn indices_count_from_the_end_down_to_minus_the_length() {
        let bad = |index: i64, n| first_outside(&[index], n).is_some();
        assert!(!bad(0, 3) && !bad(2, 3) && !bad(-1, 3) && !bad(-3, 3));
        assert!(bad(3, 3) && bad(-4, 3) && bad(i64::MIN, 3) && bad(i64::MAX, 3));
        assert!(bad(0, 0) && bad(-1, 0));
        assert_eq!(first_outside(&[1, u64::MAX], 3), Some(1));
        assert_eq!(first_outside(&[3_usize], 3), Some(0));
        assert_eq!(first_outside::<usize>(&[], 0), None);
    }
}
