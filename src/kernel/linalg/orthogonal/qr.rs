//! The QR factorisation.
//!
//! Panel by panel, with the next panel factored by the member that updates it first, while the
//! others update the rest.
#![allow(unsafe_code)]

use super::phases::{Phases, part_of};
use super::qr_panel::QrPanel;
use super::reflectors::{Operand, Reflectors, Transpose, apply_reflectors};
use super::shared_columns::{Carver, SharedColumns, load_columns};
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::{FloatMode, PeerDied, Team};

/// The least and the greatest number of columns that a member updates at a time.
const TILE: (usize, usize) = (16, 96);

/// The memory of a factorisation `A = Q R`, m x n.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QrMemory<T> {
    /// m x n; becomes R, with zeros below the diagonal.
    pub(crate) r: SharedColumns<T>,
    /// Q, of min(m, n) reflectors.
    pub(crate) q: Reflectors<T>,
}

impl<T: Float> QrMemory<T> {
    /// Memory for a factorisation m x n.
    pub(crate) fn carve(memory: &mut Carver<T>, m: usize, n: usize) -> QrMemory<T> {
        QrMemory { r: memory.columns(m, n), q: Reflectors::carve(memory, m, m.min(n), 0) }
    }
}

/// One member's part of `factor A = Q R` (Householder; Golub and Van Loan, section 5.2).
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - A is valid for reading, and nothing writes to it; R has its shape, and R and Q are valid.
///   Until all members have returned, nothing else accesses them.
/// - The team's counters are zero, and all members pass the same matrices, perhaps at other
///   addresses.
pub(crate) unsafe fn qr<T: Float>(
    a: &Strided<*mut T>,
    factor: T,
    memory: &QrMemory<T>,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let _mode = FloatMode::standard();
    // SAFETY: the caller's conditions.
    unsafe { qr_phases(a, factor, memory, &mut Phases::new(team)) }
}

/// [`qr`], as phases of a longer job.
///
/// # Errors
///
/// As [`qr`].
///
/// # Safety
///
/// - As [`qr`].
pub(super) unsafe fn qr_phases<T: Float>(
    a: &Strided<*mut T>,
    factor: T,
    memory: &QrMemory<T>,
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    let QrMemory { r, q } = memory;
    let n = r.cols();
    let mut work = Vec::new();
    let width = tile_width(n);
    while let Some(cols) = phases.part(&(0..n), width) {
        // SAFETY: the caller's conditions; the phase gives each tile to one member.
        let to = unsafe { r.write(cols.clone()) };
        // SAFETY: the caller's conditions.
        unsafe { load_columns(a, cols, factor, to, r.stride()) };
    }
    phases.end()?;
    if phases.unit(1).is_some() {
        // SAFETY: the caller's conditions; no other member accesses the matrices in this phase.
        unsafe { factor_panel(memory, 0, &mut work) };
    }
    phases.end()?;
    let mut index = 0;
    while !q.block(index).is_empty() {
        let rest = q.block(index).end..n;
        let head = q.block(index + 1);
        let body = rest.start + head.len()..n;
        let heads = usize::from(!head.is_empty());
        while let Some(unit) = phases.unit(heads + body.len().div_ceil(width)) {
            let is_head = unit < heads;
            let cols =
                if is_head { Some(head.clone()) } else { part_of(&body, width, unit - heads) };
            let cols = cols.expect("there are that many tiles");
            // SAFETY: the caller's conditions; this block was complete before the phase.
            let block = unsafe { q.read(index) };
            // SAFETY: the caller's conditions; the phase gives each tile to one member.
            let tile = unsafe { r.write(cols.clone()) };
            let part = &mut tile[block.first_row..];
            block.apply(Transpose::Yes, part, cols.len(), r.stride(), &mut work);
            if is_head {
                // SAFETY: the caller's conditions; the phase gives the head to one member, and
                // nothing reads the next block in this phase.
                unsafe { factor_panel(memory, index + 1, &mut work) };
            }
        }
        phases.end()?;
        index += 1;
    }
    Ok(())
}

/// Columns of a tile, from the size of the matrix alone.
fn tile_width(n: usize) -> usize {
    n.div_ceil(16).next_multiple_of(8).clamp(TILE.0, TILE.1)
}

/// Factors panel `index`.
///
/// # Safety
///
/// - The memory is valid, and nothing else accesses the columns of this panel.
unsafe fn factor_panel<T: Float>(memory: &QrMemory<T>, index: usize, work: &mut Vec<T>) {
    let QrMemory { r, q } = memory;
    let cols = q.block(index);
    // SAFETY: the caller's conditions.
    let r_part = unsafe { r.write(cols.clone()) };
    // SAFETY: the caller's conditions.
    let v = unsafe { q.v.write(cols.clone()) };
    // SAFETY: the caller's conditions.
    let t = unsafe { q.t.write(cols.clone()) };
    t.fill(T::ZERO);
    let panel = QrPanel {
        r: r_part,
        v,
        t,
        stride: r.stride(),
        t_stride: q.t.stride(),
        rows: r.rows(),
        first_row: cols.start,
        first_t: 0,
        cols: cols.len(),
    };
    panel.factor(work);
}

/// One member's part of `to = Q operand` or `Q^T operand`, of which `to` may have only the first
/// rows.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - Everything is valid, and the operand has the columns of `to`; until all members have returned,
///   nothing writes to the operand and Q, and nothing else accesses `to`.
/// - The team's counters are zero, and all members pass the same arguments.
pub(crate) unsafe fn apply_q<T: Float>(
    q: &Reflectors<T>,
    transpose: Transpose,
    operand: &Operand<T>,
    to: &Strided<*mut T>,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let _mode = FloatMode::standard();
    let rows = q.v.rows();
    // SAFETY: the caller's conditions.
    unsafe { apply_reflectors(&[(*q, transpose)], operand, rows, to, &mut Phases::new(team)) }
}
