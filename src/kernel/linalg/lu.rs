//! LU factorisation with partial pivoting, by a team.
//!
//! Right-looking, by panels of columns (Golub and Van Loan, section 3.4.3). In step k every member
//! takes strips of the columns to the right of panel k: it swaps their rows, solves with the
//! panel's unit lower triangle, and subtracts the product. The first strip is the next panel,
//! which its member factors at once while the others go on (look-ahead of one panel, LAPACK
//! Working Note 178). So a step has one barrier. Rows to the left of a panel are swapped at the
//! end.
//!
//! A panel is factored by Toledo's recursion: its left half, an update of the right half, which is
//! that of a strip, and its right half.
#![allow(unsafe_code)]

use std::ops::Range;

use super::lu_panel::factor_panel;
use super::panel::{LEAF, Panel, halves};
use super::product::subtract_product;
use super::strips::{panel, strip};
use super::triangular::{Triangle, solve};
use crate::kernel::matmul::{Float, Strided, shares};
use crate::kernel::{PeerDied, Team};

/// The counter of the first panel, which one member takes.
const FIRST: usize = 9;
/// The counters of strips, of even and of odd steps.
const STRIPS: [usize; 2] = [10, 11];
/// The counter of panels whose rows are swapped at the end.
const SWAPPED: usize = 12;

/// The pivots of a factorisation, by address: step i swaps row i with row `pivots[i]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pivots(pub(crate) *mut u64);

/// A matrix to factor, and its pivots.
struct Lu<T> {
    a: Strided<*mut T>,
    pivots: Pivots,
}

/// One member's part of `P A = L U`. L, without its unit diagonal, and U replace A. Step i swaps
/// row i with row `pivots[i]`, which is not above it.
///
/// The pivot is the first element of the largest magnitude. A column in which all of them are zero
/// is left as it is, so that U has a zero on its diagonal. It uses the team's counters 9 to 12,
/// which must be zero at the start.
///
/// # Errors
///
/// [`PeerDied`] if a member died; A and the pivots are then unspecified.
///
/// # Safety
///
/// - A is valid at its strides, no two elements coincide, and `pivots` is valid for as many
///   elements as A has rows or columns, whichever are fewer. Until all members have returned, only
///   this team accesses either.
/// - All members pass the same matrix and pivots; addresses may differ from process to process.
pub(crate) unsafe fn lu<T: Float>(
    a: Strided<*mut T>,
    pivots: Pivots,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let (lu, size) = (Lu { a, pivots }, a.rows.min(a.cols));
    let mut memory = Panel::new();
    if team.take(FIRST, 1) == 0 {
        // SAFETY: the caller's conditions; only this member gets the first panel.
        unsafe { lu.factor(panel(size, 0), &mut memory) };
    }
    team.barrier()?;
    let (mut step, mut done) = (0, panel(size, 0));
    while !done.is_empty() {
        let (right, next) = (done.end..a.cols, panel(size, done.end));
        for index in shares(team, STRIPS[step % 2], usize::MAX, 1) {
            let Some(columns) = strip(&right, next.len(), index.start) else { break };
            // SAFETY: the caller's conditions; the panel is complete since the last barrier, and
            // the counter gives each strip to one member.
            unsafe { lu.update(&done, columns, &mut memory) };
            if index.start == 0 && !next.is_empty() {
                // SAFETY: as above; the first strip is the next panel.
                unsafe { lu.factor(next.clone(), &mut memory) };
            }
        }
        if team.rank() == 0 {
            // Nobody takes from it in this step.
            team.reset(STRIPS[(step + 1) % 2]);
        }
        team.barrier()?;
        (step, done) = (step + 1, next);
    }
    for index in shares(team, SWAPPED, usize::MAX, 1) {
        let Some(first) = index.start.checked_mul(panel(size, 0).len()) else { break };
        let columns = panel(size, first.min(size));
        if columns.is_empty() {
            break;
        }
        // SAFETY: the caller's conditions; the pivots are complete since the last barrier, and the
        // counter gives each panel to one member.
        unsafe { lu.swap_rows(columns.end..size, columns) };
    }
    team.barrier()
}

impl<T: Float> Lu<T> {
    /// Factors columns from their diagonal on, and writes their pivots.
    ///
    /// # Safety
    ///
    /// - The matrix and the pivots are valid, and nothing else accesses these columns or their
    ///   pivots.
    unsafe fn factor(&self, columns: Range<usize>, memory: &mut Panel<T>) {
        if columns.len() <= LEAF {
            // SAFETY: the caller's conditions.
            unsafe { self.factor_leaf(columns, memory) };
            return;
        }
        let (left, right) = halves(&columns);
        // SAFETY: the caller's conditions hold for a part of the columns.
        unsafe { self.factor(left.clone(), memory) };
        // SAFETY: as above.
        unsafe { self.update(&left, right.clone(), memory) };
        // SAFETY: as above.
        unsafe { self.factor(right.clone(), memory) };
        // SAFETY: as above.
        unsafe { self.swap_rows(right, left) };
    }

