//! One call, computed by the caller or by a team.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::compute::matmul::matrix::{Matrix, MatrixMut, Scalar, SharedMatrix};
use crate::error::Result;
use crate::kernel::matmul::{
    self, Gemm, SCRATCH_ALIGN_BYTES, Strided, check_operands, multiply_batch, multiply_gram,
    scratch_bytes,
};
use crate::kernel::{PeerDied, SingleThread, Team};
use crate::pool::record::task::TaskOptions;
use crate::pool::{CodecError, Invocation, Pool, TeamDescriptor, TeamJob, take_part};
use crate::region::arena::Contents;
use crate::shape::Shape;
use crate::sys::mmap::Access;

/// What to compute from A, B and C.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Work {
    /// `C = alpha * A * B + beta * C`, shared by the team.
    Product,
    /// The same where B is A transposed.
    Gram,
    /// This many products, each by one member, with the elements from one A, B and C to the next.
    Batch(usize, [isize; 3]),
}

/// One call of a method of the pool: a product without C.
#[derive(Clone)]
pub(super) struct MatmulCall<'c, T> {
    pub(super) pool: &'c Pool,
    /// The name of the call, for errors and for the report of a death.
    pub(super) name: &'static str,
    pub(super) gemm: Gemm<T, Matrix<'c, T>, ()>,
    pub(super) task_options: TaskOptions,
}

/// The argument of the team's tasks.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct MatmulDescriptor<T> {
    work: Work,
    gemm: Gemm<T, SharedMatrix>,
    /// The offset of the scratch memory in the arena, and its size.
    scratch: (u64, usize),
}

impl<'c, T: Scalar> MatmulCall<'c, T> {
    /// `C = A * B`, with the options of the pool.
    pub(super) fn new(
        pool: &'c Pool,
        name: &'static str,
        a: Matrix<'c, T>,
        b: Matrix<'c, T>,
    ) -> MatmulCall<'c, T> {
        MatmulCall { pool, name, gemm: Gemm::new(a, b, ()), task_options: pool.task_options() }
    }

    /// An array of this shape for the result. The operands are checked first: a wrong shape must
    /// not be reported as a lack of memory.
    pub(super) fn new_result(&self, shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        check_operands(self.name, self.gemm.a.place.shape(), self.gemm.b.place.shape())?;
        SharedArray::for_overwrite(shape)
    }

    /// The result as a new array of this shape. `beta` has no effect, because there was no C.
    pub(super) fn run(mut self, work: Work, shape: impl Into<Shape>) -> Result<SharedArray<T>> {
        self.gemm.beta = T::ZERO;
        let mut c = self.new_result(shape)?;
        self.run_into(work, MatrixMut::from(&mut c))?;
        Ok(c)
    }

    /// Checks the shapes and computes the result, by the caller if that is faster.
    pub(super) fn run_into(self, work: Work, c: MatrixMut<'_, T>) -> Result<()> {
        let MatmulCall { pool, name, gemm, task_options } = self;
        let gemm = gemm.map(|operand| operand, |()| c);
        let places = gemm.as_ref().map(|operand| operand.place, |result| result.place);
        places.check_shapes(name)?;
        let (m, n, k) = places.sizes();
        let alone_ns = matmul::alone_ns::<T>(m, n, k);
        let alone_ns = match work {
            Work::Product => alone_ns,
            Work::Gram => alone_ns / 2.0,
            Work::Batch(count, _) => alone_ns * count as f64,
        };
        if pool.has_workers() && alone_ns >= matmul::SHARED_NS {
            let job = TeamJob::new(pool.core(), name, task_options);
            return run_shared(job, work, &gemm, (m, n, k));
        }
        let gemm = gemm.map(Matrix::local, MatrixMut::local);
        let alone = SingleThread::default();
        // SAFETY: the shapes fit, checked above; every place lies within its elements, checked in
        // `MatrixBase`, which are borrowed, those of C exclusively; a team of one needs no scratch
        // memory.
        let outcome = unsafe { compute(work, &gemm, std::ptr::null_mut(), 1, &alone) };
        debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
        Ok(())
    }
}

