//! Moves the elements selected by a mask together.
//!
//! In two passes: [`count_true`] of each chunk, whose running sum gives the place of the chunk's
//! output; then [`compress_rows`] of each chunk.

use crate::kernel::vectorized::vectorized;

/// Elements whose mask is examined together.
const BLOCK: usize = 64;

/// Bytes of a mask whose counts fit into a byte.
const COUNT_BLOCK: usize = 255 * 32;

/// The number of bytes of a mask that are not 0 (true).
pub(crate) fn count_true(mask: &[u8]) -> usize {
    mask.chunks(COUNT_BLOCK).map(count_block).sum()
}

vectorized! {
    fn count_block(mask: &[u8]) -> usize {
        let mut lanes = [0_u8; 32];
        let (blocks, rest) = mask.as_chunks::<32>();
        for block in blocks {
            for i in 0..32 {
                lanes[i] += u8::from(block[i] != 0);
            }
        }
        let counted: usize = lanes.iter().map(|&lane| usize::from(lane)).sum();
        counted + rest.iter().filter(|&&byte| byte != 0).count()
    }
}

/// Moves the elements of `input` whose mask is not 0 to `out`, in order.
///
/// # Panics
///
/// If `mask` and `input` differ in length, or `out` does not have [`count_true`] elements.
fn compress<T: Copy>(out: &mut [T], input: &[T], mask: &[u8]) {
    assert_eq!(input.len(), mask.len());
    let (masks, masks_rest) = mask.as_chunks::<BLOCK>();
    let (blocks, rest) = input.as_chunks::<BLOCK>();
    let mut done = 0;
    for (block, mask) in blocks.iter().zip(masks) {
        done += match (any_and_all(mask), out[done..].first_chunk_mut()) {
            ((false, _), _) => 0,
            ((_, true), Some(out)) => {
                *out = *block;
                BLOCK
            }
            (_, Some(out)) => compress_block(out, block, mask),
            // Less room than a block: only selected elements may be stored.
            (_, None) => compress_end(&mut out[done..], block, mask),
        };
    }
    done += compress_end(&mut out[done..], rest, masks_rest);
    assert_eq!(done, out.len(), "{done} elements are true");
}

/// Whether any byte is not 0, and whether none is 0.
#[inline]
fn any_and_all(mask: &[u8; BLOCK]) -> (bool, bool) {
    let any = mask.iter().fold(0, |any, &byte| any | byte);
    let all = mask.iter().fold(true, |all, &byte| all & (byte != 0));
    (any != 0, all)
}

/// Stores each element; the next one overwrites it if it was not selected. So there is no branch to
/// predict.
#[inline]
fn compress_block<T: Copy>(out: &mut [T; BLOCK], input: &[T; BLOCK], mask: &[u8; BLOCK]) -> usize {
    let mut done = 0;
    for (&x, &byte) in input.iter().zip(mask) {
        // At most 63 of the elements before the last were selected, so the mask has no effect on
        // the value.
        out[done % BLOCK] = x;
        done += usize::from(byte != 0);
    }
    done
}

fn compress_end<T: Copy>(out: &mut [T], input: &[T], mask: &[u8]) -> usize {
    let selected = input.iter().zip(mask).filter(|&(_, &byte)| byte != 0);
    let mut done = 0;
    for (&x, _) in selected {
        out[done] = x;
        done += 1;
    }
    done
}

/// Moves the rows of `row_len` elements whose mask is not 0 to `out`, in order.
///
/// # Panics
///
/// If `input` does not have as many rows as the mask has bytes, or `out` as many as
/// [`count_true`].
pub(crate) fn compress_rows<T: Copy>(out: &mut [T], input: &[T], row_len: usize, mask: &[u8]) {
    assert_eq!(input.len(), mask.len() * row_len);
    if row_len == 1 {
        return compress(out, input, mask);
    }
    let mut done = 0;
    let mut start = 0;
    // Runs of selected rows in one copy.
    for run in mask.chunk_by(|&x, &y| (x != 0) == (y != 0)) {
        let len = run.len() * row_len;
        if run[0] != 0 {
            out[done..done + len].copy_from_slice(&input[start..start + len]);
            done += len;
        }
        start += len;
    }
    assert_eq!(done, out.len(), "{done} elements are true");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<T: Copy + PartialEq + std::fmt::Debug>(input: &[T], row_len: usize, mask: &[u8]) {
        let rows = input.chunks_exact(row_len.max(1)).zip(mask).filter(|&(_, &byte)| byte != 0);
        let expected: Vec<T> = rows.flat_map(|(row, _)| row.iter().copied()).collect();
        assert_eq!(count_true(mask) * row_len, expected.len());
        let mut out: Vec<T> = expected.iter().rev().copied().collect();
        compress_rows(&mut out, input, row_len, mask);
        assert_eq!(out, expected);
    }

    proptest! {
        #[test]
        fn what_is_true_is_kept(
            mask in prop::collection::vec(0..4_u8, 0..500),
            density in 0..4_u8,
            row_len in 1..5_usize,
        ) {
            let mask: Vec<u8> = mask.iter().map(|&x| x.saturating_sub(density)).collect();
            let words: Vec<u64> = (0..(mask.len() * row_len) as u64).collect();
            check(&words, row_len, &mask);
            check(&words[..mask.len()], 1, &mask);
            let bytes: Vec<u8> = words.iter().map(|&x| x.to_le_bytes()[0]).collect();
            check(&bytes[..mask.len()], 1, &mask);
            let wide: Vec<[u64; 2]> = words.iter().map(|&x| [x, !x]).collect();
            check(&wide[..mask.len()], 1, &mask);
        }
    }

    #[test]
    fn counts_do_not_overflow() {
        for len in [0, 1, 255 * 32, 255 * 32 + 1, 100_003] {
            assert_eq!(count_true(&vec![255; len]), len);
            assert_eq!(count_true(&vec![0; len]), 0);
        }
    }

    #[test]
    #[should_panic(expected = "2 elements are true")]
    fn an_output_that_is_too_long_is_refused() {
        compress(&mut [0; 3], &[1, 2, 3], &[1, 0, 1]);
    }
}
