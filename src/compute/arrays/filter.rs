//! Filters: Gaussian, Sobel, box, correlation.
//!
//! Each filter is one pass: every call sees the whole input and computes a range of output rows.
//! Their bits do not depend on the range.

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::{ArrayView, AsArrayView, Element, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::stencil::{
    AREA_MAX, Boundary, BoxElement, Real, Stencil, Taps, box_mean_2d, correlate_1d,
    gaussian_weights, separable_2d, separable_3d, sobel_2d, sobel_magnitude_2d,
};
use crate::pool::{Pool, RowsMut, Whole};
use crate::shape::Shape;

/// Elements of the arrays of [`Pool::gaussian`](crate::Pool::gaussian) and other linear filters:
/// `f32` and `f64`. Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Boundary, FilterFloat, Pool, SharedArray};
/// fn blurred<T: FilterFloat>(pool: &Pool, a: &SharedArray<T>) -> brigade::Result<SharedArray<T>> {
///     pool.gaussian(a, 1.0, Boundary::Reflect)
/// }
/// let pool = Pool::builder().workers(2).build()?;
/// let image = SharedArray::from_fn([8, 8], |_| 1.0f32)?;
/// assert!((blurred(&pool, &image)?[[4, 4]] - 1.0).abs() < 1e-6);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type of this filter",
    label = "neither `f32` nor `f64`",
    note = "convert integers first: `pool.cast::<_, f32>(&image)?`; `uniform_filter` takes integers"
)]
pub trait FilterFloat: Element + Real + Serialize + DeserializeOwned {}

impl FilterFloat for f32 {}
impl FilterFloat for f64 {}

/// Elements of the images of [`Pool::uniform_filter`](crate::Pool::uniform_filter): the integers
/// of 1, 2 and 4 bytes. Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Boundary, FilterInteger, Pool, SharedArray};
/// fn mean<T: FilterInteger>(pool: &Pool, a: &SharedArray<T>) -> brigade::Result<SharedArray<T>> {
///     pool.uniform_filter(a, [3, 3], Boundary::Reflect)
/// }
/// let pool = Pool::builder().workers(2).build()?;
/// let image = SharedArray::from_fn([8, 8], |_| 7u8)?;
/// assert_eq!(mean(&pool, &image)?[[4, 4]], 7);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an element type of `uniform_filter`",
    label = "not an integer of 1, 2 or 4 bytes",
    note = "filter floats by `pool.gaussian` or `pool.correlate`"
)]
pub trait FilterInteger: Element + BoxElement + Serialize + DeserializeOwned {}

impl FilterInteger for u8 {}
impl FilterInteger for i8 {}
impl FilterInteger for u16 {}
impl FilterInteger for i16 {}
impl FilterInteger for u32 {}
impl FilterInteger for i32 {}

/// The number of standard deviations at which a Gaussian is cut off, as in SciPy.
const TRUNCATE: f64 = 4.0;
/// The greatest sigma of a Gaussian: it has four times as many weights on each side.
const SIGMA_MAX: f64 = 65536.0;
/// The most rows of a chunk, unless they have few elements: each chunk also reads the rows around
/// it.
const CHUNK_ROWS: usize = 64;
/// The number of chunks of an array with few rows.
const CHUNKS: usize = 16;
/// The fewest elements of a chunk.
const CHUNK_ELEMENTS: usize = 32 << 10;

/// The rows of a chunk, at least `least`, computed from the shape alone.
fn chunk_rows(rows: usize, row_len: usize, least: usize) -> usize {
    let rows = rows.div_ceil(CHUNKS).clamp(least, CHUNK_ROWS);
    rows.max(CHUNK_ELEMENTS / row_len.max(1))
}

/// The axis along which a loop divides an array, and the rows of a chunk. An array of one dimension
/// is divided by elements.
pub(super) fn lines([p, m, n]: [usize; 3], ndim: usize) -> (usize, usize) {
    match ndim {
        1 => (0, CHUNK_ELEMENTS),
        _ => (ndim - 2, chunk_rows(p * m, n, CHUNKS)),
    }
}

/// The shape with leading axes of length 1, so that there are three.
///
/// # Errors
///
/// [`Error::InvalidArgument`] for an array of no dimension, or of more than three.
pub(super) fn three_axes(what: &'static str, shape: &Shape) -> Result<[usize; 3]> {
    match *shape.dims() {
        [n] => Ok([1, 1, n]),
        [m, n] => Ok([1, m, n]),
        [p, m, n] => Ok([p, m, n]),
        _ => Err(Error::invalid(what, shape, "1, 2 or 3 dimensions")),
    }
}

