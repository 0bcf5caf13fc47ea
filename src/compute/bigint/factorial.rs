//! n! by a team of workers.

use crate::compute::bigint::progress;
use crate::compute::bigint::shared_big_uint::{SharedBigUint, grant_scratch};
use crate::compute::bigint::team_call::{Computation, TeamCall, checked_limbs};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::kernel::bigint;
use crate::kernel::bigint::factorial::FactorialPlan;
use crate::pool::Pool;

/// The caller computes smaller factorials: that takes no longer than waking workers.
const SHARED_MIN: u64 = 20_000;

impl Pool {
    /// n!, computed by the workers together in shared memory.
    ///
    /// Below about 20 000 the caller computes it. Besides the result it needs about eight times as
    /// much memory, which is reserved before the work begins, and kept for the next factorial.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if n! has more than 2^36 limbs; [`Error::NoSpace`], with the size it
    /// takes, if there is not enough memory. Both are returned before any work. [`Error::Task`] if
    /// a worker dies, unless the pool's [`retries`](crate::PoolBuilder::retries) permit another
    /// attempt.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.factorial(20)?.limbs(), [2_432_902_008_176_640_000]);
    /// assert_eq!(pool.factorial(30_000)?.bits(), 402_909);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn factorial(&self, n: u64) -> Result<SharedBigUint> {
        self.factorial_perhaps_watched(n, None)
    }

    /// [`Pool::factorial`] with progress reports: every tenth of a second another thread of this
    /// process calls `watch` with an estimate of how much of the work is done, from 0 to 1.
    ///
    /// # Errors
    ///
    /// As [`Pool::factorial`].
    ///
    /// # Panics
    ///
    /// If `watch` panics.
    ///
    /// # Examples
    ///
    /// ```
    /// let pool = brigade::Pool::builder().workers(2).build()?;
    /// let mut last = 0.0;
    /// let number = pool.factorial_watched(30_000, |done| last = done)?;
    /// assert_eq!((number.bits(), last), (402_909, 1.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn factorial_watched(
        &self,
        n: u64,
        mut watch: impl FnMut(f64) + Send,
    ) -> Result<SharedBigUint> {
        let number = self.factorial_perhaps_watched(n, Some(&mut watch))?;
        watch(1.0);
        Ok(number)
    }

    fn factorial_perhaps_watched(&self, n: u64, watch: Option<Watch<'_>>) -> Result<SharedBigUint> {
        let limbs = checked_limbs("a factorial", FactorialPlan::limbs(n))?;
        if !self.has_workers() || n < SHARED_MIN {
            // The product, its factors, and twice as much for each of three transforms.
            grant_scratch(8 * limbs)?;
            return SharedBigUint::from_limbs(&bigint::factorial(n));
        }
        let call = TeamCall {
            pool: self,
            name: "brigade::Pool::factorial",
            computation: Computation::Factorial(n),
            operands: Vec::new(),
        };
        let (result, limbs) = match watch {
            None => call.run()?,
            Some(watch) => {
                call.run_within(|run, done| progress::while_watched(run, done, watch))?
            }
        };
        Ok(SharedBigUint::of_array(result, limbs))
    }
}

/// Called with how much is done, from 0 to 1.
type Watch<'a> = &'a mut (dyn FnMut(f64) + Send);
