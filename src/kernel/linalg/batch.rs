//! Many small systems, each by one member.
#![allow(unsafe_code)]

use super::columns::first_largest;
use super::lu::{Pivots, lu};
use super::panel::copy;
use super::systems::{MatrixFactors, solve};
use crate::kernel::matmul::{Float, Strided, shares};
use crate::kernel::{SingleThread, Team};

/// The counter of systems.
const SYSTEMS: usize = 13;
/// Systems of at most this many rows are solved by plain elimination.
const SMALL: usize = 32;
/// Elements of the systems that a member takes at a time.
const ELEMENTS_AT_A_TIME: usize = 8192;

/// A stack of matrices: the first, and the elements from one to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stack<T> {
    pub(crate) first: Strided<*mut T>,
    pub(crate) step: isize,
}

impl<T> Stack<T> {
    fn member(&self, index: usize) -> Strided<*mut T> {
        self.first.moved(index.cast_signed().wrapping_mul(self.step))
    }
}

/// What a member has found out about its systems.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BatchReport {
    /// Whether a matrix has NaN or an infinity.
    pub(crate) has_nonfinite: bool,
    /// The first singular matrix, and its pivot that is zero.
    pub(crate) singular: Option<(usize, usize)>,
}

/// One member's part of `count` systems `A X = B`, by Gaussian elimination with partial pivoting.
/// The solution of a singular one is unspecified; that of one whose elimination overflows is NaN.
///
/// The team's counter 13 must be zero at the start. There is no barrier.
///
/// # Safety
///
/// - Each A is square, with as many rows as B and X, which have the same shape.
/// - All are valid at their strides; no two elements of the Xs coincide, and none is one of an A or
///   B. Until all members have returned, only this team accesses the Xs, and nothing writes the
///   others.
pub(crate) unsafe fn solve_batch<T: Float>(
    count: usize,
    [a, b, x]: [Stack<T>; 3],
    team: &dyn Team,
) -> BatchReport {
    let (size, cols) = (a.first.rows, b.first.cols);
    let (mut matrix, mut sides) = (vec![T::ZERO; size * size], vec![T::ZERO; size * cols]);
    let mut report = BatchReport::default();
    let at_a_time = (ELEMENTS_AT_A_TIME / (size * (size + cols)).max(1)).max(1);
    let own_a = Strided::row_major(matrix.as_mut_ptr(), size, size);
    let own_x = Strided::row_major(sides.as_mut_ptr(), size, cols);
    for index in shares(team, SYSTEMS, count, at_a_time).flatten() {
        // SAFETY: the caller's conditions; the copy is this member's own.
        unsafe { copy(a.member(index), own_a) };
        // SAFETY: as above.
        unsafe { copy(b.member(index), own_x) };
        let singular = solve_copy(&mut matrix, &mut sides, size, &mut report);
        if let Some(pivot) = singular {
            report.singular = report.singular.or(Some((index, pivot)));
        }
        // SAFETY: as above; the counter gives each system to one member.
        unsafe { copy(own_x, x.member(index)) };
    }
    report
}

/// Solves one system; the solution replaces `x`. Returns the first pivot that is zero.
fn solve_copy<T: Float>(
    a: &mut [T],
    x: &mut [T],
    size: usize,
    report: &mut BatchReport,
) -> Option<usize> {
    // A product with zero is NaN unless the element is finite.
    let zero = a.iter().fold(T::ZERO, |sum, &element| sum + element * T::ZERO);
    report.has_nonfinite |= zero != T::ZERO;
    if size <= SMALL { eliminate(a, x, size) } else { solve_large(a, x, size) }
}

/// Gaussian elimination of contiguous rows: the solution replaces `x`, or NaN if a pivot is not
/// finite. Returns the first pivot that is zero.
fn eliminate<T: Float>(a: &mut [T], x: &mut [T], size: usize) -> Option<usize> {
    let cols = x.len() / size.max(1);
    let mut column = [T::ZERO; SMALL];
    for j in 0..size {
        for (i, element) in column.iter_mut().enumerate().take(size).skip(j) {
            *element = a[i * size + j];
        }
        let pivot = j + first_largest_small(&column[j..size]);
        if column[pivot] == T::ZERO {
            return Some(j);
        }
        if !column[pivot].to_f64().is_finite() {
            x.fill(T::from_f64(f64::NAN));
            return None;
        }
        if pivot != j {
            let (upper, lower) = a.split_at_mut(pivot * size);
            upper[j * size..(j + 1) * size].swap_with_slice(&mut lower[..size]);
            let (upper, lower) = x.split_at_mut(pivot * cols);
            upper[j * cols..(j + 1) * cols].swap_with_slice(&mut lower[..cols]);
            column.swap(j, pivot);
        }
        let (upper, lower) = a.split_at_mut((j + 1) * size);
        let row = &upper[j * size + j + 1..];
        let (x_upper, x_lower) = x.split_at_mut((j + 1) * cols);
        let x_row = &x_upper[j * cols..];
        let rows = column[j + 1..size].iter().zip(lower.chunks_exact_mut(size));
        for (i, (below, to)) in rows.enumerate() {
            let x_to = &mut x_lower[i * cols..(i + 1) * cols];
            let factor = *below / column[j];
            for (element, &above) in to[j + 1..].iter_mut().zip(row) {
                *element = *element - factor * above;
            }
            for (element, &above) in x_to.iter_mut().zip(x_row) {
                *element = *element - factor * above;
            }
        }
    }
    for j in (0..size).rev() {
        let (solved, row) = (&a[j * size..(j + 1) * size], j * cols);
        let (before, after) = x.split_at_mut(row + cols);
        for (&factor, below) in solved[j + 1..].iter().zip(after.chunks_exact(cols.max(1))) {
            for (element, &known) in before[row..].iter_mut().zip(below) {
                *element = *element - factor * known;
            }
        }
        for element in &mut before[row..] {
            *element = *element / solved[j];
        }
    }
    None
}

/// [`first_largest`] of a few elements, whose call would take longer than they do.
fn first_largest_small<T: Float>(x: &[T]) -> usize {
    if x.len() > SMALL / 2 {
        return first_largest(x);
    }
    let larger = |best: usize, i: usize| if x[i].abs() > x[best].abs() { i } else { best };
    (1..x.len()).fold(0, larger)
}

/// The same by the blocked factorisation.
fn solve_large<T: Float>(a: &mut [T], x: &mut [T], size: usize) -> Option<usize> {
    let mut pivots = vec![0u64; size];
    let pivots = Pivots(pivots.as_mut_ptr());
    let factors = Strided::row_major(a.as_mut_ptr(), size, size);
    let sides = Strided::row_major(x.as_mut_ptr(), size, x.len() / size.max(1));
    let alone = SingleThread::default();
    // SAFETY: the matrix and the pivots are borrowed by this function alone, and are as large as
    // stated.
    let outcome = unsafe { lu(factors, pivots, &alone) };
    debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    // SAFETY: as above; the right-hand sides are another slice.
    unsafe { solve(MatrixFactors::Lu(factors, pivots), sides, sides, &alone) };
    let diagonal = |i: usize| a[i * (size + 1)];
    // An overflow anywhere reaches the diagonal below it.
    if (0..size).any(|i| !diagonal(i).to_f64().is_finite()) {
        x.fill(T::from_f64(f64::NAN));
        return None;
    }
    (0..size).find(|&i| diagonal(i) == T::ZERO)
}
