//! Filters that are a product of one filter for each axis.
//!
//! A few output rows are computed at a time. The filter along the first axis reads the input rows
//! of their windows in strips of columns; a strip stays in the first-level cache from one output
//! row to the next. It writes to scratch memory, a few rows that stay in the second-level cache,
//! and the filter along the second axis reads these. No whole intermediate array is stored, and
//! each input row is fetched from memory once.
//!
//! The values equal those of two whole passes, axis 0 first, as in `scipy.ndimage.gaussian_filter`,
//! except that everything is added in `T`; SciPy adds in `f64` and rounds after each axis.
//! `Constant(v)` applies beyond the ends in each of the passes.

use std::ops::Range;

use super::rows::{outside_row, rows_around};
use super::{Boundary, Real, Taps};

/// The output rows whose strips are computed together.
const ROWS: usize = 4;

/// The bytes of the strips of input rows that one group of output rows reads.
const STRIPS_BYTES: usize = 24 << 10;

/// The width of a strip is a multiple of this many elements.
const STRIP_UNIT: usize = 64;

/// The rows `rows` of the [m, n] output: `axes[0]` down the columns, then `axes[1]` along the rows.
///
/// # Panics
///
/// If `rows` is not within the shape, or `input` or `out` has another size.
pub(crate) fn separable_2d<T: Real>(
    out: &mut [T],
    input: &[T],
    [m, n]: [usize; 2],
    rows: Range<usize>,
    axes: [&Taps<T>; 2],
    boundary: Boundary<T>,
) {
    assert!(rows.end <= m && input.len() == m * n && out.len() == rows.len() * n);
    if out.is_empty() {
        return;
    }
    let outside = outside_row(n, boundary);
    let window = rows_around(input, [m, n], &rows, axes[0].reach(), boundary, &outside);
    let width = strip_width(axes[0]);
    let padded = n + axes[1].len() - 1;
    let mut scratch = vec![T::default(); ROWS.min(rows.len()) * padded];
    for (group, out) in out.chunks_mut(ROWS * n).enumerate() {
        let count = out.len() / n;
        for start in (0..n).step_by(width) {
            let end = n.min(start + width);
            for (r, scratch) in scratch.chunks_exact_mut(padded).take(count).enumerate() {
                let window = &window[group * ROWS + r..][..axes[0].len()];
                let strip = &mut scratch[axes[1].before()..][start..end];
                axes[0].sum_rows(strip, window, start);
            }
        }
        for (out, scratch) in out.chunks_exact_mut(n).zip(scratch.chunks_exact_mut(padded)) {
            pad(scratch, n, axes[1].before(), boundary);
            axes[1].sum_shifted(out, scratch);
        }
    }
}

/// The columns of the strips of input rows that one group of output rows reads.
fn strip_width<T: Real>(taps: &Taps<T>) -> usize {
    let bytes = (taps.len() + ROWS) * size_of::<T>();
    (STRIPS_BYTES / bytes / STRIP_UNIT).max(1) * STRIP_UNIT
}

/// Fills the places of `row` around its `n` elements from `before` on, as the boundary requires.
pub(super) fn pad<T: Copy + Default>(
    row: &mut [T],
    n: usize,
    before: usize,
    boundary: Boundary<T>,
) {
    for i in (0..before).chain(before + n..row.len()) {
        let place = i.wrapping_sub(before).cast_signed();
        row[i] = boundary.index(place, n).map_or(boundary.outside(), |i| row[before + i]);
    }
}

