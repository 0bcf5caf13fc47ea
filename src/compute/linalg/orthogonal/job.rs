//! A factorisation by orthogonal matrices, by the caller or a team.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::operands::check_finite;
use crate::compute::matmul::{Matrix, MatrixMut, Scalar, SharedMatrix};
use crate::error::Result;
use crate::kernel::linalg::orthogonal::{
    Carver, EighMemory, Operand, QrMemory, SvdMemory, Transpose, apply_q, eigh, magnitude, qr, svd,
};
use crate::kernel::matmul::{Kernel, SHARED_NS, Strided};
use crate::kernel::{FloatMode, PeerDied, SingleThread, Team};
use crate::object::source::Source;
use crate::pool::{CodecError, Invocation, Pool, TeamDescriptor, TeamJob, take_part};
use crate::sys::mmap::Access;

/// What to compute of an m x n matrix A.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Step {
    /// Q and R of the input times this, in the memory.
    Qr(f64),
    /// output = Q or its transpose times the input times the number, or times the identity if there
    /// is no input. The memory has the factorisation of A.
    Apply(Transpose, f64),
    /// The eigenvalues of the input times this, and as output the eigenvectors, if there is one.
    Eigh(f64),
    /// The singular values of the input times this, and as outputs U and V, if there are two.
    Svd(f64),
}

impl Step {
    /// The elements of memory that a step needs: of the matrix's type, and of f64.
    fn memory_needed<T: Scalar>(self, shape: [usize; 2]) -> [usize; 2] {
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
        }
        [memory.used(), wide.used()]
    }

    /// Whether a step of an m x n matrix takes an input and outputs of these shapes.
    fn fits(self, [m, n]: [usize; 2], input: Option<[usize; 2]>, outputs: &[[usize; 2]]) -> bool {
        match self {
            Step::Qr(_) => input == Some([m, n]) && outputs.is_empty(),
            Step::Apply(..) => matches!(outputs, [[rows, cols]]
                if *rows <= m && input.map_or(*cols <= m, |input| input == [m, *cols])),
            Step::Eigh(_) => {
                m == n
                    && input == Some([n, n])
                    && matches!(outputs, [] | [[_, _]])
                    && outputs.iter().all(|output| *output == [n, n])
            }
            Step::Svd(_) => {
                m >= n
                    && input == Some([m, n])
                    && (outputs.is_empty() || outputs == [[m, n], [n, n]])
            }
        }
    }
}

/// The place of the values of [`Step::Eigh`] and [`Step::Svd`] is the beginning of the memory.
pub(super) struct OrthogonalCall<'m, T> {
    pub(super) pool: &'m Pool,
    /// The name of the call, for the report of a death.
    pub(super) name: &'static str,
    pub(super) step: Step,
    /// The shape of A.
    pub(super) shape: [usize; 2],
    pub(super) input: Option<Matrix<'m, T>>,
    pub(super) outputs: Vec<MatrixMut<'m, T>>,
}

/// The argument of the team's tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StepDescriptor {
    step: Step,
    /// The host's, so that all members compute the same bits.
    kernel: Kernel,
    shape: [usize; 2],
    input: Option<SharedMatrix>,
    outputs: Vec<SharedMatrix>,
    /// The memory of the matrix's type, and of f64, with their elements.
    memories: [(Source, usize); 2],
}

/// The operands by address.
struct Places<T> {
    input: Option<Strided<*mut T>>,
    outputs: Vec<Strided<*mut T>>,
    memory: *mut T,
    wide: *mut f64,
}