    /// The same for a few columns, in a copy.
    ///
    /// # Safety
    ///
    /// - As [`factor`](Lu::factor).
    unsafe fn factor_leaf(&self, columns: Range<usize>, memory: &mut Panel<T>) {
        let first = columns.start;
        let place = self.a.part(first..self.a.rows, columns);
        let mut pivots = [0; LEAF];
        // SAFETY: the caller's conditions.
        unsafe { memory.load(place) };
        factor_panel(memory, &mut pivots);
        // SAFETY: the caller's conditions.
        unsafe { memory.store(place) };
        for (j, pivot) in pivots.into_iter().enumerate().take(place.cols) {
            // SAFETY: column `first + j` has a pivot, and the caller guarantees that it is valid.
            unsafe { self.pivots.0.wrapping_add(first + j).write((first + pivot) as u64) };
        }
    }

    /// Updates columns to the right of a complete panel.
    ///
    /// # Safety
    ///
    /// - The matrix and the pivots are valid, nothing else accesses `columns`, and nothing writes
    ///   the panel or its pivots.
    unsafe fn update(&self, panel: &Range<usize>, columns: Range<usize>, memory: &mut Panel<T>) {
        let Lu { a, .. } = self;
        let below = panel.end..a.rows;
        // SAFETY: the caller's conditions.
        unsafe { self.swap_rows(panel.clone(), columns.clone()) };
        let corner = a.part(panel.clone(), panel.clone());
        let beside = a.part(panel.clone(), columns.clone());
        // Rows of a matrix may be a power of two apart, and compete for few sets of a cache. Those
        // of U are used for every row below, so they are solved and used in a copy.
        // SAFETY: the caller's conditions.
        unsafe { memory.load(beside.transposed()) };
        let copy = memory.part(0..beside.cols, 0..beside.rows).transposed();
        // SAFETY: the copy is this member's own memory.
        unsafe { solve(Triangle::UnitLower, corner, copy) };
        let (left, to) = (a.part(below.clone(), panel.clone()), a.part(below, columns));
        // SAFETY: the caller's conditions; the panel has other columns, the copy other memory.
        unsafe { subtract_product(left, copy, to) };
        // SAFETY: the caller's conditions.
        unsafe { memory.store(beside.transposed()) };
    }

    /// Swaps rows in the columns `columns` by the pivots of the columns `by`.
    ///
    /// # Safety
    ///
    /// - The matrix and the pivots are valid, nothing else accesses `columns`, and nothing writes
    ///   these pivots.
    unsafe fn swap_rows(&self, by: Range<usize>, columns: Range<usize>) {
        // SAFETY: the caller's conditions.
        unsafe { self.pivots.swap_rows(by, self.a.part(0..self.a.rows, columns)) };
    }
}

impl Pivots {
    /// Swaps rows of `a`, by these pivots one after the other.
    ///
    /// # Safety
    ///
    /// - The matrix and these pivots are valid, nothing else accesses the matrix, and nothing
    ///   writes these pivots. Each is the number of a row.
    pub(super) unsafe fn swap_rows<T: Float>(
        self,
        by: impl Iterator<Item = usize>,
        a: Strided<*mut T>,
    ) {
        for row in by {
            // SAFETY: the caller guarantees it.
            let pivot = unsafe { self.0.wrapping_add(row).read() };
            // Another process wrote it: a wrong one must not lead outside the matrix.
            let pivot = usize::try_from(pivot).unwrap_or(usize::MAX);
            if pivot <= row || pivot >= a.rows {
                continue;
            }
            let (upper, lower) = (a.at(row, 0), a.at(pivot, 0));
            if a.col_stride == 1 {
                // SAFETY: the rows exist, are contiguous and different, by the caller's conditions.
                unsafe { std::ptr::swap_nonoverlapping(upper, lower, a.cols) };
                continue;
            }
            for j in 0..a.cols.cast_signed() {
                let to = j.wrapping_mul(a.col_stride);
                // SAFETY: both elements exist and are different, by the caller's conditions.
                unsafe { upper.wrapping_offset(to).swap(lower.wrapping_offset(to)) };
            }
        }
    }
}
