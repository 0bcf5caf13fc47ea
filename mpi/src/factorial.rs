//! Factorials by all ranks.

use std::ops::Range;

use brigade::kernel::bigint;
use brigade::{Pool, SharedBigUint};

use crate::cluster::Cluster;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::link::{Kind, Link};

/// Factors of a task.
const FACTORS: u64 = 4096;

impl Cluster {
    /// n!, on rank 0; `None` on the others.
    ///
    /// Each rank multiplies an equal part of the factors 1 to n, and the products are merged
    /// upwards, two by two. The last product, of numbers half as long as n!, is computed by rank 0
    /// alone and takes a large part of the time, so two ranks gain little, and more ranks little
    /// more. [`Pool::factorial`], which works with prime powers, needs fewer operations.
    ///
    /// # Errors
    ///
    /// [`Error::Brigade`] if this rank has not enough memory or its pool fails,
    /// [`Error::RankFailed`] if so on another.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// let number = cluster.factorial(20)?;
    /// assert!(number.is_none_or(|number| number.limbs() == [2_432_902_008_176_640_000]));
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn factorial(&self, n: u64) -> Result<Option<SharedBigUint>> {
        self.link.expect_idle()?;
        let (rank, size) = (self.rank() as u64, self.size() as u64);
        let part = |rank: u64| {
            let start = u128::from(n) * u128::from(rank) / u128::from(size);
            u64::try_from(start).unwrap_or(n)
        };
        let own = product(self.pool(), part(rank)..part(rank + 1));
        let merged = merge(&self.link, self.pool(), own);
        let merged = self.link.agree(merged)?;
        Ok(Some(merged).filter(|_| self.rank() == 0))
    }
}

/// The product of the numbers after `range.start` up to `range.end`.
fn product(pool: &Pool, range: Range<u64>) -> Result<SharedBigUint> {
    let starts = (range.start..range.end).step_by(usize::try_from(FACTORS).unwrap_or(1));
    let parts = starts.map(|start| (start + 1, range.end.min(start + FACTORS)));
    let products = pool.map(parts, |(first, last): (u64, u64)| -> Vec<u64> {
        let factors: Vec<u64> = (first..=last).collect();
        let mut out = vec![0; factors.len() + 1];
        let mut scratch = vec![0; bigint::product_scratch_limbs(factors.len())];
        let limbs = bigint::product(&mut out, &factors, &mut scratch);
        out.truncate(limbs);
        out
    })?;
    let numbers = products.map(|limbs| SharedBigUint::from_limbs(&limbs));
    let numbers = numbers.collect::<brigade::Result<Vec<_>>>()?;
    Ok(pool.multiply_all(&numbers)?)
}

/// The product of all ranks' numbers, on rank 0. In round i, each rank that is an odd multiple of
/// 2^i gives its product to the rank 2^i before it. A rank that has failed gives no limbs.
fn merge(link: &Link, pool: &Pool, own: Result<SharedBigUint>) -> Result<SharedBigUint> {
    let (rank, size) = (link.rank(), link.size());
    let mut product = own;
    let mut step = 1;
    while step < size {
        if rank % (2 * step) == step {
            let limbs = product.as_ref().map_or(&[][..], SharedBigUint::limbs);
            link.send_whole(rank - step, Kind::Call, &limbs.len())?;
            link.exchange(&[(rank - step, bytemuck::cast_slice(limbs))], Vec::new());
            return product;
        }
        if rank % (2 * step) == 0 && rank + step < size {
            let len: usize = link.receive(rank + step, Kind::Call)?;
            let mut limbs = vec![0u64; len];
            let bytes = bytemuck::cast_slice_mut(&mut limbs);
            link.exchange(&[], vec![(rank + step, bytes)]);
            // A number without limbs says that the other rank has failed, which it reports.
            if len > 0 {
                product = product
                    .and_then(|own| Ok(pool.multiply(&own, &SharedBigUint::from_limbs(&limbs)?)?));
            }
        }
        step *= 2;
    }
    product
}
