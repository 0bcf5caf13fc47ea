//! A Gaussian, for the pictures that one worker has to itself.
//!
//! [`Pool::gaussian`](brigade::Pool::gaussian) blurs the pictures that all workers share. Both cut
//! the weights off at four standard deviations and mirror the picture at its border, so that
//! `--blur` is the same with and without `--tiles`.

use std::iter;

/// The weights end after as many standard deviations.
const TRUNCATE: f64 = 4.0;

/// The samples of a picture of `width` columns and `channels`, blurred by a Gaussian of standard
/// deviation `sigma`.
#[must_use]
pub fn gaussian(samples: &[u16], width: usize, channels: usize, sigma: f32) -> Vec<u16> {
    let weights = weights(f64::from(sigma));
    let radius = weights.len() / 2;
    let row_len = width * channels;

    // Along the rows, each of which is extended by the radius at both ends.
    let mut rows = vec![0.0_f32; samples.len()];
    let mut extended = Vec::with_capacity(row_len + 2 * radius * channels);
    let columns: Vec<usize> = mirrored(width, radius).collect();
    for (out, row) in rows.chunks_exact_mut(row_len).zip(samples.chunks_exact(row_len)) {
        extended.clear();
        for column in &columns {
            extended.extend(row[column * channels..][..channels].iter().copied().map(f32::from));
        }
        for (at, &weight) in weights.iter().enumerate() {
            add(out, weight, &extended[at * channels..]);
        }
    }

    // Along the columns, a row of sums at a time.
    let mut sums = vec![0.0_f32; row_len];
    let lines: Vec<usize> = mirrored(samples.len() / row_len, radius).collect();
    let blurred = lines.windows(weights.len()).flat_map(|lines| {
        sums.fill(0.0);
        for (line, &weight) in lines.iter().zip(&weights) {
            add(&mut sums, weight, &rows[line * row_len..][..row_len]);
        }
        sums.iter().copied().map(rounded).collect::<Vec<_>>()
    });
    blurred.collect()
}

/// The weights of a Gaussian, whose sum is 1.
#[expect(clippy::cast_possible_truncation, reason = "sigma is at most 1000")]
fn weights(sigma: f64) -> Vec<f32> {
    let radius = (TRUNCATE * sigma).round() as i32;
    let weight = |at: i32| (-0.5 * (f64::from(at) / sigma).powi(2)).exp();
    let sum: f64 = (-radius..=radius).map(weight).sum();
    (-radius..=radius).map(|at| (weight(at) / sum) as f32).collect()
}

/// The places of a line of `len`, with `radius` more at both ends, mirrored as often as need be.
fn mirrored(len: usize, radius: usize) -> impl Iterator<Item = usize> {
    let period = 2 * len;
    let first = (period - radius % period) % period;
    let places = iter::successors(Some(first), move |at| Some((at + 1) % period));
    places.map(move |at| at.min(period - 1 - at)).take(len + 2 * radius)
}

/// Adds `weight` times each value to the sums.
fn add(sums: &mut [f32], weight: f32, values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
}

/// The nearest sample.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
pub(crate) fn rounded(value: f32) -> u16 {
    (value + 0.5) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_mirrored_as_often_as_need_be() {
        let places = |len, radius| mirrored(len, radius).collect::<Vec<_>>();
        assert_eq!(places(3, 0), [0, 1, 2]);
        assert_eq!(places(3, 2), [1, 0, 0, 1, 2, 2, 1]);
        assert_eq!(places(2, 5), [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1]);
        assert_eq!(places(1, 2), [0; 5]);
    }

    #[test]
    fn a_point_becomes_the_product_of_two_gaussians() {
        let (width, height, sigma) = (31, 27, 2.0_f32);
        let mut samples = vec![0; width * height * 2];
        samples[(13 * width + 15) * 2 + 1] = 65_535;
        let found = gaussian(&samples, width, 2, sigma);
        let weight = |at: usize, centre: usize| {
            let distance = at as f64 - centre as f64;
            (-0.5 * (distance / 2.0).powi(2)).exp() / (2.0 * (2.0 * std::f64::consts::PI).sqrt())
        };
        for (at, pixel) in found.chunks_exact(2).enumerate() {
            let (x, y) = (at % width, at / width);
            let is_inside = x.abs_diff(15) <= 8 && y.abs_diff(13) <= 8;
            let expected = if is_inside { 65_535.0 * weight(x, 15) * weight(y, 13) } else { 0.0 };
            assert_eq!(pixel[0], 0);
            // What is cut off is a ten thousandth.
            assert!((f64::from(pixel[1]) - expected).abs() <= 1.0, "{x}, {y}: {}", pixel[1]);
        }
    }
}
