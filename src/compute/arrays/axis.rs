//! Reductions along one axis or several.

use std::ops::Range;

use super::along::{
    AllAlong, Along, AnyAlong, ArgmaxAlong, ArgminAlong, DeviationAlong, ExactMeanAlong, MaxAlong,
    MeanAlong, MinAlong, SumAlong, VarianceAlong,
};
use super::axes::{Axes, Reduction, sorted_axes};
use super::chunks::CHUNK;
use super::reduce::merge_tree;
use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::number::Number;
use crate::kernel::reduce::axis::Axis;
use crate::pool::{Pool, Whole};

/// Columns of a tile, in a loop over the columns of a wide array.
const COLUMNS: usize = 4096;
/// With at least this many rows of results, the loop divides those rows.
const MANY: usize = 64;
/// The most parts into which the axis is divided.
const PARTS_MAX: usize = 64;

/// Reductions along one axis, or several. The result has the shape of the array without those axes;
/// if it reduces all axes, the result has no axes and one element.
///
/// Each result is what the reduction of a whole array gives for its elements, except for the order
/// of additions. That order depends on the shape alone, so the bits are the same for any number of
/// workers. These calls only read the array, so with the pool's `retries` they survive a worker's
/// death.
impl Pool {
    /// The sum along an axis, or several; see [`sum`](Pool::sum). Axes that are not next to each
    /// other are reduced in a copy of the array.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the array has no such axis, or an axis is named twice; else as
    /// [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as i32)?;
    /// assert_eq!(pool.sum_axis(&x, 0)?.as_slice(), [10, 12, 14]);
    /// assert_eq!(pool.sum_axis(&x, 1)?.as_slice(), [3, 33]);
    /// assert_eq!(pool.sum_axis(&x, [0, 1])?.as_slice(), [36]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sum_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<T::Sum>> {
        self.over_axes(a, &axes, |call| self.along(SumAlong, call, None, 0))
    }

    /// The mean along an axis; see [`mean`](Pool::mean). The mean along an axis of length 0 is NaN.
    ///
    /// # Errors
    ///
    /// As [`sum_axis`](Pool::sum_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as u8)?;
    /// assert_eq!(pool.mean_axis(&x, 0)?.as_slice(), [5.0, 6.0, 7.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn mean_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<T::Mean>> {
        self.over_axes(a, &axes, |call| self.along(MeanAlong, call, None, 0))
    }

    /// The variance along an axis; see [`var`](Pool::var).
    ///
    /// # Errors
    ///
    /// As [`sum_axis`](Pool::sum_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 2], |[i, j]| (10 * i + j) as f32)?;
    /// assert_eq!(pool.var_axis(&x, 0, 1)?.as_slice(), [50.0, 50.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn var_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
        ddof: usize,
    ) -> Result<SharedArray<T::Mean>> {
        self.along_deviations(VarianceAlong, a, &axes, ddof)
    }

    /// The standard deviation along an axis; see [`std`](Pool::std).
    ///
    /// # Errors
    ///
    /// As [`sum_axis`](Pool::sum_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 2], |[i, j]| (10 * i + j) as f64)?;
    /// assert_eq!(pool.std_axis(&x, 0, 0)?.as_slice(), [5.0, 5.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn std_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
        ddof: usize,
    ) -> Result<SharedArray<T::Mean>> {
        self.along_deviations(DeviationAlong, a, &axes, ddof)
    }

    /// The least element along an axis; see [`min`](Pool::min).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the array has no such axis, or the axis has length 0; else as
    /// [`sum`](Pool::sum).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as i8)?;
    /// assert_eq!(pool.min_axis(&x, 0)?.as_slice(), [0, 1, 2]);
    /// assert_eq!(pool.max_axis(&x, 1)?.as_slice(), [2, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn min_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<T>> {
        self.along_elements(MinAlong, a, &axes)
    }

    /// The greatest element along an axis; see [`max`](Pool::max).
    ///
    /// # Errors
    ///
    /// As [`min_axis`](Pool::min_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as u8)?;
    /// assert_eq!(pool.max_axis(&x, 0)?.as_slice(), [10, 11, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn max_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<T>> {
        self.along_elements(MaxAlong, a, &axes)
    }

    /// The index along the axis of the least element; see [`argmin`](Pool::argmin).
    ///
    /// # Errors
    ///
    /// As [`min_axis`](Pool::min_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[1.0, f64::NAN, 3.0, 0.0, 5.0, 3.0])?;
    /// x.reshape([2, 3])?;
    /// assert_eq!(pool.argmin_axis(&x, 0)?.as_slice(), [1, 0, 0]);
    /// assert_eq!(pool.argmax_axis(&x, 1)?.as_slice(), [1, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn argmin_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axis: usize,
    ) -> Result<SharedArray<u64>> {
        self.along_elements(ArgminAlong, a, &axis)
    }

    /// The index along the axis of the greatest element; see [`argmax`](Pool::argmax).
    ///
    /// # Errors
    ///
    /// As [`min_axis`](Pool::min_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as u8)?;
    /// assert_eq!(pool.argmax_axis(&x, 1)?.as_slice(), [2, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn argmax_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axis: usize,
    ) -> Result<SharedArray<u64>> {
        self.along_elements(ArgmaxAlong, a, &axis)
    }

    /// Whether any element along the axis is not zero: 1 or 0. See [`any`](Pool::any).
    ///
    /// # Errors
    ///
    /// As [`sum_axis`](Pool::sum_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (i * j) as u32)?;
    /// assert_eq!(pool.any_axis(&x, 0)?.as_slice(), [0, 1, 1]);
    /// assert_eq!(pool.all_axis(&x, 1)?.as_slice(), [0, 0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn any_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<u8>> {
        self.over_axes(a, &axes, |call| self.along(AnyAlong, call, None, 0))
    }

    /// Whether no element along the axis is zero: 1 or 0. See [`all`](Pool::all).
    ///
    /// # Errors
    ///
    /// As [`sum_axis`](Pool::sum_axis).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| (i + j) as u8)?;
    /// assert_eq!(pool.all_axis(&x, 0)?.as_slice(), [0, 1, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn all_axis<T: Number>(
        &self,
        a: &impl AsArrayView<T>,
        axes: impl Axes,
    ) -> Result<SharedArray<u8>> {
        self.over_axes(a, &axes, |call| self.along(AllAlong, call, None, 0))
    }

    /// Runs `job` along axes that must have elements.
    fn along_elements<T: Number, J: Along<T>>(
        &self,
        job: J,
        a: &impl AsArrayView<T>,
        axes: &impl Axes,
    ) -> Result<SharedArray<J::Output>> {
        self.over_axes(a, axes, |reduction| {
            reduction.not_empty()?;
            self.along(job, reduction, None, 0)
        })
    }

    /// Runs `job` on the deviations from the means.
    fn along_deviations<T: Number, J: Along<T>>(
        &self,
        job: J,
        a: &impl AsArrayView<T>,
        axes: &impl Axes,
        ddof: usize,
    ) -> Result<SharedArray<J::Output>> {
        self.over_axes(a, axes, |reduction| {
            let means = self.along(ExactMeanAlong, reduction, None, 0)?;
            self.along(job, reduction, Some(&means), ddof)
        })
    }

    /// Passes `a` to `run` as an array of three axes, of which the second is reduced. Where the
    /// axes are not next to each other, that is a copy with the axes in another order.
    fn over_axes<T: Number, R>(
        &self,
        a: &impl AsArrayView<T>,
        axes: &impl Axes,
        run: impl FnOnce(&Reduction<'_, T>) -> Result<R>,
    ) -> Result<R> {
        let _mode = FloatMode::standard();
        let a = a.as_array_view();
        let axes = sorted_axes(axes.as_slice(), a.shape())?;
        let dims = a.shape().dims();
        let kept: Vec<usize> = (0..dims.len()).filter(|axis| !axes.contains(axis)).collect();
        let lengths = |axes: &[usize]| axes.iter().map(|&axis| dims[axis]).collect::<Vec<_>>();
        let (n, shape) = (lengths(&axes).iter().product(), lengths(&kept));
        let (first, last) = (axes[0], axes[axes.len() - 1]);
        let mut reduction = Reduction { a: a.clone(), outer: 0, n, inner: 0, shape, axes };
        if last - first + 1 == reduction.axes.len() {
            reduction.outer = dims[..first].iter().product();
            reduction.inner = dims[last + 1..].iter().product();
            return run(&reduction);
        }
        let moved = self.permute_axes(&a, &[&kept[..], &reduction.axes].concat())?;
        let Reduction { outer, n, inner, shape, axes, .. } = reduction;
        let mut reduction = Reduction { a: moved.as_array_view(), outer, n, inner, shape, axes };
        (reduction.outer, reduction.inner) = (reduction.shape.iter().product(), 1);
        run(&reduction)
    }

    /// Runs `job`. `params` has one parameter for each result, if `job` takes any.
    ///
    /// If there are many columns, they are divided among the workers; otherwise the rows of results
    /// if there are many of those; otherwise the axis.
    fn along<T: Number, J: Along<T>>(
        &self,
        job: J,
        reduction: &Reduction<'_, T>,
        params: Option<&SharedArray<f64>>,
        ddof: usize,
    ) -> Result<SharedArray<J::Output>> {
        let &Reduction { ref a, outer, n, inner, ref shape, .. } = reduction;
        let mut out = SharedArray::<J::Output>::for_overwrite(&shape[..])?;
        if out.is_empty() {
            return Ok(out);
        }
        out.reshape([outer, inner])?;
        let none = SharedArray::zeroed([0])?;
        let call = Call { a, params: params.unwrap_or(&none), outer, n, inner, ddof };
        let part = CHUNK.div_ceil(inner).max(n.div_ceil(PARTS_MAX)).next_multiple_of(64);
        if inner >= 2 * COLUMNS {
            self.along_columns(job, &call, &mut out).map_err(Error::without_torn)?;
        } else if outer >= MANY || n <= part {
            self.along_rows(job, &call, &mut out).map_err(Error::without_torn)?;
        } else {
            self.along_parts(job, &call, part, &mut out).map_err(Error::without_torn)?;
        }
        out.reshape(&shape[..])?;
        Ok(out)
    }

    /// Each call computes [`COLUMNS`] columns of one row of results.
    fn along_columns<T: Number, J: Along<T>>(
        &self,
        job: J,
        call: &Call<'_, T>,
        out: &mut SharedArray<J::Output>,
    ) -> Result<()> {
        self.par_tiles(out, [1, COLUMNS])
            .zip(Whole(call.a))
            .zip(Whole(call.params))
            .with((call.n, call.inner, call.ddof))
            .for_each(move |&(n, inner, ddof), ((mut tile, a), params)| {
                let (outer, columns) = (tile.rows().start, tile.columns());
                let data = &a[outer * n * inner..][..n * inner];
                let params = some(params, outer * inner + columns.start, columns.len());
                finished(job, data, Axis { n, inner }, columns, params, ddof, tile.row_mut(0));
            })
    }

    /// Each call computes whole rows of results.
    fn along_rows<T: Number, J: Along<T>>(
        &self,
        job: J,
        call: &Call<'_, T>,
        out: &mut SharedArray<J::Output>,
    ) -> Result<()> {
        let rows = CHUNK / (call.n.max(1) * call.inner);
        self.par_rows_mut(out, rows.max(1))
            .zip(Whole(call.a))
            .zip(Whole(call.params))
            .with((call.n, call.inner, call.ddof))
            .for_each(move |&(n, inner, ddof), ((rows, a), params)| {
                let (first, out) = (rows.first(), rows.into_slice());
                let data = &a[first * n * inner..][..out.len() * n];
                let params = some(params, first * inner, out.len());
                finished(job, data, Axis { n, inner }, 0..inner, params, ddof, out);
            })
    }

    /// Each call reduces `part` steps of the axis for one row of results; the host merges the
    /// partial rows.
    fn along_parts<T: Number, J: Along<T>>(
        &self,
        job: J,
        &Call { a, params, outer, n, inner, ddof }: &Call<'_, T>,
        part: usize,
        out: &mut SharedArray<J::Output>,
    ) -> Result<()> {
        let parts = n.div_ceil(part);
        let mut partials = SharedArray::<J::Partial>::for_overwrite([outer * parts, inner])?;
        self.par_rows_mut(&mut partials, 1)
            .zip(Whole(a))
            .zip(Whole(params))
            .with((n, inner, part))
            .for_each(move |&(n, inner, part), ((rows, a), params)| {
                let parts = n.div_ceil(part);
                let (outer, first) = (rows.first() / parts, rows.first() % parts * part);
                let axis = Axis { n: part.min(n - first), inner };
                let data = &a[(outer * n + first) * inner..][..axis.n * inner];
                let params = some(params, outer * inner, inner);
                let partials = rows.into_slice();
                job.fold(data, axis, 0..inner, params, partials);
                partials.iter_mut().for_each(|partial| *partial = J::moved(*partial, first));
            })?;
        let mut column = Vec::with_capacity(parts);
        let rows = partials.as_slice().chunks_exact(parts * inner);
        for (rows, out) in rows.zip(out.as_mut_slice().chunks_exact_mut(inner)) {
            for (c, out) in out.iter_mut().enumerate() {
                column.clear();
                column.extend(rows[c..].iter().step_by(inner));
                let merged = merge_tree(&column, J::merge).unwrap_or(J::EMPTY);
                *out = J::finish(merged, n, ddof);
            }
        }
        Ok(())
    }
}

/// The arguments of a reduction along an axis: `a` is seen as `[outer, n, inner]`.
struct Call<'a, T> {
    a: &'a ArrayView<'a, T>,
    /// One for each result, or none.
    params: &'a SharedArray<f64>,
    outer: usize,
    n: usize,
    inner: usize,
    ddof: usize,
}

/// The parameters of `len` results from `start` on, if there are parameters.
fn some(params: &[f64], start: usize, len: usize) -> &[f64] {
    if params.is_empty() { params } else { &params[start..][..len] }
}

/// Reduces the whole axis.
fn finished<T: Number, J: Along<T>>(
    job: J,
    data: &[T],
    axis: Axis,
    columns: Range<usize>,
    params: &[f64],
    ddof: usize,
    out: &mut [J::Output],
) {
    let mut partials = vec![J::EMPTY; out.len()];
    job.fold(data, axis, columns, params, &mut partials);
    for (out, partial) in out.iter_mut().zip(partials) {
        *out = J::finish(partial, axis.n, ddof);
    }
}
