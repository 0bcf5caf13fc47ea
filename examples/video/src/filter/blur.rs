//! Gaussian blur in integers of 16 and 32 bits.
//!
//! Each row is the result of a vertical pass and a horizontal one.
//!
//! A weight is a fraction of 65,536. A sample is scaled to 15 bits, so that the sum of the two
//! samples at the same distance fits into 16. An area of one value keeps it for every sigma.
//!
//! With samples of 8 bits, the upper half of a product with a weight is what a term adds. So it
//! costs one multiplication of 16-bit integers, of which AVX2 does 16 at a time. Each product is
//! rounded down, by up to 1; half the number of terms is added to the sum. The 61 terms of the
//! greatest sigma are off by at most 61 after both passes, and half a level is 64.
//!
//! With more bits that would be more than half a level. The sums have 32 bits, and only they are
//! rounded.

use crate::filter::Window;
use crate::picture::Sample;

/// The columns that are computed together, in registers.
const BLOCK: usize = 64;
/// The bits of a scaled sample.
const SCALED_BITS: u32 = 15;
/// The greatest scaled sample.
const SCALED_MAX: u16 = (1 << SCALED_BITS) - 1;
/// The number of standard deviations at which the Gaussian is cut off.
const TRUNCATE: f64 = 3.0;

/// The weights by distance, as fractions of 65,536. The first is half of the centre's, because the
/// centre is added to itself as the samples at other distances are to each other: the sum of all
/// weights is 32,768.
#[expect(clippy::cast_possible_truncation, reason = "at most 20 deviations; fractions of 65,536")]
#[expect(clippy::cast_sign_loss, reason = "nothing is negative")]
pub(super) fn weights(sigma: f64) -> Vec<u16> {
    let radius = (TRUNCATE * sigma).ceil() as u32;
    let bell: Vec<f64> =
        (0..=radius).map(|k| (-0.5 * (f64::from(k) / sigma).powi(2)).exp()).collect();
    let total = 2.0 * bell.iter().sum::<f64>() - bell[0];
    let mut weights: Vec<u16> =
        bell.iter().map(|height| (65_536.0 * height / total).round() as u16).collect();
    weights[0] = 32_768 - weights[1..].iter().sum::<u16>();
    weights
}

/// A number in which terms are summed.
trait Sum: Copy {
    /// What a sum of `terms` terms begins with.
    fn begin(terms: usize) -> Self;

    /// The sum with one more term.
    fn plus(self, samples: u16, weight: u16) -> Self;

    /// The sum as a scaled sample.
    fn scaled(self) -> u16;
}

/// For samples of 8 bits.
impl Sum for u16 {
    #[inline(always)]
    fn begin(terms: usize) -> u16 {
        u16::try_from(terms / 2).unwrap_or(0)
    }

    #[inline(always)]
    fn plus(self, samples: u16, weight: u16) -> u16 {
        self + ((u32::from(samples) * u32::from(weight)) >> 16) as u16
    }

    #[inline(always)]
    fn scaled(self) -> u16 {
        self.min(SCALED_MAX)
    }
}

/// For samples of more bits. The greatest sum is 65,534 x 32,768 + 32,768.
impl Sum for u32 {
    #[inline(always)]
    fn begin(_: usize) -> u32 {
        1 << 15
    }

    #[inline(always)]
    fn plus(self, samples: u16, weight: u16) -> u32 {
        self + u32::from(samples) * u32::from(weight)
    }

    #[inline(always)]
    fn scaled(self) -> u16 {
        (self >> 16) as u16
    }
}

/// Computes the rows of `out`.
#[inline(always)]
pub(super) fn blur<T: Sample>(weights: &[u16], bits: u32, window: Window<'_, T>, out: &mut [T]) {
    if bits <= 8 {
        rows::<T, u16>(weights, bits, window, out);
    } else {
        rows::<T, u32>(weights, bits, window, out);
    }
}

