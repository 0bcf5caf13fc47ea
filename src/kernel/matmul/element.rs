//! Element types that the product is compiled for.

use std::fmt::Debug;
use std::ops::{Add, Mul};

use super::table::Tables;

/// A floating-point type that matrices are made of: `f32` or `f64`.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Element;
/// fn doubled<T: Element>(x: T) -> T {
///     x + x
/// }
/// assert_eq!(doubled(f32::ONE), 2.0);
/// ```
pub trait Element:
    Copy + Debug + PartialEq + Send + Sync + Add<Output = Self> + Mul<Output = Self> + Tables
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
}

impl Element for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
}

impl Element for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
}