impl<T: Scalar> OrthogonalCall<'_, T> {
    /// Memory for a step of an m x n matrix.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    pub(super) fn new_memory(step: Step, shape: [usize; 2]) -> Result<SharedArray<T>> {
        SharedArray::for_overwrite([step.memory_needed::<T>(shape)[0]])
    }

    /// Computes a step that takes one worker about `alone_ns`: by the caller if that is faster.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::Task`] if a worker dies; outputs and memory are then
    /// unspecified.
    ///
    /// # Panics
    ///
    /// If the shapes or the memory are not those of the step: a bug of a method of this module.
    pub(super) fn run(self, memory: LentArray<'_, T>, alone_ns: f64) -> Result<()> {
        self.check(&memory);
        let OrthogonalCall { pool, name, step, shape, input, outputs } = self;
        let mut wide = SharedArray::<f64>::for_overwrite([step.memory_needed::<T>(shape)[1]])?;
        if !pool.has_workers() || alone_ns < SHARED_NS {
            let places = Places {
                input: input.map(Matrix::local),
                outputs: outputs.into_iter().map(MatrixMut::local).collect(),
                memory: memory.local(),
                wide: wide.as_mut_slice().as_mut_ptr(),
            };
            // SAFETY: the shapes fit, checked above; every place lies within its
            // elements, checked in `MatrixBase`, which are borrowed, outputs and memory exclusively
            // unless the step only reads it.
            let outcome = unsafe { run(step, shape, &places, &SingleThread::default()) };
            debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
            return Ok(());
        }
        let descriptor = StepDescriptor {
            step,
            kernel: Kernel::best(),
            shape,
            input: input.as_ref().map(Matrix::shared).transpose()?,
            outputs: outputs.iter().map(MatrixMut::shared).collect::<Result<_>>()?,
            memories: [(memory.source(), memory.len()), (wide.source(), wide.len())],
        };
        // The input is not an output, so the pool's retries apply.
        let job = TeamJob::new(pool.core(), name, pool.task_options());
        job.run(take_share::<T>, &descriptor)
    }

    /// Checks the conditions of [`run`] on shapes and memory.
    fn check(&self, memory: &LentArray<'_, T>) {
        let OrthogonalCall { step, shape, input, outputs, .. } = self;
        let input = input.as_ref().map(|input| input.place.shape());
        let outputs: Vec<_> = outputs.iter().map(|output| output.place.shape()).collect();
        assert!(step.fits(*shape, input, &outputs), "{step:?} {shape:?}: {input:?} {outputs:?}");
        let is_read = matches!(memory, LentArray::Read(_));
        assert_eq!(is_read, matches!(step, Step::Apply(..)), "{step:?} with other memory");
        assert_eq!(memory.len(), step.memory_needed::<T>(*shape)[0], "{step:?} {shape:?}");
    }
}

/// A member's part, in a worker.
fn take_share<T: Scalar>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, descriptor) = invocation.argument::<(TeamDescriptor, StepDescriptor)>()?;
    take_part(invocation, team, |invocation, member| {
        let StepDescriptor { step, kernel, shape, input, outputs, memories } = &descriptor;
        let needed = step.memory_needed::<T>(*shape);
        if memories.each_ref().map(|memory| memory.1) != needed {
            return Err(CodecError::Argument(format!("memory of other sizes: {descriptor:?}")));
        }
        // What is resolved is kept until the end, because that keeps it mapped.
        let input_found =
            input.as_ref().map(|m| invocation.resolve(&m.source, Access::ReadOnly)).transpose()?;
        let outputs_found =
            outputs.iter().map(|m| invocation.resolve(&m.source, Access::ReadWrite));
        let outputs_found = outputs_found.collect::<std::result::Result<Vec<_>, _>>()?;
        let access =
            if matches!(step, Step::Apply(..)) { Access::ReadOnly } else { Access::ReadWrite };
        let memory = invocation.resolve(&memories[0].0, access)?;
        let wide = invocation.resolve(&memories[1].0, Access::ReadWrite)?;
        let place = |m: &SharedMatrix, first: *mut u8| m.place.in_array(first.cast::<T>());
        let of_input = input.as_ref().zip(input_found.as_ref());
        let of_outputs = outputs.iter().zip(&outputs_found);
        let places = Places {
            input: of_input.map(|(m, found)| place(m, found.as_ptr().cast())),
            outputs: of_outputs.map(|(m, found)| place(m, found.as_ptr().cast())).collect(),
            memory: memory.as_ptr().cast(),
            wide: wide.as_ptr().cast(),
        };
        let _kernel = kernel.choose();
        // SAFETY: the host checked shapes and places and borrows the operands, outputs and memory
        // exclusively unless the step only reads it, until no task of the job is left; the sources
        // are as long as the arrays; all members get the same argument, and a job's counters begin
        // at zero.
        Ok(unsafe { run(*step, *shape, &places, member) })
    })
}

