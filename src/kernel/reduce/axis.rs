//! Reductions along one axis of a row-major array.
//!
//! The array is seen as `[outer, n, inner]`.
//!
//! If `inner` is 1, each result is the reduction of a contiguous row, in the order of
//! [`super::partial`]. Otherwise whole rows of `inner` elements are joined element by element: the
//! rows of a block of 64 in groups of four, the groups one after the other, the blocks pairwise.
//! Few columns are widened first: `k` consecutive rows count as one row of `k * inner`. The order
//! depends on `n` and `inner` alone, so ranges of `outer`, and ranges of at least [`WIDE`] / 2
//! columns, may be reduced by any worker.

use std::ops::Range;

use super::fold::Fold;
use super::whole::reduce;
use crate::kernel::number::Number;
use crate::kernel::vectorized::vectorized;

/// The axis to reduce, and the elements within one step along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Elements along the axis.
    pub(crate) n: usize,
    /// Elements from one step along the axis to the next: the product of the later axes.
    pub(crate) inner: usize,
}

/// Rows that are joined in a lane before it is widened; at most 128.
pub(super) const BLOCK_ROWS: usize = 64;
/// Columns that are reduced together: their lanes stay in the second-level cache, and each row is
/// read in long runs.
pub(super) const TILE: usize = 4096;
/// If an array has fewer columns than this, several rows are joined into one of at most this many
/// elements.
pub(super) const WIDE: usize = 512;

impl Axis {
    /// The number of rows that count as one: a power of two, 1 for wide rows.
    pub(super) fn rows_in_one(self) -> usize {
        let mut k = 1;
        while 2 * k * self.inner <= WIDE && 2 * k <= self.n {
            k *= 2;
        }
        k
    }
}

/// Buffers of a reduction over rows, kept from one outer index to the next.
struct FoldBuffers<T: Number, F: Fold<T>> {
    lanes: Vec<F::Lane>,
    /// Partial results of blocks that are not merged yet, each as wide as a tile.
    waiting: Vec<F::Partial>,
    wide: Vec<F::Partial>,
    params: Vec<F::Param>,
}

vectorized! {
    /// Reduces along the axis. `data` is a range of outer indices, `columns` a range of the inner
    /// ones, and `params` and `out` have an element for each outer index and column, row-major.
    ///
    /// `columns` is the whole of `0..inner`, or at least `WIDE / 2` of them. Fewer are correct too,
    /// but then the order of additions, and the last bits of floats, differ from those of the
    /// whole.
    ///
    /// # Panics
    ///
    /// If the lengths do not match.
    pub(crate) fn fold_axis<T: Number, F: Fold<T>>(
        _fold: F,
        data: &[T],
        axis: Axis,
        columns: Range<usize>,
        params: &[F::Param],
        out: &mut [F::Partial],
    ) {
        let Axis { n, inner } = axis;
        assert!(columns.start <= columns.end && columns.end <= inner, "columns are in the array");
        assert_eq!(params.len(), out.len(), "one parameter a result");
        let width = columns.len();
        if width == 0 {
            return;
        }
        assert_eq!(out.len() % width, 0, "whole rows of results");
        assert_eq!(out.len() / width * n * inner, data.len(), "one row of results an outer index");
        if n == 0 {
            return out.fill(F::EMPTY);
        }
        if inner == 1 {
            for ((row, result), &param) in data.chunks_exact(n).zip(out).zip(params) {
                *result = reduce::<T, F>(row, param);
            }
            return;
        }
        let k = if width == inner { axis.rows_in_one() } else { 1 };
        let (lanes, waiting) = (vec![F::START; TILE.min(k * width)], Vec::new());
        let mut scratch =
            FoldBuffers::<T, F> { lanes, waiting, wide: Vec::new(), params: Vec::new() };
        let outers = data.chunks_exact(n * inner).zip(out.chunks_exact_mut(width));
        for ((matrix, out), params) in outers.zip(params.chunks_exact(width)) {
            if k == 1 {
                fold_rows::<T, F>(matrix, inner, columns.clone(), params, out, &mut scratch);
            } else {
                fold_narrow::<T, F>(matrix, axis, k, params, out, &mut scratch);
            }
        }
    }
}

