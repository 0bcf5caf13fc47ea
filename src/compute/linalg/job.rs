//! A step of linear algebra, by the caller or a team.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::compute::linalg::lent_array::LentArray;
use crate::compute::matmul::{Matrix, MatrixMut, Scalar, SharedMatrix};
use crate::error::Result;
use crate::kernel::linalg::{self, MatrixFactors, Pivots, Stack, Triangle};
use crate::kernel::matmul::{Kernel, SHARED_NS, Strided};
use crate::kernel::{FloatMode, PeerDied, SingleThread, Team};
use crate::object::source::Source;
use crate::pool::record::task::TaskOptions;
use crate::pool::{CodecError, Invocation, Pool, TeamDescriptor, TeamJob, take_part};
use crate::sys::mmap::Access;

/// What to compute. The matrices are those of [`Operands`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Step {
    /// output = L and U of the input; writes the pivots.
    Lu,
    /// output = L of the input.
    Cholesky,
    /// output = X of `A X = B`. The inputs are the factors, as `Known` says, and B.
    Solve(Known),
    /// output = the inverse of A. The input is L and U of A.
    Invert,
    /// output = X of this many systems `A X = B`, with the elements from one A, B and X to the
    /// next. The inputs are A and B.
    Batch(usize, [isize; 3]),
}

/// What is known of a matrix for which systems are solved; see [`MatrixFactors`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Known {
    Lu,
    LuTransposed,
    Cholesky,
    Triangular(Triangle),
}

/// What a step reads and writes. A step in place has no input.
pub(super) struct Operands<'m, T> {
    pub(super) inputs: Vec<Matrix<'m, T>>,
    pub(super) output: MatrixMut<'m, T>,
    /// The pivots, if the step reads or writes any.
    pub(super) pivots: Option<LentArray<'m, u64>>,
}

impl<T: Scalar> Operands<'_, T> {
    /// Whether the shapes are those that [`run`] needs.
    fn fit(&self, step: Step) -> bool {
        let shape = |place: Strided<usize>| [place.rows, place.cols];
        let output = shape(self.output.place);
        let first = self.inputs.first().map_or(output, |input| shape(input.place));
        let second = self.inputs.get(1).map_or(output, |input| shape(input.place));
        let pivots = self.pivots.as_ref().map(LentArray::len);
        let [rows, cols] = first;
        let is_square = rows == cols;
        match step {
            Step::Lu => first == output && pivots == Some(rows.min(cols)),
            Step::Cholesky => is_square && first == output,
            Step::Solve(known) => {
                let has_pivots = matches!(known, Known::Lu | Known::LuTransposed);
                let pivots_fit = !has_pivots || pivots == Some(rows);
                let fits = is_square && second == output && output[0] == rows;
                !self.inputs.is_empty() && fits && pivots_fit
            }
            Step::Invert => {
                self.inputs.len() == 1 && is_square && first == output && pivots == Some(rows)
            }
            Step::Batch(count, steps) => {
                let [a, b] = &self.inputs[..] else { return false };
                let fits = is_square && second == output && output[0] == rows;
                let inputs_exist = a.has_stack(count, steps[0]) && b.has_stack(count, steps[1]);
                fits && inputs_exist && self.output.has_stack(count, steps[2])
            }
        }
    }
}

/// What a step finds out.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Report {
    /// The 1-norm of the input; infinity if the input is not finite. Zero if it is not computed.
    pub(super) norm: f64,
    /// The first matrix that fails, and its pivot: one that is not positive, of a Cholesky
    /// factorisation; one that is zero, of a batch.
    pub(super) failed: Option<(usize, usize)>,
}

impl Report {
    /// The report of a team, from those of its members.
    fn merge(self, other: Report) -> Report {
        Report {
            norm: if other.norm > self.norm { other.norm } else { self.norm },
            failed: self.failed.into_iter().chain(other.failed).min(),
        }
    }
}

/// A call of a method of the pool.
pub(super) struct LinalgCall<'c> {
    pub(super) pool: &'c Pool,
    /// The name of the call, for the report of a death.
    pub(super) name: &'static str,
    pub(super) task_options: TaskOptions,
}

/// The argument of the team's tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StepDescriptor {
    step: Step,
    /// The host's, so that all members compute the same bits.
    kernel: Kernel,
    inputs: Vec<SharedMatrix>,
    output: SharedMatrix,
    pivots: Option<Source>,
}

/// The operands by address.
struct Places<T> {
    inputs: Vec<Strided<*mut T>>,
    output: Strided<*mut T>,
    pivots: *mut u64,
}

