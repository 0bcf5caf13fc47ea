//! Random numbers and random orders.
#![allow(unsafe_code)]

use std::ops::RangeInclusive;

use bytemuck::Pod;

use super::chunks::CHUNK;
use super::gather::part_of;
use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::kernel::number::{Integer, Number};
use crate::kernel::random::{self as kernel, Stream, shuffle};
use crate::pool::{Pool, Scattered, Whole};

/// `f32` or `f64`, as an element type of arrays of random numbers.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, RandomFloat, SharedArray};
/// fn noise<T: RandomFloat>(pool: &Pool, len: usize) -> brigade::Result<SharedArray<T>> {
///     let mut x = SharedArray::for_overwrite([len])?;
///     pool.fill_normal(&mut x, 1, 0.0, 1.0)?;
///     Ok(x)
/// }
/// let pool = Pool::builder().workers(1).build()?;
/// assert_eq!(noise::<f32>(&pool, 5)?.len(), 5);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a type of random floats",
    label = "neither `f32` nor `f64`",
    note = "fill integers by `pool.fill_integers`"
)]
pub trait RandomFloat: Number {
    #[doc(hidden)]
    fn fill_uniform(key: [u64; 2], start: u64, out: &mut [Self]);
    #[doc(hidden)]
    fn fill_normal(key: [u64; 2], start: u64, moments: [f64; 2], out: &mut [Self]);
}

macro_rules! float {
    ($($type:ty: $uniform:ident, $normal:ident;)*) => {$(
        impl RandomFloat for $type {
            fn fill_uniform(key: [u64; 2], start: u64, out: &mut [$type]) {
                kernel::$uniform(Stream::new(key), start, out);
            }

            fn fill_normal(
                key: [u64; 2],
                start: u64,
                [mean, deviation]: [f64; 2],
                out: &mut [$type],
            ) {
                kernel::$normal(Stream::new(key), start, mean, deviation, out);
            }
        }
    )*};
}
float! {
    f32: fill_uniform_f32, fill_normal_f32;
    f64: fill_uniform, fill_normal;
}