/// A member's part of a step.
///
/// # Safety
///
/// - The shapes fit, by [`Step::fits`].
/// - Memory is as large as [`Step::memory_needed`] returns.
/// - All operands are valid; only this team accesses the outputs and the memory that the step
///   writes, and nothing writes the others, until all members have returned.
unsafe fn run<T: Scalar>(
    step: Step,
    [m, n]: [usize; 2],
    places: &Places<T>,
    team: &dyn Team,
) -> std::result::Result<(), PeerDied> {
    let (mut memory, mut wide) = (Carver::new(places.memory), Carver::new(places.wide));
    let (input, outputs) = (places.input, &places.outputs);
    match (step, input) {
        (Step::Qr(factor), Some(a)) => {
            let memory = QrMemory::carve(&mut memory, m, n);
            // SAFETY: the caller's conditions.
            unsafe { qr(&a, T::from_f64(factor), &memory, team) }
        }
        (Step::Apply(transpose, factor), input) => {
            let factor = T::from_f64(factor);
            let operand = input.map_or(Operand::Identity, |b| Operand::Matrix(factor, b));
            let factors = QrMemory::carve(&mut memory, m, n);
            // SAFETY: the caller's conditions.
            unsafe { apply_q(&factors.q, transpose, &operand, &outputs[0], team) }
        }
        (Step::Eigh(factor), Some(a)) => {
            let memory = EighMemory::carve(&mut memory, &mut wide, n);
            // SAFETY: the caller's conditions.
            unsafe { eigh(&a, T::from_f64(factor), &memory, outputs.first(), team) }
        }
        (Step::Svd(factor), Some(a)) => {
            let memory = SvdMemory::carve(&mut memory, &mut wide, [m, n]);
            let vectors = outputs.first().zip(outputs.get(1)).map(|(u, v)| [u, v]);
            // SAFETY: the caller's conditions.
            unsafe { svd(&a, T::from_f64(factor), &memory, vectors, team) }
        }
        (Step::Qr(_) | Step::Eigh(_) | Step::Svd(_), None) => unreachable!("an input, by `fits`"),
    }
}

/// A power of two that makes the largest magnitude about 1.
///
/// # Errors
///
/// [`Error::NotFinite`] with the first position of NaN or an infinity; with `lower`, only the
/// elements on and below the diagonal are read.
pub(super) fn scale_of<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
    lower: bool,
) -> Result<f64> {
    let _mode = FloatMode::standard();
    // SAFETY: the place lies within the elements, checked in `MatrixBase`, which are borrowed.
    let most = unsafe { magnitude(&a.clone().local(), lower) };
    let Some(most) = most else {
        check_finite(operation, what, a, |i, j| !lower || j <= i)?;
        return Ok(1.0);
    };
    if most == T::ZERO {
        return Ok(1.0);
    }
    // The factor and its inverse are normal numbers of the type.
    let limit = T::MIN_POSITIVE.to_f64().log2() + 2.0;
    Ok((-most.to_f64().log2().floor().clamp(limit, -limit)).exp2())
}

/// 1 if products of the elements neither overflow nor underflow, and else [`scale_of`] them.
///
/// # Errors
///
/// As [`scale_of`].
pub(super) fn scale_if_extreme<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
) -> Result<f64> {
    let scale = scale_of(operation, what, a, false)?;
    let exponent_max = -T::MIN_POSITIVE.to_f64().log2() / 4.0;
    Ok(if scale.log2().abs() <= exponent_max { 1.0 } else { scale })
}

/// `x up / down`, for two powers of two whose quotient may be too large or too small.
pub(super) fn rescaled<T: Scalar>(x: T, up: f64, down: f64) -> T {
    let (x, quotient) = (x.to_f64(), up / down);
    T::from_f64(if quotient.is_normal() { x * quotient } else { x * up / down })
}