impl<'c> LinalgCall<'c> {
    /// A call with the options of the pool.
    pub(super) fn new(pool: &'c Pool, name: &'static str) -> LinalgCall<'c> {
        LinalgCall { pool, name, task_options: pool.task_options() }
    }

    /// Computes a step that takes one worker about `alone_ns`: by the caller if that is faster.
    ///
    /// A step without input works in place, and is not repeated after a death.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if a worker dies; the output is then unspecified.
    ///
    /// # Panics
    ///
    /// If the shapes do not fit: a bug in the caller.
    pub(super) fn run<T: Scalar>(
        &self,
        step: Step,
        operands: Operands<'_, T>,
        alone_ns: f64,
    ) -> Result<Report> {
        assert!(operands.fit(step), "the shapes of the operands do not fit {step:?}");
        let Operands { inputs, output, pivots } = operands;
        if !self.pool.has_workers() || alone_ns < SHARED_NS {
            let places = Places {
                inputs: inputs.into_iter().map(Matrix::local).collect(),
                output: output.local(),
                pivots: pivots.map_or(std::ptr::null_mut(), LentArray::local),
            };
            // SAFETY: the shapes fit, checked above; every place lies within its
            // elements, checked in `MatrixBase`, which are borrowed, the output exclusively.
            let outcome = unsafe { run(step, &places, &SingleThread::default()) };
            return Ok(outcome.expect("a team of one has no peer that dies"));
        }
        let mut task_options = self.task_options;
        if inputs.is_empty() {
            // A failed attempt has changed the matrix.
            task_options.retries = 0;
        }
        let descriptor = StepDescriptor {
            step,
            kernel: Kernel::best(),
            inputs: inputs.iter().map(Matrix::shared).collect::<Result<_>>()?,
            output: output.shared()?,
            pivots: pivots.as_ref().map(LentArray::source),
        };
        let job = TeamJob::new(self.pool.core(), self.name, task_options);
        let reports = job.run_all::<_, Report>(take_share::<T>, &descriptor)?;
        Ok(reports.into_iter().fold(Report::default(), Report::merge))
    }
}

/// A member's part, in a worker.
fn take_share<T: Scalar>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, descriptor) = invocation.argument::<(TeamDescriptor, StepDescriptor)>()?;
    take_part(invocation, team, |invocation, member| {
        // What is resolved is kept until the end, because that keeps it mapped.
        let inputs =
            descriptor.inputs.iter().map(|m| invocation.resolve(&m.source, Access::ReadOnly));
        let inputs = inputs.collect::<std::result::Result<Vec<_>, _>>()?;
        let output = invocation.resolve(&descriptor.output.source, Access::ReadWrite)?;
        let pivots =
            descriptor.pivots.as_ref().map(|source| invocation.resolve(source, Access::ReadWrite));
        let pivots = pivots.transpose()?;
        let of_inputs = descriptor.inputs.iter().zip(&inputs);
        let places = Places {
            inputs: of_inputs.map(|(m, found)| m.place.in_array(found.as_ptr().cast())).collect(),
            output: descriptor.output.place.in_array(output.as_ptr().cast::<T>()),
            pivots: pivots.as_ref().map_or(std::ptr::null_mut(), |found| found.as_ptr().cast()),
        };
        let _kernel = descriptor.kernel.choose();
        // SAFETY: the host checked shapes and places and borrows the operands, the output
        // exclusively, until no task of the job is left; the sources are as long as the arrays; all
        // members get the same argument, and a job's counters begin at zero.
        Ok(unsafe { run(descriptor.step, &places, member) })
    })
}

/// A member's part of a step.
///
/// # Safety
///
/// - The shapes fit. For `Lu` and `Cholesky`: output and input, if there is one, have the same
///   shape, square for `Cholesky`; there are as many pivots as the smaller side for `Lu`. For
///   `Solve`: the first of the inputs is square, with as many rows as B and the output, which have
///   the same shape, and as many pivots if the system has any. For `Invert`: input and output are
///   square, of the same size, and there are as many pivots. For `Batch`: that of `Solve` for each.
/// - All operands are valid; only this team accesses the output, and the pivots if it writes them,
///   and nothing writes the others, until all members have returned.
unsafe fn run<T: Scalar>(
    step: Step,
    places: &Places<T>,
    team: &dyn Team,
) -> std::result::Result<Report, PeerDied> {
    let _mode = FloatMode::standard();
    let Places { inputs, output, pivots } = places;
    let (output, pivots) = (*output, Pivots(*pivots));
    match step {
        Step::Lu => {
            let from = inputs.first().copied().unwrap_or(output);
            // SAFETY: the caller's conditions.
            let norm = unsafe { linalg::copy_with_norm(from, output, team) };
            team.barrier()?;
            // SAFETY: as above.
            unsafe { linalg::lu(output, pivots, team)? };
            Ok(Report { norm, failed: None })
        }
        Step::Cholesky => {
            let from = inputs.first().copied().unwrap_or(output);
            // SAFETY: the caller's conditions.
            let failed = unsafe { linalg::cholesky(from, output, team)? };
            Ok(Report { norm: 0.0, failed: failed.map(|pivot| (0, pivot)) })
        }
        Step::Solve(known) => {
            let factors = match known {
                Known::Lu => MatrixFactors::Lu(inputs[0], pivots),
                Known::LuTransposed => MatrixFactors::LuTransposed(inputs[0], pivots),
                Known::Cholesky => MatrixFactors::Cholesky(inputs[0]),
                Known::Triangular(triangle) => MatrixFactors::Triangular(inputs[0], triangle),
            };
            let b = inputs.get(1).copied().unwrap_or(output);
            // SAFETY: the caller's conditions.
            unsafe { linalg::solve(factors, b, output, team) };
            Ok(Report::default())
        }
        Step::Invert => {
            // SAFETY: the caller's conditions.
            unsafe { linalg::invert(inputs[0], pivots, output, team)? };
            Ok(Report::default())
        }
        Step::Batch(count, steps) => {
            let [a, b] = [inputs[0], inputs[1]];
            let stack = |first, at: usize| Stack { first, step: steps[at] };
            let stacks = [stack(a, 0), stack(b, 1), stack(output, 2)];
            // SAFETY: the caller's conditions.
            let report = unsafe { linalg::solve_batch(count, stacks, team) };
            let norm = if report.has_nonfinite { f64::INFINITY } else { 0.0 };
            Ok(Report { norm, failed: report.singular })
        }
    }
}
