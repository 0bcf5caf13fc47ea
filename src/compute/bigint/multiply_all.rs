//! The product of many big numbers by a team of workers.

use crate::compute::bigint::multiply::{self, SHARED_LIMBS_MIN};
use crate::compute::bigint::shared_big_uint::SharedBigUint;
use crate::compute::bigint::team_call::{Computation, TeamCall};
use crate::error::Result;
use crate::pool::Pool;

/// The most groups of factors that members multiply alone; a group's product may have one more
/// limb.
const GROUPS_MAX: usize = 128;

impl Pool {
    /// The product of all `numbers`, computed by the workers together in shared memory; 1 if there
    /// are none. The caller computes a small product.
    ///
    /// # Errors
    ///
    /// As [`Pool::multiply`], for the product of about half of them by the other half.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedBigUint};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let number = |limb| SharedBigUint::from_limbs(&[limb]);
    /// let numbers = [number(6)?, number(7)?, number(1 << 63)?];
    /// assert_eq!(pool.multiply_all(&numbers)?.limbs(), [0, 21]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn multiply_all<'n>(
        &self,
        numbers: impl IntoIterator<Item = &'n SharedBigUint>,
    ) -> Result<SharedBigUint> {
        let numbers: Vec<&SharedBigUint> = numbers.into_iter().collect();
        match *numbers {
            [x, y] => return self.multiply(x, y),
            _ if numbers.iter().any(|number| number.is_zero()) => {
                return SharedBigUint::from_limbs(&[]);
            }
            _ => {}
        }
        let limbs: usize = numbers.iter().map(|number| number.limbs().len()).sum();
        let half = limbs / 2 + GROUPS_MAX;
        multiply::check(half, half)?;
        if !self.has_workers() || limbs < SHARED_LIMBS_MIN || numbers.len() == 1 {
            let factors: Vec<&[u64]> = numbers.iter().map(|number| number.limbs()).collect();
            return multiply::product_alone(&factors);
        }
        let computation = Computation::ProductOfAll;
        let name = "brigade::Pool::multiply_all";
        let (result, limbs) =
            TeamCall { pool: self, name, computation, operands: numbers }.run()?;
        Ok(SharedBigUint::of_array(result, limbs))
    }
}