#[inline(always)]
fn rows<T: Sample, S: Sum>(weights: &[u16], bits: u32, window: Window<'_, T>, out: &mut [T]) {
    let (width, radius) = (window.width(), weights.len() - 1);
    // At least a block, so that a narrow plane needs no code of its own.
    let padded = width.max(BLOCK);
    let mut line = vec![0; padded + 2 * radius];
    let mut narrow = [T::from_value(0); BLOCK];
    for (i, out) in (0..).zip(out.chunks_exact_mut(width)) {
        let pairs: Vec<(&[T], &[T])> =
            (0..).zip(weights).map(|(k, _)| (window.row(i - k), window.row(i + k))).collect();
        let (middle, weights) = (&mut line[radius..radius + width], weights);
        vertical::<T, S>(weights, bits, &pairs, middle);
        let (first, last) = (middle[0], middle[width - 1]);
        line[..radius].fill(first);
        line[radius + width..].fill(last);
        if width < BLOCK {
            horizontal::<T, S>(weights, bits, &line, &mut narrow);
            out.copy_from_slice(&narrow[..width]);
        } else {
            horizontal::<T, S>(weights, bits, &line, out);
        }
    }
}

/// The first columns of the blocks that cover `width` columns. The last block may overlap the one
/// before.
#[inline(always)]
fn blocks(width: usize) -> impl Iterator<Item = usize> {
    (0..width.div_ceil(BLOCK)).map(move |block| (block * BLOCK).min(width - BLOCK))
}

/// Sums of columns, scaled.
#[inline(always)]
fn vertical<T: Sample, S: Sum>(
    weights: &[u16],
    bits: u32,
    pairs: &[(&[T], &[T])],
    line: &mut [u16],
) {
    let (shift, max) = (SCALED_BITS - bits, (1 << bits) - 1);
    let term = |sum: &mut S, a: T, b: T, weight: u16| {
        *sum = sum.plus((a.value(max) + b.value(max)) << shift, weight);
    };
    if line.len() < BLOCK {
        let mut sums = [S::begin(weights.len()); BLOCK];
        for (&(above, below), &weight) in pairs.iter().zip(weights) {
            for ((sum, &a), &b) in sums.iter_mut().zip(above).zip(below) {
                term(sum, a, b, weight);
            }
        }
        line.iter_mut().zip(sums).for_each(|(line, sum)| *line = sum.scaled());
        return;
    }
    for x in blocks(line.len()) {
        let mut sums = [S::begin(weights.len()); BLOCK];
        for (&(above, below), &weight) in pairs.iter().zip(weights) {
            let (above, below) = (&above[x..x + BLOCK], &below[x..x + BLOCK]);
            for i in 0..BLOCK {
                term(&mut sums[i], above[i], below[i], weight);
            }
        }
        for (line, sum) in line[x..x + BLOCK].iter_mut().zip(sums) {
            *line = sum.scaled();
        }
    }
}

