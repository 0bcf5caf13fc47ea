//! The common part of both reductions.
//!
//! Both keep the updates of a panel apart: the current matrix is `A - L R^T`, where L and R get a
//! column with each reflector, and A changes once in a panel. A step multiplies the current matrix
//! by a vector x, and computes one of its columns (or rows), which gives the next reflector
//! (Dongarra, Sorensen and Hammarling, "Block reduction of matrices to condensed forms for
//! eigenvalue computations", J. Comput. Appl. Math. 27, 1989). It takes two phases:
//!
//! 1. Tiles of `A x`, and `R^T x`.
//! 2. Chunks of `A x - L (R^T x)`, and of the column `A e - L (R^T e)`.
//!
//! What takes time proportional to one column, each member computes for itself, from the same
//! numbers. So L, R and the vectors are in the members' own memory.
#![allow(unsafe_code)]

use std::ops::Range;

use super::householder::add_multiple;
use super::phases::Phases;
use super::reflectors::{matrix, matrix_mut, product};
use super::shared_columns::{SharedColumns, stride_of};
use crate::kernel::PeerDied;
use crate::kernel::matmul::Float;

/// Reflectors of each kind in a panel.
const PANEL: usize = 32;
/// Rows of a chunk.
const CHUNK: usize = 128;
/// Columns of the shared memory before those of partial products.
const PARTIAL: usize = 3;
/// The column for `R^T x`.
const DOTS: usize = 0;
/// The column for the product.
const PRODUCT: usize = 1;
/// The column for the next column of the matrix.
const NEXT: usize = 2;

/// L or R.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReductionSide {
    L,
    R,
}

/// A matrix under reduction, n x n, as one member sees it.
pub(super) struct Reduction<T> {
    pub(super) a: SharedColumns<T>,
    /// [`Reduction::work_shape`]
    work: SharedColumns<T>,
    l: Vec<T>,
    r: Vec<T>,
    /// Columns of L and R that are in use.
    filled: usize,
}

/// What phase 2 combines.
pub(super) struct LinearCombination<'a> {
    /// The first row of the result.
    pub(super) first: usize,
    /// The first row of each partial product.
    pub(super) starts: &'a [usize],
    /// The row of the other factor that belongs to the next column.
    pub(super) pivot: usize,
}

/// Columns that a member multiplies at a time, from the size of the matrix alone.
pub(super) fn tile_width(n: usize) -> usize {
    n.div_ceil(16).next_multiple_of(8).clamp(32, 128)
}

impl<T: Float> Reduction<T> {
    /// Rows and columns of the memory that the members share besides A.
    pub(super) fn work_shape(n: usize) -> [usize; 2] {
        [n.max(2 * PANEL), PARTIAL + n.div_ceil(tile_width(n))]
    }

    pub(super) fn new(a: SharedColumns<T>, work: SharedColumns<T>) -> Reduction<T> {
        let len = stride_of::<T>(a.rows()) * 2 * PANEL;
        Reduction { a, work, l: vec![T::ZERO; len], r: vec![T::ZERO; len], filled: 0 }
    }

    fn factor(&self, factor: ReductionSide) -> &[T] {
        if factor == ReductionSide::L { &self.l } else { &self.r }
    }

    /// Appends a column to L and one to R.
    pub(super) fn push(&mut self, l: &[T], r: &[T]) {
        let (n, stride) = (self.a.rows(), stride_of::<T>(self.a.rows()));
        self.l[self.filled * stride..][..n].copy_from_slice(l);
        self.r[self.filled * stride..][..n].copy_from_slice(r);
        self.filled += 1;
    }

    /// A unit of phase 1: `factor^T x`, of the rows from `first`.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and one member calls this in a phase.
    pub(super) unsafe fn dots(&self, factor: ReductionSide, first: usize, x: &[T]) {
        let (n, stride, filled) = (self.a.rows(), stride_of::<T>(self.a.rows()), self.filled);
        if filled == 0 {
            return;
        }
        // SAFETY: the caller's conditions; only this unit writes the column.
        let dots = unsafe { self.work.write_part(0..filled, DOTS) };
        let basis = matrix(&self.factor(factor)[first..], n - first, filled, stride);
        let x = matrix(&x[first..], n - first, 1, stride);
        product(T::ONE, basis.transposed(), x, T::ZERO, matrix_mut(dots, filled, 1, filled));
    }

