//! A step of linear algebra, by the caller or a team.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::step::{Operands, Places, Report, Step, run};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar, SharedMatrix};
use crate::error::Result;
use crate::kernel::SingleThread;
use crate::kernel::matmul::{Kernel, SHARED_NS};
use crate::object::source::Source;
use crate::pool::{CodecError, Invocation, Pool, TeamDescriptor, TeamJob, take_part};
use crate::sys::mmap::Access;

/// A call of a method of the pool.
pub(super) struct LinalgCall<'c> {
    pub(super) pool: &'c Pool,
    /// The name of the call, for the report of a death.
    pub(super) name: &'static str,
}

/// The argument of the team's tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct StepDescriptor {
    step: Step,
    /// The host's, so that all members compute the same bits.
    kernel: Kernel,
    inputs: Vec<SharedMatrix>,
    outputs: Vec<SharedMatrix>,
    pivots: Option<Source>,
    memory: Option<Source>,
    wide: Option<Source>,
}

impl LinalgCall<'_> {
    /// Computes a step that takes one worker about `alone_ns`: by the caller if that is faster. A
    /// step in place is not repeated after a death.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Task`](crate::Error::Task) if a worker
    /// dies; what the step writes is then unspecified.
    ///
    /// # Panics
    ///
    /// If the operands do not fit: a bug in the caller.
    pub(super) fn run<T: Scalar>(
        &self,
        step: Step,
        operands: Operands<'_, T>,
        alone_ns: f64,
    ) -> Result<Report> {
        assert!(operands.fit(step), "the operands do not fit {step:?}");
        let mut task_options = self.pool.task_options();
        if operands.are_in_place(step) {
            // A failed attempt has changed the matrix.
            task_options.retries = 0;
        }
        let [_, wide_len] = operands.memory_needed(step);
        let Operands { inputs, outputs, pivots, memory } = operands;
        let mut wide = match wide_len {
            0 => None,
            len => Some(SharedArray::<f64>::for_overwrite([len])?),
        };
        if !self.pool.has_workers() || alone_ns < SHARED_NS {
            let places = Places {
                inputs: inputs.into_iter().map(Matrix::local).collect(),
                outputs: outputs.into_iter().map(MatrixMut::local).collect(),
                pivots: pivots.map_or(null_mut(), LentArray::local),
                memory: memory.map_or(null_mut(), LentArray::local),
                wide: wide.as_mut().map_or(null_mut(), |wide| wide.as_mut_slice().as_mut_ptr()),
            };
            // SAFETY: the operands fit, checked above; every place lies within its elements,
            // checked in `MatrixBase`, which are borrowed, those that the step writes exclusively.
            let outcome = unsafe { run(step, &places, &SingleThread::default()) };
            return Ok(outcome.expect("a team of one has no peer that dies"));
        }
        let descriptor = StepDescriptor {
            step,
            kernel: Kernel::best(),
            inputs: inputs.iter().map(Matrix::shared).collect::<Result<_>>()?,
            outputs: outputs.iter().map(MatrixMut::shared).collect::<Result<_>>()?,
            pivots: pivots.as_ref().map(LentArray::source),
            memory: memory.as_ref().map(LentArray::source),
            wide: wide.as_ref().map(SharedArray::source),
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
        let mut found = Vec::new();
        let mut find = |source: &Source, access| -> Result<*mut u8> {
            let resolved = invocation.resolve(source, access)?;
            let first = resolved.as_ptr().cast();
            found.push(resolved);
            Ok(first)
        };
        let mut matrices = |matrices: &[SharedMatrix], access| {
            let place =
                |m: &SharedMatrix| Ok(m.place.in_array(find(&m.source, access)?.cast::<T>()));
            matrices.iter().map(place).collect::<Result<Vec<_>>>()
        };
        let StepDescriptor { step, kernel, inputs, outputs, pivots, memory, wide } = &descriptor;
        let inputs = matrices(inputs, Access::ReadOnly)?;
        let outputs = matrices(outputs, Access::ReadWrite)?;
        let mut array = |array: &Option<Source>, access| {
            array.as_ref().map_or(Ok(null_mut()), |source| find(source, access))
        };
        let is_read = step.only_reads_memory();
        let access = if is_read { Access::ReadOnly } else { Access::ReadWrite };
        let places = Places {
            inputs,
            outputs,
            pivots: array(pivots, Access::ReadWrite)?.cast(),
            memory: array(memory, access)?.cast(),
            wide: array(wide, Access::ReadWrite)?.cast(),
        };
        let _kernel = kernel.choose();
        // SAFETY: the host checked operands, places and sizes, and borrows what the step reads and
        // writes, the latter exclusively, until no task of the job is left; the sources are as long
        // as the arrays; all members get the same argument, and a job's counters begin at zero.
        Ok(unsafe { run(*step, &places, member) })
    })
}
