//! Element by element: conversions, maps, and operations on pairs with broadcasting.

use bytemuck::Pod;

use super::chunks::CHUNK;
use crate::array::{AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::elementwise::broadcast::{Broadcast, ElementRun};
use crate::kernel::elementwise::cast::cast;
use crate::kernel::number::Number;
use crate::pool::{Pool, Whole};
use crate::shape::Shape;

/// Calls that compute each element of an array from the elements of others.
///
/// They read the other arrays and write this one, so with the pool's `retries` they survive a
/// worker's death.
impl Pool {
    /// A new array of the same shape with elements of another type; see
    /// [`cast_into`](Pool::cast_into).
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
    /// let x = SharedArray::from_slice(&[1.9f32, -1.9, 300.0, f32::NAN])?;
    /// assert_eq!(pool.cast::<_, u8>(&x)?.as_slice(), [1, 0, 255, 0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cast<T: Number, U: Number>(&self, a: &impl AsArrayView<T>) -> Result<SharedArray<U>> {
        let a = &a.as_array_view();
        let mut out = SharedArray::for_overwrite(a.shape())?;
        self.cast_into(a, &mut out).map_err(Error::without_torn)?;
        Ok(out)
    }

    /// Writes to `out` the elements of `a`, converted as Rust's `as` does: integers wrap, floats
    /// are truncated towards zero and saturate, and NaN becomes 0. NumPy's `astype` agrees
    /// wherever the value fits.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if the shapes differ; else as
    /// [`ParLoop::for_each`](crate::ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1i32, -1, 256])?;
    /// let mut y = SharedArray::<u8>::zeroed([3])?;
    /// pool.cast_into(&x, &mut y)?;
    /// assert_eq!(y.as_slice(), [1, 255, 0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cast_into<T: Number, U: Number>(
        &self,
        a: &impl AsArrayView<T>,
        out: &mut SharedArray<U>,
    ) -> Result<()> {
        let a = &a.as_array_view();
        same_shape("cast_into", a.shape(), out.shape())?;
        self.par_chunks_mut(out, CHUNK).zip(a).for_each(|(out, a)| cast(a, out))
    }

    /// Writes `f(x)` to `out` for each element `x` of `a`.
    ///
    /// `f` runs in the workers and captures nothing, not even a value [of size
    /// zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`cast_into`](Pool::cast_into).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1u8, 4, 9])?;
    /// let mut roots = SharedArray::<f32>::zeroed([3])?;
    /// pool.map_into(&x, &mut roots, |x| f32::from(x).sqrt())?;
    /// assert_eq!(roots.as_slice(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map_into<T, U, F>(
        &self,
        a: &impl AsArrayView<T>,
        out: &mut SharedArray<U>,
        f: F,
    ) -> Result<()>
    where
        T: Pod,
        U: Pod,
        F: Fn(T) -> U + Copy + Send + 'static,
    {
        let a = &a.as_array_view();
        same_shape("map_into", a.shape(), out.shape())?;
        self.par_chunks_mut(out, CHUNK).zip(a).for_each(move |(out, a)| {
            out.iter_mut().zip(a).for_each(|(out, &x)| *out = f(x));
        })
    }

    /// Writes `f(x, y)` to `out` for each pair of elements of `a` and `b`. Their shapes are
    /// broadcast as in NumPy: they are aligned at their last axes, missing axes have length 1, and
    /// an axis of length 1 is repeated. So if `a` has shape `[m, n]`, `b` may be a row (`[n]`), a
    /// column (`[m, 1]`) or a single element (`[]`).
    ///
    /// `f` runs in the workers and captures nothing, not even a value [of size
    /// zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if the shapes cannot be broadcast, or `out` does not have the
    /// resulting shape; else as [`ParLoop::for_each`](crate::ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 3], |[i, j]| (10 * i + j) as f64)?;
    /// let means = pool.mean_axis(&a, 0)?;
    /// let mut centred = SharedArray::zeroed([2, 3])?;
    /// pool.zip_into(&a, &means, &mut centred, |x, mean| x - mean)?;
    /// assert_eq!(centred.as_slice(), [-5.0, -5.0, -5.0, 5.0, 5.0, 5.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn zip_into<A, B, C, F>(
        &self,
        a: &impl AsArrayView<A>,
        b: &impl AsArrayView<B>,
        out: &mut SharedArray<C>,
        f: F,
    ) -> Result<()>
    where
        A: Pod,
        B: Pod,
        C: Pod,
        F: Fn(A, B) -> C + Copy + Send + 'static,
    {
        let a = &a.as_array_view();
        let b = &b.as_array_view();
        let plan = Broadcast::new(a.shape().dims(), b.shape().dims()).ok_or_else(|| {
            let rule = "aligned at their last axes, lengths must be equal or 1";
            mismatch("zip_into", a.shape(), b.shape(), rule)
        })?;
        same_shape("zip_into", &Shape::from(plan.shape()), out.shape())?;
        if a.shape() == b.shape() {
            let chunks = self.par_chunks_mut(out, CHUNK).zip(a).zip(b);
            return chunks.for_each(move |((out, a), b)| {
                out.iter_mut().zip(a).zip(b).for_each(|((out, &a), &b)| *out = f(a, b));
            });
        }
        let chunks = self.par_chunks_mut(out, CHUNK).zip(Whole(a)).zip(Whole(b)).enumerate();
        chunks.with(plan).for_each(move |plan, (index, ((out, a), b))| {
            let first = index * CHUNK;
            for run in plan.runs(first..first + out.len()) {
                zip_run(run, first, a, b, out, f);
            }
        })
    }
}

/// Computes a part of the chunk that begins at element `first`.
fn zip_run<A: Pod, B: Pod, C>(
    ElementRun { out: start, len, starts, strides }: ElementRun,
    first: usize,
    a: &[A],
    b: &[B],
    out: &mut [C],
    f: impl Fn(A, B) -> C,
) {
    let out = out[start - first..][..len].iter_mut();
    let a = &a[starts[0]..][..if strides[0] == 0 { 1 } else { len }];
    let b = &b[starts[1]..][..if strides[1] == 0 { 1 } else { len }];
    match strides {
        [0, 0] => out.for_each(|out| *out = f(a[0], b[0])),
        [0, _] => out.zip(b).for_each(|(out, &y)| *out = f(a[0], y)),
        [_, 0] => out.zip(a).for_each(|(out, &x)| *out = f(x, b[0])),
        _ => out.zip(a).zip(b).for_each(|((out, &x), &y)| *out = f(x, y)),
    }
}

fn same_shape(operation: &'static str, left: &Shape, right: &Shape) -> Result<()> {
    if left == right {
        return Ok(());
    }
    Err(mismatch(operation, left, right, "the output must have the broadcast shape"))
}

fn mismatch(operation: &'static str, left: &Shape, right: &Shape, rule: &'static str) -> Error {
    Error::ShapeMismatch { operation, left: left.clone(), right: right.clone(), rule }
}
