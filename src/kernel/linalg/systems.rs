//! Systems with a factored or triangular matrix.
#![allow(unsafe_code)]

use super::lu::Pivots;
use super::panel::copy;
use super::strips::strip;
use super::triangular::{self, Triangle};
use crate::kernel::matmul::{Float, Strided, shares};
use crate::kernel::{PeerDied, Team};

/// The counter of strips.
const STRIPS: usize = 14;
/// The counter of rows whose elements are swapped.
const ROWS: usize = 15;
/// Rows that a member takes at a time.
const ROWS_AT_A_TIME: usize = 8;

/// A square matrix for which systems are solved.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MatrixFactors<T> {
    /// `P A = L U`, as `lu` returns it.
    Lu(Strided<*mut T>, Pivots),
    /// The transpose of that A.
    LuTransposed(Strided<*mut T>, Pivots),
    /// `A = L L^T`, as `cholesky` returns it.
    Cholesky(Strided<*mut T>),
    /// A itself is triangular.
    Triangular(Strided<*mut T>, Triangle),
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
    factors: MatrixFactors<T>,
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
unsafe fn solve_strip<T: Float>(factors: MatrixFactors<T>, x: Strided<*mut T>) {
    let size = x.rows;
    match factors {
        MatrixFactors::Lu(f, pivots) => {
            // SAFETY: the caller's conditions.
            unsafe { pivots.swap_rows(0..size, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(Triangle::UnitLower, f, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(Triangle::Upper, f, x) };
        }
        MatrixFactors::LuTransposed(f, pivots) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve(Triangle::Lower, f.transposed(), x) };
            // SAFETY: as above.
            unsafe { triangular::solve(Triangle::UnitUpper, f.transposed(), x) };
            // SAFETY: as above.
            unsafe { pivots.swap_rows((0..size).rev(), x) };
        }
        MatrixFactors::Cholesky(f) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve(Triangle::Lower, f, x) };
            // SAFETY: as above.
            unsafe { triangular::solve(Triangle::Upper, f.transposed(), x) };
        }
        MatrixFactors::Triangular(t, triangle) => {
            // SAFETY: the caller's conditions.
            unsafe { triangular::solve(triangle, t, x) };
        }
    }
}

/// One member's part of the inverse: writes it to `x`, from `P A = L U`.
///
/// `A^-1 = U^-1 L^-1 P`, by columns: those of `L^-1` begin at the diagonal, which saves a third of
/// the work (Higham, section 14.3.2). It uses the team's counters 14 and 15, which must be zero at
/// the start, and one barrier.
///
/// # Errors
///
/// [`PeerDied`] if a member died; `x` is then unspecified.
///
/// # Safety
///
/// - The factors are square, and `x` has their shape.
/// - Both are valid at their strides, and so are the pivots. `x` does not overlap the factors.
///   Until all members have returned, only this team accesses `x`, and nothing writes the others.
pub(crate) unsafe fn invert<T: Float>(
    factors: Strided<*mut T>,
    pivots: Pivots,
    x: Strided<*mut T>,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let size = x.rows;
    for index in shares(team, STRIPS, usize::MAX, 1) {
        let Some(columns) = strip(&(0..size), 0, index.start) else { break };
        let to = x.part(0..size, columns.clone());
        for i in 0..size {
            for j in 0..to.cols {
                let element = if i == columns.start + j { T::ONE } else { T::ZERO };
                // SAFETY: the element exists, and the counter gives each strip to one member.
                unsafe { to.at(i, j).write(element) };
            }
        }
        let rest = columns.start..size;
        let (corner, below) = (factors.part(rest.clone(), rest.clone()), to.part(rest, 0..to.cols));
        // SAFETY: the caller's conditions.
        unsafe { triangular::solve(Triangle::UnitLower, corner, below) };
        // SAFETY: as above.
        unsafe { triangular::solve(Triangle::Upper, factors, to) };
    }
    team.barrier()?;
    for rows in shares(team, ROWS, size, ROWS_AT_A_TIME) {
        let rows = x.part(rows, 0..size).transposed();
        // SAFETY: the caller's conditions; the counter gives each row to one member.
        unsafe { pivots.swap_rows((0..size).rev(), rows) };
    }
    Ok(())
}
