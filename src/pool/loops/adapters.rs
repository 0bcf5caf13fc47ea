//! Operands that are seen whole, subsampled, or by records.
//!
//! Also the operands into which a loop writes its results: an element a chunk, or a row a block.
#![allow(unsafe_code)]

use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::pool::loops::operand::{
    ByRows, ClaimedChunk, Cut, Elements, Enumerated, HostOperand, Operand, Sealed, Unit,
    WorkerOperand, for_each_array,
};
use crate::pool::loops::rows::{Rows, RowsMut};

/// An operand that each call of a loop sees whole, read only: a table, weights, the other matrix.
///
/// The workers read it where it lies; nothing is copied. It may have any shape.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray, Whole};
/// let pool = Pool::builder().workers(2).build()?;
/// let table = SharedArray::from_slice(&[0u32, 10, 20, 30])?;
/// let indices = SharedArray::from_slice(&[3u8, 1, 1, 0, 2])?;
/// let mut found = SharedArray::<u32>::zeroed([5])?;
/// pool.par_chunks_mut(&mut found, 2).zip(&indices).zip(Whole(&table)).for_each(
///     |((found, indices), table)| {
///         found.iter_mut().zip(indices).for_each(|(f, &i)| *f = table[usize::from(i)])
///     },
/// )?;
/// assert_eq!(found.as_slice(), [30, 10, 10, 0, 20]);
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// An array that is written cannot be seen whole:
///
/// ```compile_fail
/// # use brigade::{Pool, SharedArray, Whole};
/// # let pool = Pool::builder().workers(1).build()?;
/// # let x = SharedArray::<u32>::zeroed([5])?;
/// # let mut y = SharedArray::<u32>::zeroed([5])?;
/// pool.par_chunks(&x, 2).zip(Whole(&mut y)).for_each(|_| ())?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Whole<A>(pub A);

/// An operand of [`Pool::par_rows`](crate::Pool::par_rows) that has one row for every `n` rows of
/// the loop, for example the chroma planes of a 4:2:0 video frame. The last of its rows may stand
/// for fewer. The number of rows of a chunk must be a multiple of `n`.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray, Subsampled};
/// let pool = Pool::builder().workers(2).build()?;
/// let luma = SharedArray::from_fn([5, 4], |[i, j]| (i + j) as u8)?;
/// let mut chroma = SharedArray::<u8>::zeroed([3, 2])?;
/// pool.par_rows(&luma, 2).zip(Subsampled(&mut chroma, 2)).for_each(|(luma, mut chroma)| {
///     for (i, row) in chroma.iter_mut().enumerate() {
///         row.copy_from_slice(&[luma[2 * i][0], luma[2 * i][2]]);
///     }
/// })?;
/// assert_eq!(chroma.as_slice(), [0, 2, 2, 4, 4, 6]);
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// A filter of a chroma plane also reads the rows around it: `Subsampled(Halo(..), n)`, whose reach
/// is in rows of the operand.
///
/// ```
/// use brigade::{Boundary, Halo, Pool, SharedArray, Subsampled};
/// let pool = Pool::builder().workers(2).build()?;
/// let luma = SharedArray::<u8>::zeroed([5, 4])?;
/// let chroma = SharedArray::from_fn([3, 2], |[i, _]| i as u8)?;
/// let halo = Halo(&chroma, 1, Boundary::Clamp);
/// let seen = pool.par_rows(&luma, 2).zip(Subsampled(halo, 2)).map(|(_, chroma)| {
///     [-1, 0, 1].map(|i| chroma.row(i)[0])
/// });
/// assert_eq!(seen.collect()?, [[0, 0, 1], [0, 1, 2], [1, 2, 2]]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Subsampled<A>(
    /// The array.
    pub A,
    /// The ratio `n`, at least 1.
    pub usize,
);

/// Bytes in pieces that end after a delimiter, so that no record is cut; see
/// [`Pool::par_records`](crate::Pool::par_records).
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let lines = SharedArray::from_slice(b"1\n20\n300\n")?;
/// let lengths = pool.par_records(&lines, b'\n', 1).map(|lines| lines.len());
/// assert_eq!(lengths.reduce(0, |a, b| a + b)?, 9);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Records<A> {
    pub(super) bytes: A,
    pub(super) delimiter: u8,
}

/// Results, one element a chunk; a new array of the call.
#[derive(Debug)]
pub(super) struct PerChunk<'r, R>(pub(super) &'r mut SharedArray<R>);

/// Partial results, one row a block; a new array of the call.
#[derive(Debug)]
pub(super) struct PerBlock<'r, T>(pub(super) &'r mut SharedArray<T>);

/// An array of which each call gets the address, for kernels that scatter. The address is a raw
/// pointer: the code that writes through it must ensure that no two calls write to the same
/// element, and that no element is read while it is written.
#[derive(Debug)]
pub(crate) struct Scattered<'r, T>(pub(crate) &'r mut SharedArray<T>);

