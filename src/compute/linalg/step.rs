//! The steps of linear algebra: operands and kernels.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use serde::{Deserialize, Serialize};

use crate::compute::linalg::lent_array::LentArray;
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::kernel::linalg::orthogonal::{
    Carver, EighMemory, Operand, QrMemory, SvdMemory, Transpose, apply_q, eigh, qr, svd,
};
use crate::kernel::linalg::{self, MatrixFactors, Pivots, Stack, Triangle};
use crate::kernel::matmul::Strided;
use crate::kernel::{FloatMode, PeerDied, Team};

/// What to compute. The matrices are those of [`Operands`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Step {
    /// output = L and U of the input, or of the output if there is no input; writes the pivots.
    Lu,
    /// output = L of the input, or of the output if there is no input.
    Cholesky,
    /// output = X of `A X = B`. The inputs are the factors, as `Known` says, and B.
    Solve(Known),
    /// output = the inverse of A. The input is L and U of A.
    Invert,
    /// output = X of this many systems `A X = B`, with the elements from one A, B and X to the
    /// next. The inputs are A and B.
    Batch(usize, [isize; 3]),
    /// Q and R of the input times this, in the memory.
    Qr(f64),
    /// output = Q or its transpose times the input times the number, or times the identity if there
    /// is no input. The memory has the factorisation of a matrix of this shape, and is only read.
    Apply([usize; 2], Transpose, f64),
    /// The eigenvalues of the input times this, at the beginning of the memory, and as output the
    /// eigenvectors, if there is one.
    Eigh(f64),
    /// The singular values of the input times this, at the beginning of the memory, and as outputs
    /// U and V, if there are two.
    Svd(f64),
}

/// What is known of a matrix for which systems are solved; see [`MatrixFactors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Known {
    Lu,
    LuTransposed,
    Cholesky,
    Triangular(Triangle),
}

/// What a step reads and writes.
pub(super) struct Operands<'m, T> {
    pub(super) inputs: Vec<Matrix<'m, T>>,
    pub(super) outputs: Vec<MatrixMut<'m, T>>,
    /// The pivots, if the step reads or writes any.
    pub(super) pivots: Option<LentArray<'m, u64>>,
    /// The memory of a factorisation by orthogonal matrices.
    pub(super) memory: Option<LentArray<'m, T>>,
}

/// Operands by address.
pub(super) struct Places<T> {
    pub(super) inputs: Vec<Strided<*mut T>>,
    pub(super) outputs: Vec<Strided<*mut T>>,
    pub(super) pivots: *mut u64,
    pub(super) memory: *mut T,
    /// Memory of f64, whatever the type of the matrix.
    pub(super) wide: *mut f64,
}

/// What a step finds out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The 1-norm of the input; infinity if the input is not finite. Zero if it is not computed.
    pub(super) norm: f64,
    /// The first matrix that fails, and its pivot: not positive in a Cholesky factorisation, zero
    /// in a batch.
    pub(super) failed: Option<(usize, usize)>,
}

impl Report {
    /// The report of a team, from those of its members.
    pub(super) fn merge(self, other: Report) -> Report {
        Report {
            norm: if other.norm > self.norm { other.norm } else { self.norm },
            failed: self.failed.into_iter().chain(other.failed).min(),
        }
    }
}

impl Step {
    /// Whether the memory has what an earlier step computed, and is not written.
    pub(super) fn only_reads_memory(self) -> bool {
        matches!(self, Step::Apply(..))
    }

    /// The elements of memory that a step needs for a matrix of this shape: of the matrix's type,
    /// and of f64.
    pub(super) fn memory_needed<T: Scalar>(self, shape: [usize; 2]) -> [usize; 2] {
        let (mut memory, mut wide) = (Carver::<T>::new(null_mut()), Carver::new(null_mut()));
        match self {
            Step::Qr(_) | Step::Apply(..) => {
                QrMemory::carve(&mut memory, shape[0], shape[1]);
            }
            Step::Eigh(_) => {
                EighMemory::carve(&mut memory, &mut wide, shape[0]);
            }
            Step::Svd(_) => {
                SvdMemory::carve(&mut memory, &mut wide, shape);
            }
            Step::Lu | Step::Cholesky | Step::Solve(_) | Step::Invert | Step::Batch(..) => {}
        }
        [memory.used(), wide.used()]
    }
}