fn two_axes(what: &'static str, shape: &Shape) -> Result<[usize; 2]> {
    <[usize; 2]>::try_from(shape.dims())
        .map_err(|_| Error::invalid(what, shape, "an image of 2 dimensions"))
}

/// Checks that a result has the shape of its array.
pub(super) fn check_out(operation: &'static str, left: &Shape, right: &Shape) -> Result<()> {
    if left == right {
        return Ok(());
    }
    let (left, right) = (left.clone(), right.clone());
    Err(Error::ShapeMismatch { operation, left, right, rule: "both must have the same shape" })
}

/// The indices of `rows` in the array.
pub(super) fn indices<T>(rows: &RowsMut<'_, T>) -> Range<usize> {
    rows.first()..rows.first() + rows.len()
}

/// What a linear filter sends to the workers besides the array: its weights, the shape of the
/// array, and the boundary.
type Linear<T> = (Vec<T>, Vec<usize>, Boundary<T>);

impl Pool {
    /// `array` blurred by a Gaussian of standard deviation `sigma`, in elements, along each of its
    /// 1, 2 or 3 axes.
    ///
    /// The weights are cut off at four standard deviations, as in `scipy.ndimage.gaussian_filter`.
    /// The result equals SciPy's except for rounding: everything is added in `T`. A sigma of 0
    /// changes nothing except the bits of a NaN. A NaN or an infinity reaches exactly the outputs
    /// whose window contains it. [`Boundary::Shrink`] adds nothing beyond the ends. The bits are
    /// the same for any number of workers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for another number of dimensions, or a sigma outside 0 to 65536;
    /// [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([100, 80], |[i, j]| f32::from(i == 50 && j == 40))?;
    /// let blurred = pool.gaussian(&image, 1.5, Boundary::Reflect)?;
    /// assert!((blurred.as_slice().iter().sum::<f32>() - 1.0).abs() < 1e-5);
    /// assert_eq!(blurred[[48, 40]], blurred[[52, 40]]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn gaussian<T: FilterFloat>(
        &self,
        array: &impl AsArrayView<T>,
        sigma: f64,
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        let weights = check_gaussian(array.shape(), sigma)?;
        let mut out = self.for_overwrite(array.shape())?;
        self.blur(array, &mut out, weights, boundary).map_err(Error::without_torn)?;
        Ok(out)
    }

    /// As [`gaussian`](Pool::gaussian), into an existing array. A loop over the frames of a video
    /// then allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`gaussian`](Pool::gaussian); [`Error::ShapeMismatch`] for an `out` of another shape.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut frame = SharedArray::<f64>::zeroed([48, 64])?;
    /// let mut blurred = SharedArray::zeroed([48, 64])?;
    /// for time in 0..3 {
    ///     frame.as_mut_slice().fill(f64::from(time));
    ///     pool.gaussian_into(&frame, &mut blurred, 2.0, Boundary::Clamp)?;
    ///     assert!((blurred[[5, 5]] - f64::from(time)).abs() < 1e-12);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn gaussian_into<T: FilterFloat>(
        &self,
        array: &impl AsArrayView<T>,
        out: &mut SharedArray<T>,
        sigma: f64,
        boundary: Boundary<T>,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        let weights = check_gaussian(array.shape(), sigma)?;
        check_out("gaussian_into", array.shape(), out.shape())?;
        self.blur(array, out, weights, boundary)
    }

    fn blur<T: FilterFloat>(
        &self,
        array: &ArrayView<'_, T>,
        out: &mut SharedArray<T>,
        weights: Vec<T>,
        boundary: Boundary<T>,
    ) -> Result<()> {
        let dims = array.shape().dims().to_vec();
        let row_len = dims[1..].iter().product();
        let least = if dims.len() == 3 { 1 } else { CHUNKS };
        let rows = chunk_rows(dims[0], row_len, least);
        let linear: Linear<T> = (weights, dims, boundary);
        self.par_rows_mut(out, rows).zip(Whole(array)).with(linear).for_each(
            |(weights, dims, boundary), (out, input)| {
                let (taps, rows, boundary) = (Taps::correlate(weights), indices(&out), *boundary);
                let out = out.into_slice();
                match dims[..] {
                    [p, m, n] => {
                        separable_3d(out, input, [p, m, n], rows, [&taps; 3], boundary);
                    }
                    [m, n] => separable_2d(out, input, [m, n], rows, [&taps; 2], boundary),
                    _ => correlate_1d(out, input, rows, &taps, boundary),
                }
            },
        )
    }

    /// The correlation of an array with a smaller one of as many dimensions, 1, 2 or 3: for each
    /// `i`, the sum of `weights[k] array[i + k - weights.shape() / 2]` over all `k`, as in
    /// `scipy.ndimage.correlate`.
    ///
    /// The terms are added in the order of the weights, in `T`; weights of zero are left out. A NaN
    /// reaches all outputs in which its weight is not zero. [`Boundary::Shrink`] adds nothing
    /// beyond the ends. The bits are the same for any number of workers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for another number of dimensions, or no weights;
    /// [`Error::ShapeMismatch`] if the array and the weights have different numbers of dimensions;
    /// [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let signal = SharedArray::from_slice(&[1.0, 2.0, 4.0, 8.0])?;
    /// let weights = SharedArray::from_slice(&[-1.0, 0.0, 1.0])?;
    /// let slope = pool.correlate(&signal, &weights, Boundary::Clamp)?;
    /// assert_eq!(slope.as_slice(), [1.0, 3.0, 6.0, 4.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn correlate<T: FilterFloat>(
        &self,
        array: &impl AsArrayView<T>,
        weights: &impl AsArrayView<T>,
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        let weights = &weights.as_array_view();
        self.weighted(array, weights, boundary, ("correlate", false))
    }

    /// As [`correlate`](Pool::correlate) with the weights reversed along each axis, as in
    /// `scipy.ndimage.convolve`: the sum of `weights[k] array[i + weights.shape() / 2 - k]`.
    ///
    /// # Errors
    ///
    /// As [`correlate`](Pool::correlate).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut image = SharedArray::<f64>::zeroed([5, 5])?;
    /// image[[2, 2]] = 1.0;
    /// let weights = SharedArray::from_fn([3, 3], |[i, j]| (3 * i + j) as f64)?;
    /// let spread = pool.convolve(&image, &weights, Boundary::Constant(0.0))?;
    /// assert_eq!((spread[[1, 1]], spread[[1, 2]], spread[[3, 3]]), (0.0, 1.0, 8.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn convolve<T: FilterFloat>(
        &self,
        array: &impl AsArrayView<T>,
        weights: &impl AsArrayView<T>,
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        let weights = &weights.as_array_view();
        self.weighted(array, weights, boundary, ("convolve", true))
    }

    fn weighted<T: FilterFloat>(
        &self,
        array: &ArrayView<'_, T>,
        weights: &ArrayView<'_, T>,
        boundary: Boundary<T>,
        (operation, reversed): (&'static str, bool),
    ) -> Result<SharedArray<T>> {
        let shape = three_axes("the array of a filter", array.shape())?;
        if array.shape().ndim() != weights.shape().ndim() {
            let (left, right) = (array.shape().clone(), weights.shape().clone());
            let rule = "both must have as many dimensions";
            return Err(Error::ShapeMismatch { operation, left, right, rule });
        }
        let window = three_axes("the weights of a filter", weights.shape())?;
        if window.contains(&0) {
            return Err(Error::invalid("the weights of a filter", weights.shape(), "at least one"));
        }
        let mut out = self.for_overwrite(array.shape())?;
        let ndim = array.shape().ndim();
        let values = (weights.as_slice().to_vec(), window, (shape, ndim), boundary, reversed);
        let (axis, rows) = lines(shape, ndim);
        let out_lines = self.par_axis(&mut out, axis, rows);
        out_lines
            .zip(Whole(array))
            .with(values)
            .for_each(|(weights, window, (shape, ndim), boundary, reversed), (out, input)| {
                let stencil = if *reversed { Stencil::convolve } else { Stencil::correlate };
                let (stencil, rows) = (stencil(weights, *window), indices(&out));
                match ndim {
                    // The rows of an array of one dimension are its elements.
                    1 => stencil.columns(out.into_slice(), input, rows, *boundary),
                    _ => stencil.lines(out.into_slice(), input, *shape, rows, *boundary),
                }
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// The derivative of an image along `axis`, 0 or 1, smoothed along the other, as in
    /// `scipy.ndimage.sobel`: the weights are -1 0 1 and 1 2 1.
    ///
    /// With a [`Boundary::Constant`] other than 0, SciPy's border differs for axis 1, because SciPy
    /// filters along axis 1 first. A NaN or an infinity reaches at most the nine outputs around it.
    /// The bits are the same for any number of workers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a number of dimensions other than 2, or another axis;
    /// [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([20, 30], |[i, j]| (3 * i + j) as f32)?;
    /// assert_eq!(pool.sobel(&image, 0, Boundary::Reflect)?[[10, 10]], 24.0);
    /// assert_eq!(pool.sobel(&image, 1, Boundary::Reflect)?[[10, 10]], 8.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sobel<T: FilterFloat>(
        &self,
        image: &impl AsArrayView<T>,
        axis: usize,
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let image = &image.as_array_view();
        let shape = two_axes("the image of `sobel`", image.shape())?;
        if axis > 1 {
            return Err(Error::invalid("the axis of `sobel`", axis, "0 or 1"));
        }
        let mut out = self.for_overwrite(shape)?;
        let rows = self.par_rows_mut(&mut out, chunk_rows(shape[0], shape[1], CHUNKS));
        rows.zip(Whole(image))
            .with((shape, axis, boundary))
            .for_each(|&(shape, axis, boundary), (out, input)| {
                let rows = indices(&out);
                sobel_2d(out.into_slice(), input, shape, rows, axis, boundary);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// The magnitude of the gradient of an image: `sqrt(x^2 + y^2)` of [`sobel`](Pool::sobel) along
    /// both axes, in one pass.
    ///
    /// # Errors
    ///
    /// As [`sobel`](Pool::sobel).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([20, 30], |[i, j]| (3 * i + 4 * j) as f64)?;
    /// assert_eq!(pool.sobel_magnitude(&image, Boundary::Reflect)?[[10, 10]], 40.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sobel_magnitude<T: FilterFloat>(
        &self,
        image: &impl AsArrayView<T>,
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let image = &image.as_array_view();
        let shape = two_axes("the image of `sobel_magnitude`", image.shape())?;
        let mut out = self.for_overwrite(shape)?;
        let rows = self.par_rows_mut(&mut out, chunk_rows(shape[0], shape[1], CHUNKS));
        rows.zip(Whole(image))
            .with((shape, boundary))
            .for_each(|&(shape, boundary), (out, input)| {
                let rows = indices(&out);
                sobel_magnitude_2d(out.into_slice(), input, shape, rows, boundary);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// The mean of the box of `size` rows and columns around each element of an image, rounded to
    /// the nearest integer, halves up. The centre of the box is at `size / 2`.
    ///
    /// The time does not depend on the size of the box. (`scipy.ndimage.uniform_filter` truncates
    /// the fraction after each axis, so its result may be lower.) [`Boundary::Shrink`] adds nothing
    /// beyond the ends, and divides by the size of the whole box. The result is the same for any
    /// number of workers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a number of dimensions other than 2, or a box of no elements
    /// or more than 65536; [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([20, 30], |[i, j]| if i < 10 { j as u8 } else { 255 })?;
    /// let means = pool.uniform_filter(&image, [3, 3], Boundary::Clamp)?;
    /// assert_eq!((means[[5, 7]], means[[10, 7]], means[[15, 7]]), (7, 172, 255));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn uniform_filter<T: FilterInteger>(
        &self,
        image: &impl AsArrayView<T>,
        size: [usize; 2],
        boundary: Boundary<T>,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let image = &image.as_array_view();
        let shape = two_axes("the image of `uniform_filter`", image.shape())?;
        let area = size[0].checked_mul(size[1]);
        if !area.is_some_and(|area| (1..=AREA_MAX).contains(&area)) {
            let found = format!("{} by {}", size[0], size[1]);
            return Err(Error::invalid("the box of a filter", found, "from 1 to 65536 elements"));
        }
        let mut out = self.for_overwrite(shape)?;
        let rows = chunk_rows(shape[0], shape[1], CHUNKS).max(4 * size[0]);
        let rows = self.par_rows_mut(&mut out, rows);
        rows.zip(Whole(image))
            .with((shape, size, boundary))
            .for_each(|&(shape, size, boundary), (out, input)| {
                let rows = indices(&out);
                box_mean_2d(out.into_slice(), input, shape, rows, size, boundary);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }
}

/// The weights of a Gaussian for an array of this shape. The host computes them and sends them to
/// the workers, so that all use the same.
///
/// # Errors
///
/// As [`Pool::gaussian`].
fn check_gaussian<T: FilterFloat>(shape: &Shape, sigma: f64) -> Result<Vec<T>> {
    three_axes("the array of `gaussian`", shape)?;
    if !(0.0..=SIGMA_MAX).contains(&sigma) {
        return Err(Error::invalid("the sigma of `gaussian`", sigma, "from 0 to 65536"));
    }
    Ok(gaussian_weights(sigma, TRUNCATE).map(T::from_f64).collect())
}