/// Random numbers by the counter-based generator Philox 4x64-10 (Salmon et al. 2011). Each element
/// depends on the seed and its index alone, so the numbers are the same for any number of workers.
/// All of these calls draw the same words from the same seed: use different seeds for numbers that
/// must be independent.
///
/// Every pass may be repeated, so with the pool's `retries` these calls survive a worker's death.
impl Pool {
    /// Fills the array with numbers that are uniform in [0, 1). They equal those of NumPy's
    /// `Generator(Philox(key=seed)).random(len)`, for `f32` with `dtype=float32`.
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
    /// let mut x = SharedArray::<f64>::for_overwrite([100_000])?;
    /// pool.fill_uniform(&mut x, 42)?;
    /// assert!((pool.mean(&x)? - 0.5).abs() < 0.01);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fill_uniform<T: RandomFloat>(&self, a: &mut SharedArray<T>, seed: u64) -> Result<()> {
        let chunks = self.par_chunks_mut(a, CHUNK).enumerate().with(seed);
        chunks.for_each(|&seed, (index, a)| {
            T::fill_uniform([seed, 0], start(index), a);
        })
    }

    /// Fills the array with normally distributed numbers of a mean and a standard deviation, by the
    /// method of Box and Muller. NumPy's numbers are different.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the deviation is negative or NaN; else as
    /// [`fill_uniform`](Pool::fill_uniform).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::<f64>::for_overwrite([100_000])?;
    /// pool.fill_normal(&mut x, 42, 5.0, 2.0)?;
    /// assert!((pool.mean(&x)? - 5.0).abs() < 0.05 && (pool.std(&x, 0)? - 2.0).abs() < 0.05);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fill_normal<T: RandomFloat>(
        &self,
        a: &mut SharedArray<T>,
        seed: u64,
        mean: f64,
        deviation: f64,
    ) -> Result<()> {
        if deviation.is_nan() || deviation < 0.0 {
            return Err(Error::invalid("a standard deviation", deviation, "at least 0"));
        }
        let chunks = self.par_chunks_mut(a, CHUNK).enumerate().with((seed, [mean, deviation]));
        chunks.for_each(|&(seed, moments), (index, a)| {
            T::fill_normal([seed, 0], start(index), moments, a);
        })
    }

    /// Fills the array with integers of `range`, all equally likely. NumPy's `integers` gives
    /// different numbers.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the range is empty; else as
    /// [`fill_uniform`](Pool::fill_uniform).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut dice = SharedArray::<u8>::for_overwrite([1000])?;
    /// pool.fill_integers(&mut dice, 7, 1..=6)?;
    /// assert_eq!((pool.min(&dice)?, pool.max(&dice)?), (1, 6));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fill_integers<T: Integer>(
        &self,
        a: &mut SharedArray<T>,
        seed: u64,
        range: RangeInclusive<T>,
    ) -> Result<()> {
        let (low, high) = (*range.start(), *range.end());
        if range.is_empty() {
            let found = format!("{low:?}..={high:?}");
            return Err(Error::invalid("the range of `fill_integers`", found, "low <= high"));
        }
        let span = kernel::span(low, high);
        let chunks = self.par_chunks_mut(a, CHUNK).enumerate();
        chunks.with((seed, low.to_bits_u64(), span)).for_each(|&(seed, low, span), (index, a)| {
            let low = T::from_bits_u64(low);
            kernel::fill_range(Stream::new([seed, 0]), start(index), low, span, a);
        })
    }

    /// Shuffles the elements, in row-major order; all orders are equally likely. It takes three
    /// passes and a second array.
    ///
    /// If it fails before the last pass, the array is unchanged. If the last pass fails, the
    /// elements are unspecified.
    ///
    /// # Errors
    ///
    /// As [`fill_uniform`](Pool::fill_uniform), and as [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_fn([1000], |[i]| i as u32)?;
    /// pool.shuffle(&mut x, 1)?;
    /// assert_ne!(x.as_slice()[..3], [0, 1, 2]);
    /// assert_eq!(pool.sum(&x)?, 499_500);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn shuffle<T: Pod>(&self, a: &mut SharedArray<T>, seed: u64) -> Result<()> {
        let bits = shuffle::bucket_bits(a.len());
        let (buckets, chunks) = (1usize << bits, a.len().div_ceil(SHUFFLE_CHUNK));
        if a.len() < 2 {
            return Ok(());
        }
        let mut sorted = SharedArray::<T>::for_overwrite([a.len()])?;
        let mut counts = SharedArray::<usize>::zeroed([chunks, buckets])?;
        self.par_rows_mut(&mut counts, 1)
            .with((seed, bits, a.len()))
            .for_each(|&(seed, bits, len), rows| {
                let first = rows.first() * SHUFFLE_CHUNK;
                let counts = rows.into_slice();
                counts.fill(0);
                let len = SHUFFLE_CHUNK.min(len - first);
                shuffle::count_buckets([seed, 0], bits, first as u64, len, counts);
            })
            .map_err(Error::without_torn)?;
        shuffle::starts(counts.as_mut_slice(), bits);
        self.par_chunks(&*a, SHUFFLE_CHUNK)
            .zip(Whole(&counts))
            .zip(Scattered(&mut sorted))
            .enumerate()
            .with((seed, bits))
            .for_each(|&(seed, bits), (index, ((a, starts), sorted))| {
                let mut positions = starts[index << bits..][..1 << bits].to_vec();
                let (key, first) = (([seed, 0], bits), (index * SHUFFLE_CHUNK) as u64);
                let sorted: *mut [T] = sorted;
                // SAFETY: `sorted` is an operand of the loop; the row is that of the chunk's
                // counts, by the same key and bits; the other calls of this loop have other
                // chunks, and nobody reads `sorted` before it ends.
                unsafe {
                    shuffle::scatter(key, first, a.len(), |i| a[i], &mut positions, sorted);
                }
            })
            .map_err(Error::without_torn)?;
        let mut begins = counts.as_slice()[..buckets].to_vec();
        begins.push(a.len());
        let bounds: Vec<[usize; 2]> = begins.windows(2).map(|pair| [pair[0], pair[1]]).collect();
        let bounds = SharedArray::from_slice(&bounds)?;
        self.par_chunks(&bounds, 1)
            .zip(Whole(&sorted))
            .zip(Scattered(a))
            .enumerate()
            .with(seed)
            .for_each(|&seed, (bucket, ((bounds, sorted), a))| {
                let [begin, end] = bounds[0];
                // SAFETY: no other call has this bucket, and nobody else uses the array, which the
                // host borrowed mutably.
                let elements = unsafe { part_of(a, begin..end) };
                elements.copy_from_slice(&sorted[begin..end]);
                shuffle::shuffle_bucket([seed, 0], bucket, elements);
            })
    }

    /// The numbers from 0 to `len - 1` in a random order, all orders equally likely: a
    /// [`shuffle`](Pool::shuffle) of these numbers.
    ///
    /// # Errors
    ///
    /// As [`shuffle`](Pool::shuffle).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut order = pool.permutation(5, 3)?.as_slice().to_vec();
    /// order.sort();
    /// assert_eq!(order, [0, 1, 2, 3, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn permutation(&self, len: usize, seed: u64) -> Result<SharedArray<u64>> {
        let mut order = SharedArray::<u64>::for_overwrite([len])?;
        self.par_chunks_mut(&mut order, CHUNK)
            .enumerate()
            .for_each(|(index, order)| {
                (start(index)..).zip(order).for_each(|(i, place)| *place = i);
            })
            .map_err(Error::without_torn)?;
        self.shuffle(&mut order, seed).map_err(Error::without_torn)?;
        Ok(order)
    }
}

/// Elements of a chunk of a shuffle: many more than there are buckets, because each chunk has a
/// count for each bucket.
const SHUFFLE_CHUNK: usize = 1 << 18;

/// The index of the first element of a chunk.
fn start(chunk: usize) -> u64 {
    (chunk * CHUNK) as u64
}
