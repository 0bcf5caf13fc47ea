//! Computations on big numbers by a team of workers.
#![allow(unsafe_code)]

use std::slice;

use serde::{Deserialize, Serialize};

use crate::array::SharedArray;
use crate::compute::bigint::shared_big_uint::{
    LIMB_BYTES, SharedBigUint, SharedLimbs, grant_members, reserve,
};
use crate::error::{Error, Result};
use crate::kernel::PeerDied;
use crate::kernel::bigint::decimal::write_decimal;
use crate::kernel::bigint::factorial::{
    FactorialPlan, FactorialProgress, FactorialSizes, factorial_team,
};
use crate::kernel::bigint::team_arithmetic::{LimbSpan, MemoryNeeds, TeamArithmetic};
use crate::kernel::bigint::team_product::{Factors, ProductSizes, multiply_all_team};
use crate::kernel::bigint::{
    Backend, Combination, LIMBS_MAX, decimal_digits, decimal_memory_limbs, mul_scratch_limbs,
    square_scratch_limbs,
};
use crate::pool::{CodecError, Invocation, Member, Pool, TeamDescriptor, TeamJob, take_part};
use crate::sys::mmap::Access;

/// The computation that a team performs on its operands.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Computation {
    /// The product of two numbers.
    Product,
    /// The square of a number.
    Square,
    /// The product of all operands, none of them zero.
    ProductOfAll,
    /// The product of all primes up to this number.
    Primorial(u64),
    /// The binomial coefficient: the first number over the second.
    Binomial(u64, u64),
    /// The factorial of this number.
    Factorial(u64),
    /// The digits of a number in ASCII, padded with leading zeros.
    Decimal,
}

/// Limbs at the beginning of a workspace for the progress.
const PROGRESS_LIMBS: usize = 8;

const _: () = assert!(size_of::<FactorialProgress>() <= PROGRESS_LIMBS * size_of::<u64>());

impl Computation {
    /// The memory for operands of `limbs` limbs and a number of members, without the progress.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`].
    fn needs(self, limbs: &[usize], members_max: usize) -> Result<MemoryNeeds> {
        let x = limbs.first().copied().unwrap_or(0);
        let y = limbs.get(1).copied().unwrap_or(0);
        let many = |limbs: Option<usize>| {
            let limbs = checked_limbs("a product", limbs)?;
            Ok(ProductSizes::new(limbs, members_max).needs)
        };
        let few =
            |workspace, result, factors| Ok(MemoryNeeds { workspace, result, member: 0, factors });
        match self {
            Computation::Product => few(mul_scratch_limbs(x, y), x + y, [x, y]),
            Computation::Square => few(square_scratch_limbs(x), 2 * x, [x, x]),
            Computation::ProductOfAll => many(Some(limbs.iter().sum())),
            Computation::Primorial(n) => many(Combination::primorial_limbs(n)),
            Computation::Binomial(n, k) => many(Combination::binomial_limbs(n, k)),
            Computation::Factorial(n) => factorial_sizes(n, members_max).map(|sizes| sizes.needs),
            Computation::Decimal => {
                let digit_limbs = decimal_digits(x).div_ceil(size_of::<u64>());
                few(decimal_memory_limbs(x, members_max), digit_limbs, [x, x])
            }
        }
    }

    /// Runs one member's part; returns the number of limbs of the result.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    fn run(
        self,
        arithmetic: &TeamArithmetic<'_, Member>,
        operands: Vec<&[u64]>,
        result: LimbSpan<'_>,
        workspace: LimbSpan<'_>,
        progress: &FactorialProgress,
    ) -> std::result::Result<usize, PeerDied> {
        let many = |factors: Factors<'_>, limbs: Option<usize>, result, workspace| {
            let limbs = limbs.expect("`needs` has checked it");
            multiply_all_team(arithmetic, &factors, limbs, result, workspace)
        };
        match self {
            Computation::Product => {
                let mut scratch = arithmetic.scratch(workspace)?;
                let product = arithmetic.multiply(result, operands[0], operands[1], &mut scratch);
                product.map(<[u64]>::len)
            }
            Computation::Square => {
                let mut scratch = arithmetic.scratch(workspace)?;
                arithmetic.square(result, operands[0], &mut scratch).map(<[u64]>::len)
            }
            Computation::ProductOfAll => {
                let limbs = operands.iter().map(|number| number.len()).sum();
                many(Factors::Numbers(operands), Some(limbs), result, workspace)
            }
            Computation::Primorial(n) => {
                let factors = Factors::Segments(Combination::primorial(n));
                many(factors, Combination::primorial_limbs(n), result, workspace)
            }
            Computation::Binomial(n, k) => {
                let factors = Factors::Segments(Combination::binomial(n, k));
                many(factors, Combination::binomial_limbs(n, k), result, workspace)
            }
            Computation::Factorial(n) => {
                let sizes = FactorialSizes::new(n, arithmetic.members_max());
                let sizes = sizes.expect("`needs` has checked it");
                factorial_team(arithmetic, &sizes, result, workspace, progress)
            }
            Computation::Decimal => {
                let digits = result.into_bytes().take(decimal_digits(operands[0].len()));
                write_decimal(arithmetic, operands[0], digits, workspace)?;
                Ok(0)
            }
        }
    }
}

