//! Sobel's operator: the magnitude of the gradient.

use crate::filter::{Window, pad};
use crate::picture::Sample;

/// Computes the rows of `out`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "below 2^15, a magnitude below 23,171")]
#[expect(clippy::cast_sign_loss, reason = "a square root")]
pub(super) fn edges<T: Sample>(max: u16, window: Window<'_, T>, out: &mut [T]) {
    let width = window.width();
    let mut lines = [(); 3].map(|()| vec![0i16; width + 2]);
    pad(window.row(-1), 1, max, &mut lines[1]);
    pad(window.row(0), 1, max, &mut lines[2]);
    for (i, out) in (1..).zip(out.chunks_exact_mut(width)) {
        lines.rotate_left(1);
        pad(window.row(i), 1, max, &mut lines[2]);
        let [above, here, below] = &lines;
        let (out, above) = (&mut out[..width], &above[..width + 2]);
        let (here, below) = (&here[..width + 2], &below[..width + 2]);
        for x in 0..width {
            let right = above[x + 2] + 2 * here[x + 2] + below[x + 2];
            let left = above[x] + 2 * here[x] + below[x];
            let bottom = below[x] + 2 * below[x + 1] + below[x + 2];
            let top = above[x] + 2 * above[x + 1] + above[x + 2];
            let (dx, dy) = (f32::from(right - left), f32::from(bottom - top));
            let magnitude = (dx * dx + dy * dy).sqrt() + 0.5;
            out[x] = T::from_value((magnitude as u16).min(max));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::filter::tests::{in_bands, plane};
    use crate::filter::{Filter, Role};

    proptest! {
        #[test]
        fn the_loop_computes_the_magnitude_of_the_gradient(
            rows in 1usize..9, width in 1usize..80, seed: u64, bits in 0usize..4,
        ) {
            let bits = [8, 9, 10, 12][bits];
            let now = plane(rows, width, bits, seed);
            let at = |i: usize, k: usize, j: usize, l: usize| {
                let (i, j) = ((i + k).clamp(1, rows) - 1, (j + l).clamp(1, width) - 1);
                f64::from(now[i * width + j])
            };
            let found = in_bands(&Filter::edges(bits), Role::Luma, (&now, &now), width, 4);
            for i in 0..rows {
                for j in 0..width {
                    let (mut dx, mut dy) = (0.0, 0.0);
                    for (k, weight) in [(0, 1.0), (1, 2.0), (2, 1.0)] {
                        dx += weight * (at(i, k, j, 2) - at(i, k, j, 0));
                        dy += weight * (at(i, 2, j, k) - at(i, 0, j, k));
                    }
                    let exact = dx.hypot(dy).min(f64::from((1u16 << bits) - 1));
                    // Rounding to a whole number, and single precision.
                    let error = (f64::from(found[i * width + j]) - exact).abs();
                    prop_assert!(error <= 0.51, "{} {}: {} {}", i, j, found[i * width + j], exact);
                }
            }
        }
    }
}
