//! The transpose of a matrix, by tiles.
//!
//! A tile is transposed block by block into a buffer in the first-level cache, from which its rows
//! are copied to the output. So each cache line is read or written at one time only, even if the
//! length of a row is a power of two and the rows of a tile compete for the same cache sets.

use super::Word;

/// Rows and columns of a tile: at least 128 bytes, two cache lines, in each row.
const fn side<T>() -> usize {
    match size_of::<T>() {
        1 => 128,
        2 | 4 => 64,
        _ => 32,
    }
}

/// `out[j out_stride + i] = input[i in_stride + j]` for `i` below `m` and `j` below `n`.
///
/// # Panics
///
/// If a slice is too short.
pub(super) fn transpose_strided<T: Word>(
    out: &mut [T],
    out_stride: usize,
    input: &[T],
    in_stride: usize,
    [m, n]: [usize; 2],
) {
    let side = side::<T>();
    let mut tile = vec![T::zeroed(); side * side];
    for j in (0..n).step_by(side) {
        let width = side.min(n - j);
        for i in (0..m).step_by(side) {
            let height = side.min(m - i);
            let from = &input[i * in_stride + j..];
            if width == side && height == side {
                // With lengths known to the compiler.
                transpose_tile(&mut tile, side, from, in_stride, [side, side]);
            } else {
                transpose_tile(&mut tile, side, from, in_stride, [height, width]);
            }
            for (c, row) in tile.chunks_exact(side).take(width).enumerate() {
                out[(j + c) * out_stride + i..][..height].copy_from_slice(&row[..height]);
            }
        }
    }
}

/// The same for one tile, in whole blocks and single elements around them.
#[inline(always)]
fn transpose_tile<T: Word>(
    out: &mut [T],
    out_stride: usize,
    input: &[T],
    in_stride: usize,
    [m, n]: [usize; 2],
) {
    let (blocks_m, blocks_n) = (m / T::SIDE * T::SIDE, n / T::SIDE * T::SIDE);
    for i in (0..blocks_m).step_by(T::SIDE) {
        for j in (0..blocks_n).step_by(T::SIDE) {
            let block = &mut out[j * out_stride + i..];
            T::transpose_block(block, out_stride, &input[i * in_stride + j..], in_stride);
        }
    }
    for i in 0..m {
        let first = if i < blocks_m { blocks_n } else { 0 };
        for (j, &x) in input[i * in_stride..][..n].iter().enumerate().skip(first) {
            out[j * out_stride + i] = x;
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use std::ops::Range;

    use super::*;
    use proptest::prelude::*;

    fn check<T: Word>(m: usize, n: usize, rows: Range<usize>, word: impl Fn(usize) -> T) {
        let input: Vec<T> = (0..m * n).map(word).collect();
        let mut out = vec![T::zeroed(); rows.len() * m];
        if !out.is_empty() {
            let columns = [m, rows.len()];
            transpose_strided(&mut out, m, &input[rows.start..], n, columns);
        }
        for (j, row) in rows.zip(out.chunks_exact(m.max(1))) {
            assert!(row.iter().enumerate().all(|(i, x)| *x == input[i * n + j]), "{m} {n} {j}");
        }
    }

    proptest! {
        #[test]
        fn rows_of_a_transpose_are_columns(
            m in prop_oneof![0..4_usize, 0..70_usize, 120..300_usize],
            n in prop_oneof![0..4_usize, 0..70_usize, 120..300_usize],
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let place = |f: f64| (f * (n + 1) as f64) as usize;
            let rows = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let mixed = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            check(m, n, rows.clone(), |i| (mixed(i) >> 32) as u8);
            check(m, n, rows.clone(), |i| (mixed(i) >> 32) as u16);
            check(m, n, rows.clone(), |i| (mixed(i) >> 32) as u32);
            check(m, n, rows.clone(), mixed);
            check(m, n, rows, |i| [mixed(i), i as u64]);
        }
    }
}