/// An array of which call `i` gets the elements `bounds[i]..bounds[i + 1]`: a loop over uneven
/// parts, each of them one element of the loop.
#[derive(Debug)]
pub(crate) struct Parts<'b, A> {
    pub(crate) array: A,
    /// Ascending, at most the array's length; one more than there are parts.
    pub(crate) bounds: &'b [u64],
}

impl<A: Sealed> Sealed for Whole<A> {}
impl<A: Sealed> Sealed for Parts<'_, A> {}
impl<T> Sealed for Scattered<'_, T> {}
impl<A: Sealed> Sealed for Subsampled<A> {}
impl<A: Sealed> Sealed for Records<A> {}
impl<R> Sealed for PerChunk<'_, R> {}
impl<T> Sealed for PerBlock<'_, T> {}
impl<P> Sealed for Enumerated<P> {}

impl HostOperand {
    /// Describes an array that the loop does not divide.
    fn undivided(
        source: impl Into<Option<crate::object::source::Source>>,
        shape: &crate::shape::Shape,
        is_written: bool,
    ) -> Result<HostOperand> {
        let operand = HostOperand::new(source, shape, is_written, Cut::Elements)?;
        Ok(HostOperand { units: None, ..operand })
    }
}

macro_rules! adapted_read {
    ($bound:path, $operand:ty, read, $this:ident => $array:expr) => {
        impl<T: $bound, U: Unit> Operand<U> for Whole<$operand> {
            type Item<'a> = &'a [T];

            fn describe(&self, _: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
                let $this = &self.0;
                operands.push(HostOperand::undivided($array.source(), $array.shape(), false)?);
                Ok(())
            }

            #[inline]
            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                _: &ClaimedChunk,
            ) -> &'a [T] {
                let operand = WorkerOperand::next(operands);
                // SAFETY: nobody writes to a read operand, by the caller's contract.
                unsafe { operand.read(&(0..operand.layout.rows)) }
            }
        }
    };
}
for_each_array!(read adapted_read!());

/// Implements `Operand` for `Subsampled` of an operand with rows.
macro_rules! subsampled {
    ($bound:path, $operand:ty, read, $this:ident => $array:expr) => {
        subsampled!($bound, $operand, Rows<'a, T>);
    };
    ($bound:path, $operand:ty, write, $this:ident => $array:expr) => {
        subsampled!($bound, $operand, RowsMut<'a, T>);
    };
    ($bound:path, $operand:ty, $item:ty) => {
        impl<T: $bound> Operand<ByRows> for Subsampled<$operand> {
            type Item<'a> = $item;

            fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
                if self.1 == 0 {
                    let rule = "at least 1 row of the loop for each of the operand";
                    return Err(Error::invalid("the ratio of `Subsampled`", 0, rule));
                }
                let first = operands.len();
                <$operand as Operand<ByRows>>::describe(&self.0, cut, operands)?;
                operands[first].layout.every = self.1;
                Ok(())
            }

            #[inline]
            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                chunk: &ClaimedChunk,
            ) -> $item {
                // SAFETY: the same contract, passed on: chunks begin at multiples of the ratio,
                // checked by the host, so that no two have the same row.
                unsafe { <$operand as Operand<ByRows>>::item(operands, chunk) }
            }
        }
    };
}
for_each_array!(subsampled!());
pub(super) use subsampled;

impl<A> Operand for Records<A>
where
    A: for<'a> Operand<Elements, Item<'a> = &'a [u8]>,
{
    type Item<'a> = &'a [u8];

    fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        let first = operands.len();
        self.bytes.describe(cut, operands)?;
        operands[first].extra = vec![self.delimiter];
        Ok(())
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> &'a [u8] {
        let operand = WorkerOperand::next(operands);
        // SAFETY: nobody writes to a read operand, by the caller's contract.
        let bytes = unsafe { operand.read::<u8>(&(0..operand.layout.rows)) };
        let delimiter = *operand.extra.first().expect("a delimiter");
        &bytes[records(bytes, delimiter, &chunk.range)]
    }
}

/// The records that begin in `range`. With `s` and `e` the start and the end of the range, they
/// extend from behind the first delimiter at or after `s - 1` to behind the first one at or after
/// `e - 1`.
fn records(bytes: &[u8], delimiter: u8, range: &Range<usize>) -> Range<usize> {
    let is_delimiter = |byte: &u8| *byte == delimiter;
    let start = match range.start {
        0 => 0,
        start => match bytes[start - 1..range.end].iter().position(is_delimiter) {
            Some(at) => start + at,
            // A record that began earlier extends beyond this piece.
            None => return range.end..range.end,
        },
    };
    if start >= range.end {
        return range.end..range.end;
    }
    let end = bytes[range.end - 1..].iter().position(is_delimiter);
    start..end.map_or(bytes.len(), |at| range.end + at)
}

