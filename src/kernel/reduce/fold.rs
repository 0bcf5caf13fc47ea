//! The reductions: how elements become partial results.

use bytemuck::Pod;

use crate::kernel::number::{Addend, Mask, Number};

/// A reduction of elements of type `T`.
///
/// Up to 128 elements are joined in a lane, which may be narrower than the partial result; then
/// lanes are widened and merged. `join` and `merge` are associative up to rounding.
pub(crate) trait Fold<T: Number>: Copy + Send + 'static {
    /// What the reduction needs besides an element: the mean for squared deviations, else `()`.
    type Param: Pod;
    /// The type in which elements are joined.
    type Lane: Copy;
    /// A partial result.
    type Partial: Pod;

    /// The lane of no elements.
    const START: Self::Lane;
    /// The partial result of no elements, which is neutral for `merge`.
    const EMPTY: Self::Partial;
    /// The number of elements that a lane takes before it is widened; at most 128.
    const ROWS: usize;

    /// Converts an element to a lane.
    fn lift(x: T, param: Self::Param) -> Self::Lane;
    /// Joins two lanes.
    fn join(a: Self::Lane, b: Self::Lane) -> Self::Lane;
    /// Converts a lane to a partial result.
    fn widen(lane: Self::Lane) -> Self::Partial;
    /// Merges two partial results.
    fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial;
}

/// The sum of elements; [`Number::sum_of`] converts the partial result to the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum;

impl<T: Number> Fold<T> for Sum {
    type Param = ();
    type Lane = T::SumLane;
    type Partial = T::Total;
    const START: T::SumLane = T::SumLane::ZERO;
    const EMPTY: T::Total = T::Total::ZERO;
    const ROWS: usize = T::SUM_ROWS;

    #[inline(always)]
    fn lift(x: T, (): ()) -> T::SumLane {
        x.sum_lane()
    }
    #[inline(always)]
    fn join(a: T::SumLane, b: T::SumLane) -> T::SumLane {
        a.plus(b)
    }
    #[inline(always)]
    fn widen(lane: T::SumLane) -> T::Total {
        lane.total()
    }
    #[inline(always)]
    fn merge(a: T::Total, b: T::Total) -> T::Total {
        a.plus(b)
    }
}

/// The sum of elements for a mean: integers of 64 bits are added as doubles. See [`mean`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeanSum;

impl<T: Number> Fold<T> for MeanSum {
    type Param = ();
    type Lane = T::MeanLane;
    type Partial = <T::MeanLane as Addend>::Total;
    const START: T::MeanLane = T::MeanLane::ZERO;
    const EMPTY: Self::Partial = Self::Partial::ZERO;
    const ROWS: usize = T::SUM_ROWS;

    #[inline(always)]
    fn lift(x: T, (): ()) -> T::MeanLane {
        x.mean_lane()
    }
    #[inline(always)]
    fn join(a: T::MeanLane, b: T::MeanLane) -> T::MeanLane {
        a.plus(b)
    }
    #[inline(always)]
    fn widen(lane: T::MeanLane) -> Self::Partial {
        lane.total()
    }
    #[inline(always)]
    fn merge(a: Self::Partial, b: Self::Partial) -> Self::Partial {
        a.plus(b)
    }
}

/// The mean of `count` elements with the given sum; NaN if there are none.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub(crate) fn mean<S: Addend>(sum: S, count: usize) -> f64 {
    sum.to_f64() / count as f64
}

/// The sum of `(x - param)^2` in doubles: squared deviations from a mean, in the second of two
/// passes.
///
/// With `param` 0 it is the sum of squares, whose square root is NumPy's `linalg.norm`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deviations;

impl<T: Number> Fold<T> for Deviations {
    type Param = f64;
    type Lane = f64;
    type Partial = f64;
    const START: f64 = 0.0;
    const EMPTY: f64 = 0.0;
    const ROWS: usize = 16;

    #[inline(always)]
    fn lift(x: T, mean: f64) -> f64 {
        let deviation = x.to_f64() - mean;
        deviation * deviation
    }
    #[inline(always)]
    fn join(a: f64, b: f64) -> f64 {
        a + b
    }
    #[inline(always)]
    fn widen(lane: f64) -> f64 {
        lane
    }
    #[inline(always)]
    fn merge(a: f64, b: f64) -> f64 {
        a + b
    }
}

