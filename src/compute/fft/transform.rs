//! The builder of one transform, which checks it.

use std::marker::PhantomData;

use num_complex::Complex;

use super::passes;
use crate::array::{ArrayView, SharedArray};
use crate::compute::Axes;
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::fft::{FftFloat, TransformKind};
use crate::pool::Pool;
use crate::shape::Shape;

/// Where the factor `1/n` of a transform and its inverse is applied, as NumPy's `norm`; `n` is the
/// number of elements along the axes together. See [`Fft::norm`].
///
/// # Examples
///
/// ```
/// use brigade::{Complex, FftNorm, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let x = SharedArray::from_slice(&[Complex::new(1.0, 0.0); 4])?;
/// let norms = [FftNorm::Backward, FftNorm::Ortho, FftNorm::Forward];
/// for (norm, sum) in norms.into_iter().zip([4.0, 2.0, 1.0]) {
///     assert_eq!(pool.fft(&x).norm(norm).run()?[[0]].re, sum);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FftNorm {
    /// `1/n` in the inverse.
    #[default]
    Backward,
    /// `1/sqrt(n)` in both.
    Ortho,
    /// `1/n` in the forward transform.
    Forward,
}

impl FftNorm {
    fn scale(self, is_inverse: bool, n: f64) -> f64 {
        match self {
            FftNorm::Ortho => 1.0 / n.sqrt(),
            FftNorm::Backward if is_inverse => 1.0 / n,
            FftNorm::Forward if !is_inverse => 1.0 / n,
            FftNorm::Backward | FftNorm::Forward => 1.0,
        }
    }
}

/// A Fourier transform to compute, of the input `I`, with elements of type `O`: see
/// [`Pool::fft`], [`Pool::fft_in_place`], [`Pool::rfft`], [`Pool::irfft`].
///
/// # Examples
///
/// ```
/// use brigade::{Complex, FftNorm, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_fn([3, 4], |[i, _]| Complex::new(i as f64, 0.0))?;
/// let sums = pool.fft(&x).axes(1).norm(FftNorm::Ortho).run()?;
/// assert_eq!((sums[[2, 0]], sums[[2, 1]]), (Complex::new(4.0, 0.0), Complex::default()));
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a transform is computed by `run`"]
pub struct Fft<'p, I, O> {
    pool: &'p Pool,
    name: &'static str,
    input: I,
    is_inverse: bool,
    axes: Option<Vec<usize>>,
    norm: FftNorm,
    len: Option<usize>,
    retries: u32,
    output: PhantomData<fn() -> O>,
}

impl<'p, I, O> Fft<'p, I, O> {
    pub(super) fn new(pool: &'p Pool, name: &'static str, is_inverse: bool, input: I) -> Self {
        let retries = pool.task_options().retries;
        let (axes, norm, len, output) = (None, FftNorm::default(), None, PhantomData);
        Fft { pool, name, input, is_inverse, axes, norm, len, retries, output }
    }

    /// The axes of the transform, one or several, each once; along the others the array is a batch.
    /// Default: all. [`Pool::rfft`] and [`Pool::irfft`] halve the last one in this order.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_fn([2, 3], |[i, j]| Complex::new((3 * i + j) as f32, 0.0))?;
    /// let first = pool.fft(&x).axes(0).run()?;
    /// assert_eq!((first[[0, 2]].re, first[[1, 2]].re), (7.0, -3.0));
    /// assert_eq!(pool.fft(&x).axes([0, 1]).run()?, pool.fft(&x).run()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn axes(mut self, axes: impl Axes) -> Self {
        self.axes = Some(axes.as_slice().to_vec());
        self
    }

    /// Where the factor `1/n` is applied. Default: [`FftNorm::Backward`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, FftNorm, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[Complex::new(2.0, 0.0); 4])?;
    /// assert_eq!(pool.fft(&x).norm(FftNorm::Ortho).run()?[[0]].re, 4.0);
    /// assert_eq!(pool.ifft(&x).norm(FftNorm::Forward).run()?[[0]].re, 8.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn norm(mut self, norm: FftNorm) -> Self {
        self.norm = norm;
        self
    }

    /// Computes the transform again, up to `retries` times, if a worker dies. Default: the pool's.
    /// It has no effect in place, because a failed attempt has changed a part of the array.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let x = brigade::SharedArray::from_slice(&[3.0, 1.0])?;
    /// assert_eq!(pool.rfft(&x).retries(2).run()?[[1]].re, 2.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The axes in the order given, and the factor of the results. `halved` is the number of
    /// elements of the last axis, if it is not that of the shape.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for axes that the array does not have once each, or without
    /// elements.
    fn plan(&self, shape: &Shape, halved: Option<usize>) -> Result<(Vec<usize>, f64)> {
        let axes = self.axes.clone().unwrap_or_else(|| (0..shape.ndim()).collect());
        let is_axis = |d: usize| axes[d] < shape.ndim() && !axes[..d].contains(&axes[d]);
        if axes.is_empty() || !(0..axes.len()).all(is_axis) {
            let found = format!("{axes:?} of {shape}");
            let rule = "at least one axis, each once and less than the number of dimensions";
            return Err(Error::invalid(AXES, found, rule));
        }
        let mut lens: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
        if lens.contains(&0) {
            return Err(Error::invalid(AXES, format!("{axes:?} of {shape}"), LEN_RULE));
        }
        if let (Some(last), Some(halved)) = (lens.last_mut(), halved) {
            *last = halved;
        }
        let n = lens.iter().map(|&len| len as f64).product();
        Ok((axes, self.norm.scale(self.is_inverse, n)))
    }

    /// Calls `run`, and again while a worker dies and there are retries.
    fn repeat<R>(&self, run: impl Fn() -> Result<R>) -> Result<R> {
        let mut repeats_left = self.retries;
        loop {
            match run() {
                Err(Error::Task(error)) if error.is_lost_worker() && repeats_left > 0 => {
                    repeats_left -= 1;
                }
                done => return done,
            }
        }
    }

    fn kind(&self) -> TransformKind {
        if self.is_inverse { TransformKind::Inverse } else { TransformKind::Forward }
    }
}

