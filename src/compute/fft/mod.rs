//! Fourier transforms by the workers of a pool.
//!
//! The methods of [`Pool`] are here and in `convolve`. `transform` is the builder of one transform,
//! which checks its axes; `passes` runs it as loops over blocks of lanes.

mod convolve;
mod passes;
mod transform;

use num_complex::Complex;

use crate::array::{ArrayView, AsArrayView, SharedArray};
#[cfg(doc)]
use crate::error::Error;
use crate::kernel::fft::FftFloat;
use crate::pool::Pool;

pub use convolve::ConvolveMode;
pub use transform::{Fft, FftNorm};

/// # Fourier transforms
///
/// Along an axis of `n` elements the forward transform is `X[k] = sum over j of x[j] exp(-2 pi i j
/// k / n)`, and the inverse has `+i` and the factor `1/n`: the conventions of `numpy.fft`. Lengths
/// may be any; the fastest have only the prime factors 2 and 3.
///
/// The relative error, in the Euclidean norm over the array, is at most `4 EPSILON log2(n)`, with
/// `n` the number of elements along the axes together. The bits are the same for any number of
/// workers on one machine; other processors may compute other bits. Not-a-number and infinities
/// spread to the results that depend on them.
///
/// Each worker needs private memory of up to 16 MiB, or of a few lanes if these are longer, and
/// tables of about the length of a lane. The tables of up to 32 transforms of at most 65536
/// elements are kept for later calls.
impl Pool {
    /// The Fourier transform of complex numbers, along all axes or some, as a new array: the
    /// [`Fft`] is computed by its `run`.
    ///
    /// # Shapes
    ///
    /// The result has the shape of the array.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for axes that the array lacks, or that have no elements;
    /// [`Error::NoSpace`] if there is not enough memory for the result, or in place for a second
    /// array of the size of the first, if its last axis is long and the others short;
    /// [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// // A wave that goes three times along the rows.
    /// let turn = |j: usize| std::f64::consts::TAU * (3 * j) as f64 / 64.0;
    /// let wave = SharedArray::from_fn([16, 64], |[_, j]| Complex::from_polar(1.0, turn(j)))?;
    /// let transform = pool.fft(&wave).run()?;
    /// assert!((transform[[0, 3]].re - 1024.0).abs() < 1e-9);
    /// assert!(transform[[0, 4]].norm() < 1e-9);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fft<'p, T: FftFloat>(
        &'p self,
        array: &'p impl AsArrayView<Complex<T>>,
    ) -> Fft<'p, ArrayView<'p, Complex<T>>, Complex<T>> {
        Fft::new(self, "fft", false, array.as_array_view())
    }

    /// The inverse of [`fft`](Pool::fft).
    ///
    /// # Errors
    ///
    /// As [`fft`](Pool::fft).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([5, 7], |[i, j]| Complex::new(i as f64, j as f64))?;
    /// let same = pool.ifft(&pool.fft(&x).run()?).run()?;
    /// assert!((same[[4, 6]] - x[[4, 6]]).norm() < 1e-12);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn ifft<'p, T: FftFloat>(
        &'p self,
        array: &'p impl AsArrayView<Complex<T>>,
    ) -> Fft<'p, ArrayView<'p, Complex<T>>, Complex<T>> {
        Fft::new(self, "ifft", true, array.as_array_view())
    }

    /// As [`fft`](Pool::fft), in place, with the same bits. Fewer than 16 lanes of 65536 elements
    /// or more along the last axis need a second array for the time of the call.
    ///
    /// # Errors
    ///
    /// As [`fft`](Pool::fft); if a worker died, the elements are unspecified.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_fn([3, 10], |[i, j]| Complex::new(i as f32, j as f32))?;
    /// let transform = pool.fft(&x).run()?;
    /// pool.fft_in_place(&mut x).run()?;
    /// assert_eq!(x, transform);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fft_in_place<'p, T: FftFloat>(
        &'p self,
        array: &'p mut SharedArray<Complex<T>>,
    ) -> Fft<'p, &'p mut SharedArray<Complex<T>>, ()> {
        Fft::new(self, "fft_in_place", false, array)
    }

    /// As [`ifft`](Pool::ifft), in place; see [`fft_in_place`](Pool::fft_in_place).
    ///
    /// # Errors
    ///
    /// As [`fft_in_place`](Pool::fft_in_place).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Complex, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[Complex::new(6.0, 0.0), Complex::new(2.0, 0.0)])?;
    /// pool.ifft_in_place(&mut x).run()?;
    /// assert_eq!((x[[0]].re, x[[1]].re), (4.0, 2.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn ifft_in_place<'p, T: FftFloat>(
        &'p self,
        array: &'p mut SharedArray<Complex<T>>,
    ) -> Fft<'p, &'p mut SharedArray<Complex<T>>, ()> {
        Fft::new(self, "ifft_in_place", true, array)
    }

    /// The Fourier transform of reals, for half the work of [`fft`](Pool::fft). The element at the
    /// negatives of all indices along the axes is the conjugate of the element at these, so the
    /// second half along the last axis is left out.
    ///
    /// If the halved axis is the last one of the array and has an even number of 131072 elements or
    /// more, in fewer than 16 lanes, the call needs a second array of the size of the result.
    ///
    /// # Shapes
    ///
    /// The last axis, or the last one that [`axes`](Fft::axes) names, has `n / 2 + 1` elements in
    /// the result instead of `n`.
    ///
    /// # Errors
    ///
    /// As [`fft`](Pool::fft).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1.0, 2.0, 3.0, 4.0])?;
    /// let transform = pool.rfft(&x).run()?;
    /// let parts: Vec<_> = transform.as_slice().iter().map(|z| (z.re, z.im)).collect();
    /// assert_eq!(parts, [(10.0, 0.0), (-2.0, 2.0), (-2.0, 0.0)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn rfft<'p, T: FftFloat>(
        &'p self,
        array: &'p impl AsArrayView<T>,
    ) -> Fft<'p, ArrayView<'p, T>, Complex<T>> {
        Fft::new(self, "rfft", false, array.as_array_view())
    }

    /// The inverse of [`rfft`](Pool::rfft). [`n`](Fft::n) sets the number of elements along the
    /// halved axis. An odd one must be set, because the input has the same shape for n and n - 1.
    /// The imaginary parts that reals do not have, of element 0 and for an even `n` of element
    /// `n / 2`, are ignored.
    ///
    /// For several axes the call needs a further array of the size of the input; and one of the
    /// size of the result if the halved axis is the last one of the array and `n` is even and at
    /// least 131072, for fewer than 16 lanes.
    ///
    /// # Shapes
    ///
    /// The last axis, or the last one that [`axes`](Fft::axes) names, has `n` elements in the
    /// result.
    ///
    /// # Errors
    ///
    /// As [`fft`](Pool::fft), and [`Error::InvalidArgument`] if `n` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([4, 5], |[i, j]| (i * j) as f64)?;
    /// let same = pool.irfft(&pool.rfft(&x).run()?).n(5).run()?;
    /// assert!((same[[3, 4]] - 12.0).abs() < 1e-12);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn irfft<'p, T: FftFloat>(
        &'p self,
        array: &'p impl AsArrayView<Complex<T>>,
    ) -> Fft<'p, ArrayView<'p, Complex<T>>, T> {
        Fft::new(self, "irfft", true, array.as_array_view())
    }
}
