//! Products of many reflectors, applied a block at a time.
//!
//! A block of reflectors is `H_0 H_1 ... = I - V T V^T` with T upper triangular (Schreiber and Van
//! Loan, "A Storage-Efficient WY Representation for Products of Householder Transformations", SIAM
//! J. Sci. Stat. Comput. 10, 1989), so that two matrix products apply it.
#![allow(unsafe_code)]

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::phases::Phases;
use super::shared_columns::{Carver, SharedColumns, load_columns, store_columns, stride_of};
use crate::kernel::PeerDied;
use crate::kernel::matmul::{Float, Kernel, MatMut, MatRef, Strided, gemm_with};

/// Columns that a member transforms at a time, at most.
const TILE: usize = 96;
/// The size of a tile, in bytes, beyond which it has 8 columns.
const TILE_BYTES: usize = 16 << 20;

/// The reflectors `H_0 H_1 ... H_(k-1)` of a factorisation, in blocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reflectors<T> {
    /// Column j is the vector of `H_j`, with its zeros and its one at row `j + shift`.
    pub(super) v: SharedColumns<T>,
    /// The columns of a block have its T, in the first rows.
    pub(super) t: SharedColumns<T>,
    /// The row of the first one.
    pub(super) shift: usize,
}

impl<T: Float> Reflectors<T> {
    /// Memory for `count` reflectors of `rows` rows.
    pub(super) fn carve(memory: &mut Carver<T>, rows: usize, count: usize, shift: usize) -> Self {
        let v = memory.columns(rows, count);
        Reflectors { v, t: memory.columns(block_width(count), count), shift }
    }

    /// The reflectors of block `index`; none beyond the last.
    pub(super) fn block(&self, index: usize) -> Range<usize> {
        let (width, count) = (block_width(self.v.cols()), self.v.cols());
        (index * width).min(count)..((index + 1) * width).min(count)
    }

    fn blocks(&self) -> usize {
        self.v.cols().div_ceil(block_width(self.v.cols()))
    }

    /// The vectors of block `index`, from the row of its first one, and its T.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and nothing writes to this block while the result is in use.
    pub(super) unsafe fn read<'a>(&self, index: usize) -> Block<'a, T> {
        let cols = self.block(index);
        let first_row = (cols.start + self.shift).min(self.v.rows());
        let rows = self.v.rows() - first_row;
        // SAFETY: the caller's conditions.
        let v = unsafe { self.v.read(cols.clone()) };
        // SAFETY: the caller's conditions.
        let t = unsafe { self.t.read(cols.clone()) };
        let count = if rows == 0 { 0 } else { cols.len() };
        let v = matrix(v.get(first_row..).unwrap_or_default(), rows, count, self.v.stride());
        Block { v, t: matrix(t, count, count, self.t.stride()), first_row }
    }
}

/// The number of reflectors in a block, for `count` of them.
fn block_width(count: usize) -> usize {
    match count {
        0..=64 => 16,
        65..=768 => 32,
        _ => 64,
    }
}

/// Columns in a slice.
pub(super) fn matrix<T: Float>(
    data: &[T],
    rows: usize,
    cols: usize,
    stride: usize,
) -> MatRef<'_, T> {
    MatRef::new(data, rows, cols, 1, stride).expect("the columns lie within the slice")
}

/// Columns in a slice, to write.
pub(super) fn matrix_mut<T: Float>(
    data: &mut [T],
    rows: usize,
    cols: usize,
    stride: usize,
) -> MatMut<'_, T> {
    MatMut::new(data, rows, cols, 1, stride).expect("the columns lie within the slice")
}

/// `C = alpha A B + beta C` of matrices whose shapes fit.
pub(super) fn product<T: Float>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    c: MatMut<'_, T>,
) {
    gemm_with(Kernel::chosen(), alpha, a, b, beta, c).expect("the shapes fit");
}

/// One block of reflectors, `I - V T V^T`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a, T> {
    /// The vectors, from the row of the first one.
    pub(super) v: MatRef<'a, T>,
    pub(super) t: MatRef<'a, T>,
    /// The row of the first one.
    pub(super) first_row: usize,
}

/// Which of a product of reflectors and its transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Transpose {
    /// `Q = H_0 H_1 ...`
    No,
    /// `Q^T = ... H_1 H_0`
    Yes,
}

impl<T: Float> Block<'_, T> {
    /// Multiplies `cols` columns, `stride` apart, which begin at the block's first row, from the
    /// left by the block or its transpose.
    pub(super) fn apply(
        &self,
        transpose: Transpose,
        c: &mut [T],
        cols: usize,
        stride: usize,
        work: &mut Vec<T>,
    ) {
        let [rows, count] = self.v.shape();
        if count == 0 || cols == 0 {
            return;
        }
        work.clear();
        work.resize(2 * count * cols, T::ZERO);
        let (dots, factors) = work.split_at_mut(count * cols);
        let t = if transpose == Transpose::No { self.t } else { self.t.transposed() };
        let seen = matrix(c, rows, cols, stride);
        product(T::ONE, self.v.transposed(), seen, T::ZERO, matrix_mut(dots, count, cols, count));
        let dots = matrix(dots, count, cols, count);
        product(T::ONE, t, dots, T::ZERO, matrix_mut(factors, count, cols, count));
        let factors = matrix(factors, count, cols, count);
        product(-T::ONE, self.v, factors, T::ONE, matrix_mut(c, rows, cols, stride));
    }
}

