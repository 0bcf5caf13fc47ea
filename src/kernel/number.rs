//! Numeric element types, and the types that hold their sums.
//!
//! | element   | sum            | held in | mean, variance | held in            |
//! |-----------|----------------|---------|----------------|--------------------|
//! | i8 .. i32 | i64, wrapping  | i64     | f64            | i64, exact         |
//! | i64       | i64, wrapping  | i64     | f64            | f64                |
//! | u8 .. u32 | u64, wrapping  | u64     | f64            | u64, exact         |
//! | u64       | u64, wrapping  | u64     | f64            | f64                |
//! | f32       | f32            | f64     | f32            | f64                |
//! | f64       | f64            | f64     | f64            | f64                |
//!
//! The result types are NumPy's. An f32 sum is held in f64 and rounded once; NumPy adds in f32.
//! "Exact" holds as long as the sum fits: up to 2^32 elements of 32 bits.

use std::fmt::Debug;

use bytemuck::Pod;

/// Public only because bounds of a public trait name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    use std::fmt::Debug;

    use bytemuck::Pod;

    /// A partial or total sum: of the elements of one lane, or of all.
    pub trait Addend: Pod + Debug + PartialEq + Send + Sync {
        /// The type in which lanes of this type are added.
        type Total: Addend<Total = Self::Total>;

        /// Zero: `+0.0` for floats, as in NumPy, where a sum of negative zeros is `+0.0`.
        const ZERO: Self;

        /// The sum; integers wrap.
        fn plus(self, other: Self) -> Self;

        /// The same number as a total.
        fn total(self) -> Self::Total;

        /// The nearest double.
        fn to_f64(self) -> f64;
    }

    /// An unsigned integer as a mask of bits.
    pub trait Mask: Pod + Debug + PartialEq + Send + Sync {
        /// No bit.
        const NONE: Self;
        /// All bits.
        const EVERY: Self;
        /// Bits in both.
        fn and(self, other: Self) -> Self;
        /// Bits in either.
        fn or(self, other: Self) -> Self;
    }

    /// A number that converts to every other element type, with the rules of `as`.
    pub trait Convert: Copy {
        fn from_number<A: Convert>(x: A) -> Self;
        fn as_u8(self) -> u8;
        fn as_u16(self) -> u16;
        fn as_u32(self) -> u32;
        fn as_u64(self) -> u64;
        fn as_i8(self) -> i8;
        fn as_i16(self) -> i16;
        fn as_i32(self) -> i32;
        fn as_i64(self) -> i64;
        fn as_f32(self) -> f32;
        fn as_f64(self) -> f64;
    }
}
use private::Convert;
pub(crate) use private::{Addend, Mask};

/// An element type of numeric arrays: the integers of 8 to 64 bits, `f32` and `f64`.
///
/// Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Number, Pool, SharedArray};
/// fn total<T: Number>(pool: &Pool, x: &SharedArray<T>) -> brigade::Result<T::Sum> {
///     pool.sum(x)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// assert_eq!(total(&pool, &SharedArray::from_slice(&[200u8, 100])?)?, 300u64);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a number that workers compute with",
    label = "not an integer or a float of 1 to 8 bytes",
    note = "a loop computes with any `Pod` type: `pool.par_chunks(&x, 4096)`"
)]
pub trait Number: Pod + Debug + PartialOrd + Send + Sync + Convert {
    /// The result type of a sum: `i64`, `u64`, or the type itself for floats.
    type Sum: Number;
    /// The result type of a mean: `f32` for `f32`, else `f64`.
    type Mean: Number;
    /// The type that holds a sum.
    #[doc(hidden)]
    type Total: Addend<Total = Self::Total>;
    /// Holds the sum of 128 elements.
    #[doc(hidden)]
    type SumLane: Addend<Total = Self::Total>;
    /// Holds the sum of 128 products.
    #[doc(hidden)]
    type ProductLane: Addend<Total = Self::Total>;
    /// Holds the sum of 128 elements, for a mean.
    #[doc(hidden)]
    type MeanLane: Addend;
    /// An unsigned integer of the same size.
    #[doc(hidden)]
    type Bits: Mask;

