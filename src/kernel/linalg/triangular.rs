//! Systems with a triangular matrix, by recursion on its halves.
//!
//! `T X = B`, with T lower: solve with the first half of T, subtract the product of the rest, solve
//! with the second half (Higham, section 8.1; Golub and Van Loan, section 3.1.4). Blocks on the
//! diagonal are solved by substitution in a buffer.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use super::product::subtract_product;
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::vectorized::vectorized;

/// Rows of a block that is solved by substitution.
const BLOCK: usize = 16;
/// Columns of B that are solved at a time.
const LANES: usize = 32;

/// The part of a triangular matrix that is not zero. The rest of the matrix is not read.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray, Triangle};
/// let pool = Pool::builder().workers(1).build()?;
/// let t = SharedArray::from_fn([2, 2], |[i, j]| [[2.0, 7.0], [3.0, 4.0]][i][j])?;
/// let b = SharedArray::from_slice(&[2.0, 11.0])?;
/// assert_eq!(pool.triangular_solve(Triangle::Lower, &t, &b)?.as_slice(), [1.0, 2.0]);
/// assert_eq!(pool.triangular_solve(Triangle::UnitLower, &t, &b)?.as_slice(), [2.0, 5.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Triangle {
    /// The diagonal and below.
    Lower,
    /// The diagonal and above.
    Upper,
    /// What lies below a diagonal of ones, which is not read.
    UnitLower,
    /// What lies above a diagonal of ones, which is not read.
    UnitUpper,
}

impl Triangle {
    /// Whether what lies below the diagonal is read.
    pub(crate) fn is_lower(self) -> bool {
        matches!(self, Triangle::Lower | Triangle::UnitLower)
    }

    /// Whether the element in this row and column is read.
    pub(crate) fn reads(self, row: usize, col: usize) -> bool {
        if row == col { !self.is_unit() } else { (row > col) == self.is_lower() }
    }

    /// Whether the diagonal is all ones, and not read.
    pub(crate) fn is_unit(self) -> bool {
        matches!(self, Triangle::UnitLower | Triangle::UnitUpper)
    }
}

/// `T X = B` by the calling thread; X replaces B in `x`. A zero on the diagonal leads to infinities
/// or NaN.
///
/// # Safety
///
/// - T is square, and has as many rows as `x`.
/// - T and `x` are valid at their strides. No element of `x` is one of T, and no two coincide.
///   Until it returns, nothing else accesses `x`, and nothing writes T.
pub(super) unsafe fn solve<T: Float>(triangle: Triangle, t: Strided<*mut T>, x: Strided<*mut T>) {
    let size = t.rows;
    if size <= BLOCK {
        // SAFETY: the caller's conditions.
        unsafe { solve_block(triangle, t, x) };
        return;
    }
    let middle = (size / 2).next_multiple_of(BLOCK);
    let halves = [0..middle, middle..size];
    let [first, second] = if triangle.is_lower() { [0, 1] } else { [1, 0] };
    let diagonal = |half: usize| t.part(halves[half].clone(), halves[half].clone());
    let rows = |half: usize| x.part(halves[half].clone(), 0..x.cols);
    // SAFETY: the caller's conditions hold for a part of the rows.
    unsafe { solve(triangle, diagonal(first), rows(first)) };
    let beside = t.part(halves[second].clone(), halves[first].clone());
    // SAFETY: the caller's conditions; the halves of `x` have different rows.
    unsafe { subtract_product(beside, rows(first), rows(second)) };
    // SAFETY: the caller's conditions hold for a part of the rows.
    unsafe { solve(triangle, diagonal(second), rows(second)) };
}

/// The same for a matrix of at most BLOCK rows, by substitution.
///
/// # Safety
///
/// - As [`solve`]; `t` has at most BLOCK rows.
unsafe fn solve_block<T: Float>(triangle: Triangle, t: Strided<*mut T>, x: Strided<*mut T>) {
    let size = t.rows;
    // Row by row in the order in which they are solved, so that the substitution goes one way.
    let is_lower = triangle.is_lower();
    let place = |step: usize| if is_lower { step } else { size - 1 - step };
    let mut factors = [[T::ZERO; BLOCK]; BLOCK];
    for (i, row) in factors.iter_mut().enumerate().take(size) {
        for (j, factor) in row.iter_mut().enumerate().take(i + 1) {
            if j < i || !triangle.is_unit() {
                // SAFETY: i and j are below the size, and the caller guarantees T.
                *factor = unsafe { t.at(place(i), place(j)).read() };
            } else {
                *factor = T::ONE;
            }
        }
    }
    let mut lanes = [[T::ZERO; LANES]; BLOCK];
    for first in (0..x.cols).step_by(LANES) {
        let width = LANES.min(x.cols - first);
        for (i, row) in lanes.iter_mut().enumerate().take(size) {
            for (j, element) in row.iter_mut().enumerate().take(width) {
                // SAFETY: the row and the column exist, and the caller guarantees `x`.
                *element = unsafe { x.at(place(i), first + j).read() };
            }
        }
        substitute(&factors, &mut lanes, size, !triangle.is_unit());
        for (i, row) in lanes.iter().enumerate().take(size) {
            for (j, &element) in row.iter().enumerate().take(width) {
                // SAFETY: as above.
                unsafe { x.at(place(i), first + j).write(element) };
            }
        }
    }
}

vectorized! {
    /// Solves a lower triangular system of `size` rows for LANES columns at once.
    fn substitute<T: Float>(
        factors: &[[T; BLOCK]; BLOCK],
        lanes: &mut [[T; LANES]; BLOCK],
        size: usize,
        divides: bool,
    ) {
        for i in 0..size.min(BLOCK) {
            let mut row = lanes[i];
            for j in 0..i {
                for (element, &solved) in row.iter_mut().zip(&lanes[j]) {
                    *element = *element - factors[i][j] * solved;
                }
            }
            if divides {
                for element in &mut row {
                    *element = *element / factors[i][i];
                }
            }
            lanes[i] = row;
        }
    }
}