/// Computes the result by a team.
fn run_shared<T: Scalar>(
    mut job: TeamJob<'_>,
    work: Work,
    gemm: &Gemm<T, Matrix<'_, T>, MatrixMut<'_, T>>,
    sizes: (usize, usize, usize),
) -> Result<()> {
    if gemm.beta != T::ZERO {
        // A failed attempt has changed a part of C.
        job.options.retries = 0;
    }
    let scratch_len = scratch_needed::<T>(work, sizes, job.members_max());
    // Windows begin at a multiple of 2 MiB, so aligning the offset aligns the address.
    let scratch = job.core.arena().reserve(scratch_len + SCRATCH_ALIGN_BYTES, Contents::Stale)?;
    let scratch_at = scratch.offset().next_multiple_of(SCRATCH_ALIGN_BYTES as u64);
    let gemm = gemm.as_ref().try_map(Matrix::shared, MatrixMut::shared)?;
    job.run(take_share::<T>, &MatmulDescriptor { work, gemm, scratch: (scratch_at, scratch_len) })
}

/// The scratch memory for this many members, in bytes.
fn scratch_needed<T: Scalar>(
    work: Work,
    (m, n, k): (usize, usize, usize),
    members_max: usize,
) -> usize {
    match work {
        Work::Product => scratch_bytes::<T>(m, n, k, members_max),
        Work::Gram | Work::Batch(..) => 0,
    }
}

/// A member's part, in a worker.
fn take_share<T: Scalar>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, descriptor) = invocation.argument::<(TeamDescriptor, MatmulDescriptor<T>)>()?;
    take_part(invocation, team, |invocation, member| {
        let find = |matrix: SharedMatrix, access| -> Result<(Strided<*mut T>, _)> {
            let resolved = invocation.resolve(&matrix.source, access)?;
            Ok((matrix.place.in_array(resolved.as_ptr().cast()), resolved))
        };
        let places = descriptor.gemm.as_ref().map(|operand| operand.place, |result| result.place);
        let found = descriptor.gemm.try_map(
            |operand| find(operand, Access::ReadOnly),
            |result| find(result, Access::ReadWrite),
        );
        // The resolved operands are kept until the end, because that keeps them mapped.
        let found = found?;
        let gemm = found.as_ref().map(|operand| operand.0, |result| result.0);
        let (offset, len) = descriptor.scratch;
        let scratch = invocation.windows.write(offset, len)?;
        debug_assert!(scratch.addr().is_multiple_of(SCRATCH_ALIGN_BYTES));
        let needed = scratch_needed::<T>(descriptor.work, places.sizes(), team.members_max);
        if len < needed {
            let text = format!("{len} bytes of scratch memory, not {needed}: {team:?}");
            return Err(CodecError::Argument(text));
        }
        // SAFETY: the host checked shapes and places and borrows A, B and C, C exclusively, until
        // no task of the job is left; the sources are as long as the arrays; the scratch memory is
        // a span of this job, as long as `scratch_bytes` returns for `members_max`, checked above,
        // aligned by `run_shared`; all members get the same argument, and a job's counters begin at
        // zero.
        Ok(unsafe { compute(descriptor.work, &gemm, scratch, team.members_max, member) })
    })
}

/// A member's part of the work.
///
/// # Safety
///
/// - As [`matmul::multiply`], for the product and, in a batch, for each; the scratch memory only
///   for [`Work::Product`].
/// - For [`Work::Gram`], B is A transposed.
unsafe fn compute<T: Scalar, W: Team>(
    work: Work,
    gemm: &Gemm<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    match work {
        Work::Product => {
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { matmul::multiply(gemm, scratch, members, team) }
        }
        Work::Gram => {
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { multiply_gram(gemm, members, team) }
        }
        Work::Batch(count, steps) => {
            let [a_step, b_step, c_step] = steps;
            let one = |index: usize| {
                let of = |step: isize| index.cast_signed().wrapping_mul(step);
                let (a, b, c) = (of(a_step), of(b_step), of(c_step));
                Gemm { a: gemm.a.moved(a), b: gemm.b.moved(b), c: gemm.c.moved(c), ..*gemm }
            };
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { multiply_batch(count, one, team) };
            Ok(())
        }
    }
}
