//! Decimal digits of big numbers by a team of workers.

use crate::compute::bigint::shared_big_uint::{SharedBigUint, grant_scratch};
use crate::compute::bigint::team_call::{Computation, TeamCall};
use crate::error::{Error, Result};
use crate::kernel::bigint::{decimal_digits, decimal_memory_limbs, to_decimal, without_zeros};
use crate::pool::Pool;

/// The caller converts shorter numbers: that takes no longer than waking workers.
const SHARED_LIMBS_MIN: usize = 3000;

/// Digits in a limb of memory.
const LIMB_DIGITS: usize = size_of::<u64>();

impl Pool {
    /// The decimal digits of `number`, computed by the workers together in shared memory; the
    /// caller computes those of a short number.
    ///
    /// The time is about that of twenty products of such numbers. The memory needed is about 17
    /// times the number's, and is reserved before the work begins.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], with the size it takes, if there is not enough memory, before any work;
    /// [`Error::Task`] if a worker dies, unless the pool's [`retries`](crate::PoolBuilder::retries)
    /// permit another attempt.
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
        grant_scratch(digits.div_ceil(LIMB_DIGITS))?;
        let (computation, operands) = (Computation::Decimal, vec![number]);
        let call =
            TeamCall { pool: self, name: "brigade::Pool::to_decimal", computation, operands };
        let (result, _) = call.run()?;
        let found: &[u8] = bytemuck::cast_slice(result.as_slice());
        let found = without_zeros(&found[..digits]);
        if let Some(byte) = found.iter().find(|byte| !byte.is_ascii_digit()) {
            return Err(Error::Corrupt { what: "a digit", found: format!("{byte:#x}") });
        }
        Ok(found.iter().map(|&digit| char::from(digit)).collect())
    }
}
