//! Noise reduction by the samples around, and by the frame before.
//!
//! Each neighbour pulls a sample towards itself by their difference `d`, if that is small: by `d`
//! up to half the threshold, then by less, and by nothing from the threshold on. The weights: 1/16
//! for each of the eight neighbours in the same frame, 4/16 for the sample of the frame before.

use crate::filter::{Window, pad};
use crate::picture::Sample;

/// How far a neighbour at a difference of `d` pulls.
#[inline(always)]
fn pull(d: i16, threshold: i16) -> i16 {
    let size = d.abs();
    let size = size.min((threshold - size).max(0));
    // The sign of `d`, without a branch.
    let sign = d >> 15;
    (size ^ sign) - sign
}

/// Computes the rows of `out`. The thresholds are those in space and in time.
#[inline(always)]
pub(super) fn denoise<T: Sample>(
    [spatial, temporal]: [i16; 2],
    max: u16,
    window: Window<'_, T>,
    previous: &[T],
    out: &mut [T],
) {
    let width = window.width();
    let mut lines = [(); 3].map(|()| vec![0i16; width + 2]);
    pad(window.row(-1), 1, max, &mut lines[1]);
    pad(window.row(0), 1, max, &mut lines[2]);
    let rows = out.chunks_exact_mut(width).zip(previous.chunks_exact(width));
    for (i, (out, previous)) in (1..).zip(rows) {
        lines.rotate_left(1);
        pad(window.row(i), 1, max, &mut lines[2]);
        let [above, here, below] = &lines;
        let columns = |line| -> [&[i16]; 3] {
            let line: &Vec<i16> = line;
            [&line[..width], &line[1..=width], &line[2..width + 2]]
        };
        let ([a, b, c], [d, e, f], [g, h, k]) = (columns(above), columns(here), columns(below));
        let (out, previous) = (&mut out[..width], &previous[..width]);
        for x in 0..width {
            let centre = e[x];
            let from = |neighbour: i16| pull(neighbour - centre, spatial);
            let around = from(a[x]) + from(b[x]) + from(c[x]) + from(d[x]);
            let around = around + from(f[x]) + from(g[x]) + from(h[x]) + from(k[x]);
            let before = pull(previous[x].value(max).cast_signed() - centre, temporal);
            let moved = centre + ((around + 4 * before + 8) >> 4);
            out[x] = T::from_value(moved.cast_unsigned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::filter::tests::{in_bands, plane};
    use crate::filter::{Filter, Role};

    /// The rule of the module's documentation, sample by sample.
    fn naive(now: &[u16], before: &[u16], width: usize, thresholds: [i32; 2]) -> Vec<u16> {
        let rows = now.len() / width;
        let pull = |d: i32, threshold: i32| match d.abs() {
            size if 2 * size <= threshold => d,
            size if size < threshold => (threshold - size) * d.signum(),
            _ => 0,
        };
        let at = |i: isize, j: isize| {
            let (i, j) = (i.clamp(0, rows as isize - 1), j.clamp(0, width as isize - 1));
            i32::from(now[i.cast_unsigned() * width + j.cast_unsigned()])
        };
        let sample = |i: isize, j: isize| {
            let centre = at(i, j);
            let places = (-1..=1).flat_map(|k| (-1..=1).map(move |l| (k, l)));
            let around = places.map(|(k, l)| pull(at(i + k, j + l) - centre, thresholds[0]));
            let old = i32::from(before[i.cast_unsigned() * width + j.cast_unsigned()]);
            let sum = around.sum::<i32>() + 4 * pull(old - centre, thresholds[1]);
            u16::try_from(centre + (sum + 8).div_euclid(16)).expect("between the neighbours")
        };
        let rows = 0..rows.cast_signed();
        rows.flat_map(|i| (0..width.cast_signed()).map(move |j| sample(i, j))).collect()
    }

    proptest! {
        #[test]
        fn the_loop_computes_the_rule(
            rows in 1usize..9, width in 1usize..80, seed: u64, bits in 0usize..4,
            strength in 1u16..128,
        ) {
            let bits = [8, 9, 10, 12][bits];
            let now = plane(rows, width, bits, seed);
            // Near enough to be pulled to, in part.
            let near = |(&a, b): (&u16, u16)| (a + b % 16).min((1 << bits) - 1);
            let other = plane(rows, width, bits, !seed);
            let before: Vec<u16> = now.iter().zip(other).map(near).collect();
            let filter = Filter::denoise(bits, strength);
            let found = in_bands(&filter, Role::Luma, (&now, &before), width, 3);
            let level = |times: i32| (i32::from(strength) * times).min(255) << (bits - 8);
            prop_assert_eq!(found, naive(&now, &before, width, [level(2), level(3)]));
        }
    }

    #[test]
    fn noise_becomes_less_and_an_edge_stays() {
        let (width, rows) = (64, 48);
        let clean: Vec<u8> =
            (0..rows * width).map(|i| if i % width < 32 { 60 } else { 180 }).collect();
        let noisy = |seed: u64| -> Vec<u8> {
            let noise = (0..).map(|i: u64| (i * i * seed + i * 7) % 10_007 % 13);
            clean
                .iter()
                .zip(noise)
                .map(|(&x, n)| x + u8::try_from(n).expect("below 13") - 6)
                .collect()
        };
        let error = |plane: &[u8]| {
            let squares =
                plane.iter().zip(&clean).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
            squares.sum::<f64>() / clean.len() as f64
        };
        let (now, before) = (noisy(3), noisy(5));
        let filter = Filter::denoise(8, 12);
        let alone = error(&in_bands(&filter, Role::Luma, (&now, &now), width, 8));
        let both = error(&in_bands(&filter, Role::Luma, (&now, &before), width, 8));
        assert!(alone < error(&now) / 2.5 && both < alone / 1.4, "{} {alone} {both}", error(&now));
        // A movement of the edge leaves no trail.
        let moved: Vec<u8> = clean.iter().rev().copied().collect();
        assert_eq!(in_bands(&filter, Role::Luma, (&clean, &moved), width, 8), clean);
    }
}