/// Reduces a matrix of few columns, with `k` rows joined into one.
#[inline(always)]
fn fold_narrow<T: Number, F: Fold<T>>(
    matrix: &[T],
    Axis { n, inner }: Axis,
    k: usize,
    params: &[F::Param],
    out: &mut [F::Partial],
    scratch: &mut FoldBuffers<T, F>,
) {
    let mut wide_params = std::mem::take(&mut scratch.params);
    wide_params.clear();
    (0..k).for_each(|_| wide_params.extend_from_slice(params));
    let mut wide = std::mem::take(&mut scratch.wide);
    wide.resize(k * inner, F::EMPTY);
    let (whole, rest) = matrix.split_at(n / k * k * inner);
    fold_rows::<T, F>(whole, k * inner, 0..k * inner, &wide_params, &mut wide, scratch);
    for ((result, &x), &param) in wide.iter_mut().zip(rest).zip(&wide_params) {
        *result = F::merge(*result, F::widen(F::lift(x, param)));
    }
    let mut width = k * inner / 2;
    while width >= inner {
        let (low, high) = wide.split_at_mut(width);
        merge_slices::<T, F>(low, &high[..width]);
        width /= 2;
    }
    out.copy_from_slice(&wide[..inner]);
    (scratch.wide, scratch.params) = (wide, wide_params);
}

/// `low = merge(low, high)`, element by element.
#[inline(always)]
fn merge_slices<T: Number, F: Fold<T>>(low: &mut [F::Partial], high: &[F::Partial]) {
    for (a, &b) in low.iter_mut().zip(high) {
        *a = F::merge(*a, b);
    }
}

/// Reduces the rows of a matrix of at least one row, tile by tile.
#[inline(always)]
fn fold_rows<T: Number, F: Fold<T>>(
    matrix: &[T],
    inner: usize,
    columns: Range<usize>,
    params: &[F::Param],
    out: &mut [F::Partial],
    scratch: &mut FoldBuffers<T, F>,
) {
    for ((out, params), tile) in
        out.chunks_mut(TILE).zip(params.chunks(TILE)).zip(columns.step_by(TILE))
    {
        let width = out.len();
        scratch.waiting.clear();
        let lanes = &mut scratch.lanes[..width];
        for (number, block) in matrix.chunks(BLOCK_ROWS * inner).enumerate() {
            join_rows::<T, F>(block, inner, tile, params, lanes);
            scratch.waiting.extend(lanes.iter().map(|&lane| F::widen(lane)));
            for _ in 0..number.trailing_ones() {
                merge_last::<T, F>(&mut scratch.waiting, width);
            }
        }
        while scratch.waiting.len() > width {
            merge_last::<T, F>(&mut scratch.waiting, width);
        }
        out.copy_from_slice(&scratch.waiting);
    }
}

/// Merges the last two pending tiles.
#[inline(always)]
fn merge_last<T: Number, F: Fold<T>>(waiting: &mut Vec<F::Partial>, width: usize) {
    let middle = waiting.len() - width;
    let (earlier, last) = waiting.split_at_mut(middle);
    merge_slices::<T, F>(&mut earlier[middle - width..], last);
    waiting.truncate(middle);
}

