//! Reductions of whole arrays.

use bytemuck::Pod;

use super::chunks::CHUNK;
#[cfg(doc)]
use crate::array::SharedArray;
use crate::array::{ArrayView, AsArrayView};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::number::{Addend, Number};
use crate::kernel::reduce::arg::{Arg, Extreme, merge_arg, partial_arg};
use crate::kernel::reduce::{
    self as kernel, Deviations, Fold, Max, MeanSum, Min, MinMax, Sum, mean, partial, variance,
};
use crate::pool::Pool;

/// Reductions of all elements of an array, whatever its shape.
///
/// Floats are added in `f64`, pairwise, and the sum is rounded once. The order of additions depends
/// on the length alone, so the bits are the same for any number of workers, and on every processor.
/// These calls only read, so with the pool's `retries` they survive a worker's death.
impl Pool {
    /// The sum of all elements; for integers an `i64` or `u64`, which wraps. The sum of no elements
    /// is 0.
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`](crate::ParLoop::for_each), and as [`SharedArray::zeroed`], because
    /// the sums of the chunks are kept in shared memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([1000, 3], |[i, _]| i as u16)?;
    /// assert_eq!(pool.sum(&x)?, 3 * 499_500);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sum<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<T::Sum> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        Ok(T::sum_of(self.folded(a, Sum)?))
    }

    /// The mean of all elements: `f32` for an array of `f32`, otherwise `f64`. The mean of no
    /// elements is NaN.
    ///
    /// Integers of up to 32 bits are added exactly, those of 64 bits as `f64`.
    ///
    /// # Errors
    ///
    /// As [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.mean(&SharedArray::from_slice(&[1u8, 2, 4, 5])?)?, 3.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn mean<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<T::Mean> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        Ok(T::mean_of(self.mean_as_f64(a)?))
    }

    /// The variance of all elements: the sum of the squared deviations from the mean, divided by
    /// the number of elements minus `ddof`. It takes two passes.
    ///
    /// If there are no more than `ddof` elements the result is NaN or infinite, as in NumPy.
    ///
    /// # Errors
    ///
    /// As [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1u8, 2, 4, 5])?;
    /// assert_eq!((pool.var(&x, 0)?, pool.var(&x, 1)?), (2.5, 10.0 / 3.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn var<T: Number>(&self, a: &impl AsArrayView<T>, ddof: usize) -> Result<T::Mean> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        Ok(T::mean_of(self.var_as_f64(a, ddof)?))
    }

    /// The standard deviation of all elements: the root of [`var`](Pool::var).
    ///
    /// # Errors
    ///
    /// As [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.std(&SharedArray::from_slice(&[1.0f64, 5.0])?, 0)?, 2.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn std<T: Number>(&self, a: &impl AsArrayView<T>, ddof: usize) -> Result<T::Mean> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        Ok(T::mean_of(self.var_as_f64(a, ddof)?.sqrt()))
    }

    /// The least element, or NaN if an element is NaN. If the least elements are zeros of both
    /// signs, either may be returned.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there are no elements; else as [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3, -1, 2])?;
    /// assert_eq!((pool.min(&x)?, pool.max(&x)?), (-1, 3));
    /// assert!(pool.min(&SharedArray::<f64>::zeroed([0])?).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn min<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<T> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        not_empty("the array of `min`", a)?;
        self.folded(a, Min)
    }

    /// The greatest element, or NaN if an element is NaN. If the greatest elements are zeros of
    /// both signs, either may be returned.
    ///
    /// # Errors
    ///
    /// As [`min`](Pool::min).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3, 1, 7])?;
    /// assert_eq!(pool.max(&x)?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn max<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<T> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        not_empty("the array of `max`", a)?;
        self.folded(a, Max)
    }

    /// The index, in row-major order, of the first NaN if there is one, otherwise of the least
    /// element. Of several least elements the first counts.
    ///
    /// # Errors
    ///
    /// As [`min`](Pool::min).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3.0, 1.0, 7.0, 1.0, 7.0])?;
    /// assert_eq!((pool.argmin(&x)?, pool.argmax(&x)?), (1, 2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn argmin<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<usize> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        not_empty("the array of `argmin`", a)?;
        self.extreme_index(a, Min)
    }

    /// The index, in row-major order, of the first NaN if there is one, otherwise of the greatest
    /// element. Of several greatest elements the first counts.
    ///
    /// # Errors
    ///
    /// As [`min`](Pool::min).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3, 7, 1, 7])?;
    /// assert_eq!(pool.argmax(&x)?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn argmax<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<usize> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        not_empty("the array of `argmax`", a)?;
        self.extreme_index(a, Max)
    }

    /// Whether any element is not zero (a NaN is not zero). The loop ends early when it finds one.
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`](crate::ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[0u8, 1])?;
    /// assert_eq!((pool.any(&x)?, pool.all(&x)?), (true, false));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn any<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<bool> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let found = self.par_chunks(a, CHUNK);
        Ok(found.find_map_first(|a: &[T]| kernel::any(a).then_some(()))?.is_some())
    }

    /// Whether no element is zero (a NaN is not zero). The loop ends early when it finds a zero.
    ///
    /// # Errors
    ///
    /// As [`any`](Pool::any).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1u8, 0])?;
    /// assert!(!pool.all(&x)?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn all<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<bool> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let found = self.par_chunks(a, CHUNK);
        Ok(found.find_map_first(|a: &[T]| (!kernel::all(a)).then_some(()))?.is_none())
    }

    /// The sum of the products of elements, `sum(a * b)`, of two arrays of the same shape.
    ///
    /// Integers are multiplied and added in 64 bits and wrap there (NumPy's wrap in their own
    /// type); products of 8 and 16 bits never wrap.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if the shapes differ; else as [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[100u8, 200, 3])?;
    /// assert_eq!(pool.dot(&x, &x)?, 50_009);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn dot<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        b: &impl AsArrayView<T>,
    ) -> Result<T::Sum> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        let b = &b.as_array_view();
        if a.shape() != b.shape() {
            return Err(Error::ShapeMismatch {
                operation: "dot",
                left: a.shape().clone(),
                right: b.shape().clone(),
                rule: "both must have the same shape",
            });
        }
        let chunks = self.par_chunks(a, CHUNK).zip(b);
        let partials = chunks.map(|(a, b)| kernel::dot(a, b)).collect_array()?;
        let _mode = FloatMode::standard();
        let total = merge_tree(partials.as_slice(), Addend::plus);
        Ok(T::sum_of(total.unwrap_or(T::Total::ZERO)))
    }

    /// The Euclidean norm: the square root of the sum of squares, in `f64`, rounded once. The
    /// squares are not scaled, so they overflow from 1e154 on.
    ///
    /// # Errors
    ///
    /// As [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// assert_eq!(pool.norm(&SharedArray::from_slice(&[3i8, -4])?)?, 5.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn norm<T: Number>(&self, a: &impl AsArrayView<T>) -> Result<T::Mean> {
        let _mode = FloatMode::standard();
        let a = &a.as_array_view();
        Ok(T::mean_of(self.squared_deviations(a, 0.0)?.sqrt()))
    }

    /// The least and the greatest element; `None` if there are no elements.
    pub(super) fn extremes<T: Number>(&self, a: &ArrayView<'_, T>) -> Result<Option<[T; 2]>> {
        if a.is_empty() {
            return Ok(None);
        }
        self.folded(a, MinMax).map(Some)
    }

    fn mean_as_f64<T: Number>(&self, a: &ArrayView<'_, T>) -> Result<f64> {
        Ok(mean(self.folded(a, MeanSum)?, a.len()))
    }

    fn var_as_f64<T: Number>(&self, a: &ArrayView<'_, T>, ddof: usize) -> Result<f64> {
        let mean = self.mean_as_f64(a)?;
        Ok(variance(self.squared_deviations(a, mean)?, a.len(), ddof))
    }

    fn squared_deviations<T: Number>(&self, a: &ArrayView<'_, T>, mean: f64) -> Result<f64> {
        let chunks = self.par_chunks(a, CHUNK).with(mean);
        let partials = chunks.map(|&mean, a| partial(Deviations, a, mean)).collect_array()?;
        Ok(merge_tree(partials.as_slice(), |a: f64, b| a + b).unwrap_or(0.0))
    }

    /// Folds each chunk, and merges the partial results in a fixed tree.
    fn folded<T, F>(&self, a: &ArrayView<'_, T>, fold: F) -> Result<F::Partial>
    where
        T: Number,
        F: Fold<T, Param = ()>,
    {
        let partials = self.per_chunk(a, move |_, a: &[T]| partial(fold, a, ()))?;
        Ok(merge_tree(partials.as_slice(), F::merge).unwrap_or(F::EMPTY))
    }

    fn extreme_index<T: Number, F: Extreme<T>>(
        &self,
        a: &ArrayView<'_, T>,
        fold: F,
    ) -> Result<usize> {
        let partials = self.per_chunk(a, move |i, a: &[T]| partial_arg(fold, a, i * CHUNK))?;
        let merge = |a, b| merge_arg::<T, F>(fold, a, b);
        let found = merge_tree(partials.as_slice(), merge).unwrap_or(Arg::EMPTY);
        usize::try_from(found.index)
            .map_err(|_| Error::Corrupt { what: "an index", found: found.index.to_string() })
    }
}

/// Combines `values` in a tree whose shape depends on their number alone.
pub(super) fn merge_tree<P: Copy>(values: &[P], merge: impl Fn(P, P) -> P + Copy) -> Option<P> {
    match values {
        [] => None,
        [value] => Some(*value),
        _ => {
            let (left, right) = values.split_at(values.len().next_power_of_two() / 2);
            merge_tree(left, merge).zip(merge_tree(right, merge)).map(|(a, b)| merge(a, b))
        }
    }
}

/// An error for an array without elements.
fn not_empty<T: Pod>(what: &'static str, a: &ArrayView<'_, T>) -> Result<()> {
    if a.is_empty() {
        return Err(Error::invalid(what, a.shape(), "at least one element"));
    }
    Ok(())
}
