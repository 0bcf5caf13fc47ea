//! Cholesky factorisation, by a team.
//!
//! Right-looking, by panels of columns (Golub and Van Loan, section 4.2.6). A panel is a block on
//! the diagonal and the rows below it. In step k the block is factored already. Every member takes
//! rows below it, and solves them with the block's triangle. After a barrier it takes strips of the
//! columns to the right, and subtracts the product of the panel. The first strip has the columns of
//! the next block, which its member factors at once while the others go on (look-ahead). A strip
//! reaches from its diagonal down, so half of the product is computed.
//!
//! A block on the diagonal is factored by recursion on its halves.
#![allow(unsafe_code)]

use std::ops::Range;

use super::cholesky_panel::{factor_panel, is_pivot};
use super::panel::{LEAF, Panel, copy, halves};
use super::product::subtract_product;
use super::strips::{UNIT, panel, strip};
use super::triangular::{Triangle, solve};
use crate::kernel::matmul::{Float, Strided, shares};
use crate::kernel::{PeerDied, Team};

/// The counter of the first block on the diagonal, which one member takes.
const FIRST: usize = 9;
/// The counter of blocks of rows below that block.
const BLOCKS: usize = 10;
/// The counter of strips of columns to the right of a panel.
const STRIPS: usize = 11;
/// The counter of rows of the band that is cleared at the end.
const CLEARED: usize = 12;
/// The counter of lines that are copied.
const COPIED: usize = 13;
/// Lines that are copied at a time.
const LINES: usize = 32;
/// Rows that are solved with a block on the diagonal at a time.
const ROWS: usize = 64;

/// One member's part of `A = L L^T`. The lower triangle of `a` is read, and L, with zeros above its
/// diagonal, is written to `l`. It uses the team's counters 9 to 13, which must be zero at the
/// start.
///
/// Returns the first column whose pivot is not positive, the same in all members: A is then not
/// positive definite, and the contents of `l` are unspecified.
///
/// # Errors
///
/// [`PeerDied`] if a member died; `l` is then unspecified.
///
/// # Safety
///
/// - Both are square, of the same size, valid at their strides, and no two elements of one
///   coincide. Until all members have returned, nothing writes `a`, and only this team accesses
///   `l`. They may be the same matrix, but must not overlap otherwise.
/// - All members pass the same matrices; addresses may differ from process to process.
pub(crate) unsafe fn cholesky<T: Float>(
    a: Strided<*mut T>,
    l: Strided<*mut T>,
    team: &dyn Team,
) -> Result<Option<usize>, PeerDied> {
    // SAFETY: the caller's conditions.
    unsafe { copy_triangle(a, l, team) };
    team.barrier()?;
    // SAFETY: the caller's conditions.
    unsafe { factor_copy(l, team) }
}

/// The same in place. Of what lies above the diagonal, only the [`UNIT`] - 1 elements next to it
/// are written: they become zero.
///
/// # Safety
///
/// - As [`cholesky`], for `a` alone.
unsafe fn factor_copy<T: Float>(
    a: Strided<*mut T>,
    team: &dyn Team,
) -> Result<Option<usize>, PeerDied> {
    let size = a.rows;
    let mut memory = Panel::new();
    if team.take(FIRST, 1) == 0 {
        // SAFETY: the caller's conditions; only this member gets the first block.
        unsafe { factor(a, panel(size, 0), &mut memory) };
    }
    team.barrier()?;
    let mut done = panel(size, 0);
    while !done.is_empty() {
        // SAFETY: the caller's conditions; the block is complete since the last barrier.
        if let Some(failed) = unsafe { not_positive(a, done.clone()) } {
            return Ok(Some(failed));
        }
        let (right, next) = (done.end..size, panel(size, done.end));
        for rows in shares(team, BLOCKS, right.len(), ROWS) {
            let rows = right.start + rows.start..right.start + rows.end;
            // SAFETY: as above; the counter gives each block of rows to one member.
            unsafe { solve_rows(a, &done, rows, &mut memory) };
        }
        if team.rank() == 0 {
            // Nobody takes from it before the next barrier.
            team.reset(STRIPS);
        }
        team.barrier()?;
        for index in shares(team, STRIPS, usize::MAX, 1) {
            let Some(columns) = strip(&right, next.len(), index.start) else { break };
            // SAFETY: the caller's conditions; the panel is complete since the last barrier, and
            // the counter gives each strip, which has other columns, to one member.
            unsafe { update(a, &done, columns, size) };
            if index.start == 0 {
                // SAFETY: as above; the first strip has the columns of the next block.
                unsafe { factor(a, next.clone(), &mut memory) };
            }
        }
        if team.rank() == 0 {
            // As above.
            team.reset(BLOCKS);
        }
        team.barrier()?;
        done = next;
    }
    for rows in shares(team, CLEARED, size, panel(size, 0).len().max(1)) {
        for i in rows {
            for j in i + 1..size.min(i + UNIT) {
                // SAFETY: the element exists, and the counter gives its row to one member.
                unsafe { a.at(i, j).write(T::ZERO) };
            }
        }
    }
    team.barrier()?;
    Ok(None)
}