/// Joins the rows of a block, from column `start`, into one row of lanes.
#[inline(always)]
pub(super) fn join_rows<T: Number, F: Fold<T>>(
    block: &[T],
    inner: usize,
    start: usize,
    params: &[F::Param],
    lanes: &mut [F::Lane],
) {
    let width = lanes.len();
    let params = &params[..width];
    lanes.fill(F::START);
    let mut groups = block.chunks_exact(4 * inner);
    for group in &mut groups {
        let row = |r: usize| &group[r * inner + start..][..width];
        let rows = [row(0), row(1), row(2), row(3)];
        for c in 0..width {
            let x = |r: usize| F::lift(rows[r][c], params[c]);
            let joined = F::join(F::join(x(0), x(1)), F::join(x(2), x(3)));
            lanes[c] = F::join(lanes[c], joined);
        }
    }
    for row in groups.remainder().chunks_exact(inner) {
        let row = &row[start..][..width];
        for c in 0..width {
            lanes[c] = F::join(lanes[c], F::lift(row[c], params[c]));
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::reduce::{All, Any, Deviations, Max, Min, MinMax, Sum};

    /// Shapes with short, odd and long axes.
    fn shape() -> impl Strategy<Value = (usize, usize, usize)> {
        prop_oneof![
            (0usize..5, 0usize..40, 0usize..9),
            (1usize..3, 1usize..300, 1usize..20),
            (1usize..2, 60usize..200, 250usize..300),
            (1usize..2, 1usize..9, 4000usize..9000),
            (1usize..40, 1usize..600, 1usize..2),
        ]
    }

    /// Folds the whole array, then again in two ranges of columns or of outer indices.
    fn check<T: Number, F: Fold<T, Param = ()>>(
        fold: F,
        data: &[T],
        (outer, n, inner): (usize, usize, usize),
        same: impl Fn(F::Partial, &[T]) -> bool,
    ) {
        let axis = Axis { n, inner };
        let params = vec![(); outer * inner];
        let mut out = vec![F::EMPTY; outer * inner];
        fold_axis(fold, data, axis, 0..inner, &params, &mut out);
        for o in 0..outer {
            for c in 0..inner {
                let column: Vec<T> = (0..n).map(|i| data[(o * n + i) * inner + c]).collect();
                assert!(same(out[o * inner + c], &column), "{o} {c}");
            }
        }
        let bytes = |x: &[F::Partial]| bytemuck::cast_slice::<_, u8>(x).to_vec();
        let mut again = vec![F::EMPTY; outer * inner];
        let half = outer / 2;
        let (low, high) = again.split_at_mut(half * inner);
        let (first, second) = data.split_at(half * n * inner);
        fold_axis(fold, first, axis, 0..inner, &params[..low.len()], low);
        fold_axis(fold, second, axis, 0..inner, &params[..high.len()], high);
        assert_eq!(bytes(&out), bytes(&again));
        if outer == 1 && inner >= 2 * WIDE {
            let (low, high) = again.split_at_mut(inner / 2 + 1);
            let middle = low.len();
            fold_axis(fold, data, axis, 0..middle, &params[..middle], low);
            fold_axis(fold, data, axis, middle..inner, &params[middle..], high);
            assert_eq!(bytes(&out), bytes(&again));
        }
    }

    /// Numbers that look random, small ones.
    fn data(len: usize, seed: u64) -> Vec<i16> {
        let mix = |i: u64| (i + seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        (0..len as u64).map(|i| (mix(i) % 2001) as i16 - 1000).collect()
    }

    proptest! {
        #[test]
        fn reductions_of_integers_are_exact(shape in shape(), seed in any::<u64>()) {
            let data = data(shape.0 * shape.1 * shape.2, seed >> 1);
            let sum = |s: i64, x: &[i16]| s == x.iter().map(|&x| i64::from(x)).sum::<i64>();
            check(Sum, &data, shape, sum);
            check(Min, &data, shape, |m, x| m == x.iter().copied().min().unwrap_or(i16::MAX));
            check(Max, &data, shape, |m, x| m == x.iter().copied().max().unwrap_or(i16::MIN));
            let narrow: Vec<u8> = data.iter().map(|&x| x as u8).collect();
            check(Sum, &narrow, shape, |s, x| s == x.iter().map(|&x| u64::from(x)).sum::<u64>());
            check(MinMax, &narrow, shape, |m, x| {
                m == [*x.iter().min().unwrap_or(&255), *x.iter().max().unwrap_or(&0)]
            });
            let few: Vec<u8> = data.iter().map(|&x| u8::from(x > 990)).collect();
            check(Any, &few, shape, |m, x| (m != 0) == x.iter().any(|&x| x != 0));
            let many: Vec<u8> = data.iter().map(|&x| u8::from(x < 990)).collect();
            check(All, &many, shape, |m, x| (m == 255) == x.iter().all(|&x| x != 0));
        }

        #[test]
        fn sums_of_floats_are_close(shape in shape(), seed in any::<u64>()) {
            let data: Vec<f64> = data(shape.0 * shape.1 * shape.2, seed >> 1)
                .iter().map(|&x| f64::from(x) * 0.1).collect();
            // The exact sum and this one differ by few roundings of the sum of magnitudes.
            check(Sum, &data, shape, |s: f64, x| {
                (s - x.iter().sum::<f64>()).abs() <= 1e-13 * x.iter().map(|x| x.abs()).sum::<f64>()
            });
            let data: Vec<f32> = data.iter().map(|&x| if x > 99.9 { f32::NAN } else { x as f32 })
                .collect();
            check(Min, &data, shape, |m: f32, x| {
                if x.iter().any(|x| x.is_nan()) { return m.is_nan(); }
                m == x.iter().copied().fold(f32::INFINITY, f32::min)
            });
        }

        #[test]
        fn deviations_take_the_mean_of_their_column(
            (outer, n, inner) in shape(), seed in any::<u64>(),
        ) {
            let data = data(outer * n * inner, seed >> 1);
            let means: Vec<f64> = (0..outer * inner).map(|i| i as f64).collect();
            let mut out = vec![0.0; outer * inner];
            fold_axis(Deviations, &data, Axis { n, inner }, 0..inner, &means, &mut out);
            for (i, &result) in out.iter().enumerate() {
                let (o, c) = (i / inner, i % inner);
                let column = (0..n).map(|j| f64::from(data[(o * n + j) * inner + c]));
                // Integers below 2^53: exact in any order.
                prop_assert_eq!(result, column.map(|x| (x - means[i]).powi(2)).sum::<f64>());
            }
        }
    }
}
