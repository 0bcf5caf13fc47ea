//! Cholesky factorisation, by a team.
//!
//! Right-looking, by panels of columns (Golub and Van Loan, section 4.2.6), with the steps, the
//! look-ahead and the recursion of `lu`. A strip reaches from its diagonal down, so half of the
//! product is computed.
#![allow(unsafe_code)]

use std::ops::Range;

use super::cholesky_panel::{factor_panel, is_pivot};
use super::panel::{LEAF, Panel, halves};
use super::product::subtract_product;
use super::strips::{UNIT, panel, strip};
use crate::kernel::matmul::{Float, Strided, shares};
use crate::kernel::{PeerDied, Team};

/// The counter of the first panel, which one member takes.
const FIRST: usize = 9;
/// The counters of strips, of even and of odd steps.
const STRIPS: [usize; 2] = [10, 11];
/// The counter of rows that are cleared above the diagonal at the end.
const CLEARED: usize = 12;

/// One member's part of `A = L L^T`. L replaces A; elements above the diagonal are not read, and
/// become zero. It uses the team's counters 9 to 12, which must be zero at the start.
///
/// Returns the first column whose pivot is not positive, the same in all members: A is then not
/// positive definite, and its contents are unspecified.
///
/// # Errors
///
/// [`PeerDied`] if a member died; A is then unspecified.
///
/// # Safety
///
/// - A is square and valid at its strides, and no two elements coincide. Until all members have
///   returned, only this team accesses it.
/// - All members pass the same matrix; addresses may differ from process to process.
pub(crate) unsafe fn cholesky<T: Float>(
    a: Strided<*mut T>,
    team: &dyn Team,
) -> Result<Option<usize>, PeerDied> {
    let size = a.rows;
    let mut memory = Panel::new();
    if team.take(FIRST, 1) == 0 {
        // SAFETY: the caller's conditions; only this member gets the first panel.
        unsafe { factor(a, panel(size, 0), &mut memory) };
    }
    team.barrier()?;
    let (mut step, mut done) = (0, panel(size, 0));
    while !done.is_empty() {
        // SAFETY: the caller's conditions; the panel is complete since the last barrier.
        if let Some(failed) = unsafe { not_positive(a, done.clone()) } {
            return Ok(Some(failed));
        }
        let (right, next) = (done.end..size, panel(size, done.end));
        for index in shares(team, STRIPS[step % 2], usize::MAX, 1) {
            let Some(columns) = strip(&right, next.len(), index.start) else { break };
            // SAFETY: the caller's conditions; the panel is complete since the last barrier, and
            // the counter gives each strip, which has other columns, to one member.
            unsafe { update(a, &done, columns) };
            if index.start == 0 {
                // SAFETY: as above; the first strip is the next panel.
                unsafe { factor(a, next.clone(), &mut memory) };
            }
        }
        if team.rank() == 0 {
            // Nobody takes from it in this step.
            team.reset(STRIPS[(step + 1) % 2]);
        }
        team.barrier()?;
        (step, done) = (step + 1, next);
    }
    for rows in shares(team, CLEARED, size, panel(size, 0).len().max(1)) {
        for i in rows {
            for j in i + 1..size {
                // SAFETY: the element exists, and the counter gives its row to one member.
                unsafe { a.at(i, j).write(T::ZERO) };
            }
        }
    }
    team.barrier()?;
    Ok(None)
}

/// Updates columns to the right of a complete panel, from the diagonal down.
///
/// # Safety
///
/// - The matrix is valid, nothing else accesses `columns`, and nothing writes the panel.
unsafe fn update<T: Float>(a: Strided<*mut T>, panel: &Range<usize>, columns: Range<usize>) {
    let subtract = |rows: Range<usize>, columns: Range<usize>| {
        let left = a.part(rows.clone(), panel.clone());
        let right = a.part(columns.clone(), panel.clone()).transposed();
        // SAFETY: the caller's conditions; the panel has other columns.
        unsafe { subtract_product(left, right, a.part(rows, columns)) };
    };
    // The square on the diagonal in narrow steps: what they compute above it is not used.
    for first in columns.clone().step_by(UNIT) {
        subtract(first..columns.end, first..columns.end.min(first + UNIT));
    }
    subtract(columns.end..a.rows, columns);
}

/// Factors columns from their diagonal on, which are updated by those to their left. Returns
/// whether all pivots are positive; it stops at one that is not, and leaves it on the diagonal.
///
/// # Safety
///
/// - The matrix is valid, and nothing else accesses these columns.
unsafe fn factor<T: Float>(
    a: Strided<*mut T>,
    columns: Range<usize>,
    memory: &mut Panel<T>,
) -> bool {
    if columns.len() <= LEAF {
        let place = a.part(columns.start..a.rows, columns);
        // SAFETY: the caller's conditions.
        unsafe { memory.load(place) };
        let is_positive = factor_panel(memory);
        // SAFETY: the caller's conditions.
        unsafe { memory.store(place) };
        return is_positive;
    }
    let (left, right) = halves(&columns);
    // SAFETY: the caller's conditions hold for a part of the columns.
    if !unsafe { factor(a, left.clone(), memory) } {
        return false;
    }
    // SAFETY: as above.
    unsafe { update(a, &left, right.clone()) };
    // SAFETY: as above.
    unsafe { factor(a, right, memory) }
}

/// The first of these columns whose element on the diagonal is not positive.
///
/// # Safety
///
/// - The matrix is valid, and nothing writes these elements.
unsafe fn not_positive<T: Float>(a: Strided<*mut T>, mut columns: Range<usize>) -> Option<usize> {
    // SAFETY: the element exists, and the caller guarantees it.
    columns.find(|&j| !is_pivot(unsafe { a.at(j, j).read() }))
}
