//! Decimal digits of big numbers by a team of workers.
#![allow(unsafe_code)]

use serde::{Deserialize, Serialize};

use crate::compute::bigint::{Lent, SharedBigUint, grant_members, grant_scratch, reserve};
use crate::error::{Error, Result};
use crate::kernel::bigint::{
    Backend, decimal_digits, decimal_memory_limbs, to_decimal, to_decimal_team, without_zeros,
};
use crate::pool::{CodecError, Invocation, Pool, TeamJob, TeamOrders, take_part};
use crate::sys::mmap::Access;

/// Digits of shorter numbers are made by the caller: it takes no longer than asking.
const SHARED_LIMBS_MIN: usize = 3000;

/// Digits in a limb of memory.
const LIMB_DIGITS: usize = size_of::<u64>();

/// What the members of a team are told of a number's digits.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders {
    number: Lent,
    digits: Lent,
    memory: Lent,
}

impl Pool {
    /// The decimal digits of `number`, made by the workers together in shared memory; those of a
    /// short number by the caller.
    ///
    /// The time grows little faster than the length: about that of twenty products of such
    /// numbers. The memory needed is about 17 times the number's, and is reserved before the work
    /// begins.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] with the size it takes if there is not that much memory, before any
    /// work; [`Error::Task`] if a worker dies meanwhile, unless the pool's
    /// [`retries`](crate::PoolBuilder::retries) allow to begin again.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// let digits = pool.to_decimal(&pool.factorial(20_000)?)?;
    /// assert_eq!(digits.len(), 77_338);
    /// assert!(digits.starts_with("18192063202303451348"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn to_decimal(&self, number: &SharedBigUint) -> Result<String> {
        let limbs = number.limbs().len();
        let digits = decimal_digits(limbs);
        if !self.has_workers() || limbs < SHARED_LIMBS_MIN {
            grant_scratch(decimal_memory_limbs(limbs, 1) + digits / LIMB_DIGITS)?;
            return Ok(to_decimal(number.limbs()));
        }
        let (core, rules) = (self.core(), self.rules());
        let job =
            TeamJob { core, name: "brigade::Pool::to_decimal", members_max: usize::MAX, rules };
        let memory_limbs = decimal_memory_limbs(limbs, job.members_max());
        let digit_limbs = digits.div_ceil(LIMB_DIGITS);
        let [memory, digits_array] = reserve([memory_limbs, digit_limbs])?;
        grant_scratch(digit_limbs)?;
        grant_members(job.members_max(), [limbs; 2], 0)?;
        let orders = Orders {
            number: number.lent()?,
            digits: Lent::room(&digits_array),
            memory: Lent::room(&memory),
        };
        job.run(write_digits, &orders)?;
        drop(memory);
        let found: &[u8] = bytemuck::cast_slice(digits_array.as_slice());
        let found = without_zeros(&found[..digits]);
        if let Some(byte) = found.iter().find(|byte| !byte.is_ascii_digit()) {
            return Err(Error::Corrupt { what: "a digit", found: format!("{byte:#x}") });
        }
        Ok(found.iter().map(|&digit| char::from(digit)).collect())
    }
}

/// One member's part, in a worker.
fn write_digits(job: &mut Invocation<'_>) -> std::result::Result<(), CodecError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders)>()?;
    take_part(job, team, |job, member| {
        let Orders { number, digits, memory } = &orders;
        let limbs = number.limbs();
        let sizes = (
            decimal_digits(limbs).div_ceil(LIMB_DIGITS),
            decimal_memory_limbs(limbs, team.members_max),
        );
        if (digits.limbs(), memory.limbs()) != sizes {
            return Err(CodecError::Argument(format!("digits of other sizes: {orders:?}")));
        }
        let x = number.find(job, Access::ReadOnly)?;
        let digits = digits.find(job, Access::ReadWrite)?.cast();
        let memory = memory.find(job, Access::ReadWrite)?;
        // SAFETY: `find` checked the bounds; the host borrows the number until no task of the
        // job is left, so that nobody writes to it.
        let x = unsafe { std::slice::from_raw_parts(x.cast_const(), limbs) };
        let backend = Backend::detect();
        let members_max = team.members_max;
        // SAFETY: digits and memory are arrays of the job, of the sizes checked above, kept by
        // the host until no task of it is left; all members are told the same, are no more than
        // the job has tasks, and a job's counters begin at zero.
        Ok(unsafe { to_decimal_team(member, backend, x, digits, memory, members_max) })
    })
}