    /// Zero.
    #[doc(hidden)]
    const ZERO: Self;
    /// No element is less; minus infinity for floats.
    #[doc(hidden)]
    const LOWEST: Self;
    /// No element is greater; infinity for floats.
    #[doc(hidden)]
    const HIGHEST: Self;
    /// The number of elements that each lane of a sum takes before it is widened.
    #[doc(hidden)]
    const SUM_ROWS: usize;

    /// The element as a lane of a sum.
    #[doc(hidden)]
    fn sum_lane(self) -> Self::SumLane;
    /// The product as a lane of a sum; integers wrap as NumPy's would in 64 bits.
    #[doc(hidden)]
    fn product_lane(self, other: Self) -> Self::ProductLane;
    /// The element as a lane of a mean.
    #[doc(hidden)]
    fn mean_lane(self) -> Self::MeanLane;
    /// Converts a total to the result of a sum.
    #[doc(hidden)]
    fn sum_of(total: Self::Total) -> Self::Sum;
    /// Converts a double to the result of a mean.
    #[doc(hidden)]
    fn mean_of(mean: f64) -> Self::Mean;
    /// The nearest double.
    #[doc(hidden)]
    fn to_f64(self) -> f64;
    /// Whether the element is NaN.
    #[doc(hidden)]
    fn is_nan(self) -> bool;
    /// The bytes of the element, extended with zeros.
    #[doc(hidden)]
    fn to_bits_u64(self) -> u64;
    /// The inverse of `to_bits_u64`.
    #[doc(hidden)]
    fn from_bits_u64(bits: u64) -> Self;

    /// All ones if the element is true, which means not zero. NaN is true.
    #[doc(hidden)]
    #[inline(always)]
    fn truth(self) -> Self::Bits {
        if self == Self::ZERO { Self::Bits::NONE } else { Self::Bits::EVERY }
    }
}

/// An integer of 8 to 64 bits, as an element type of numeric arrays.
///
/// # Examples
///
/// ```
/// use brigade::{Integer, Pool, SharedArray};
/// fn counts<T: Integer>(pool: &Pool, x: &SharedArray<T>) -> brigade::Result<SharedArray<u64>> {
///     pool.bincount(x, 0)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[2i16, 0, 2])?;
/// assert_eq!(counts(&pool, &x)?.as_slice(), [1, 0, 2]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an integer of 8 to 64 bits",
    label = "a float, or another type",
    note = "convert floats first: `pool.cast::<_, i64>(&x)?`"
)]
pub trait Integer: Number {}

macro_rules! mask {
    ($($type:ty),*) => {$(
        impl Mask for $type {
            const NONE: Self = 0;
            const EVERY: Self = <$type>::MAX;
            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
        }
    )*};
}
mask!(u8, u16, u32, u64);