impl<U: Unit, R: Pod> Operand<U> for PerChunk<'_, R> {
    type Item<'a> = &'a mut R;

    fn describe(&self, _: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        let operand = HostOperand::undivided(self.0.source(), self.0.shape(), true)?;
        operands.push(HostOperand { is_new: true, ..operand });
        Ok(())
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> &'a mut R {
        let range = chunk.index..chunk.index + 1;
        // SAFETY: the element belongs to the chunk, which one call has.
        unsafe { &mut WorkerOperand::next(operands).write::<R>(&range)[0] }
    }
}

impl<U: Unit, T: Pod> Operand<U> for PerBlock<'_, T> {
    type Item<'a> = &'a mut [T];

    fn describe(&self, _: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        let rows = Cut::Rows { axis: 0 };
        let operand = HostOperand::new(self.0.source(), self.0.shape(), true, rows)?;
        operands.push(HostOperand { units: None, is_new: true, ..operand });
        Ok(())
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> &'a mut [T] {
        let operand = WorkerOperand::next(operands);
        let elements = operand.elements(&(chunk.block..chunk.block + 1));
        // SAFETY: the row belongs to the block, whose chunks one task calls one after the other.
        unsafe { operand.write(&elements) }
    }
}

impl<U: Unit, T: Pod> Operand<U> for Scattered<'_, T> {
    type Item<'a> = *mut [T];

    fn describe(&self, _: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        operands.push(HostOperand::undivided(self.0.source(), self.0.shape(), true)?);
        Ok(())
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        _: &ClaimedChunk,
    ) -> *mut [T] {
        let operand = WorkerOperand::next(operands);
        let range = 0..operand.layout.rows;
        std::ptr::slice_from_raw_parts_mut(operand.start(&range), range.len())
    }
}

impl<U: Unit, P: Operand<U>> Operand<U> for Enumerated<P> {
    type Item<'a> = (usize, P::Item<'a>);

    fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
        self.0.describe(cut, operands)
    }

    #[inline]
    unsafe fn item<'a>(
        operands: &mut slice::Iter<'a, WorkerOperand>,
        chunk: &ClaimedChunk,
    ) -> Self::Item<'a> {
        // SAFETY: the same contract, passed on.
        (chunk.index, unsafe { P::item(operands, chunk) })
    }
}

macro_rules! parts {
    ($operand:ty, $item:ty, $access:ident) => {
        impl<T: Pod> Operand for Parts<'_, $operand> {
            type Item<'a> = $item;

            fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
                let first = operands.len();
                <$operand as Operand>::describe(&self.array, cut, operands)?;
                let (operand, bounds) = (&mut operands[first], self.bounds);
                let (true, Some(&last)) = (bounds.is_sorted(), bounds.last()) else {
                    return Err(Error::invalid("the bounds of parts", "not in order", "ascending"));
                };
                if last > operand.layout.rows as u64 {
                    let rule = format!("at most the {} elements", operand.layout.rows);
                    return Err(Error::invalid("the end of the last part", last, rule));
                }
                operand.units = Some(bounds.len() - 1);
                operand.extra = bytemuck::cast_slice(bounds).to_vec();
                Ok(())
            }

            #[inline]
            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                chunk: &ClaimedChunk,
            ) -> $item {
                let operand = WorkerOperand::next(operands);
                let bound = |part: usize| {
                    let (bounds, _) = operand.extra.as_chunks::<{ size_of::<u64>() }>();
                    usize::try_from(u64::from_ne_bytes(bounds[part])).expect("within the array")
                };
                let elements = bound(chunk.range.start)..bound(chunk.range.end);
                // SAFETY: the bounds ascend, checked by the host, so that no two chunks have the
                // same element.
                unsafe { operand.$access(&elements) }
            }
        }
    };
}
parts!(&SharedArray<T>, &'a [T], read);
parts!(&mut SharedArray<T>, &'a mut [T], write);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_of_records_are_whole_and_cover_all_bytes(
            bytes in proptest::collection::vec(0u8..4, 0..200), target in 1usize..60,
        ) {
            let mut next = 0;
            for start in (0..bytes.len()).step_by(target) {
                let range = start..(start + target).min(bytes.len());
                let piece = records(&bytes, 0, &range);
                if piece.is_empty() {
                    continue;
                }
                prop_assert_eq!(piece.start, next);
                prop_assert!(range.contains(&piece.start), "{:?} of {:?}", piece, range);
                prop_assert!(piece.end == bytes.len() || bytes[piece.end - 1] == 0);
                next = piece.end;
            }
            prop_assert_eq!(next, bytes.len());
        }
    }
}
