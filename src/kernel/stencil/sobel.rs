//! The Sobel operator, an example of a separable filter.
//!
//! I. Sobel, G. Feldman, "A 3x3 isotropic gradient operator for image processing", 1968.

use std::ops::Range;

use super::rows::{outside_row, rows_around};
use super::separable::{pad, separable_2d};
use super::{Boundary, Real, Taps};
use crate::kernel::vectorized::vectorized;

fn derivative<T: Real>() -> Taps<T> {
    Taps::correlate(&[-1.0, 0.0, 1.0].map(T::from_f64))
}

fn smooth<T: Real>() -> Taps<T> {
    Taps::correlate(&[1.0, 2.0, 1.0].map(T::from_f64))
}

/// The rows `rows` of the derivative of an [m, n] image along `axis` (0 or 1), as in
/// `scipy.ndimage.sobel`: weights -1 0 1 along the axis, 1 2 1 along the other. (With `Constant(v)`
/// for a `v` other than 0, SciPy's result for axis 1 differs at the border, because it filters
/// along axis 1 first.)
///
/// # Panics
///
/// If `rows` is not within the shape, or `input` or `out` has another size; if there is no such
/// axis.
pub(crate) fn sobel_2d<T: Real>(
    out: &mut [T],
    input: &[T],
    shape: [usize; 2],
    rows: Range<usize>,
    axis: usize,
    boundary: Boundary<T>,
) {
    assert!(axis < 2, "axis {axis} of 2");
    let (derivative, smooth) = (derivative(), smooth());
    let axes = if axis == 0 { [&derivative, &smooth] } else { [&smooth, &derivative] };
    separable_2d(out, input, shape, rows, axes, boundary);
}

/// The rows `rows` of the magnitude of the gradient: `sqrt(x^2 + y^2)` of [`sobel_2d`] along both
/// axes, in one pass.
///
/// # Panics
///
/// If `rows` is not within the shape, or `input` or `out` has another size.
pub(crate) fn sobel_magnitude_2d<T: Real>(
    out: &mut [T],
    input: &[T],
    [m, n]: [usize; 2],
    rows: Range<usize>,
    boundary: Boundary<T>,
) {
    assert!(rows.end <= m && input.len() == m * n && out.len() == rows.len() * n);
    if out.is_empty() {
        return;
    }
    let (derivative, smooth) = (derivative(), smooth());
    let outside = outside_row(n, boundary);
    let window = rows_around(input, [m, n], &rows, [1, 1], boundary, &outside);
    let mut scratch = vec![T::default(); n + 2];
    let mut along = vec![T::default(); n];
    for (window, out) in window.windows(3).zip(out.chunks_exact_mut(n)) {
        derivative.sum_rows(&mut scratch[1..=n], window, 0);
        pad(&mut scratch, n, 1, boundary);
        smooth.sum_shifted(&mut along, &scratch);
        smooth.sum_rows(&mut scratch[1..=n], window, 0);
        pad(&mut scratch, n, 1, boundary);
        derivative.sum_shifted(out, &scratch);
        length(out, &along);
    }
}

vectorized! {
    /// `x = sqrt(x^2 + y^2)`.
    fn length<T: Real>(x: &mut [T], y: &[T]) {
        for (x, &y) in x.iter_mut().zip(y) {
            *x = (*x * *x + y * y).sqrt();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::stencil::naive::BOUNDARIES;

    /// `sobel` of `arange(12.).reshape(3, 4) ** 2` along axes 0 and 1, SciPy 1.17.
    const SCIPY: [[f64; 12]; 2] = [
        [72.0, 96.0, 128.0, 152.0, 272.0, 320.0, 384.0, 432.0, 200.0, 224.0, 256.0, 280.0],
        [12.0, 32.0, 48.0, 28.0, 36.0, 80.0, 96.0, 52.0, 60.0, 128.0, 144.0, 76.0],
    ];

    #[test]
    fn the_derivatives_of_a_small_image_are_those_of_scipy() {
        let input: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        for (axis, expected) in SCIPY.iter().enumerate() {
            let mut out = [0.0; 12];
            sobel_2d(&mut out, &input, [3, 4], 0..3, axis, Boundary::Reflect);
            assert_eq!(out, *expected, "axis {axis}");
        }
    }

    #[test]
    fn the_magnitude_is_that_of_both_derivatives() {
        for (m, n) in [(0, 3), (3, 0), (1, 1), (5, 1), (1, 7), (6, 1030), (3, 2049)] {
            let input: Vec<f32> = (0..m * n).map(|i| (i as f32 * 0.37).sin()).collect();
            for boundary in BOUNDARIES.map(|boundary| boundary.map(|_| 0.5_f32)) {
                let mut axes = [vec![0.0; m * n], vec![0.0; m * n]];
                for (axis, out) in axes.iter_mut().enumerate() {
                    sobel_2d(out, &input, [m, n], 0..m, axis, boundary);
                }
                let [y, x] = axes;
                let expected = x.iter().zip(y).map(|(x, y)| (x * x + y * y).sqrt());
                let mut out = vec![f32::NAN; m * n];
                let (top, bottom) = out.split_at_mut(m / 2 * n);
                sobel_magnitude_2d(top, &input, [m, n], 0..m / 2, boundary);
                sobel_magnitude_2d(bottom, &input, [m, n], m / 2..m, boundary);
                assert!(out.iter().copied().eq(expected), "{m} {n} {boundary:?}");
            }
        }
    }
}
