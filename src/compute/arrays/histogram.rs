//! Histograms, and counts of small integers.

use std::ops::RangeInclusive;

use super::chunks::CHUNK;
use crate::array::{AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::number::{Integer, Number};
use crate::kernel::reduce::histogram::{self as kernel, EqualBins};
use crate::pool::Pool;

/// The kernels count a chunk in words of 32 bits.
const CHUNK_MAX: usize = 1 << 31;

/// Counts of elements. The array is only read, so with the pool's `retries` these calls survive a
/// worker's death. During a call up to 64 partial tables of counts lie in shared memory.
impl Pool {
    /// The number of elements in each of `bins` bins of equal width that divide `range`, and the
    /// `bins + 1` edges. As in NumPy's `histogram`, a bin includes its left edge, and the last one
    /// also its right edge; elements outside the range, and NaN, are left out. A range of one point
    /// is widened by 1/2 on both sides.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are no bins or at least 2^32 - 1, or if the range is not
    /// finite or descends; else as [`ParLoop::for_each`](crate::ParLoop::for_each), and as
    /// [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[0.0, 0.5, 1.0, 1.9, 2.0, 7.0, f64::NAN])?;
    /// let (counts, edges) = pool.histogram(&x, 2, 0.0..=2.0)?;
    /// assert_eq!((counts.as_slice(), &edges[..]), (&[2, 3][..], &[0.0, 1.0, 2.0][..]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn histogram<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        bins: usize,
        range: RangeInclusive<f64>,
    ) -> Result<(SharedArray<u64>, Vec<f64>)> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let equal = EqualBins::new::<T>(*range.start(), *range.end(), bins).ok_or_else(|| {
            let rule = "from 1 to 2^32 - 2 bins, and a finite range in which their edges ascend";
            Error::invalid("the bins of a histogram", format!("{bins} bins in {range:?}"), rule)
        })?;
        let edges = equal.edges().to_vec();
        let counts = self
            .par_chunks(a, chunk_len(bins))
            .with(equal)
            .fold_array(bins, |equal, counts: &mut [u64], a: &[T]| equal.count(a, counts))
            .merge(|a, b| a + b)?;
        Ok((counts, edges))
    }

    /// The number of occurrences of each integer from 0 to the greatest element, and at least
    /// `minlength` counts, as in NumPy's `bincount`. It takes two passes.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element is negative, or greater than the number of bytes of
    /// memory; [`Error::NoSpace`] if there is no room for the counts; else as [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3u8, 1, 3])?;
    /// assert_eq!(pool.bincount(&x, 0)?.as_slice(), [0, 1, 0, 2]);
    /// assert_eq!(pool.bincount(&x, 6)?.as_slice(), [0, 1, 0, 2, 0, 0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn bincount<T: Integer>(
        &self,
        a: &impl AsArrayView<T>,
        minlength: usize,
    ) -> Result<SharedArray<u64>> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let extremes = self.extremes(a)?;
        let len = kernel::bincount_len(extremes, minlength).ok_or_else(|| {
            let rule = "no negative elements, and none greater than the memory's size in bytes";
            let found = extremes.map_or(String::new(), |[a, b]| format!("{a:?} to {b:?}"));
            Error::invalid("the elements of `bincount`", found, rule)
        })?;
        self.par_chunks(a, chunk_len(len))
            .fold_array(len, |counts: &mut [u64], a: &[T]| kernel::bincount(a, counts))
            .merge(|a, b| a + b)
    }
}

/// Elements of a chunk that is counted in `counts` counts. The counts of a group of chunks take no
/// more memory than its elements would as `u64`.
fn chunk_len(counts: usize) -> usize {
    CHUNK.max(counts).min(CHUNK_MAX)
}