/// One member's part: copies the lower triangle of `from` to `to`, and clears what lies above it.
///
/// # Safety
///
/// - As [`cholesky`].
unsafe fn copy_triangle<T: Float>(from: Strided<*mut T>, to: Strided<*mut T>, team: &dyn Team) {
    let size = to.rows;
    // Line by line, in rows or columns, whichever are contiguous.
    let by_rows = to.row_stride != 1;
    let (from, to) = if by_rows { (from, to) } else { (from.transposed(), to.transposed()) };
    for lines in shares(team, COPIED, size, LINES) {
        // A block that is kept whole, and line by line the rest, with its corner on the diagonal.
        let block = if by_rows { 0..lines.start } else { lines.end..size };
        let part = |a: Strided<*mut T>| a.part(lines.clone(), block.clone());
        if from != to {
            // SAFETY: the caller's conditions; the counter gives each line to one member.
            unsafe { copy(part(from), part(to)) };
        }
        for line in lines.clone() {
            let (kept, cleared) = if by_rows {
                (lines.start..line + 1, line + 1..size)
            } else {
                (line..lines.end, 0..line)
            };
            for j in kept {
                // SAFETY: the element exists, and the caller guarantees it.
                let element = unsafe { from.at(line, j).read() };
                // SAFETY: the element exists, and as above.
                unsafe { to.at(line, j).write(element) };
            }
            for j in cleared {
                // SAFETY: as above.
                unsafe { to.at(line, j).write(T::ZERO) };
            }
        }
    }
}

/// Solves rows below a block on the diagonal with its triangle: they become those of L.
///
/// # Safety
///
/// - The matrix is valid, nothing else accesses these rows in these columns, and nothing writes the
///   block on the diagonal.
unsafe fn solve_rows<T: Float>(
    a: Strided<*mut T>,
    columns: &Range<usize>,
    rows: Range<usize>,
    memory: &mut Panel<T>,
) {
    let corner = a.part(columns.clone(), columns.clone());
    let place = a.part(rows, columns.clone());
    // SAFETY: the caller's conditions.
    unsafe { memory.load(place.transposed()) };
    let copy = memory.part(0..place.cols, 0..place.rows);
    // SAFETY: the caller guarantees the block; the copy is this member's own memory.
    unsafe { solve(Triangle::Lower, corner, copy) };
    // SAFETY: the caller's conditions.
    unsafe { memory.store(place.transposed()) };
}

/// Updates columns to the right of a complete panel, from the diagonal down to row `end`.
///
/// # Safety
///
/// - The matrix is valid, nothing else accesses `columns`, and nothing writes the panel.
unsafe fn update<T: Float>(
    a: Strided<*mut T>,
    panel: &Range<usize>,
    columns: Range<usize>,
    end: usize,
) {
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
    subtract(columns.end..end, columns);
}

/// Factors a block on the diagonal, which is updated by the columns to its left. Returns whether
/// all pivots are positive; it stops at one that is not, and leaves it on the diagonal.
///
/// # Safety
///
/// - The matrix is valid, and nothing else accesses this block.
unsafe fn factor<T: Float>(a: Strided<*mut T>, block: Range<usize>, memory: &mut Panel<T>) -> bool {
    if block.len() <= LEAF {
        let place = a.part(block.clone(), block);
        // SAFETY: the caller's conditions.
        unsafe { memory.load(place) };
        let is_positive = factor_panel(memory);
        // SAFETY: the caller's conditions.
        unsafe { memory.store(place) };
        return is_positive;
    }
    let (left, right) = halves(&block);
    // SAFETY: the caller's conditions hold for a part of the block.
    if !unsafe { factor(a, left.clone(), memory) } {
        return false;
    }
    // SAFETY: as above.
    unsafe { solve_rows(a, &left, right.clone(), memory) };
    // SAFETY: as above.
    unsafe { update(a, &left, right.clone(), right.end) };
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
