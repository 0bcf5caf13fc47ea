//! One call, computed by the caller or by a team.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::compute::matmul::Scalar;
use crate::compute::matmul::layout::Layout;
use crate::compute::matmul::matrix::Lender;
use crate::error::{Error, Result};
use crate::kernel::matmul::{
    self, Kernel, SCRATCH_ALIGN_BYTES, Strided, multiply_batch, multiply_gram, scratch_bytes,
};
use crate::kernel::{PeerDied, SingleThread, Team};
use crate::object::source::Source;
use crate::pool::{CodecError, Invocation, Pool, TeamJob, TeamOrders, take_part};
use crate::region::arena::Contents;
use crate::sys::mmap::Access;

/// What is computed of A, B and C.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Work {
    /// `C = alpha * A * B + beta * C`, shared by the team.
    Product,
    /// The same where B is A transposed.
    Gram,
    /// This many products, each by one member; the distances of their As, Bs and Cs, in elements.
    Batch(usize, [isize; 3]),
}

/// Operands and result, checked to fit each other.
#[derive(Debug)]
pub(super) struct Call<'c, T> {
    pub(super) pool: &'c Pool,
    /// What the call is, for the report of a death.
    pub(super) name: &'static str,
    pub(super) kernel: Kernel,
    pub(super) factors: (T, T),
    pub(super) a: (&'c Lender<'c, T>, Layout),
    pub(super) b: (&'c Lender<'c, T>, Layout),
    pub(super) c: (&'c Source, &'c mut [T], Layout),
    pub(super) work: Work,
    /// How often it may be computed again after a death.
    pub(super) retries: u32,
}

/// A matrix as a team's members find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lent {
    source: Source,
    layout: Layout,
}

/// What the members of a team are told.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders<T> {
    kernel: String,
    factors: (T, T),
    a: Lent,
    b: Lent,
    c: Lent,
    work: Work,
    /// Offset of the scratch memory in the arena, and its size.
    scratch: (u64, usize),
}

impl<T: Scalar> Call<'_, T> {
    /// Computes it, where that is sooner done.
    pub(super) fn run(self) -> Result<()> {
        let (m, n, k) = (self.c.2.rows, self.c.2.cols, self.a.1.cols);
        let alone_ns = matmul::alone_ns::<T>(m, n, k);
        let alone_ns = match self.work {
            Work::Product => alone_ns,
            Work::Gram => alone_ns / 2.0,
            Work::Batch(count, _) => alone_ns * count as f64,
        };
        if self.pool.has_workers() && alone_ns >= matmul::SHARED_NS {
            self.run_shared()
        } else {
            self.run_here();
            Ok(())
        }
    }

    fn run_here(self) {
        let (alpha, beta) = self.factors;
        let product = matmul::Product {
            kernel: self.kernel,
            alpha,
            a: self.a.1.strided(self.a.0.elements.as_ptr().cast_mut()),
            b: self.b.1.strided(self.b.0.elements.as_ptr().cast_mut()),
            beta,
            c: self.c.2.strided(self.c.1.as_mut_ptr()),
        };
        // SAFETY: shapes and layouts were checked against each other and against the elements,
        // which are borrowed, those of C exclusively; a team of one needs no scratch memory.
        let outcome = unsafe {
            compute(self.work, &product, std::ptr::null_mut(), 1, &SingleThread::default())
        };
        debug_assert!(outcome.is_ok(), "a team of one has no peer that dies");
    }

    fn run_shared(self) -> Result<()> {
        let (m, n, k) = (self.c.2.rows, self.c.2.cols, self.a.1.cols);
        let mut rules = self.pool.rules();
        // With any other beta, C is half changed by then.
        rules.retries = if self.factors.1 == T::ZERO { self.retries } else { 0 };
        let core = self.pool.core();
        let job = TeamJob { core, name: self.name, members_max: usize::MAX, rules };
        let scratch_len = match self.work {
            Work::Product => scratch_bytes::<T>(m, n, k, job.members_max()),
            Work::Gram | Work::Batch(..) => 0,
        };
        // Windows begin at a multiple of 2 MiB, so aligning the offset aligns the address.
        let scratch = core.arena().reserve(scratch_len + SCRATCH_ALIGN_BYTES, Contents::Stale)?;
        let scratch_at = scratch.offset().next_multiple_of(SCRATCH_ALIGN_BYTES as u64);
        let orders = Orders {
            kernel: self.kernel.to_string(),
            factors: self.factors,
            a: Lent { source: self.a.0.source()?, layout: self.a.1 },
            b: Lent { source: self.b.0.source()?, layout: self.b.1 },
            c: Lent { source: self.c.0.clone(), layout: self.c.2 },
            work: self.work,
            scratch: (scratch_at, scratch_len),
        };
        job.run(take_share::<T>, &orders)
    }
}

/// One member's part, in a worker.
fn take_share<T: Scalar>(job: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders<T>)>()?;
    take_part(job, team, |job, member| {
        let find = |lent: &Lent, access| -> Result<(Strided<T>, _)> {
            let resolved = job.cache.resolver.resolve(job.windows, &lent.source, access)?;
            Ok((lent.layout.strided(resolved.as_ptr().cast()), resolved))
        };
        let refuse = |error: Error| CodecError::Argument(error.to_string());
        let (a, _a) = find(&orders.a, Access::ReadOnly).map_err(refuse)?;
        let (b, _b) = find(&orders.b, Access::ReadOnly).map_err(refuse)?;
        let (c, _c) = find(&orders.c, Access::ReadWrite).map_err(refuse)?;
        let kernel = Kernel::named(&orders.kernel)
            .ok_or_else(|| CodecError::Argument(format!("no kernel {}", orders.kernel)))?;
        let (offset, len) = orders.scratch;
        let scratch = job.windows.write(offset, len).map_err(refuse)?;
        debug_assert!(scratch.addr().is_multiple_of(SCRATCH_ALIGN_BYTES));
        let (alpha, beta) = orders.factors;
        let product = matmul::Product { kernel, alpha, a, b, beta, c };
        // SAFETY: the host checked shapes and layouts and borrows A, B and C, C alone for
        // writing, until no task of the job is left; the sources are as long as the arrays; the
        // scratch memory is a span of this job, as long as `scratch_bytes` says for
        // `members_max`, aligned by `run_shared`; all members are told the same, and a job's
        // counters begin at zero.
        Ok(unsafe { compute(orders.work, &product, scratch, team.members_max, member) })
    })
}

/// One member's part of the work.
///
/// # Safety
///
/// - As [`matmul::multiply`], for the product and, in a batch, for each; the scratch memory only
///   for [`Work::Product`].
/// - For [`Work::Gram`], B is A transposed.
unsafe fn compute<T: Scalar, W: Team>(
    work: Work,
    product: &matmul::Product<T>,
    scratch: *mut u8,
    members: usize,
    team: &W,
) -> std::result::Result<(), PeerDied> {
    match work {
        Work::Product => {
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { matmul::multiply(product, scratch, members, team) }
        }
        Work::Gram => {
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { multiply_gram(product, members, team) }
        }
        Work::Batch(count, steps) => {
            let of = |index: usize| {
                let mut one = *product;
                for (matrix, step) in [&mut one.a, &mut one.b, &mut one.c].into_iter().zip(steps) {
                    let elements = index.cast_signed().wrapping_mul(step);
                    matrix.data = matrix.data.wrapping_offset(elements);
                }
                one
            };
            // SAFETY: the caller's conditions are those of the callee.
            unsafe { multiply_batch(count, of, team) };
            Ok(())
        }
    }
}