impl<'m, T: Scalar> Operands<'m, T> {
    /// Operands without pivots and memory.
    pub(super) fn new(inputs: Vec<Matrix<'m, T>>, output: MatrixMut<'m, T>) -> Operands<'m, T> {
        Operands { inputs, outputs: vec![output], pivots: None, memory: None }
    }

    /// Whether the step changes its only operand.
    pub(super) fn are_in_place(&self, step: Step) -> bool {
        self.inputs.is_empty() && matches!(step, Step::Lu | Step::Cholesky)
    }

    /// The elements of memory that the step needs for these operands.
    pub(super) fn memory_needed(&self, step: Step) -> [usize; 2] {
        let shape = match step {
            Step::Apply(shape, ..) => shape,
            _ => self.inputs.first().map_or([0, 0], |input| input.place.shape()),
        };
        step.memory_needed::<T>(shape)
    }

    /// Whether these are the operands that the step needs: the condition of [`run`].
    pub(super) fn fit(&self, step: Step) -> bool {
        let inputs: Vec<_> = self.inputs.iter().map(|input| input.place.shape()).collect();
        let outputs: Vec<_> = self.outputs.iter().map(|output| output.place.shape()).collect();
        let pivots = self.pivots.as_ref().map(LentArray::len);
        let is_square = |[rows, cols]: [usize; 2]| rows == cols;
        let is_system =
            |a: [usize; 2], b: [usize; 2], x: [usize; 2]| is_square(a) && b == x && a[0] == b[0];
        let shapes_fit = match (step, &inputs[..], &outputs[..]) {
            (Step::Lu, from, &[to @ [rows, cols]]) => {
                (from.is_empty() || from == [to]) && pivots == Some(rows.min(cols))
            }
            (Step::Cholesky, from, &[to]) => is_square(to) && (from.is_empty() || from == [to]),
            (Step::Solve(known), &[a, b], &[x]) => {
                let has_pivots = matches!(known, Known::Lu | Known::LuTransposed);
                is_system(a, b, x) && (!has_pivots || pivots == Some(a[0]))
            }
            (Step::Invert, &[a], &[x]) => is_square(a) && a == x && pivots == Some(a[0]),
            (Step::Batch(count, steps), &[a, b], &[x]) => {
                is_system(a, b, x)
                    && self.inputs[0].has_stack(count, steps[0])
                    && self.inputs[1].has_stack(count, steps[1])
                    && self.outputs[0].has_stack(count, steps[2])
            }
            (Step::Qr(_), [_], []) => true,
            (Step::Apply([m, _], ..), b, &[[rows, cols]]) => {
                rows <= m && if b.is_empty() { cols <= m } else { b == [[m, cols]] }
            }
            (Step::Eigh(_), &[a], vectors) => {
                is_square(a) && (vectors.is_empty() || vectors == [a])
            }
            (Step::Svd(_), &[[m, n]], vectors) => {
                m >= n && (vectors.is_empty() || vectors == [[m, n], [n, n]])
            }
            _ => false,
        };
        let [needed, _] = self.memory_needed(step);
        let memory_fits = self.memory.as_ref().map_or(0, LentArray::len) == needed;
        let is_written = matches!(self.memory, Some(LentArray::Written(_)));
        shapes_fit && memory_fits && (needed == 0 || is_written != step.only_reads_memory())
    }
}

