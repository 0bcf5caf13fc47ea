//! Convolutions of long arrays of reals, by their transforms.

use bytemuck::Pod;

use super::passes::CHUNK;
use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::fft::FftFloat;
use crate::pool::{Pool, Whole};

/// Which part of a convolution is computed, as NumPy's `mode`; `n` is the length of the longer
/// operand and `m` that of the shorter.
///
/// # Examples
///
/// ```
/// use brigade::{ConvolveMode, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let (a, b) = (SharedArray::from_slice(&[1.0; 5])?, SharedArray::from_slice(&[1.0; 2])?);
/// let modes = [ConvolveMode::Full, ConvolveMode::Same, ConvolveMode::Valid];
/// for (mode, len) in modes.into_iter().zip([6, 5, 4]) {
///     assert_eq!(pool.fft_convolve(&a, &b, mode)?.len(), len);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConvolveMode {
    /// All `n + m - 1` sums.
    #[default]
    Full,
    /// The middle `n` sums, from sum `(m - 1) / 2` on.
    Same,
    /// The `n - m + 1` sums in which all elements of the shorter operand take part.
    Valid,
}

impl ConvolveMode {
    /// The first sum, and how many.
    fn part(self, n: usize, m: usize) -> (usize, usize) {
        let (n, m) = (n.max(m), n.min(m));
        match self {
            ConvolveMode::Full => (0, n + m - 1),
            ConvolveMode::Same => ((m - 1) / 2, n),
            ConvolveMode::Valid => (m - 1, n - m + 1),
        }
    }
}

impl Pool {
    /// The convolution of two arrays of one dimension, `out[k] = sum over j of a[j] b[k - j]`, by
    /// Fourier transforms: for arrays of which both are long.
    ///
    /// The error of each sum is about `EPSILON log2(n)` times the product of the Euclidean norms of
    /// the operands, so a sum that is much smaller than that product has few correct digits. For a
    /// short operand [`Pool::convolve`] is faster and more accurate.
    ///
    /// Not-a-number or an infinity in an operand makes every sum not a number.
    ///
    /// The call needs memory for 4 arrays of the length of the full convolution, padded by up to
    /// two fifths to a fast length, besides the result. If a worker dies, its step is repeated as
    /// often as the pool has retries.
    ///
    /// # Shapes
    ///
    /// See [`ConvolveMode`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array without elements or of another number of dimensions
    /// than 1; [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{ConvolveMode, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([1000], |[i]| (i % 10) as f64)?;
    /// let b = SharedArray::from_fn([10], |_| 1.0)?;
    /// let sums = pool.fft_convolve(&a, &b, ConvolveMode::Valid)?;
    /// assert_eq!(sums.len(), 991);
    /// assert!(sums.as_slice().iter().all(|sum| (sum - 45.0).abs() < 1e-9));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fft_convolve<T: FftFloat>(
        &self,
        a: &impl AsArrayView<T>,
        b: &impl AsArrayView<T>,
        mode: ConvolveMode,
    ) -> Result<SharedArray<T>> {
        let _mode = FloatMode::standard();
        let (a, b) = (a.as_array_view(), b.as_array_view());
        for operand in [&a, &b] {
            if operand.shape().ndim() != 1 || operand.is_empty() {
                let rule = "one dimension and at least one element";
                return Err(Error::invalid("an array of `fft_convolve`", operand.shape(), rule));
            }
        }
        let (first, len) = mode.part(a.len(), b.len());
        let padded_len = transform_len(a.len() + b.len() - 1);
        let x = self.rfft(&self.part(&a, 0, padded_len)?).run()?;
        let y = self.rfft(&self.part(&b, 0, padded_len)?).run()?;
        // A new array, so that a chunk can be repeated after a death.
        let mut product = self.for_overwrite(x.shape())?;
        self.par_chunks_mut(&mut product, CHUNK)
            .zip(&x)
            .zip(&y)
            .for_each(|((out, x), y)| {
                out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (x, y))| *out = *x * y);
            })
            .map_err(Error::without_torn)?;
        drop((x, y));
        let sums = self.irfft(&product).n(padded_len).run()?;
        self.part(&sums.as_array_view(), first, len)
    }

    /// `len` elements of an array from element `first` on, with zeros after its end.
    fn part<T: Pod>(
        &self,
        array: &ArrayView<'_, T>,
        first: usize,
        len: usize,
    ) -> Result<SharedArray<T>> {
        let mut out = self.for_overwrite([len])?;
        self.par_chunks_mut(&mut out, CHUNK)
            .enumerate()
            .zip(Whole(array))
            .with(first)
            .for_each(|first, ((chunk, out), array)| {
                let from = &array[array.len().min(first + chunk * CHUNK)..];
                let (copied, zeros) = out.split_at_mut(from.len().min(out.len()));
                copied.copy_from_slice(&from[..copied.len()]);
                zeros.fill(T::zeroed());
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }
}

/// The least even length from `len` on that has a fast transform: a power of two, times 1, 3, 5, 9
/// or 15.
fn transform_len(len: usize) -> usize {
    let padded = |factor: usize| factor * len.div_ceil(factor).next_power_of_two().max(2);
    [1, 3, 5, 9, 15].into_iter().map(padded).min().expect("there are factors")
}