    /// Rows of partial product `index`, to write.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and no other member accesses these rows of it in this phase.
    pub(super) unsafe fn partial<'a>(&self, index: usize, rows: Range<usize>) -> &'a mut [T] {
        // SAFETY: the caller's conditions.
        unsafe { self.work.write_part(rows, PARTIAL + index) }
    }

    /// Phase 2: returns in `x` the sum of the partial products minus `factor dots`, and in `next`
    /// the next column minus its updates. `load` copies rows of the next column of A.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Safety
    ///
    /// - The memory is valid; the partial products and dots are complete.
    pub(super) unsafe fn combine(
        &self,
        factor: ReductionSide,
        LinearCombination { first, starts, pivot }: LinearCombination<'_>,
        load: impl Fn(Range<usize>, &mut [T]),
        [x, next]: [&mut [T]; 2],
        phases: &mut Phases<'_>,
    ) -> Result<(), PeerDied> {
        let (n, stride, filled) = (self.a.rows(), stride_of::<T>(self.a.rows()), self.filled);
        let other = self.factor(if factor == ReductionSide::L {
            ReductionSide::R
        } else {
            ReductionSide::L
        });
        // SAFETY: the caller's conditions; nothing writes the dots in this phase.
        let dots = unsafe { self.work.read_part(0..filled, DOTS) };
        let mut factors = dots.to_vec();
        factors.extend((0..filled).map(|p| other[p * stride + pivot]));
        let factors = matrix(&factors, filled, 2, filled.max(1));
        let mut both = [T::ZERO; 2 * CHUNK];
        while let Some(rows) = phases.part(&(first..n), CHUNK) {
            let (sum, column) = both.split_at_mut(CHUNK);
            sum.fill(T::ZERO);
            for (index, &start) in starts.iter().enumerate() {
                let from = rows.start.max(start);
                if from < rows.end {
                    // SAFETY: the caller's conditions; nothing writes these in this phase.
                    let part = unsafe { self.work.read_part(from..rows.end, PARTIAL + index) };
                    add_multiple(&mut sum[from - rows.start..], T::ONE, part);
                }
            }
            load(rows.clone(), &mut column[..rows.len()]);
            let basis = matrix(&self.factor(factor)[rows.start..], rows.len(), filled, stride);
            if filled > 0 {
                let both = matrix_mut(&mut both, rows.len(), 2, CHUNK);
                product(-T::ONE, basis, factors, T::ONE, both);
            }
            for (place, from) in [(PRODUCT, &both[..CHUNK]), (NEXT, &both[CHUNK..])] {
                // SAFETY: the caller's conditions; the phase gives each chunk to one member.
                let to = unsafe { self.work.write_part(rows.clone(), place) };
                to.copy_from_slice(&from[..rows.len()]);
            }
        }
        phases.end()?;
        for (place, to) in [(PRODUCT, x), (NEXT, next)] {
            // SAFETY: the caller's conditions; phase 2 is over, and no member starts the next
            // one before all members have ended the phase after this.
            let from = unsafe { self.work.read_part(first..n, place) };
            to[first..].copy_from_slice(from);
        }
        Ok(())
    }

    /// If the panel is full: `A = A - L R^T` in the rows and columns from `first`, and an empty
    /// panel. With `lower`, only what lies below the diagonal, and a part above it, change.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and no member reads A in this phase.
    pub(super) unsafe fn update_if_full(
        &mut self,
        first: usize,
        lower: bool,
        phases: &mut Phases<'_>,
    ) -> Result<(), PeerDied> {
        let (n, stride, filled) = (self.a.rows(), stride_of::<T>(self.a.rows()), self.filled);
        if filled < 2 * PANEL {
            return Ok(());
        }
        while let Some(cols) = phases.part(&(first..n), tile_width(n)) {
            let top = if lower { cols.start } else { first };
            // SAFETY: the caller's conditions; the phase gives each tile to one member.
            let tile = unsafe { self.a.write(cols.clone()) };
            let l = matrix(&self.l[top..], n - top, filled, stride);
            let r = matrix(&self.r[cols.start..], cols.len(), filled, stride).transposed();
            let c = matrix_mut(&mut tile[top..], n - top, cols.len(), self.a.stride());
            product(-T::ONE, l, r, T::ONE, c);
        }
        self.filled = 0;
        phases.end()
    }
}