/// The number of limbs, if it is not too large.
///
/// # Errors
///
/// [`Error::TooLarge`].
pub(super) fn checked_limbs(what: &'static str, limbs: Option<usize>) -> Result<usize> {
    limbs.filter(|&limbs| limbs <= LIMBS_MAX).ok_or(Error::TooLarge {
        what,
        size_bytes: limbs.map_or(u64::MAX, |limbs| limbs as u64 * LIMB_BYTES),
        limit_bytes: LIMBS_MAX as u64 * LIMB_BYTES,
    })
}

/// The sizes for n! by at most `members_max` members.
///
/// # Errors
///
/// [`Error::TooLarge`].
fn factorial_sizes(n: u64, members_max: usize) -> Result<FactorialSizes> {
    checked_limbs("a factorial", FactorialPlan::limbs(n))?;
    Ok(FactorialSizes::new(n, members_max).expect("n! is not too large"))
}

/// The descriptor that the members of a team get.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ComputationDescriptor {
    computation: Computation,
    operands: Vec<SharedLimbs>,
    workspace: SharedLimbs,
    result: SharedLimbs,
}

/// A computation that the workers of a pool perform together.
pub(super) struct TeamCall<'c> {
    pub(super) pool: &'c Pool,
    /// The name of the call, for the report of a death.
    pub(super) name: &'static str,
    pub(super) computation: Computation,
    pub(super) operands: Vec<&'c SharedBigUint>,
}

impl TeamCall<'_> {
    /// Runs it; returns the memory of the result, and how many of its limbs are used.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::NoSpace`], [`Error::Task`] if a worker dies.
    pub(super) fn run(&self) -> Result<(SharedArray<u64>, usize)> {
        self.run_within(|run, _| run())
    }

    /// [`TeamCall::run`] called by `within`, which also gets the progress.
    ///
    /// # Errors
    ///
    /// As [`TeamCall::run`].
    pub(super) fn run_within(
        &self,
        within: impl FnOnce(&dyn Fn() -> Result<usize>, &(dyn Fn() -> f64 + Sync)) -> Result<usize>,
    ) -> Result<(SharedArray<u64>, usize)> {
        let (core, task_options) = (self.pool.core(), self.pool.task_options());
        let job = TeamJob::new(core, self.name, task_options);
        let limbs: Vec<usize> = self.operands.iter().map(|number| number.limbs().len()).collect();
        let needs = self.computation.needs(&limbs, job.members_max())?;
        let [mut workspace, result] = reserve([needs.workspace + PROGRESS_LIMBS, needs.result])?;
        grant_members(job.members_max(), needs.factors, needs.member)?;
        let descriptor = ComputationDescriptor {
            computation: self.computation,
            operands: self.operands.iter().map(|number| number.shared()).collect::<Result<_>>()?,
            workspace: SharedLimbs::of_array(&workspace),
            result: SharedLimbs::of_array(&result),
        };
        workspace.as_mut_slice()[..PROGRESS_LIMBS].fill(0);
        // SAFETY: the workspace lives as long as this function, and begins with room for the
        // progress (`PROGRESS_LIMBS`), which is used only as atomics while the job runs.
        let progress =
            unsafe { &*workspace.as_mut_slice().as_mut_ptr().cast::<FactorialProgress>() };
        let sizes = match self.computation {
            Computation::Factorial(n) => Some(factorial_sizes(n, job.members_max())?),
            _ => None,
        };
        let done = || sizes.as_ref().map_or(0.0, |sizes| progress.fraction(sizes));
        let limbs = within(&|| job.run(take_share, &descriptor), &done)?;
        if limbs > result.len() {
            return Err(Error::Corrupt { what: "a result", found: format!("{limbs} limbs") });
        }
        Ok((result, limbs))
    }
}

/// A member's part, in a worker.
fn take_share(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, descriptor) = invocation.argument::<(TeamDescriptor, ComputationDescriptor)>()?;
    take_part(invocation, team, |invocation, member| {
        let ComputationDescriptor { computation, operands, workspace, result } = &descriptor;
        let limbs: Vec<usize> = operands.iter().map(|number| number.limbs).collect();
        let needs = computation.needs(&limbs, team.members_max)?;
        if [workspace.limbs, result.limbs] != [needs.workspace + PROGRESS_LIMBS, needs.result] {
            return Err(CodecError::Argument(format!("memory of other sizes: {descriptor:?}")));
        }
        let mut numbers = Vec::with_capacity(operands.len());
        for number in operands {
            let start = number.find(invocation, Access::ReadOnly)?.cast_const();
            // SAFETY: `find` checked the bounds; the host borrows the number until no task of the
            // job is left, so nothing writes to it.
            numbers.push(unsafe { slice::from_raw_parts(start, number.limbs) });
        }
        let start = workspace.find(invocation, Access::ReadWrite)?;
        // SAFETY: `find` checked the bounds, and the limbs begin on a cache line; the host keeps
        // the array until no task of the job is left, and the progress is used only as atomics.
        let progress = unsafe { &*start.cast::<FactorialProgress>() };
        // SAFETY: as above; only this job uses the rest, and no member reads it before the first
        // step.
        let workspace =
            unsafe { LimbSpan::new(start.wrapping_add(PROGRESS_LIMBS), needs.workspace) };
        let start = result.find(invocation, Access::ReadWrite)?;
        // SAFETY: as above; it is another array of the job.
        let result = unsafe { LimbSpan::new(start, needs.result) };
        // SAFETY: all members get the same descriptor, only this job uses the team, and its
        // counters begin at zero.
        let arithmetic =
            unsafe { TeamArithmetic::new(member, Backend::detect(), team.members_max) };
        Ok(computation.run(&arithmetic, numbers, result, workspace, progress))
    })
}
