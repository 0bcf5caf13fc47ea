//! Indices of extremes along one axis of a row-major array.
//!
//! As in [`super::arg`] values come first: the extremes of a block of rows are found row by row,
//! and only the block that holds a column's extreme is searched.

use std::ops::Range;

use super::arg::{Arg, Extreme, is_same, merge_arg, partial_arg};
use super::axis::{Axis, TILE, join_rows};
use crate::kernel::number::Number;
use crate::kernel::vectorized::vectorized;

/// Rows of a block: few, because the search goes down a column.
const ROWS: usize = 32;

/// Writes the index along the axis of each extreme. `data` is a range of outer indices, `columns` a
/// range of the inner ones, and `out` has an element for each outer index and column, row-major.
///
/// Of equal elements the first is found; if there is a NaN, the first one. For an empty axis the
/// result is [`Arg::EMPTY`].
///
/// # Panics
///
/// If the lengths do not match.
pub(crate) fn arg_axis<T: Number, F: Extreme<T>>(
    fold: F,
    data: &[T],
    axis: Axis,
    columns: Range<usize>,
    out: &mut [Arg],
) {
    let Axis { n, inner } = axis;
    assert!(columns.start <= columns.end && columns.end <= inner, "columns are in the array");
    let width = columns.len();
    if width == 0 {
        return;
    }
    assert_eq!(out.len() % width, 0, "whole rows of results");
    assert_eq!(out.len() / width * n * inner, data.len(), "one row of results an outer index");
    if n == 0 {
        return out.fill(Arg::EMPTY);
    }
    if inner == 1 {
        for (row, result) in data.chunks_exact(n).zip(out) {
            *result = partial_arg(fold, row, 0);
        }
        return;
    }
    let k = if width == inner { axis.rows_in_one() } else { 1 };
    let mut wide = vec![Arg::EMPTY; if k > 1 { k * inner } else { 0 }];
    for (matrix, out) in data.chunks_exact(n * inner).zip(out.chunks_exact_mut(width)) {
        if k == 1 {
            for (out, tile) in out.chunks_mut(TILE).zip(columns.clone().step_by(TILE)) {
                arg_tile(fold, matrix, inner, tile, out);
            }
            continue;
        }
        let (whole, rest) = matrix.split_at(n / k * k * inner);
        arg_tile(fold, whole, k * inner, 0, &mut wide);
        out.fill(Arg::EMPTY);
        for (i, arg) in wide.iter().enumerate() {
            let index = arg.index * k as u64 + (i / inner) as u64;
            let result = &mut out[i % inner];
            *result = merge_arg::<T, F>(fold, *result, Arg { index, ..*arg });
        }
        for (i, &x) in rest.iter().enumerate() {
            let result = &mut out[i % inner];
            *result = merge_arg::<T, F>(fold, *result, Arg::new(n / k * k + i / inner, x));
        }
    }
}

vectorized! {
    /// The extremes of the columns from `start` on, at most [`TILE`], of a matrix of at least one
    /// row.
    fn arg_tile<T: Number, F: Extreme<T>>(
        _fold: F,
        matrix: &[T],
        inner: usize,
        start: usize,
        out: &mut [Arg],
    ) {
        let width = out.len();
        let (mut lanes, mut best) = (vec![F::EMPTY; width], vec![F::EMPTY; width]);
        let mut found = vec![0u32; width];
        let params = vec![(); width];
        for (number, block) in (0u32..).zip(matrix.chunks(ROWS * inner)) {
            join_rows::<T, F>(block, inner, start, &params, &mut lanes);
            for ((best, found), &value) in best.iter_mut().zip(&mut found).zip(&lanes) {
                let better = F::beats(value, *best) | (number == 0);
                *best = if better { value } else { *best };
                *found = if better { number } else { *found };
            }
        }
        for (c, result) in out.iter_mut().enumerate() {
            let first = found[c] as usize * ROWS;
            let column = matrix[first * inner + start + c..].iter().step_by(inner);
            let place = column.enumerate().find(|&(_, &x)| is_same(x, best[c]));
            if let Some((row, &x)) = place {
                *result = Arg::new(first + row, x);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::reduce::{Max, Min};

    proptest! {
        #[test]
        fn indices_are_those_of_each_column(
            (outer, n, inner) in prop_oneof![
                (0usize..4, 0usize..50, 0usize..9),
                (1usize..3, 1usize..200, 1usize..20),
                (1usize..2, 30usize..70, 250usize..300),
                (1usize..2, 1usize..5, 4000usize..5000),
            ],
            seed in any::<u64>(),
            values in 2u64..3000,
        ) {
            let mix = |i: u64| (i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let data: Vec<f32> = (0..(outer * n * inner) as u64)
                .map(|i| if mix(i) % 997 == 0 { f32::NAN } else { (mix(i) % values) as f32 })
                .collect();
            let mut least = vec![Arg::EMPTY; outer * inner];
            let mut greatest = least.clone();
            arg_axis(Min, &data, Axis { n, inner }, 0..inner, &mut least);
            arg_axis(Max, &data, Axis { n, inner }, 0..inner, &mut greatest);
            for i in 0..outer * inner {
                let (o, c) = (i / inner, i % inner);
                let column: Vec<f32> = (0..n).map(|j| data[(o * n + j) * inner + c]).collect();
                prop_assert_eq!(least[i], partial_arg(Min, &column, 0));
                prop_assert_eq!(greatest[i], partial_arg(Max, &column, 0));
            }
            if outer == 1 && inner > 3 {
                let mut some = vec![Arg::EMPTY; inner - 3];
                arg_axis(Min, &data, Axis { n, inner }, 2..inner - 1, &mut some);
                prop_assert_eq!(&some[..], &least[2..inner - 1]);
            }
        }
    }
}
