//! Prefix sums and scans, in two passes.

use bytemuck::Pod;

use super::chunks::CHUNK;
use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::number::Number;
use crate::kernel::reduce::{Sum, partial, scan};
use crate::pool::{Pool, Whole};

/// Scans over all elements in row-major order, with results of the same shape. (NumPy's have one
/// dimension; `reshape` gives that.)
///
/// The bits are the same for any number of workers, because the chunks depend on the length alone.
/// The array is only read, so with the pool's `retries` scans survive a worker's death.
impl Pool {
    /// The inclusive prefix sums; for integers `i64` or `u64`, which wrap.
    ///
    /// Floats are added in `f64`: one after the other within chunks of 65,536 elements, and
    /// pairwise between chunks. So even if no element is negative, a sum may be less than the one
    /// before it by its last bits.
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`](crate::ParLoop::for_each), and as [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1u8, 2, 3, 250])?;
    /// assert_eq!(pool.cumsum(&x)?.as_slice(), [1, 3, 6, 256]);
    /// assert_eq!(pool.cumsum_exclusive(&x)?.as_slice(), [0, 1, 3, 6]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cumsum<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<SharedArray<T::Sum>> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        self.prefix_sums(a, scan::cumsum)
    }

    /// The exclusive prefix sums: the sum of the elements before each, so the first is 0. Otherwise
    /// as [`cumsum`](Pool::cumsum).
    ///
    /// # Errors
    ///
    /// As [`cumsum`](Pool::cumsum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1u8, 2, 3])?;
    /// assert_eq!(pool.cumsum_exclusive(&x)?.as_slice(), [0, 1, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cumsum_exclusive<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
    ) -> Result<SharedArray<T::Sum>> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        self.prefix_sums(a, scan::cumsum_exclusive)
    }

    fn prefix_sums<T, F>(&self, a: &ArrayView<'_, T>, sums: F) -> Result<SharedArray<T::Sum>>
    where
        T: Number,
        F: Fn(&[T], T::Total, &mut [T::Sum]) + Copy + Send + 'static,
    {
        let mut out = SharedArray::<T::Sum>::for_overwrite(a.shape())?;
        let mut totals = self.per_chunk(a, |_, a: &[T]| partial(Sum, a, ()))?;
        {
            let _mode = FloatMode::standard();
            scan::carries(totals.as_mut_slice());
        }
        self.par_chunks_mut(&mut out, CHUNK)
            .zip(a)
            .zip(Whole(&totals))
            .enumerate()
            .for_each(move |(index, ((out, a), carries))| {
                sums(a, carries[index], out);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// The inclusive scan by `op`: of `[x, y, z]` it is `[x, op(x, y), op(op(x, y), z)]`. `op` must
    /// be associative, and `op(identity, x)` must be `x`.
    ///
    /// `op` runs in the workers and captures nothing, not even a value [of size
    /// zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`cumsum`](Pool::cumsum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 5, 2, 8, 3])?;
    /// let greatest = pool.scan(&x, i32::MIN, |a, b| a.max(b))?;
    /// assert_eq!(greatest.as_slice(), [1, 5, 5, 8, 8]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn scan<T, F>(&self, a: &impl AsArrayView<T>, identity: T, op: F) -> Result<SharedArray<T>>
    where
        T: Pod,
        F: Fn(T, T) -> T + Copy + Send + 'static,
    {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let mut out = SharedArray::<T>::for_overwrite(a.shape())?;
        if a.is_empty() {
            return Ok(out);
        }
        let totals = self.per_chunk(a, move |_, a: &[T]| scan::total(a, op))?;
        let identity = SharedArray::from_slice(&[identity])?;
        let mut carries = SharedArray::<T>::for_overwrite([totals.len()])?;
        self.par_chunks_mut(&mut carries, totals.len())
            .zip(&totals)
            .zip(Whole(&identity))
            .for_each(move |((carries, totals), identity)| {
                scan::exclusive(totals, identity[0], op, carries);
            })
            .map_err(Error::without_torn)?;
        self.par_chunks_mut(&mut out, CHUNK)
            .zip(a)
            .zip(Whole(&carries))
            .enumerate()
            .for_each(move |(index, ((out, a), carries))| {
                scan::inclusive(a, carries[index], op, out);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }
}