/// A member's part of a step.
///
/// # Safety
///
/// - The operands fit, by [`Operands::fit`], and `wide` has the elements that
///   [`Operands::memory_needed`] returns.
/// - All are valid; only this team accesses the outputs, `wide`, and the pivots and memory that the
///   step writes, and nothing writes the others, until all members have returned.
pub(super) unsafe fn run<T: Scalar>(
    step: Step,
    places: &Places<T>,
    team: &dyn Team,
) -> std::result::Result<Report, PeerDied> {
    let _mode = FloatMode::standard();
    let (inputs, outputs, pivots) = (&places.inputs, &places.outputs, Pivots(places.pivots));
    let mut report = Report::default();
    match step {
        Step::Lu => {
            let from = inputs.first().copied().unwrap_or(outputs[0]);
            // SAFETY: the caller's conditions.
            report.norm = unsafe { linalg::copy_with_norm(from, outputs[0], team) };
            team.barrier()?;
            // SAFETY: as above.
            unsafe { linalg::lu(outputs[0], pivots, team)? };
        }
        Step::Cholesky => {
            let from = inputs.first().copied().unwrap_or(outputs[0]);
            // SAFETY: the caller's conditions.
            let failed = unsafe { linalg::cholesky(from, outputs[0], team)? };
            report.failed = failed.map(|pivot| (0, pivot));
        }
        Step::Solve(known) => {
            let factors = match known {
                Known::Lu => MatrixFactors::Lu(inputs[0], pivots),
                Known::LuTransposed => MatrixFactors::LuTransposed(inputs[0], pivots),
                Known::Cholesky => MatrixFactors::Cholesky(inputs[0]),
                Known::Triangular(triangle) => MatrixFactors::Triangular(inputs[0], triangle),
            };
            // SAFETY: the caller's conditions.
            unsafe { linalg::solve(factors, inputs[1], outputs[0], team) };
        }
        Step::Invert => {
            // SAFETY: the caller's conditions.
            unsafe { linalg::invert(inputs[0], pivots, outputs[0], team)? };
        }
        Step::Batch(count, steps) => {
            let stack = |first, at: usize| Stack { first, step: steps[at] };
            let stacks = [stack(inputs[0], 0), stack(inputs[1], 1), stack(outputs[0], 2)];
            // SAFETY: the caller's conditions.
            let found = unsafe { linalg::solve_batch(count, stacks, team) };
            report.norm = if found.has_nonfinite { f64::INFINITY } else { 0.0 };
            report.failed = found.singular;
        }
        Step::Qr(_) | Step::Apply(..) | Step::Eigh(_) | Step::Svd(_) => {
            // SAFETY: the caller's conditions.
            unsafe { run_orthogonal(step, places, team)? };
        }
    }
    Ok(report)
}

/// The same for a step with memory.
///
/// # Safety
///
/// - As [`run`].
unsafe fn run_orthogonal<T: Scalar>(
    step: Step,
    places: &Places<T>,
    team: &dyn Team,
) -> std::result::Result<(), PeerDied> {
    let (inputs, outputs) = (&places.inputs, &places.outputs);
    let (mut memory, mut wide) = (Carver::new(places.memory), Carver::new(places.wide));
    match step {
        Step::Qr(factor) => {
            let [m, n] = inputs[0].shape();
            let memory = QrMemory::carve(&mut memory, m, n);
            // SAFETY: the caller's conditions.
            unsafe { qr(&inputs[0], T::from_f64(factor), &memory, team) }
        }
        Step::Apply([m, n], transpose, factor) => {
            let factor = T::from_f64(factor);
            let operand = inputs.first().map_or(Operand::Identity, |&b| Operand::Matrix(factor, b));
            let factors = QrMemory::carve(&mut memory, m, n);
            // SAFETY: the caller's conditions.
            unsafe { apply_q(&factors.q, transpose, &operand, &outputs[0], team) }
        }
        Step::Eigh(factor) => {
            let memory = EighMemory::carve(&mut memory, &mut wide, inputs[0].rows);
            // SAFETY: the caller's conditions.
            unsafe { eigh(&inputs[0], T::from_f64(factor), &memory, outputs.first(), team) }
        }
        Step::Svd(factor) => {
            let memory = SvdMemory::carve(&mut memory, &mut wide, inputs[0].shape());
            let vectors = outputs.first().zip(outputs.get(1)).map(|(u, v)| [u, v]);
            // SAFETY: the caller's conditions.
            unsafe { svd(&inputs[0], T::from_f64(factor), &memory, vectors, team) }
        }
        Step::Lu | Step::Cholesky | Step::Solve(_) | Step::Invert | Step::Batch(..) => {
            unreachable!("{step:?} has no memory")
        }
    }
}