/// The planes `planes` of the [p, m, n] output: `axes[0]` across the planes, then [`separable_2d`]
/// of each by the other two axes.
///
/// # Panics
///
/// If `planes` is not within the shape, or `input` or `out` has another size.
pub(crate) fn separable_3d<T: Real>(
    out: &mut [T],
    input: &[T],
    [p, m, n]: [usize; 3],
    planes: Range<usize>,
    axes: [&Taps<T>; 3],
    boundary: Boundary<T>,
) {
    let plane = m * n;
    assert!(planes.end <= p && input.len() == p * plane && out.len() == planes.len() * plane);
    if out.is_empty() {
        return;
    }
    let outside = outside_row(plane, boundary);
    let window = rows_around(input, [p, plane], &planes, axes[0].reach(), boundary, &outside);
    let width = strip_width(axes[0]);
    let mut across = vec![T::default(); ROWS.min(planes.len()) * plane];
    for (group, out) in out.chunks_mut(ROWS * plane).enumerate() {
        for start in (0..plane).step_by(width) {
            let end = plane.min(start + width);
            let count = out.len() / plane;
            for (r, across) in across.chunks_exact_mut(plane).take(count).enumerate() {
                let top = group * ROWS + r;
                let window = &window[top..top + axes[0].len()];
                axes[0].sum_rows(&mut across[start..end], window, start);
            }
        }
        for (out, across) in out.chunks_exact_mut(plane).zip(across.chunks_exact(plane)) {
            separable_2d(out, across, [m, n], 0..m, [axes[1], axes[2]], boundary);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use super::*;
    use crate::kernel::stencil::naive::{BOUNDARIES, along_axis, assert_same};
    use proptest::prelude::*;

    fn taps(weights: &[i8]) -> (Vec<f64>, Taps<f64>) {
        let weights: Vec<f64> = weights.iter().map(|&w| f64::from(w)).collect();
        let taps = Taps::correlate(&weights);
        (weights, taps)
    }

    fn weights() -> impl Strategy<Value = Vec<i8>> {
        (prop::collection::vec(-3..4_i8, 1..7), any::<bool>()).prop_map(|(mut w, mirrored)| {
            if mirrored {
                w.extend(w.clone().into_iter().rev().skip(1));
            }
            w
        })
    }

    fn image(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed) % 23) as f64 - 11.0).collect()
    }

    proptest! {
        #[test]
        fn rows_of_an_image_agree_with_a_pass_along_each_axis(
            shape in (0..20_usize, prop_oneof![0..40_usize, 250..400_usize]),
            weights in (weights(), weights()),
            boundary in 0..BOUNDARIES.len(),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
            seed in 0..1000_usize,
        ) {
            let (m, n) = shape;
            let boundary = BOUNDARIES[boundary];
            let (w0, t0) = taps(&weights.0);
            let (w1, t1) = taps(&weights.1);
            let input = image(m * n, seed);
            let down = along_axis(&input, [1, m, n], &w0, boundary);
            let expected = along_axis(&down, [m, n, 1], &w1, boundary);
            let place = |f: f64| (f * (m + 1) as f64) as usize;
            let rows = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let mut out = vec![f64::NAN; rows.len() * n];
            separable_2d(&mut out, &input, [m, n], rows.clone(), [&t0, &t1], boundary);
            // Small integers: the sum does not depend on the order of addition.
            prop_assert_eq!(&out, &expected[rows.start * n..rows.end * n]);
        }

        #[test]
        fn planes_of_a_volume_agree_with_a_pass_along_each_axis(
            shape in (0..8_usize, 0..8_usize, 0..40_usize),
            weights in (weights(), weights(), weights()),
            boundary in 0..BOUNDARIES.len(),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
            seed in 0..1000_usize,
        ) {
            let (p, m, n) = shape;
            let boundary = BOUNDARIES[boundary];
            let (w0, t0) = taps(&weights.0);
            let (w1, t1) = taps(&weights.1);
            let (w2, t2) = taps(&weights.2);
            let input = image(p * m * n, seed);
            let expected = along_axis(&input, [1, p, m * n], &w0, boundary);
            let expected = along_axis(&expected, [p, m, n], &w1, boundary);
            let expected = along_axis(&expected, [p * m, n, 1], &w2, boundary);
            let place = |f: f64| (f * (p + 1) as f64) as usize;
            let planes = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let mut out = vec![f64::NAN; planes.len() * m * n];
            let axes = [&t0, &t1, &t2];
            separable_3d(&mut out, &input, [p, m, n], planes.clone(), axes, boundary);
            prop_assert_eq!(&out, &expected[planes.start * m * n..planes.end * m * n]);
        }
    }

    #[test]
    fn the_bits_of_an_image_do_not_depend_on_its_cuts() {
        let (m, n) = (21, 777);
        let input: Vec<f32> = (0..m * n).map(|i| (i as f32 * 0.37).sin()).collect();
        let taps = Taps::gaussian(2.0, 4.0);
        for boundary in BOUNDARIES.map(|boundary| boundary.map(|v| v as f32)) {
            let mut whole = vec![0.0; m * n];
            separable_2d(&mut whole, &input, [m, n], 0..m, [&taps, &taps], boundary);
            for cut in 0..=m {
                let mut out = vec![0.0; m * n];
                let (top, bottom) = out.split_at_mut(cut * n);
                separable_2d(top, &input, [m, n], 0..cut, [&taps, &taps], boundary);
                separable_2d(bottom, &input, [m, n], cut..m, [&taps, &taps], boundary);
                assert_same(&out, &whole);
            }
        }
    }

    /// `scipy.ndimage.gaussian_filter(x, 1.5)` of `x = arange(12.).reshape(3, 4) ** 2`, SciPy 1.x.
    #[test]
    fn the_gaussian_of_a_small_image_is_that_of_scipy() {
        let input: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        let taps = Taps::gaussian(1.5, 4.0);
        let mut out = vec![0.0; 12];
        separable_2d(&mut out, &input, [3, 4], 0..3, [&taps, &taps], Boundary::Reflect);
        for (x, y) in out.iter().zip(super::super::naive::SCIPY_GAUSSIAN) {
            assert!((x - y).abs() < 1e-12, "{x} is not {y}");
        }
    }
}
