//! Eigenvalues and eigenvectors of a symmetric matrix.
//!
//! Reduction to tridiagonal form, divide and conquer in `f64`, and the product of the reduction's
//! reflectors and the vectors.
#![allow(unsafe_code)]

use super::divide::{Basis, Condensed, Divide};
use super::phases::Phases;
use super::reduction::{Reduction, tile_width};
use super::reflectors::{Operand, Reflectors, Transpose, apply_reflectors};
use super::shared_columns::{Carver, SharedColumns, load_columns};
use super::tridiagonal::tridiagonalize;
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::{FloatMode, PeerDied, Team};

/// Couplings up to this many rounding units are neglected, as in LAPACK's `dlaed2`.
pub(super) const NEGLIGIBLE_ULPS: f64 = 4.0;

/// The memory of a decomposition of an n x n matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EighMemory<T> {
    /// n x n
    pub(super) a: SharedColumns<T>,
    /// [`Reduction::work_shape`]
    pub(super) work: SharedColumns<T>,
    /// n - 1 of n rows, or none; shift 1.
    pub(super) q: Reflectors<T>,
    /// n x n
    pub(super) basis: Basis,
    /// n x [`Divide::ROOTS`]
    pub(super) roots: SharedColumns<f64>,
    /// n x 1, the eigenvalues, ascending.
    pub(crate) values: SharedColumns<T>,
}

impl<T: Float> EighMemory<T> {
    /// Memory for a matrix n x n.
    pub(crate) fn carve(memory: &mut Carver<T>, wide: &mut Carver<f64>, n: usize) -> Self {
        let [rows, cols] = Reduction::<T>::work_shape(n);
        EighMemory {
            values: memory.columns(n, 1),
            a: memory.columns(n, n),
            work: memory.columns(rows, cols),
            q: Reflectors::carve(memory, n, n.saturating_sub(1), 1),
            basis: Basis::carve(wide, n),
            roots: wide.columns(n, Divide::ROOTS),
        }
    }
}

/// One member's part of the decomposition of a symmetric matrix, of which only the diagonal and
/// the elements below it are read. Elements are multiplied by `factor`, a power of two that makes
/// the largest magnitude about 1, and the values divided by it. `vectors`, n x n, become the
/// eigenvectors, in columns.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - `a` is square and valid for reading, and nothing writes to it; the memory has the shapes that
///   its fields state, `vectors` the shape of `a`; until all members have returned, nothing else
///   accesses them.
/// - The team's counters are zero, and all members pass the same arguments, perhaps at other
///   addresses.
pub(crate) unsafe fn eigh<T: Float>(
    a: &Strided<*mut T>,
    factor: T,
    memory: &EighMemory<T>,
    vectors: Option<&Strided<*mut T>>,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let _mode = FloatMode::standard();
    let mut phases = Phases::new(team);
    let n = a.rows;
    if n == 0 {
        return Ok(());
    }
    while let Some(cols) = phases.part(&(0..n), tile_width(n)) {
        // SAFETY: the caller's conditions; the phase gives each tile to one member.
        let to = unsafe { memory.a.write(cols.clone()) };
        // SAFETY: the caller's conditions.
        unsafe { load_columns(a, cols, factor, to, memory.a.stride()) };
    }
    phases.end()?;
    // SAFETY: the caller's conditions.
    let reduced = unsafe { tridiagonalize(memory.a, memory.work, &memory.q, &mut phases)? };
    let wide = |x: Vec<T>| x.into_iter().map(T::to_f64).collect();
    let divide = Divide {
        matrix: Condensed::Tridiagonal(wide(reduced.diagonal), wide(reduced.beside)),
        bases: &[memory.basis],
        roots: memory.roots,
        tolerance: NEGLIGIBLE_ULPS * T::EPSILON.to_f64(),
    };
    // SAFETY: the caller's conditions.
    let values = unsafe { divide.run(&mut phases)? };
    if phases.is_first() {
        // SAFETY: the caller's conditions; only member 0 accesses them.
        let to = unsafe { memory.values.write_part(0..n, 0) };
        to.iter_mut().zip(values).for_each(|(to, value)| *to = T::from_f64(value) / factor);
    }
    if let Some(vectors) = vectors {
        let operand = Operand::Wide { columns: memory.basis.vectors, first: 0, reversed: false };
        let steps = [(memory.q, Transpose::No)];
        // SAFETY: the caller's conditions; the basis and the reflectors are complete.
        unsafe { apply_reflectors(&steps, &operand, n, vectors, &mut phases)? };
    }
    Ok(())
}