/// Makes T of a block from its vectors and factors tau (Schreiber and Van Loan, section 2), into
/// columns that are `stride` apart. Elements below its diagonal become zero.
pub(super) fn form_t<T: Float>(v: MatRef<'_, T>, taus: &[T], t: &mut [T], stride: usize) {
    let count = taus.len();
    let mut dots = vec![T::ZERO; count * count];
    product(T::ONE, v.transposed(), v, T::ZERO, matrix_mut(&mut dots, count, count, count));
    for j in 0..count {
        let (done, column) = t.split_at_mut(j * stride);
        for i in 0..count {
            let sum =
                (i..j).fold(T::ZERO, |sum, p| sum + done[p * stride + i] * dots[j * count + p]);
            column[i] = if i < j { -taus[j] * sum } else { T::ZERO };
        }
        column[j] = taus[j];
    }
}

/// The matrix that reflectors are applied to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operand<T> {
    /// The first columns of the identity.
    Identity,
    /// A factor times a matrix of as many columns as the result.
    Matrix(T, Strided<*mut T>),
    /// Column j is column `first - j` or `first + j` of these, rounded; further rows are zero.
    Wide { columns: SharedColumns<f64>, first: usize, reversed: bool },
}

impl<T: Float> Operand<T> {
    /// Copies columns to `to`, whose columns are `stride` apart and zero.
    ///
    /// # Safety
    ///
    /// - The operand is valid for reading, and nothing writes to it.
    unsafe fn load(&self, cols: Range<usize>, to: &mut [T], stride: usize) {
        match self {
            Operand::Identity => {
                for j in cols.clone() {
                    to[(j - cols.start) * stride + j] = T::ONE;
                }
            }
            Operand::Matrix(factor, matrix) => {
                // SAFETY: the caller's conditions.
                unsafe { load_columns(matrix, cols, *factor, to, stride) };
            }
            Operand::Wide { columns, first, reversed } => {
                for j in cols.clone() {
                    let source = if *reversed { first - j } else { first + j };
                    let rows = columns.rows().min(stride);
                    // SAFETY: the caller's conditions.
                    let from = unsafe { columns.read_part(0..rows, source) };
                    let to = &mut to[(j - cols.start) * stride..];
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = T::from_f64(from);
                    }
                }
            }
        }
    }
}

/// One member's part of `to = Q_n ... Q_1 Q_0 operand`, where each Q is a product of reflectors or
/// its transpose, and the result may have only the first of `rows` rows. It ends the phase.
///
/// A Q of fewer than `rows` rows multiplies only the first ones.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - Everything is valid; until all members have returned, nothing writes to the operand and the
///   reflectors, and nothing else accesses `to`.
/// - An operand has the columns of `to`, and no more than `rows` rows.
pub(super) unsafe fn apply_reflectors<T: Float>(
    steps: &[(Reflectors<T>, Transpose)],
    operand: &Operand<T>,
    rows: usize,
    to: &Strided<*mut T>,
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    let stride = stride_of::<T>(rows);
    let fitting = TILE_BYTES / (stride * size_of::<T>()) / 8 * 8;
    let width = to.cols.div_ceil(16).next_multiple_of(8).min(TILE).min(fitting).max(8);
    let (mut tile, mut work) = (Vec::new(), Vec::new());
    while let Some(cols) = phases.part(&(0..to.cols), width) {
        tile.clear();
        tile.resize(stride * cols.len(), T::ZERO);
        // SAFETY: the caller's conditions.
        unsafe { operand.load(cols.clone(), &mut tile, stride) };
        // In columns of the identity, rows from here on are zero until a reflector fills them.
        let mut filled = if matches!(operand, Operand::Identity) { cols.end } else { rows };
        for (reflectors, transpose) in steps {
            let blocks = reflectors.blocks();
            for step in 0..blocks {
                let index = if *transpose == Transpose::No { blocks - 1 - step } else { step };
                // SAFETY: the caller's conditions.
                let block = unsafe { reflectors.read(index) };
                if *transpose == Transpose::No && block.first_row >= filled {
                    continue;
                }
                let part = &mut tile[block.first_row..];
                block.apply(*transpose, part, cols.len(), stride, &mut work);
            }
            filled = rows;
        }
        // SAFETY: the caller's conditions; the phase gives each tile to one member.
        unsafe { store_columns(&tile, stride, to, cols) };
    }
    phases.end()
}

/// One member's part of T of all blocks, from the vectors and all factors tau. It ends the phase.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Safety
///
/// - The memory is valid; until all members have returned, nothing writes to the vectors, and
///   nothing else accesses T.
pub(super) unsafe fn form_all_t<T: Float>(
    reflectors: &Reflectors<T>,
    taus: &[T],
    phases: &mut Phases<'_>,
) -> Result<(), PeerDied> {
    while let Some(index) = phases.unit(reflectors.blocks()) {
        let cols = reflectors.block(index);
        // SAFETY: the caller's conditions; the phase gives each block to one member.
        let t = unsafe { reflectors.t.write(cols.clone()) };
        // SAFETY: the caller's conditions.
        let v = unsafe { reflectors.v.read(cols.clone()) };
        let v = matrix(v, reflectors.v.rows(), cols.len(), reflectors.v.stride());
        form_t(v, &taus[cols], t, reflectors.t.stride());
    }
    phases.end()
}
