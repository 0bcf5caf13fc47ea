//! Singular values and vectors.
//!
//! The QR factorisation of a matrix that has more rows than columns (Chan, "An Improved Algorithm
//! for Computing the Singular Value Decomposition", ACM Trans. Math. Softw. 8, 1982), reduction to
//! bidiagonal form, divide and conquer in `f64`, and products of the reflectors and the vectors.
#![allow(unsafe_code)]

use super::bidiagonal::bidiagonalize;
use super::divide::{Basis, Condensed, Divide};
use super::eigh::NEGLIGIBLE_ULPS;
use super::merge::LEAST;
use super::phases::Phases;
use super::qr::{QrMemory, qr_phases};
use super::reduction::{Reduction, tile_width};
use super::reflectors::{Operand, Reflectors, Transpose, apply_reflectors};
use super::shared_columns::{Carver, SharedColumns, load_columns};
use crate::kernel::matmul::{Float, Strided};
use crate::kernel::{FloatMode, PeerDied, Team};

/// The memory of a decomposition of an m x n matrix, m >= n.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SvdMemory<T> {
    /// The QR factorisation, if m > n.
    pub(super) qr: Option<QrMemory<T>>,
    /// n x n
    pub(super) a: SharedColumns<T>,
    /// [`Reduction::work_shape`]
    pub(super) work: SharedColumns<T>,
    /// n of n rows, shift 0.
    pub(super) q: Reflectors<T>,
    /// n - 1 of n rows, or none; shift 1.
    pub(super) p: Reflectors<T>,
    /// For the right vectors, (n + 1) x (n + 1), and for the left ones, n x n.
    pub(super) bases: [Basis; 2],
    /// (n + 1) x [`Divide::ROOTS`]
    pub(super) roots: SharedColumns<f64>,
    /// n x 1, the singular values, descending.
    pub(crate) values: SharedColumns<T>,
}

impl<T: Float> SvdMemory<T> {
    /// Memory for a matrix m x n, m >= n.
    pub(crate) fn carve(
        memory: &mut Carver<T>,
        wide: &mut Carver<f64>,
        [m, n]: [usize; 2],
    ) -> Self {
        let [rows, cols] = Reduction::<T>::work_shape(n);
        SvdMemory {
            values: memory.columns(n, 1),
            qr: (m > n).then(|| QrMemory::carve(memory, m, n)),
            a: memory.columns(n, n),
            work: memory.columns(rows, cols),
            q: Reflectors::carve(memory, n, n, 0),
            p: Reflectors::carve(memory, n, n.saturating_sub(1), 1),
            bases: [Basis::carve(wide, n + 1), Basis::carve(wide, n)],
            roots: wide.columns(n + 1, Divide::ROOTS),
        }
    }
}

/// One member's part of the decomposition `A = U S V^T`, m x n with m >= n. Elements are multiplied
/// by `factor`, a power of two that makes the largest magnitude about 1, and the values divided by
/// it. `vectors` are U, m x n, and V, n x n.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - `a` is valid for reading, and nothing writes to it; the memory and the vectors have the shapes
///   stated, and until all members have returned, nothing else accesses them.
/// - The team's counters are zero, and all members pass the same arguments, perhaps at other
///   addresses.
pub(crate) unsafe fn svd<T: Float>(
    a: &Strided<*mut T>,
    factor: T,
    memory: &SvdMemory<T>,
    vectors: Option<[&Strided<*mut T>; 2]>,
    team: &dyn Team,
) -> Result<(), PeerDied> {
    let _mode = FloatMode::standard();
    let mut phases = Phases::new(team);
    let (m, n) = (a.rows, a.cols);
    if n == 0 {
        return Ok(());
    }
    let (square, factor_left) = match &memory.qr {
        None => (*a, factor),
        Some(qr) => {
            // SAFETY: the caller's conditions.
            unsafe { qr_phases(a, factor, qr, &mut phases)? };
            (qr.r.strided().part(0..n, 0..n), T::ONE)
        }
    };
    while let Some(cols) = phases.part(&(0..n), tile_width(n)) {
        // SAFETY: the caller's conditions; the phase gives each tile to one member.
        let to = unsafe { memory.a.write(cols.clone()) };
        // SAFETY: the caller's conditions; R is complete.
        unsafe { load_columns(&square, cols, factor_left, to, memory.a.stride()) };
    }
    phases.end()?;
    let reflectors = [&memory.q, &memory.p];
    // SAFETY: the caller's conditions.
    let reduced = unsafe { bidiagonalize(memory.a, memory.work, reflectors, &mut phases)? };
    let wide = |x: Vec<T>| x.into_iter().map(T::to_f64).collect::<Vec<_>>();
    let mut above = wide(reduced.above);
    above.push(0.0);
    let divide = Divide {
        matrix: Condensed::Bidiagonal(wide(reduced.diagonal), above),
        bases: &memory.bases,
        roots: memory.roots,
        tolerance: NEGLIGIBLE_ULPS * T::EPSILON.to_f64(),
    };
    // SAFETY: the caller's conditions.
    let values = unsafe { divide.run(&mut phases)? };
    if phases.is_first() {
        // SAFETY: the caller's conditions; only member 0 accesses them.
        let to = unsafe { memory.values.write_part(0..n, 0) };
        // A merge replaces zeros by numbers of about this size. The largest element is about 1.
        let value = |x: f64| if x < 100.0 * LEAST { 0.0 } else { x };
        for (to, &x) in to.iter_mut().zip(values.iter().rev()) {
            *to = T::from_f64(value(x)) / factor;
        }
    }
    let Some([u, v]) = vectors else { return Ok(()) };
    let [right, left] = memory.bases.map(|basis| Operand::Wide {
        columns: basis.vectors,
        first: n.saturating_sub(1),
        reversed: true,
    });
    let mut steps = vec![(memory.q, Transpose::No)];
    steps.extend(memory.qr.map(|qr| (qr.q, Transpose::No)));
    // SAFETY: the caller's conditions; the basis and the reflectors are complete.
    unsafe { apply_reflectors(&steps, &left, m, u, &mut phases)? };
    // SAFETY: as above.
    unsafe { apply_reflectors(&[(memory.p, Transpose::No)], &right, n, v, &mut phases) }
}
