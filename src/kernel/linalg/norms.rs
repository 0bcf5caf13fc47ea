//! A copy of a matrix, and its 1-norm.
#![allow(unsafe_code)]

use super::panel::copy;
use super::strips::strip;
use crate::kernel::Team;
use crate::kernel::matmul::{Float, Strided, shares};

/// The counter of strips.
const STRIPS: usize = 13;

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
    let mut norm = 0.0;
    for index in shares(team, STRIPS, usize::MAX, 1) {
        let Some(columns) = strip(&(0..from.cols), 0, index.start) else { break };
        let from = from.part(0..from.rows, columns.clone());
        // SAFETY: the caller's conditions.
        let of_strip = unsafe { norm_1(from) };
        norm = if of_strip > norm { of_strip } else { norm };
        let to = to.part(0..to.rows, columns);
        if from != to {
            // SAFETY: the caller's conditions; the counter gives each strip to one member.
            unsafe { copy(from, to) };
        }
    }
    norm
}

/// The largest sum of magnitudes of a column; infinity if the matrix has NaN or an infinity.
///
/// # Safety
///
/// - The matrix is valid at its strides, and nothing writes it.
pub(crate) unsafe fn norm_1<T: Float>(a: Strided<*mut T>) -> f64 {
    let mut sums = vec![T::ZERO; a.cols];
    for i in 0..a.rows {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the element exists, and the caller guarantees it.
            *sum = *sum + unsafe { a.at(i, j).read() }.abs();
        }
    }
    let is_finite = |sum: T| sum.to_f64() < f64::INFINITY;
    if sums.iter().all(|&sum| is_finite(sum)) {
        sums.into_iter().fold(0.0, |norm, sum| norm.max(sum.to_f64()))
    } else {
        f64::INFINITY
    }
}
