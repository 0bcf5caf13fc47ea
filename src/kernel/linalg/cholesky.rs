//! Cholesky factorisation, by a team.
//!
//! Right-looking, by panels of columns (Golub and Van Loan, section 4.2.6), with the steps and the
//! look-ahead of `lu`. A strip reaches from its diagonal down, so half of the product is computed.
#![allow(unsafe_code)]

use std::ops::Range;

use super::cholesky_panel::factor_panel;
use super::panel::Panel;
use super::product::subtract_product;
use super::strips::{panel, strip};
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
            let (rows, across) = (columns.start..size, columns.clone());
            let left = a.part(rows.clone(), done.clone());
            let beside = a.part(across, done.clone()).transposed();
            // SAFETY: the caller's conditions; the panel is complete since the last barrier, and
            // the counter gives each strip, which has other columns, to one member.
            unsafe { subtract_product(left, beside, a.part(rows, columns)) };
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

/// Factors a panel from its diagonal on.
///
/// # Safety
///
/// - The matrix is valid, and nothing else accesses the panel.
unsafe fn factor<T: Float>(a: Strided<*mut T>, columns: Range<usize>, memory: &mut Panel<T>) {
    let place = a.part(columns.start..a.rows, columns);
    // SAFETY: the caller's conditions.
    unsafe { memory.load(place) };
    factor_panel(memory);
    // SAFETY: the caller's conditions.
    unsafe { memory.store(place) };
}

/// The first of these columns whose element on the diagonal is not positive.
///
/// # Safety
///
/// - The matrix is valid, and nothing writes these elements.
unsafe fn not_positive<T: Float>(a: Strided<*mut T>, mut columns: Range<usize>) -> Option<usize> {
    columns.find(|&j| {
        // SAFETY: the element exists, and the caller guarantees it.
        let pivot = unsafe { a.at(j, j).read() };
        let is_positive = pivot > T::ZERO && pivot.to_f64() < f64::INFINITY;
        !is_positive
    })
}
