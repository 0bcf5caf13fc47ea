//! Rows by index, by mask and by condition.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::array::{AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::gather::{Index, compress_rows, count_true, first_outside, select, take_rows};
use crate::pool::{Pool, Scattered, Whole};
use crate::shape::Shape;

/// Indices of rows: `usize`, `u64`, or `i64`, of which negative ones count from the end. Other
/// crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[10, 20, 30])?;
/// let last_and_first = SharedArray::from_slice(&[-1i64, 0])?;
/// assert_eq!(pool.take(&x, &last_and_first)?.as_slice(), [30, 10]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an index of rows",
    label = "not `usize`, `u64` or `i64`",
    note = "convert the indices first: `pool.cast::<_, u64>(&indices)?`"
)]
pub trait RowIndex: Pod + Index + Display {}

impl RowIndex for usize {}
impl RowIndex for u64 {}
impl RowIndex for i64 {}

/// The bytes that a call moves at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The indices, or bytes of a mask, that a call examines.
const CHUNK: usize = 64 << 10;
/// The rows of a chunk of a mask are a multiple of this.
const MASK_UNIT: usize = 64;

impl Pool {
    /// The rows of `array` with these indices, as a new array: along axis 0, as in
    /// `numpy.take(array, indices, axis=0)`. A row is what one index of the first axis selects; in
    /// an array of one dimension it is an element.
    ///
    /// The result has the shape of `indices`, followed by the shape of a row. An index may occur
    /// any number of times. `indices` are `usize`, `u64`, or `i64`, of which -1 is the last row.
    /// All of them are checked before the result is allocated.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array of no dimensions, or for an index that is out of
    /// bounds (the error names the first); [`Error::NoSpace`]; [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let table = SharedArray::from_fn([4, 2], |[i, j]| 10 * i + j)?;
    /// let rows = pool.take(&table, &SharedArray::from_slice(&[3i64, 0, -1])?)?;
    /// assert_eq!(rows.shape().dims(), [3, 2]);
    /// assert_eq!(rows.as_slice(), [30, 31, 0, 1, 30, 31]);
    ///
    /// let error = pool.take(&table, &SharedArray::from_slice(&[1u64, 4])?).unwrap_err();
    /// assert!(error.to_string().contains("4 at position 1"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn take<T: Pod, I: RowIndex>(
        &self,
        array: &impl AsArrayView<T>,
        indices: &impl AsArrayView<I>,
    ) -> Result<SharedArray<T>> {
        let array = &array.as_array_view();
        let indices = &indices.as_array_view();
        let (n, row) = rows("the array of `take`", array.shape())?;
        let chunks = self.par_chunks(indices, CHUNK).enumerate();
        let outside = chunks.with(n).find_map_first(|&n, (chunk, indices)| {
            first_outside(indices, n).map(|at| chunk * CHUNK + at)
        })?;
        if let Some(at) = outside {
            let found = format!("{} at position {at}", indices.as_slice()[at]);
            return Err(Error::invalid("an index of `take`", found, format!("a row of {n}")));
        }
        let shape = [indices.shape().dims(), row].concat();
        let mut out = self.for_overwrite(shape)?;
        let row_len = row.iter().product::<usize>();
        let chunk_rows = (CHUNK_BYTES / (row_len * size_of::<T>()).max(1)).max(1);
        let chunk_len = chunk_rows.saturating_mul(row_len).max(1);
        let chunks = self.par_chunks_mut(&mut out, chunk_len).enumerate();
        chunks
            .zip(Whole(array))
            .zip(Whole(indices))
            .with((chunk_rows, row_len))
            .for_each(|&(chunk_rows, row_len), (((chunk, out), input), indices)| {
                let indices = &indices[chunk * chunk_rows..][..out.len() / row_len];
                take_rows(out, input, row_len, indices);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// The rows of `array` whose byte of `mask` is not 0, in order, as a new array: along axis 0,
    /// as in `numpy.compress(mask, array, axis=0)`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array of no dimensions; [`Error::ShapeMismatch`] unless
    /// the mask has one dimension, with as many bytes as there are rows; [`Error::NoSpace`];
    /// [`Error::Task`] if a worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([6], |[i]| i as f64)?;
    /// let mask = SharedArray::from_slice(&[0u8, 1, 1, 0, 0, 1])?;
    /// assert_eq!(pool.compress(&x, &mask)?.as_slice(), [1.0, 2.0, 5.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn compress<T: Pod>(
        &self,
        array: &impl AsArrayView<T>,
        mask: &impl AsArrayView<u8>,
    ) -> Result<SharedArray<T>> {
        let array = &array.as_array_view();
        let mask = &mask.as_array_view();
        let (n, row) = rows("the array of `compress`", array.shape())?;
        if *mask.shape().dims() != [n] {
            let (left, right) = (array.shape().clone(), mask.shape().clone());
            let rule = "the mask must have one dimension, with a byte for each row";
            return Err(Error::ShapeMismatch { operation: "compress", left, right, rule });
        }
        let row_len = row.iter().product::<usize>();
        let chunk = (CHUNK / row_len.max(1)).next_multiple_of(MASK_UNIT).max(MASK_UNIT);
        let counts = self.par_chunks(mask, chunk).map(count_true).collect()?;
        let total = counts.iter().sum::<usize>();
        let mut out = self.for_overwrite([&[total], row].concat())?;
        // The range of rows that each chunk writes; the ranges do not overlap.
        let starts = counts.iter().scan(0, |sum, &count| {
            let start = *sum;
            *sum += count;
            Some((start, count))
        });
        let parts = (starts.collect::<Vec<_>>(), chunk, row_len);
        let chunks = self.par_chunks(mask, chunk).enumerate().zip(Whole(array));
        chunks
            .zip(Scattered(&mut out))
            .with(parts)
            .for_each(|(starts, chunk_rows, row_len), (((chunk, mask), input), out)| {
                let (start, count) = starts[chunk];
                let input = &input[chunk * chunk_rows * row_len..][..mask.len() * row_len];
                let range = start * row_len..(start + count) * row_len;
                // SAFETY: the ranges of two chunks do not overlap, as each begins where the one
                // before ends, and one call has the chunk; nobody else uses the array until the
                // loop ends, as the host made it above.
                let part = unsafe { part_of(out, range) };
                compress_rows(part, input, *row_len, mask);
            })
            .map_err(Error::without_torn)?;
        Ok(out)
    }

    /// `x` where the byte of `mask` is not 0, and `y` elsewhere, as in `numpy.where(mask, x, y)`.
    /// The mask, both arrays and the result have the same shape. Bits are copied unchanged.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] for different shapes; [`Error::NoSpace`]; [`Error::Task`] if a
    /// worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mask = SharedArray::from_slice(&[1u8, 0, 1])?;
    /// let x = SharedArray::from_slice(&[1.0, 2.0, 3.0])?;
    /// let y = SharedArray::from_slice(&[-1.0, f64::NAN, -3.0])?;
    /// let z = pool.select(&mask, &x, &y)?;
    /// assert!(z[[0]] == 1.0 && z[[1]].is_nan() && z[[2]] == 3.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn select<T: Pod>(
        &self,
        mask: &impl AsArrayView<u8>,
        x: &impl AsArrayView<T>,
        y: &impl AsArrayView<T>,
    ) -> Result<SharedArray<T>> {
        let mask = &mask.as_array_view();
        let x = &x.as_array_view();
        let y = &y.as_array_view();
        for other in [mask.shape(), y.shape()] {
            if x.shape() != other {
                let (left, right) = (x.shape().clone(), other.clone());
                let rule = "the mask and both arrays must have the same shape";
                return Err(Error::ShapeMismatch { operation: "select", left, right, rule });
            }
        }
        let mut out = self.for_overwrite(x.shape())?;
        let chunk_len = (CHUNK_BYTES / size_of::<T>().max(1)).max(1);
        let chunks = self.par_chunks_mut(&mut out, chunk_len);
        chunks
            .zip(mask)
            .zip(x)
            .zip(y)
            .for_each(|(((out, mask), x), y)| select(out, mask, x, y))
            .map_err(Error::without_torn)?;
        Ok(out)
    }
}

/// The elements `range` of the array at this address.
///
/// # Safety
///
/// - The array is mapped, and nobody else uses these elements while the slice lives.
///
/// # Panics
///
/// If the range is not within the array.
pub(super) unsafe fn part_of<'a, T: Pod>(array: *mut [T], range: Range<usize>) -> &'a mut [T] {
    assert!(range.start <= range.end && range.end <= array.len(), "{range:?} of {}", array.len());
    let part = array.cast::<T>().wrapping_add(range.start);
    // SAFETY: within the array, checked above; the rest is the caller's contract.
    unsafe { slice::from_raw_parts_mut(part, range.len()) }
}

/// The rows of an array, and the shape of one.
///
/// # Errors
///
/// [`Error::InvalidArgument`] for an array of no dimensions.
fn rows<'s>(what: &'static str, shape: &'s Shape) -> Result<(usize, &'s [usize])> {
    match shape.dims().split_first() {
        Some((&n, row)) => Ok((n, row)),
        None => Err(Error::invalid(what, shape, "an array of at least one dimension")),
    }
}