macro_rules! integer_addend {
    ($($type:ty => $total:ty),*) => {$(
        impl Addend for $type {
            type Total = $total;
            const ZERO: Self = 0;
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            #[allow(clippy::useless_conversion)]
            fn total(self) -> $total {
                <$total>::from(self)
            }
            #[inline(always)]
            #[allow(clippy::cast_lossless)]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }
    )*};
}
integer_addend!(u16 => u64, u32 => u64, u64 => u64, i16 => i64, i32 => i64, i64 => i64);

impl Addend for f64 {
    type Total = f64;
    const ZERO: f64 = 0.0;
    #[inline(always)]
    fn plus(self, other: f64) -> f64 {
        self + other
    }
    #[inline(always)]
    fn total(self) -> f64 {
        self
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

macro_rules! integer {
    ($($type:ty: $bits:ty, $total:ty, $lane:ty, $product:ty, $mean:ty);* $(;)?) => {$(
        impl Integer for $type {}

        #[allow(
            clippy::useless_conversion,
            clippy::cast_lossless,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "one body for all types: to wider types they are exact, the rest wraps"
        )]
        impl Number for $type {
            type Sum = $total;
            type Total = $total;
            type SumLane = $lane;
            type ProductLane = $product;
            type MeanLane = $mean;
            type Mean = f64;
            type Bits = $bits;
            const ZERO: Self = 0;
            const LOWEST: Self = <$type>::MIN;
            const HIGHEST: Self = <$type>::MAX;
            const SUM_ROWS: usize = 128;
            #[inline(always)]
            fn sum_lane(self) -> $lane {
                self as $lane
            }
            #[inline(always)]
            fn product_lane(self, other: Self) -> $product {
                (self as $product).wrapping_mul(other as $product)
            }
            #[inline(always)]
            fn mean_lane(self) -> $mean {
                self as $mean
            }
            #[inline(always)]
            fn sum_of(total: $total) -> $total {
                total
            }
            #[inline(always)]
            fn mean_of(mean: f64) -> f64 {
                mean
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                false
            }
            #[inline(always)]
            fn to_bits_u64(self) -> u64 {
                (self as $bits) as u64
            }
            #[inline(always)]
            fn from_bits_u64(bits: u64) -> Self {
                bits as $type
            }
        }
    )*};
}
integer! {
    u8: u8, u64, u16, u32, u16;
    u16: u16, u64, u32, u64, u32;
    u32: u32, u64, u64, u64, u64;
    u64: u64, u64, u64, u64, f64;
    i8: u8, i64, i16, i32, i16;
    i16: u16, i64, i32, i64, i32;
    i32: u32, i64, i64, i64, i64;
    i64: u64, i64, i64, i64, f64;
}

macro_rules! float {
    ($($type:ident: $bits:ty);* $(;)?) => {$(
        #[allow(
            clippy::unnecessary_cast,
            clippy::useless_conversion,
            clippy::cast_possible_truncation,
            clippy::cast_lossless,
            reason = "one body for both types: only the rounding of results to f32 loses digits"
        )]
        impl Number for $type {
            type Sum = $type;
            type Total = f64;
            type SumLane = f64;
            type ProductLane = f64;
            type MeanLane = f64;
            type Mean = $type;
            type Bits = $bits;
            const ZERO: Self = 0.0;
            const LOWEST: Self = $type::NEG_INFINITY;
            const HIGHEST: Self = $type::INFINITY;
            const SUM_ROWS: usize = 16;
            #[inline(always)]
            fn sum_lane(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn product_lane(self, other: Self) -> f64 {
                self as f64 * other as f64
            }
            #[inline(always)]
            fn mean_lane(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn sum_of(total: f64) -> Self {
                total as $type
            }
            #[inline(always)]
            fn mean_of(mean: f64) -> Self {
                mean as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                self.is_nan()
            }
            #[inline(always)]
            fn to_bits_u64(self) -> u64 {
                u64::from(self.to_bits())
            }
            #[inline(always)]
            fn from_bits_u64(bits: u64) -> Self {
                $type::from_bits(bits as $bits)
            }
        }
    )*};
}
float! { f32: u32; f64: u64 }

macro_rules! convert {
    ($($type:ident $own:ident),*) => {$(
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::unnecessary_cast,
            reason = "wrapping and saturation are what the functions are for"
        )]
        impl Convert for $type {
            #[inline(always)]
            fn from_number<A: Convert>(x: A) -> $type {
                x.$own()
            }
            convert!(@to u8 as_u8, u16 as_u16, u32 as_u32, u64 as_u64, f32 as_f32);
            convert!(@to i8 as_i8, i16 as_i16, i32 as_i32, i64 as_i64, f64 as_f64);
        }
    )*};
    (@to $($to:ident $method:ident),*) => {$(
        #[inline(always)]
        fn $method(self) -> $to {
            self as $to
        }
    )*};
}
convert!(u8 as_u8, u16 as_u16, u32 as_u32, u64 as_u64, f32 as_f32);
convert!(i8 as_i8, i16 as_i16, i32 as_i32, i64 as_i64, f64 as_f64);