/// Sums of rows, as samples. `line` has as many more columns on each side as there are distances.
#[inline(always)]
fn horizontal<T: Sample, S: Sum>(weights: &[u16], bits: u32, line: &[u16], out: &mut [T]) {
    let (shift, max) = (SCALED_BITS - bits, (1 << bits) - 1);
    let (radius, half) = (weights.len() - 1, 1 << (shift - 1));
    for x in blocks(out.len()) {
        let mut sums = [S::begin(weights.len()); BLOCK];
        for (k, &weight) in weights.iter().enumerate() {
            let left = &line[x + radius - k..][..BLOCK];
            let right = &line[x + radius + k..][..BLOCK];
            for i in 0..BLOCK {
                sums[i] = sums[i].plus(left[i] + right[i], weight);
            }
        }
        for (out, sum) in out[x..x + BLOCK].iter_mut().zip(sums) {
            *out = T::from_value(((sum.scaled() + half) >> shift).min(max));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::filter::tests::{in_bands, plane};
    use crate::filter::{Filter, Role};
    use crate::picture::Sample;

    /// The formula of the module's documentation, sample by sample.
    fn naive(plane: &[u16], width: usize, bits: u32, sigma: f64) -> Vec<u16> {
        let (weights, shift) = (super::weights(sigma), 15 - bits);
        let rows = plane.len() / width;
        let at = |row: isize, rows: usize| row.clamp(0, rows.cast_signed() - 1).cast_unsigned();
        let pass = |get: &dyn Fn(isize) -> u16| {
            let product =
                |(k, &w): (isize, &u16)| (u32::from(get(-k)) + u32::from(get(k))) * u32::from(w);
            let products = (0..).zip(&weights).map(product);
            if bits > 8 {
                return ((products.sum::<u32>() + 32_768) >> 16) as u16;
            }
            let half = u32::try_from(weights.len()).expect("few") / 2;
            (products.map(|product| product >> 16).sum::<u32>() + half).min(32_767) as u16
        };
        let index = |i: usize, j: usize| i * width + j;
        let all = |f: &dyn Fn(isize, isize) -> u16| -> Vec<u16> {
            let rows = 0..rows.cast_signed();
            rows.flat_map(|i| (0..width.cast_signed()).map(move |j| f(i, j))).collect()
        };
        let columns =
            all(&|i, j| pass(&|k| plane[index(at(i + k, rows), j.cast_unsigned())] << shift));
        all(&|i, j| {
            let sum = pass(&|k| columns[index(i.cast_unsigned(), at(j + k, width))]);
            ((sum + (1 << (shift - 1))) >> shift).min((1 << bits) - 1)
        })
    }

    /// The Gaussian itself, without a cut, in floating point.
    fn exact(plane: &[u16], width: usize, sigma: f64) -> Vec<f64> {
        let rows = plane.len() / width;
        // Eight standard deviations of the widest.
        let reach = 160isize;
        let weight = |k: isize| (-0.5 * (k as f64 / sigma).powi(2)).exp();
        let total: f64 = (-reach..=reach).map(weight).sum();
        let at = |i: isize, n: usize| i.clamp(0, n.cast_signed() - 1).cast_unsigned();
        let pass = |input: &[f64], n: usize, index: &dyn Fn(usize, usize) -> usize| -> Vec<f64> {
            let mut out = input.to_vec();
            for line in 0..input.len() / n {
                for i in 0..n {
                    let sum = (-reach..=reach)
                        .map(|k| weight(k) * input[index(line, at(i.cast_signed() + k, n))]);
                    out[index(line, i)] = sum.sum::<f64>() / total;
                }
            }
            out
        };
        let input: Vec<f64> = plane.iter().map(|&x| f64::from(x)).collect();
        let columns = pass(&input, rows, &|line, i| i * width + line);
        pass(&columns, width, &|line, i| line * width + i)
    }

    proptest! {
        #[test]
        fn the_blocks_compute_the_formula(
            rows in 1usize..20, width in 1usize..200, seed: u64, bits in 0usize..4,
            tenths in 1u32..60,
        ) {
            let (bits, sigma) = ([8, 9, 10, 12][bits], f64::from(tenths) / 10.0);
            let now = plane(rows, width, bits, seed);
            let found = in_bands(&Filter::blur(bits, sigma), Role::Luma, (&now, &now), width, 5);
            prop_assert_eq!(found, naive(&now, width, bits, sigma));
        }
    }

    #[test]
    fn the_result_is_near_the_gaussian() {
        let cases = [
            (8, 0.5, 1.2),
            (8, 2.0, 1.2),
            (8, 5.0, 1.2),
            (8, 20.0, 1.5),
            (9, 20.0, 1.5),
            (10, 2.0, 4.0),
            (12, 20.0, 9.0),
        ];
        for (bits, sigma, worst) in cases {
            let now = plane(40, 70, bits, 9);
            let found = in_bands(&Filter::blur(bits, sigma), Role::Luma, (&now, &now), 70, 7);
            let exact = exact(&now, 70, sigma);
            let errors = found.iter().zip(&exact).map(|(&f, e)| (f64::from(f) - e).abs());
            let error = errors.fold(0.0, f64::max);
            assert!(error < worst, "{bits} bits, sigma {sigma}: off by {error}");
        }
    }

    fn keeps_flat<T: Sample>(bits: u32, sigma: f64, values: impl Iterator<Item = u16>) {
        let filter = Filter::blur(bits, sigma);
        for value in values {
            // Wide, and narrower than a block.
            for width in [80, 3] {
                let flat = vec![T::from_value(value); width];
                let found = in_bands(&filter, Role::Chroma, (&flat, &flat), width, 1);
                assert_eq!(found, flat, "{bits} bits, sigma {sigma}");
            }
        }
    }

    #[test]
    fn an_area_of_one_value_keeps_it() {
        for tenths in 1..=200 {
            let sigma = f64::from(tenths) / 10.0;
            assert_eq!(super::weights(sigma).iter().map(|&w| u32::from(w)).sum::<u32>(), 32_768);
            let step = if tenths % 40 == 0 { 1 } else { 17 };
            keeps_flat::<u8>(8, sigma, (0..=255).step_by(step));
            for bits in [9, 10, 12] {
                let (max, neutral) = ((1 << bits) - 1, 1 << (bits - 1));
                let between = (1..max).step_by(usize::from(max) / 20);
                keeps_flat::<u16>(bits, sigma, [0, neutral, max].into_iter().chain(between));
            }
        }
    }
}
