//! Normally distributed numbers by index.
//!
//! Box and Muller, "A note on the generation of random normal deviates", Ann. Math. Stat. 29, 1958:
//! words `2 j` and `2 j + 1` give elements `2 j` and `2 j + 1`, as radius and angle of a point.
//! NumPy's ziggurat is faster in scalar code, but takes a varying number of words, so that an
//! element could not be computed from its index. An inverse distribution function needs a logarithm
//! and a quotient of polynomials for every element; this needs one logarithm, root, sine and cosine
//! for two.
//!
//! The radius has 53 bits: elements reach 8.57, beyond which the probability is 1e-17. Logarithm,
//! sine and cosine are series of plain additions and products, within 4 units of the last place. No
//! library is called, so the bits are the same on every processor.

use std::f64::consts::{FRAC_PI_4, LN_2, SQRT_2};

use super::philox::{BATCH, Stream, words_into};
use crate::kernel::vectorized::vectorized;

const FRACTION_BITS: u32 = 52;
const ONE: u64 = 1023 << FRACTION_BITS;
/// The bits of 2^52: a double whose lowest bits are an integer.
const INTEGER: u64 = (1023 + 52) << FRACTION_BITS;
/// 2^52.
const TWO_52: f64 = (1u64 << 52) as f64;

/// A double in [1, 2) from the high 52 bits of a word.
#[inline(always)]
fn fraction(word: u64) -> f64 {
    f64::from_bits(ONE | word >> 12)
}

/// `-2 ln x` for a normal floating-point number `x` in (0, 1).
///
/// `x = 2^e m` with `m` between the roots of 1/2 and of 2; `ln m = 2 artanh s`, `s = (m-1)/(m+1)`.
#[inline(always)]
fn minus_two_ln(x: f64) -> f64 {
    const ROOT_HALF: u64 = (SQRT_2 / 2.0).to_bits();
    let bits = x.to_bits();
    let exponent = (bits + (ONE - ROOT_HALF)) >> FRACTION_BITS;
    let e = f64::from_bits(INTEGER | exponent) - (TWO_52 + 1023.0);
    let m = f64::from_bits(bits.wrapping_sub(exponent << FRACTION_BITS).wrapping_add(ONE));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    // Terms 1 / (2 k + 1). |s| <= 0.172, so the first omitted term is below 2^-55 of the sum.
    let mut series = 1.0 / 21.0;
    series = series * z + 1.0 / 19.0;
    series = series * z + 1.0 / 17.0;
    series = series * z + 1.0 / 15.0;
    series = series * z + 1.0 / 13.0;
    series = series * z + 1.0 / 11.0;
    series = series * z + 1.0 / 9.0;
    series = series * z + 1.0 / 7.0;
    series = series * z + 1.0 / 5.0;
    series = series * z + 1.0 / 3.0;
    -2.0 * e * LN_2 - 4.0 * (s + s * z * series)
}

/// Cosine and sine for `|x| <= pi / 4`: Taylor's series, up to x^18 / 18! < 2^-60.
#[inline(always)]
fn cos_sin(x: f64) -> (f64, f64) {
    const TERM: [f64; 18] = {
        let mut term = [0.0; 18];
        let (mut n, mut factorial) = (0, 1.0);
        while n < 18 {
            term[n] = if n % 4 < 2 { 1.0 } else { -1.0 } / factorial;
            n += 1;
            factorial *= n as f64;
        }
        term
    };
    let z = x * x;
    let (mut cos, mut sin) = (TERM[16], TERM[17]);
    cos = cos * z + TERM[14];
    sin = sin * z + TERM[15];
    cos = cos * z + TERM[12];
    sin = sin * z + TERM[13];
    cos = cos * z + TERM[10];
    sin = sin * z + TERM[11];
    cos = cos * z + TERM[8];
    sin = sin * z + TERM[9];
    cos = cos * z + TERM[6];
    sin = sin * z + TERM[7];
    cos = cos * z + TERM[4];
    sin = sin * z + TERM[5];
    (1.0 + z * (TERM[2] + z * cos), x + x * z * (TERM[3] + z * sin))
}

/// Two normally distributed numbers from two words.
///
/// The angle's two high bits are its quadrant, the others the angle relative to the quadrant's
/// middle direction. A rotation of the whole circle does not matter.
#[inline(always)]
fn pair(radius: u64, angle: u64) -> [f64; 2] {
    // Odd multiples of 2^-53: neither 0 nor 1.
    let x = fraction(radius) - (1.0 - f64::EPSILON / 2.0);
    let r = minus_two_ln(x).sqrt();
    let (cos, sin) = cos_sin((fraction(angle << 2) - 1.5) * (2.0 * FRAC_PI_4));
    let (a, b) = if angle >> 62 & 1 == 0 { (cos, sin) } else { (sin, cos) };
    // Quadrants 1 and 2 have a negative cosine, 2 and 3 a negative sine.
    let negative_a = ((angle >> 62) ^ (angle >> 63)) << 63;
    let negative_b = angle >> 63 << 63;
    [r * f64::from_bits(a.to_bits() ^ negative_a), r * f64::from_bits(b.to_bits() ^ negative_b)]
}

/// Writes elements `start..`, converted by `convert`.
#[inline(always)]
fn fill<T>(stream: Stream, start: u64, out: &mut [T], convert: impl Fn(f64) -> T) {
    let mut words = [0; BATCH];
    let (mut index, mut out) = (start, out);
    if start % 2 == 1 && !out.is_empty() {
        words_into(stream, index - 1, &mut words[..2]);
        out[0] = convert(pair(words[0], words[1])[1]);
        (index, out) = (index.wrapping_add(1), &mut out[1..]);
    }
    for out in out.chunks_mut(BATCH) {
        let words = &mut words[..out.len().next_multiple_of(2)];
        words_into(stream, index, words);
        let (words, _) = words.as_chunks::<2>();
        let (pairs, last) = out.as_chunks_mut::<2>();
        for (out, word) in pairs.iter_mut().zip(words) {
            let [a, b] = pair(word[0], word[1]);
            *out = [convert(a), convert(b)];
        }
        if let ([x], Some(word)) = (last, words.last()) {
            *x = convert(pair(word[0], word[1])[0]);
        }
        index = index.wrapping_add(BATCH as u64);
    }
}

vectorized! {
    /// `mean + deviation * z` for the standard normal numbers `z` of indices `start..`.
    pub(crate) fn fill_normal(
        stream: Stream,
        start: u64,
        mean: f64,
        deviation: f64,
        out: &mut [f64],
    ) {
        fill(stream, start, out, |z| mean + deviation * z);
    }
}

vectorized! {
    /// The elements of [`fill_normal`], rounded.
    #[expect(clippy::cast_possible_truncation, reason = "rounded to f32")]
    pub(crate) fn fill_normal_f32(
        stream: Stream,
        start: u64,
        mean: f64,
        deviation: f64,
        out: &mut [f32],
    ) {
        fill(stream, start, out, |z| (mean + deviation * z) as f32);
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests;
