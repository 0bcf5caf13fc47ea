//! Primorials and binomial coefficients by a team of workers.

use crate::compute::bigint::multiply::SHARED_LIMBS_MIN;
use crate::compute::bigint::shared_big_uint::{SharedBigUint, grant_scratch};
use crate::compute::bigint::team_call::{Computation, TeamCall, checked_limbs};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::kernel::bigint::Combination;
use crate::pool::Pool;

/// With fewer numbers to sieve, the caller computes alone.
const SHARED_NUMBERS_MIN: u64 = 200_000;

impl Pool {
    /// `n` over `k`, the number of ways to choose `k` of `n` things; 0 if `k > n`.
    ///
    /// The workers compute it together in shared memory, from the exponents of its primes; the
    /// caller computes a small one.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], with a bound of its size, if that is more than 2^36 limbs;
    /// [`Error::NoSpace`] if there is no memory for it or for computing it (about nine times as
    /// much). Both are returned before any work. [`Error::Task`] if a worker dies, unless the
    /// pool's [`retries`](crate::PoolBuilder::retries) permit another attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.binomial(52, 5)?.limbs(), [2_598_960]);
    /// assert!(pool.binomial(5, 6)?.is_zero());
    /// assert_eq!(pool.binomial(1_000_000, 3)?, pool.binomial(1_000_000, 999_997)?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn binomial(&self, n: u64, k: u64) -> Result<SharedBigUint> {
        let limbs = checked_limbs("a binomial coefficient", Combination::binomial_limbs(n, k))?;
        // The numbers that are sieved: up to n, or k factors.
        let numbers = n.min(k.min(n.saturating_sub(k)).saturating_mul(64));
        if k > n || self.is_small(numbers, limbs) {
            grant_scratch(8 * limbs)?;
            return SharedBigUint::from_limbs(&Combination::binomial(n, k).product());
        }
        self.combined("brigade::Pool::binomial", Computation::Binomial(n, k))
    }

    /// The product of all primes up to `n`, n#; 1 if there are none.
    ///
    /// The workers compute it together in shared memory; the caller computes a small one.
    ///
    /// # Errors
    ///
    /// As [`Pool::binomial`].
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.primorial(30)?.limbs(), [2 * 3 * 5 * 7 * 11 * 13 * 17 * 19 * 23 * 29]);
    /// assert_eq!(pool.primorial(1)?.limbs(), [1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn primorial(&self, n: u64) -> Result<SharedBigUint> {
        let limbs = checked_limbs("a primorial", Combination::primorial_limbs(n))?;
        if self.is_small(n, limbs) {
            grant_scratch(8 * limbs)?;
            return SharedBigUint::from_limbs(&Combination::primorial(n).product());
        }
        self.combined("brigade::Pool::primorial", Computation::Primorial(n))
    }

    fn is_small(&self, numbers: u64, limbs: usize) -> bool {
        !self.has_workers() || (numbers < SHARED_NUMBERS_MIN && limbs < SHARED_LIMBS_MIN)
    }

    fn combined(&self, name: &'static str, computation: Computation) -> Result<SharedBigUint> {
        let call = TeamCall { pool: self, name, computation, operands: Vec::new() };
        let (result, limbs) = call.run()?;
        Ok(SharedBigUint::of_array(result, limbs))
    }
}
