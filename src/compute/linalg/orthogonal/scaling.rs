//! Powers of two against overflow and underflow.
#![allow(unsafe_code)]

use crate::compute::linalg::operands::check_finite;
use crate::compute::matmul::{Matrix, Scalar};
use crate::error::Result;
use crate::kernel::FloatMode;
use crate::kernel::linalg::orthogonal::magnitude;

/// A power of two that makes the largest magnitude about 1.
///
/// # Errors
///
/// [`Error::NotFinite`](crate::Error::NotFinite) with the first position of NaN or an infinity;
/// with `lower`, only the elements on and below the diagonal are read.
pub(super) fn scale_of<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
    lower: bool,
) -> Result<f64> {
    let _mode = FloatMode::standard();
    // SAFETY: the place lies within the elements, checked in `MatrixBase`, which are borrowed.
    let most = unsafe { magnitude(&a.clone().local(), lower) };
    let Some(most) = most else {
        check_finite(operation, what, a, |i, j| !lower || j <= i)?;
        return Ok(1.0);
    };
    if most == T::ZERO {
        return Ok(1.0);
    }
    // The factor and its inverse are normal numbers of the type.
    let limit = T::MIN_POSITIVE.to_f64().log2() + 2.0;
    Ok((-most.to_f64().log2().floor().clamp(limit, -limit)).exp2())
}

/// 1 if products of the elements neither overflow nor underflow, and else [`scale_of`] them.
///
/// # Errors
///
/// As [`scale_of`].
pub(super) fn scale_if_extreme<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
) -> Result<f64> {
    let scale = scale_of(operation, what, a, false)?;
    let exponent_max = -T::MIN_POSITIVE.to_f64().log2() / 4.0;
    Ok(if scale.log2().abs() <= exponent_max { 1.0 } else { scale })
}

/// `x up / down`, for two powers of two whose quotient may be too large or too small.
pub(super) fn rescaled<T: Scalar>(x: T, up: f64, down: f64) -> T {
    let (x, quotient) = (x.to_f64(), up / down);
    T::from_f64(if quotient.is_normal() { x * quotient } else { x * up / down })
}
