//! Systems with a factored or triangular matrix.
#![allow(unsafe_code)]

use super::lu::Pivots;
use super::panel::copy;
use super::strips::strip;
use super::triangular::{self, Diagonal, Triangle};
use crate::kernel::Team;
use crate::kernel::matmul::{Float, Strided, shares};

/// The counter of strips.
const STRIPS: usize = 14;

/// A square matrix for which systems are solved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Factors<T> {
    /// `P A = L U`, as `lu` returns it.
    Lu(Strided<*mut T>, Pivots),
    /// The transpose of that A.
    LuTransposed(Strided<*mut T>, Pivots),
    /// `A = L L^T`, as `cholesky` returns it.
    Cholesky(Strided<*mut T>),
    /// A itself is triangular.
    Triangular(Strided<*mut T>, Triangle, Diagonal),
}

/// One member's part of `A X = B`: copies B to `x`, and replaces it by X there.
///
/// Members take strips of columns from the team's counter 14, which must be zero at the start, and
/// meet at no barrier. When all have returned, X is complete. A zero on the diagonal of a
/// triangular factor leads to infinities or NaN.
///
/// # Safety
///
/// - A is square, with as many rows as B and X, which have the same shape.
/// - All matrices are valid at their strides, and so are the pivots. `x` does not overlap the
///   factors, and is B or does not overlap it. Until all members have returned, only this team
///   accesses `x`, and nothing writes the others.
pub(crate) unsafe fn solve<T: Float>(
    factors: Factors<T>,
    b: Strided<*mut T>,
    x: Strided<*mut T>,
    team: &dyn Team,
) {
    for index in shares(team, STRIPS, usize::MAX, 1) {
        let Some(columns) = strip(&(0..x.cols), 0, index.start) else { return };
        let (from, to) = (b.part(0..b.rows, columns.clone()), x.part(0..x.rows, columns));
        if from != to {
            // SAFETY: the caller's conditions; the counter gives each strip to one member.
            unsafe { copy(from, to) };
        }
        // SAFETY: as above.
        unsafe { solve_strip(factors, to) };
    }
}

/// The same for a strip by the calling thread; X replaces B in `x`.
///
/// # Safety
///
/// - As [`solve`].
unsafe fn solve_strip<T: Float>(factors: Factors<T>, x: Strided<*mut T>) {
    const UNIT_LOWER: (Triangle, Diagonal) = (Triangle::Lower, Diagonal::Unit);
    const UNIT_UPPER: (Triangle, Diagonal) = (Triangle::Upper, Diagonal::Unit);
    const LOWER: (Triangle, Diagonal) = (Triangle::Lower, Diagonal::Stored);
    const UPPER: (Triangle, Diagonal) = (Triangle::Upper, Diagonal::Stored);
    let size = x.rows;
    match factors {
        Factors::Lu(f, pivots) => {
            // SAFETY: the caller's conditions.
            unsafe { pivots.swap_rows(0..size, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(UNIT_LOWER, f, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(UPPER, f, x) };
        }
        Factors::LuTransposed(f, pivots) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve(LOWER, f.transposed(), x) };
            // SAFETY: as above.
            unsafe { triangular::solve(UNIT_UPPER, f.transposed(), x) };
            // SAFETY: as above.
            unsafe { pivots.swap_rows((0..size).rev(), x) };
        }
        Factors::Cholesky(f) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve(LOWER, f, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(UPPER, f.transposed(), x) };
        }
        Factors::Triangular(t, triangle, diagonal) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve((triangle, diagonal), t, x) };
        }
    }
}
