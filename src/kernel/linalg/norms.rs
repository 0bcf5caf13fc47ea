//! Norms of a matrix, one of them while it is copied.
#![allow(unsafe_code)]

use super::panel::copy;
use super::strips::strip;
use crate::kernel::Team;
use crate::kernel::matmul::{Float, Strided, shares};

/// The counter of strips.
const STRIPS: usize = 13;
/// The bits of the exponent of an `f64`.
const EXPONENT: u64 = 0x7ff << 52;

/// One member's part: copies `from` to `to`, and returns the largest sum of magnitudes of a column
/// that it has copied, or infinity if one of these has NaN or an infinity.
///
/// The largest result of all members is the 1-norm. The team's counter 13 must be zero at the
/// start. There is no barrier.
///
/// # Safety
///
/// - The shapes are the same; both are valid at their strides. Nothing writes `from`, and until all
///   members have returned only this team accesses `to`. They may be the same matrix, but must not
///   overlap otherwise.
pub(crate) unsafe fn copy_with_norm<T: Float>(
    from: Strided<*mut T>,
    to: Strided<*mut T>,
    team: &dyn Team,
) -> f64 {
    let mut norm: f64 = 0.0;
    for index in shares(team, STRIPS, usize::MAX, 1) {
        let Some(columns) = strip(&(0..from.cols), 0, index.start) else { break };
        let from = from.part(0..from.rows, columns.clone());
        // SAFETY: the caller's conditions.
        let of_strip = unsafe { norm_1(from) };
        norm = norm.max(if of_strip.is_nan() { f64::INFINITY } else { of_strip });
        let to = to.part(0..to.rows, columns);
        if from != to {
            // SAFETY: the caller's conditions; the counter gives each strip to one member.
            unsafe { copy(from, to) };
        }
    }
    norm
}

/// The largest sum of magnitudes of a column, in f64; NaN if the matrix has NaN.
///
/// # Safety
///
/// - The matrix is valid at its strides, and nothing writes it.
pub(crate) unsafe fn norm_1<T: Float>(a: Strided<*mut T>) -> f64 {
    let mut sums = vec![0.0; a.cols];
    for i in 0..a.rows {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the element exists, and the caller guarantees it.
            *sum += unsafe { a.at(i, j).read() }.to_f64().abs();
        }
    }
    sums.into_iter().fold(0.0, larger)
}

/// The larger number, or NaN if one is NaN.
fn larger(x: f64, y: f64) -> f64 {
    if x.is_nan() || y <= x { x } else { y }
}

/// The largest magnitude of an element; NaN if the matrix has NaN.
///
/// # Safety
///
/// - As [`norm_1`].
pub(crate) unsafe fn largest<T: Float>(a: Strided<*mut T>) -> f64 {
    let mut most = 0.0;
    for i in 0..a.rows {
        for j in 0..a.cols {
            // SAFETY: the element exists, and the caller guarantees it.
            most = larger(most, unsafe { a.at(i, j).read() }.abs().to_f64());
        }
    }
    most
}

/// The square root of the sum of all squares, which does not overflow before the result does; NaN
/// if the matrix has NaN.
///
/// # Safety
///
/// - As [`norm_1`].
pub(crate) unsafe fn frobenius<T: Float>(a: Strided<*mut T>) -> f64 {
    // SAFETY: the caller's conditions.
    let most = unsafe { largest(a) };
    if most == 0.0 || !most.is_finite() {
        return most;
    }
    // A power of two, so that the division is exact.
    let scale = f64::from_bits(most.to_bits() & EXPONENT).max(f64::MIN_POSITIVE);
    let mut sum = 0.0;
    for i in 0..a.rows {
        let mut of_row = 0.0;
        for j in 0..a.cols {
            // SAFETY: the element exists, and the caller guarantees it.
            let element = unsafe { a.at(i, j).read() }.to_f64() / scale;
            of_row += element * element;
        }
        sum += of_row;
    }
    scale * sum.sqrt()
}