const AXES: &str = "the axes of a transform";
const LEN_RULE: &str = "axes of at least one element";

impl<T: FftFloat> Fft<'_, ArrayView<'_, Complex<T>>, Complex<T>> {
    /// Computes the transform as a new array of the same shape.
    ///
    /// # Errors
    ///
    /// As [`Pool::fft`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[Complex::new(1.0, 0.0), Complex::new(0.0, 1.0)])?;
    /// assert_eq!(pool.fft(&x).run()?[[1]], Complex::new(1.0, -1.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<SharedArray<Complex<T>>> {
        let _mode = FloatMode::standard();
        let (mut axes, scale) = self.plan(self.input.shape(), None)?;
        // The last axis first: its lanes are contiguous, so they are read best from a new input.
        axes.sort_unstable_by(|a, b| b.cmp(a));
        self.repeat(|| passes::complex(self.pool, &self.input, &axes, self.kind(), scale))
    }
}

impl<T: FftFloat> Fft<'_, &mut SharedArray<Complex<T>>, ()> {
    /// Computes the transform in place.
    ///
    /// # Errors
    ///
    /// As [`Pool::fft`]; if a worker died, the elements are unspecified.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut x = SharedArray::from_slice(&[Complex::new(1.0, 0.0), Complex::new(0.0, 1.0)])?;
    /// pool.fft_in_place(&mut x).run()?;
    /// assert_eq!(x[[1]], Complex::new(1.0, -1.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<()> {
        let _mode = FloatMode::standard();
        let (mut axes, scale) = self.plan(self.input.shape(), None)?;
        axes.sort_unstable_by(|a, b| b.cmp(a));
        let kind = self.kind();
        passes::complex_in_place(self.pool, self.input, &axes, kind, scale)
    }
}

impl<T: FftFloat> Fft<'_, ArrayView<'_, T>, Complex<T>> {
    /// Computes the transform as a new array, which has `n / 2 + 1` elements along the halved axis.
    ///
    /// # Errors
    ///
    /// As [`Pool::rfft`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_fn([2, 5], |[i, _]| i as f64)?;
    /// assert_eq!(pool.rfft(&x).axes(1).run()?.shape().dims(), [2, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<SharedArray<Complex<T>>> {
        let _mode = FloatMode::standard();
        let (mut axes, scale) = self.plan(self.input.shape(), None)?;
        axes.reverse();
        self.repeat(|| passes::real(self.pool, &self.input, &axes, scale))
    }
}

impl<T: FftFloat> Fft<'_, ArrayView<'_, Complex<T>>, T> {
    /// The number `n` of elements of the result along the halved axis. The input's elements from
    /// `n / 2 + 1` on are ignored, and missing ones are zeros. Default: twice as many as the
    /// input has, less two.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1.0, 2.0, 6.0])?;
    /// let transform = pool.rfft(&x).run()?;
    /// assert_eq!(pool.irfft(&transform).n(3).run()?.len(), 3);
    /// assert_eq!(pool.irfft(&transform).run()?.len(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn n(mut self, n: usize) -> Self {
        self.len = Some(n);
        self
    }

    /// Computes the transform as a new array.
    ///
    /// # Errors
    ///
    /// As [`Pool::irfft`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[Complex::new(4.0, 0.0), Complex::new(2.0, 0.0)])?;
    /// assert_eq!(pool.irfft(&x).run()?.as_slice(), [3.0, 1.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let shape = self.input.shape();
        let (axes, _) = self.plan(shape, None)?;
        let given = shape[axes[axes.len() - 1]];
        // An array without elements may have any number of them along an axis.
        let Some(len) = self.len.or_else(|| (given - 1).checked_mul(2)) else {
            let rule = "at most 2^63 for the default of `n`";
            return Err(Error::invalid("the elements along the halved axis", given, rule));
        };
        if len == 0 {
            let rule = "at least 1 (set it by `n`: the default for one element is 0)";
            return Err(Error::invalid("the length `n` of `irfft`", len, rule));
        }
        let (axes, scale) = self.plan(shape, Some(len))?;
        self.repeat(|| passes::real_inverse(self.pool, &self.input, &axes, len, scale))
    }
}

impl<I, O> std::fmt::Debug for Fft<'_, I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fft")
            .field("call", &self.name)
            .field("axes", &self.axes)
            .field("norm", &self.norm)
            .finish_non_exhaustive()
    }
}