/// The variance of `count` elements: the sum of squared deviations divided by `count - ddof`.
///
/// If `count <= ddof` it is NaN or infinite, as in NumPy: the divisor is 0.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub(crate) fn variance(deviations: f64, count: usize, ddof: usize) -> f64 {
    deviations / count.saturating_sub(ddof) as f64
}

/// The smaller of two; NaN if either is.
#[inline(always)]
fn lesser<T: Number>(a: T, b: T) -> T {
    if (a < b) | a.is_nan() { a } else { b }
}

/// The larger of two; NaN if either is.
#[inline(always)]
fn greater<T: Number>(a: T, b: T) -> T {
    if (a > b) | a.is_nan() { a } else { b }
}

/// The least element, or NaN if an element is NaN. Of zeros of both signs, either.
///
/// The partial result of no elements is [`Number::HIGHEST`]; the caller rejects empty arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Min;

/// The greatest element, or NaN if an element is NaN. Of zeros of both signs, either.
///
/// The partial result of no elements is [`Number::LOWEST`]; the caller rejects empty arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Max;

/// The least and the greatest element, in this order; both are NaN if an element is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MinMax;

macro_rules! extreme {
    ($name:ident, $empty:ident, $join:ident) => {
        impl<T: Number> Fold<T> for $name {
            type Param = ();
            type Lane = T;
            type Partial = T;
            const START: T = T::$empty;
            const EMPTY: T = T::$empty;
            const ROWS: usize = 128;

            #[inline(always)]
            fn lift(x: T, (): ()) -> T {
                x
            }
            #[inline(always)]
            fn join(a: T, b: T) -> T {
                $join(a, b)
            }
            #[inline(always)]
            fn widen(lane: T) -> T {
                lane
            }
            #[inline(always)]
            fn merge(a: T, b: T) -> T {
                $join(a, b)
            }
        }
    };
}
extreme!(Min, HIGHEST, lesser);
extreme!(Max, LOWEST, greater);

impl<T: Number> Fold<T> for MinMax {
    type Param = ();
    type Lane = [T; 2];
    type Partial = [T; 2];
    const START: [T; 2] = [T::HIGHEST, T::LOWEST];
    const EMPTY: [T; 2] = [T::HIGHEST, T::LOWEST];
    const ROWS: usize = 128;

    #[inline(always)]
    fn lift(x: T, (): ()) -> [T; 2] {
        [x, x]
    }
    #[inline(always)]
    fn join(a: [T; 2], b: [T; 2]) -> [T; 2] {
        [lesser(a[0], b[0]), greater(a[1], b[1])]
    }
    #[inline(always)]
    fn widen(lane: [T; 2]) -> [T; 2] {
        lane
    }
    #[inline(always)]
    fn merge(a: [T; 2], b: [T; 2]) -> [T; 2] {
        <MinMax as Fold<T>>::join(a, b)
    }
}

/// Whether any element is not zero: the partial result is not [`Mask::NONE`]. NaN is true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Any;

/// Whether no element is zero: the partial result is [`Mask::EVERY`]. NaN is true.
#[derive(Debug, Clone, Copy)]
pub(crate) struct All;

macro_rules! truth {
    ($name:ident, $empty:ident, $join:ident) => {
        impl<T: Number> Fold<T> for $name {
            type Param = ();
            type Lane = T::Bits;
            type Partial = T::Bits;
            const START: T::Bits = T::Bits::$empty;
            const EMPTY: T::Bits = T::Bits::$empty;
            const ROWS: usize = 128;

            #[inline(always)]
            fn lift(x: T, (): ()) -> T::Bits {
                x.truth()
            }
            #[inline(always)]
            fn join(a: T::Bits, b: T::Bits) -> T::Bits {
                a.$join(b)
            }
            #[inline(always)]
            fn widen(lane: T::Bits) -> T::Bits {
                lane
            }
            #[inline(always)]
            fn merge(a: T::Bits, b: T::Bits) -> T::Bits {
                a.$join(b)
            }
        }
    };
}
truth!(Any, NONE, or);
truth!(All, EVERY, and);
