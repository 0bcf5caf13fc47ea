//! Numbers with an order-preserving map to unsigned integers.
//!
//! | type     | order                                                                             |
//! |----------|-----------------------------------------------------------------------------------|
//! | integers | as usual                                                                          |
//! | floats   | -inf, negative, -0.0, 0.0, positive, inf, NaN with sign bit 0, NaN with sign bit 1 |
//!
//! This is the order of `total_cmp`, except that all NaN are last, as in NumPy. [`Key::to_bits`] is
//! one to one: equal bits are equal values, and a sort moves each NaN with its payload.
//! [`Key::rank`] is coarser: -0.0 and 0.0 have the same rank, and all NaN have the same, greatest
//! one, as NumPy compares them. Stable sorts, searches, `unique` and `top_k` compare ranks.

use bytemuck::Pod;

/// A number that can be sorted.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
pub trait Key: Pod + Send + Sync {
    /// The unsigned integer of the same size.
    type Bits: KeyBits;

    /// The place in the total order; one to one.
    fn to_bits(self) -> Self::Bits;

    /// The inverse of [`Key::to_bits`].
    fn from_bits(bits: Self::Bits) -> Self;

    /// The place in NumPy's order; the same for values that NumPy considers equal, and for all NaN.
    fn rank(self) -> Self::Bits;

    /// Whether this is NaN.
    #[inline(always)]
    fn is_nan(self) -> bool {
        false
    }
}

/// An unsigned integer that holds the bits of a key.
#[expect(unnameable_types, reason = "as above")]
pub trait KeyBits: Key<Bits = Self> + Ord {
    /// The least value.
    const MIN: Self;

    /// The greatest value.
    const MAX: Self;

    /// The value as a `u64`.
    fn wide(self) -> u64;

    /// The low bits of a `u64`.
    fn narrow(wide: u64) -> Self;
}

