//! Correlation along one row.

use std::ops::Range;

use super::{Boundary, Real, Taps};

/// `out[i - range.start] = sum over k of weights[k] input[i + k - before]` for `i` in `range`.
///
/// # Panics
///
/// If `range` is not within the input, or `out` has another length.
pub(crate) fn correlate_1d<T: Real>(
    out: &mut [T],
    input: &[T],
    range: Range<usize>,
    taps: &Taps<T>,
    boundary: Boundary<T>,
) {
    assert!(range.end <= input.len() && range.len() == out.len());
    // Outputs from `inner.start` to `inner.end` read no element beyond the ends.
    let last = input.len().saturating_sub(taps.after());
    let inner_start = taps.before().clamp(range.start, range.end);
    let inner_end = last.clamp(inner_start, range.end);
    let (left, rest) = out.split_at_mut(inner_start - range.start);
    let (inner, right) = rest.split_at_mut(inner_end - inner_start);
    if !inner.is_empty() {
        taps.sum_shifted(inner, &input[inner_start - taps.before()..]);
    }
    border(left, input, range.start, taps, boundary);
    border(right, input, inner_end, taps, boundary);
}

/// Computes outputs from `start` on, whose window may extend beyond the row, through a buffer.
fn border<T: Real>(
    out: &mut [T],
    input: &[T],
    start: usize,
    taps: &Taps<T>,
    boundary: Boundary<T>,
) {
    if out.is_empty() {
        return;
    }
    let first = start.wrapping_sub(taps.before()).cast_signed();
    let window: Vec<T> = (first..)
        .take(out.len() + taps.len() - 1)
        .map(|i| boundary.index(i, input.len()).map_or(boundary.outside(), |i| input[i]))
        .collect();
    taps.sum_shifted(out, &window);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use super::*;
    use crate::kernel::stencil::naive::{BOUNDARIES, assert_same, naive_1d};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_of_a_row_agrees_with_the_naive_oracle(
            input in prop::collection::vec(-9..9_i8, 0..150),
            weights in prop::collection::vec(-4..4_i8, 1..12),
            mirrored: bool,
            boundary in 0..BOUNDARIES.len(),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let mut weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
            if mirrored {
                weights.extend(weights.clone().into_iter().rev().skip(1));
            }
            let input: Vec<f64> = input.into_iter().map(f64::from).collect();
            let boundary = BOUNDARIES[boundary];
            let taps = Taps::correlate(&weights);
            let expected = naive_1d(&input, &weights, boundary);
            let place = |f: f64| (f * (input.len() + 1) as f64) as usize;
            let range = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let mut out = vec![f64::NAN; range.len()];
            correlate_1d(&mut out, &input, range.clone(), &taps, boundary);
            // Small integers: the sum does not depend on the order of addition.
            prop_assert_eq!(&out, &expected[range]);
        }
    }

    #[test]
    fn not_a_number_and_infinity_reach_the_places_of_their_windows() {
        let mut input = vec![1.0_f32; 100];
        input[40] = f32::NAN;
        input[80] = f32::INFINITY;
        let mut out = vec![0.0; 100];
        correlate_1d(&mut out, &input, 0..100, &Taps::gaussian(1.0, 4.0), Boundary::Reflect);
        for (i, x) in out.iter().enumerate() {
            assert_eq!(x.is_nan(), i.abs_diff(40) <= 4, "{i}");
            assert_eq!(*x == f32::INFINITY, i.abs_diff(80) <= 4, "{i}");
        }
    }

    #[test]
    fn the_bits_of_a_row_do_not_depend_on_its_cuts() {
        let input: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
        for taps in [Taps::gaussian(2.3, 4.0), Taps::correlate(&[0.1, 0.7, -0.3, 0.9])] {
            let mut whole = vec![0.0; 200];
            correlate_1d(&mut whole, &input, 0..200, &taps, Boundary::Wrap);
            for cut in 0..=200 {
                let mut out = vec![0.0; 200];
                let (left, right) = out.split_at_mut(cut);
                correlate_1d(left, &input, 0..cut, &taps, Boundary::Wrap);
                correlate_1d(right, &input, cut..200, &taps, Boundary::Wrap);
                assert_same(&out, &whole);
            }
        }
    }
}
