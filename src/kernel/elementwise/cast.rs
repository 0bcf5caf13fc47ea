//! Conversion of slices between numeric types, as by `as`.
//!
//! Integers wrap or are sign-extended. Floats are truncated towards zero and saturate, and NaN
//! becomes 0. Integers and `f64` are rounded to the nearest float. NumPy's `astype` agrees wherever
//! the value fits; where it does not, NumPy's result depends on the processor, this one does not.

use crate::kernel::number::Number;
use crate::kernel::vectorized::vectorized;

vectorized! {
    /// `to[i] = from[i] as B`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub(crate) fn cast<A: Number, B: Number>(from: &[A], to: &mut [B]) {
        assert_eq!(from.len(), to.len(), "a conversion keeps the length");
        for (to, &from) in to.iter_mut().zip(from) {
            *to = B::from_number(from);
        }
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::cast;

    macro_rules! check {
        ($data:ident: $($to:ty),*) => {$(
            let mut out = vec![<$to>::default(); $data.len()];
            cast(&$data, &mut out);
            for (&x, y) in $data.iter().zip(out) {
                // Compared as bytes, so that NaN and the sign of zero count.
                prop_assert_eq!((x as $to).to_le_bytes(), y.to_le_bytes(), "{}", x);
            }
        )*};
    }

    proptest! {
        #[test]
        fn conversions_are_those_of_as(bits in prop::collection::vec(any::<u64>(), 0..200)) {
            let data: Vec<u64> = bits.iter().map(|x| x >> (x & 63)).collect();
            check!(data: u8, i32, f32);
            let data: Vec<i64> = bits.iter().map(|&x| x as i64 >> (x & 63)).collect();
            check!(data: i8, u64, f64);
            let mut data: Vec<f64> = bits.iter().map(|&x| f64::from_bits(x)).collect();
            data.extend([f64::NAN, f64::INFINITY, -0.0, -1.5, 255.9, 1e300, -1e19, 65536.5]);
            check!(data: u8, i64, f32);
            let data: Vec<f32> = data.iter().map(|&x| x as f32).collect();
            check!(data: i16, u64, f64);
        }
    }
}