macro_rules! unsigned_key {
    ($($unsigned:ty, $signed:ty;)*) => {$(
        impl Key for $unsigned {
            type Bits = Self;

            #[inline(always)]
            fn to_bits(self) -> Self {
                self
            }

            #[inline(always)]
            fn from_bits(bits: Self) -> Self {
                bits
            }

            #[inline(always)]
            fn rank(self) -> Self {
                self
            }
        }

        impl KeyBits for $unsigned {
            const MIN: Self = Self::MIN;
            const MAX: Self = Self::MAX;

            #[inline(always)]
            #[allow(clippy::unnecessary_cast, reason = "u64 is one of the types")]
            fn wide(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            #[allow(clippy::cast_possible_truncation, reason = "the low bits are asked for")]
            fn narrow(wide: u64) -> Self {
                wide as Self
            }
        }

        impl Key for $signed {
            type Bits = $unsigned;

            #[inline(always)]
            fn to_bits(self) -> $unsigned {
                self.cast_unsigned() ^ <$signed>::MIN.cast_unsigned()
            }

            #[inline(always)]
            fn from_bits(bits: $unsigned) -> Self {
                (bits ^ <$signed>::MIN.cast_unsigned()).cast_signed()
            }

            #[inline(always)]
            fn rank(self) -> $unsigned {
                Key::to_bits(self)
            }
        }
    )*};
}

unsigned_key! {
    u8, i8;
    u16, i16;
    u32, i32;
    u64, i64;
}

macro_rules! float_key {
    ($($float:ty, $bits:ty, $signed:ty;)*) => {$(
        impl Key for $float {
            type Bits = $bits;

            #[inline(always)]
            fn to_bits(self) -> $bits {
                let bits = <$float>::to_bits(self).cast_signed();
                // All ones for a negative number, whose bits are inverted; else the sign bit.
                let flip = (bits >> (<$bits>::BITS - 1)) | <$signed>::MIN;
                // Now NaN with sign bit 1 are below -inf: the difference wraps them to the top.
                (bits ^ flip).cast_unsigned().wrapping_sub(!<$float>::NEG_INFINITY.to_bits())
            }

            #[inline(always)]
            fn from_bits(bits: $bits) -> Self {
                let ordered = bits.wrapping_add(!<$float>::NEG_INFINITY.to_bits()).cast_signed();
                let flip = (!ordered >> (<$bits>::BITS - 1)) | <$signed>::MIN;
                <$float>::from_bits((ordered ^ flip).cast_unsigned())
            }

            #[inline(always)]
            fn rank(self) -> $bits {
                // The sum turns -0.0 into 0.0 and leaves all other numbers unchanged.
                let bits = Key::to_bits(self + 0.0);
                if <$float>::is_nan(self) { <$bits>::MAX } else { bits }
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                <$float>::is_nan(self)
            }
        }
    )*};
}

float_key! {
    f32, u32, i32;
    f64, u64, i64;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cmp::Ordering;

    fn numpy_cmp(a: f64, b: f64) -> Ordering {
        a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
    }

    fn assert_f64(a: f64, b: f64) {
        let group = |x: f64| (x.is_nan(), x.is_nan() && x.is_sign_negative());
        let total = group(a).cmp(&group(b)).then(a.total_cmp(&b));
        assert_eq!(Key::to_bits(a).cmp(&Key::to_bits(b)), total, "{a:?} {b:?}");
        assert_eq!(a.rank().cmp(&b.rank()), numpy_cmp(a, b), "{a:?} {b:?}");
        let back = <f64 as Key>::from_bits(Key::to_bits(a));
        assert_eq!(f64::to_bits(back), f64::to_bits(a));
    }

    fn assert_f32(a: f32, b: f32) {
        let group = |x: f32| (x.is_nan(), x.is_nan() && x.is_sign_negative());
        let total = group(a).cmp(&group(b)).then(a.total_cmp(&b));
        assert_eq!(Key::to_bits(a).cmp(&Key::to_bits(b)), total, "{a:?} {b:?}");
        assert_eq!(a.rank().cmp(&b.rank()), numpy_cmp(a.into(), b.into()), "{a:?} {b:?}");
        let back = <f32 as Key>::from_bits(Key::to_bits(a));
        assert_eq!(f32::to_bits(back), f32::to_bits(a));
    }

    #[test]
    fn special_floats_keep_their_order() {
        let nan = f64::from_bits(f64::NAN.to_bits() + (1 << 40));
        let tiny = [0.0, f64::MIN_POSITIVE, 5e-324];
        let special = [tiny.as_slice(), &[1.0, f64::MAX, f64::INFINITY, f64::NAN, nan]].concat();
        let all: Vec<f64> = special.iter().flat_map(|&x| [x, -x]).collect();
        for &a in &all {
            for &b in &all {
                assert_f64(a, b);
                #[expect(clippy::cast_possible_truncation, reason = "any f32 will do")]
                assert_f32(a as f32, b as f32);
            }
        }
    }

    #[test]
    fn signed_integers_keep_their_order() {
        for a in i8::MIN..=i8::MAX {
            assert_eq!(i8::from_bits(a.to_bits()), a);
            for b in i8::MIN..=i8::MAX {
                assert_eq!(a.to_bits().cmp(&b.to_bits()), a.cmp(&b));
                assert_eq!(a.rank().cmp(&b.rank()), a.cmp(&b));
            }
        }
    }

    proptest! {
        #[test]
        fn all_bit_patterns_keep_their_order(a: u64, b: u64, c: u32, d: u32) {
            assert_f64(f64::from_bits(a), f64::from_bits(b));
            assert_f32(f32::from_bits(c), f32::from_bits(d));
            let (a, b) = (a.cast_signed(), b.cast_signed());
            prop_assert_eq!(a.to_bits().cmp(&b.to_bits()), a.cmp(&b));
            prop_assert_eq!(i64::from_bits(a.to_bits()), a);
        }
    }
}
