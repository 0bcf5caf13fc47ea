//! NumPy's quantiles, method `linear`: their places, and the interpolation.
//!
//! As in `numpy.quantile(a, q)` with an array of f64 for `q` (NumPy 2.4, `_quantile`, `_lerp`), the
//! result is f64. The place of `q` is `(n - 1) q`, with its rounding. With `a`, `b` the keys at the
//! whole places next to it and `t` the fraction, the result is `a + (b - a) t`, or `b - (b - a) (1
//! - t)` for `t >= 0.5`. The difference `b - a` has the type of the keys. Only integers can differ
//! from NumPy: there `b - a` overflows for signed keys far apart, here it does not. If a key is
//! NaN, all quantiles are NaN (see [`any_nan`](super::select::any_nan)).

use super::key::Key;

/// The place of a quantile among the keys in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct QuantilePlace {
    /// The place of the lower key.
    pub(crate) lower: u64,
    /// The place of the upper key; at the end, that of the lower.
    pub(crate) upper: u64,
    /// The weight of the upper key; at the end, the number of keys, as in NumPy.
    pub(crate) weight: f64,
}

impl QuantilePlace {
    /// The place of quantile `q` among `len` keys; `None` if there are no keys or `q` is outside 0
    /// to 1.
    pub(crate) fn new(len: u64, q: f64) -> Option<Self> {
        let last = len.checked_sub(1)?;
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        let place = last as f64 * q;
        if place >= last as f64 {
            // NumPy takes index -1 here, and computes the weight from it.
            return Some(Self { lower: last, upper: last, weight: place + 1.0 });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to below `last`"
        )]
        let lower = place.floor() as u64;
        Some(Self { lower, upper: lower + 1, weight: place - place.floor() })
    }

    /// The quantile, between the keys at the two places.
    pub(crate) fn interpolate<K: Quantile>(&self, lower: K, upper: K) -> f64 {
        let (a, b, t) = (lower.to_f64(), upper.to_f64(), self.weight);
        let difference = lower.difference(upper);
        if t >= 0.5 { b - difference * (1.0 - t) } else { a + difference * t }
    }
}

/// A key with NumPy's interpolation between its values.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
pub trait Quantile: Key {
    /// The nearest f64.
    fn to_f64(self) -> f64;

    /// `upper - self` in the type of the keys, as f64.
    fn difference(self, upper: Self) -> f64;
}

macro_rules! quantile {
    ($($key:ty, $difference:expr;)*) => {$(
        impl Quantile for $key {
            #[inline]
            #[allow(clippy::cast_lossless, clippy::unnecessary_cast, reason = "not for all types")]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline]
            #[allow(clippy::cast_lossless, clippy::unnecessary_cast, reason = "not for all types")]
            fn difference(self, upper: Self) -> f64 {
                let difference: fn(Self, Self) -> _ = $difference;
                difference(self, upper) as f64
            }
        }
    )*};
}

quantile! {
    u8, |a, b| b.abs_diff(a);
    u16, |a, b| b.abs_diff(a);
    u32, |a, b| b.abs_diff(a);
    u64, |a, b| b.abs_diff(a);
    i8, |a, b| b.abs_diff(a);
    i16, |a, b| b.abs_diff(a);
    i32, |a, b| b.abs_diff(a);
    i64, |a, b| b.abs_diff(a);
    f32, |a, b| b - a;
    f64, |a, b| b - a;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::sort::select::tests::select;

    fn quantile<K: Quantile>(keys: &[K], q: f64) -> f64 {
        let place = QuantilePlace::new(keys.len() as u64, q).unwrap();
        let found = select(keys, vec![place.lower, place.upper]);
        place.interpolate(found[0].1, found[found.len() - 1].1)
    }

    #[test]
    fn quantiles_have_the_bits_of_numpy() {
        let qs = [0.0, 0.1, 0.25, 0.3333333333333333, 0.5, 0.731, 0.9, 0.999, 1.0];
        let keys: &[f64] = &[3.7, -1.1, 0.3, 1e+17, -0.0025, 12345.678, 0.1, 7.7];
        let expected: [u64; 9] = [
            0xbff199999999999a,
            0xbfd53b645a1cac08,
            0x3fb30a3d70a3d70a,
            0x3fc5555555555553,
            0x4000000000000000,
            0x4096acf944aa53fb,
            0x435aa535d3d0c86b,
            0x43760c8d2ea32407,
            0x4376345785d8a000,
        ];
        assert_eq!(qs.map(|q| quantile(keys, q).to_bits()), expected);
        let keys: &[f32] = &[3.7, -1.1, 0.3, 1000000000.0, -0.0025, 12345.678, 0.1, 7.7, 0.6];
        let expected: [u64; 9] = [
            0xbff19999a0000000,
            0xbfcc6a7eeb666665,
            0x3fb99999a0000000,
            0x3fcdddddeaaaaaaa,
            0x3fe3333340000000,
            0x401c5e35351eb851,
            0x41a7d7d1268e3339,
            0x41cd905c316872b0,
            0x41cdcd6500000000,
        ];
        assert_eq!(qs.map(|q| quantile(keys, q).to_bits()), expected);
        let keys: &[i32] = &[5, -7, 2147483, 100, 33, -2];
        let expected: [u64; 9] = [
            0xc01c000000000000,
            0xc012000000000000,
            0xbfd0000000000000,
            0x4005555555555553,
            0x4033000000000000,
            0x405338a3d70a3d70,
            0x4130627f80000000,
            0x41404d550ae147af,
            0x4140624d80000000,
        ];
        assert_eq!(qs.map(|q| quantile(keys, q).to_bits()), expected);
        let keys: &[u64] = &[18446744073709551615, 9223372036854788153, 17, 9007199254740993, 99];
        let expected: [u64; 9] = [
            0x4031000000000000,
            0x4048e66666666667,
            0x4058c00000000000,
            0x43255555555555d9,
            0x4340000000000000,
            0x43dd9204189374c7,
            0x43e999999999999c,
            0x43efef9db22d0e56,
            0x43f0000000000000,
        ];
        assert_eq!(qs.map(|q| quantile(keys, q).to_bits()), expected);
    }

    #[test]
    fn the_last_place_is_the_greatest_key() {
        let place = QuantilePlace::new(5, 1.0).unwrap();
        assert_eq!(place, QuantilePlace { lower: 4, upper: 4, weight: 5.0 });
        // As in NumPy, inf - inf is NaN.
        assert!(quantile(&[1.0, f64::INFINITY], 1.0).is_nan());
        assert_eq!(quantile(&[i64::MIN, i64::MAX], 0.5), 0.0);
        assert_eq!(quantile(&[7_u8], 0.3), 7.0);
    }

    #[test]
    fn no_keys_or_no_fraction_have_no_place() {
        assert_eq!(QuantilePlace::new(0, 0.5), None);
        for q in [-0.1, 1.1, f64::NAN] {
            assert_eq!(QuantilePlace::new(3, q), None);
        }
    }
}
