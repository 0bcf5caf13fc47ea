//! Halos: operands that lend more rows around a chunk.
#![allow(unsafe_code)]

use std::cell::OnceCell;
use std::fmt;
use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::error::{Error, Result};
use crate::kernel::stencil::Boundary;
use crate::pool::loops::adapters::{Subsampled, subsampled};
use crate::pool::loops::operand::{
    ByRows, ByTiles, ClaimedChunk, Cut, Elements, HostOperand, Operand, Sealed, WorkerOperand,
    for_each_array,
};
use crate::pool::loops::tiles::tile;

/// An operand that is read, with `n` more rows on both sides of the chunk's own, as a filter needs
/// them. In a loop over tiles, also `n` more columns on both sides.
///
/// Nothing is copied: the call sees the array in place. The boundary says what stands beyond the
/// ends of the array.
///
/// The rows around a chunk are its neighbours in row-major order. In a loop of
/// [`Pool::par_axis`](crate::Pool::par_axis) along axis 1 or higher they may therefore belong to
/// another index of the axes before: row -1 of the first chunk of a plane is the last row of the
/// plane before it. The boundary applies only beyond the first and the last row of the whole array.
///
/// # Examples
///
/// One step of a smoothing filter along the first axis:
///
/// ```
/// use brigade::{Boundary, Halo, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([6, 2], |[i, j]| (i * i + j) as f32)?;
/// let mut b = SharedArray::<f32>::zeroed([6, 2])?;
/// pool.par_rows_mut(&mut b, 2).zip(Halo(&a, 1, Boundary::Clamp)).for_each(|(mut b, a)| {
///     for (i, row) in (0..).zip(b.iter_mut()) {
///         let (above, below) = (a.row(i - 1), a.row(i + 1));
///         for (j, b) in row.iter_mut().enumerate() {
///             *b = (above[j] + below[j]) / 2.0;
///         }
///     }
/// })?;
/// assert_eq!(b.as_slice(), [0.5, 1.5, 2.0, 3.0, 5.0, 6.0, 10.0, 11.0, 17.0, 18.0, 20.5, 21.5]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Halo<A, T>(
    /// The array.
    pub A,
    /// How many more rows on each side.
    pub usize,
    /// What stands beyond the ends.
    pub Boundary<T>,
);

impl<A: Sealed, T> Sealed for Halo<A, T> {}

/// Rows of an array that a call of a loop reads, and those around them; see [`Halo`].
///
/// In a loop over elements a row is one element.
///
/// # Examples
///
/// ```
/// use brigade::{Boundary, Halo, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[1, 2, 3, 4, 5])?;
/// let seen = pool.par_chunks(Halo(&x, 1, Boundary::Constant(9)), 2).map(|x| {
///     (x.first(), x.len(), x.above(), x.as_slice().to_vec(), [x.row(-1)[0], x.row(1)[0]])
/// });
/// let seen = seen.collect()?;
/// assert_eq!(seen[0], (0, 2, 0, vec![1, 2, 3], [9, 2]));
/// assert_eq!(seen[1], (2, 2, 1, vec![2, 3, 4, 5], [2, 4]));
/// assert_eq!(seen[2], (4, 1, 1, vec![4, 5], [4, 9]));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct HaloRows<'a, T> {
    /// The whole array.
    elements: &'a [T],
    rows: usize,
    row_len: usize,
    chunk: Range<usize>,
    reach: usize,
    boundary: Boundary<T>,
    /// A row of the boundary's constant, made when it is first needed.
    constant: OnceCell<Vec<T>>,
}

impl<'a, T: Pod> HaloRows<'a, T> {
    /// The index in the array of the first of the chunk's own rows.
    #[must_use]
    pub fn first(&self) -> usize {
        self.chunk.start
    }

    /// How many rows the chunk has, without those around it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether the chunk has no rows; a loop passes no such chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }

    /// The number of elements of a row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// How many rows [`as_slice`](HaloRows::as_slice) has before the chunk's first: the reach of
    /// the halo, or fewer at the beginning of the array.
    #[must_use]
    pub fn above(&self) -> usize {
        self.reach.min(self.chunk.start)
    }

    /// The chunk's rows and those around them that the array has, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &'a [T] {
        let rows = extended(&self.chunk, self.reach, self.rows);
        &self.elements[rows.start * self.row_len..rows.end * self.row_len]
    }

    /// Row `i`, counted from the chunk's first: -1 is the row before it. Beyond the ends of the
    /// array the boundary gives the row; `None` for [`Boundary::Shrink`].
    ///
    /// # Panics
    ///
    /// If the row is farther from the chunk than the halo reaches.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Halo, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1, 2, 3])?;
    /// let seen = pool.par_chunks(Halo(&x, 1, Boundary::Shrink), 3).map(|x| {
    ///     (x.get(-1).is_none(), x.get(0).map(|row| row[0]))
    /// });
    /// assert_eq!(seen.collect()?, [(true, Some(1))]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, i: isize) -> Option<&[T]> {
        let reach = isize::try_from(self.reach).unwrap_or(isize::MAX);
        let len = self.chunk.len().cast_signed();
        assert!(
            i >= -reach && i < len.saturating_add(reach),
            "row {i} of a chunk of {len} rows, with a halo of {reach}",
        );
        let row = self.chunk.start.cast_signed().saturating_add(i);
        match (self.boundary.index(row, self.rows), self.boundary) {
            (Some(row), _) => Some(&self.elements[row * self.row_len..][..self.row_len]),
            (None, Boundary::Constant(value)) => {
                Some(self.constant.get_or_init(|| vec![value; self.row_len]))
            }
            (None, _) => None,
        }
    }

    /// Row `i`, counted from the chunk's first: -1 is the row before it. Beyond the ends of the
    /// array the boundary gives the row.
    ///
    /// # Panics
    ///
    /// If the row is farther from the chunk than the halo reaches, or if it lies beyond the ends
    /// and the boundary is [`Boundary::Shrink`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Halo, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1, 2, 3])?;
    /// let chunks = pool.par_chunks(Halo(&x, 1, Boundary::Wrap), 3);
    /// let seen = chunks.map(|x| (x.row(-1)[0], x.row(3)[0])).collect()?;
    /// assert_eq!(seen, [(3, 1)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn row(&self, i: isize) -> &[T] {
        self.get(i).unwrap_or_else(|| panic!("row {i} lies beyond the array, which shrinks there"))
    }
}

/// A rectangle of a matrix that a call of a loop reads, and what lies around it; see [`Halo`].
///
/// # Examples
///
/// ```
/// use brigade::{Boundary, Halo, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([4, 5], |[i, j]| 10 * i + j)?;
/// let mut b = SharedArray::<usize>::zeroed([4, 5])?;
/// pool.par_tiles(&mut b, [2, 3]).zip(Halo(&a, 1, Boundary::Wrap)).for_each(|(mut b, a)| {
///     for (i, row) in (0..).zip(b.iter_mut()) {
///         for (j, b) in (0..).zip(row) {
///             *b = a.at(i - 1, j + 1);
///         }
///     }
/// })?;
/// assert_eq!((b[[0, 0]], b[[3, 4]], b[[2, 2]]), (31, 20, 13));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct HaloTile<'a, T> {
    rows: HaloRows<'a, T>,
    columns: Range<usize>,
}

impl<T: Pod> HaloTile<'_, T> {
    /// The rows of the matrix that the tile has, without those around it.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.rows.chunk.clone()
    }

    /// The columns of the matrix that the tile has, without those around it.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// How many columns [`row`](HaloTile::row) has before the tile's first: the reach of the halo,
    /// or fewer at the left edge of the matrix.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rows.reach.min(self.columns.start)
    }

    /// Row `i`, counted from the tile's first: the tile's columns and those around them that the
    /// matrix has. Above and below the matrix the boundary gives the row.
    ///
    /// # Panics
    ///
    /// As [`HaloRows::row`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Halo, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 4], |[i, j]| 10 * i + j)?;
    /// let seen = pool.par_tiles(Halo(&a, 1, Boundary::Clamp), [2, 2]).map(|a| {
    ///     (a.left(), a.row(-1).to_vec())
    /// });
    /// assert_eq!(seen.collect()?, [(0, vec![0, 1, 2]), (1, vec![1, 2, 3])]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn row(&self, i: isize) -> &[T] {
        &self.rows.row(i)[extended(&self.columns, self.rows.reach, self.rows.row_len)]
    }

    /// The element in row `i` and column `j`, counted from the tile's first. Beyond the edges of
    /// the matrix the boundary gives the element; `None` for [`Boundary::Shrink`].
    ///
    /// # Panics
    ///
    /// If the element is farther from the tile than the halo reaches.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Halo, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| 10 * i + j)?;
    /// let seen = pool.par_tiles(Halo(&a, 1, Boundary::Shrink), [2, 2]).map(|a| {
    ///     (a.get(1, 0), a.get(1, 2))
    /// });
    /// assert_eq!(seen.collect()?, [(Some(10), None)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, i: isize, j: isize) -> Option<T> {
        let reach = isize::try_from(self.rows.reach).unwrap_or(isize::MAX);
        let width = self.columns.len().cast_signed();
        assert!(
            j >= -reach && j < width.saturating_add(reach),
            "column {j} of a tile of {width} columns, with a halo of {reach}",
        );
        let row = self.rows.get(i)?;
        let column = self.columns.start.cast_signed().saturating_add(j);
        match (self.rows.boundary.index(column, row.len()), self.rows.boundary) {
            (Some(column), _) => Some(row[column]),
            (None, Boundary::Constant(value)) => Some(value),
            (None, _) => None,
        }
    }

    /// The element in row `i` and column `j`, counted from the tile's first. Beyond the edges of
    /// the matrix the boundary gives the element.
    ///
    /// # Panics
    ///
    /// As [`get`](HaloTile::get), and beyond the edges for [`Boundary::Shrink`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Boundary, Halo, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| 10 * i + j)?;
    /// let seen = pool.par_tiles(Halo(&a, 1, Boundary::Constant(7)), [2, 2]).map(|a| {
    ///     (a.at(1, 1), a.at(1, 2))
    /// });
    /// assert_eq!(seen.collect()?, [(11, 7)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn at(&self, i: isize, j: isize) -> T {
        let beyond = || panic!("({i}, {j}) lies beyond the matrix, which shrinks there");
        self.get(i, j).unwrap_or_else(beyond)
    }
}

/// Lists the chunk's rows and those around them, as [`HaloRows::as_slice`] has them.
impl<T: fmt::Debug> fmt::Debug for HaloRows<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |row: usize| &self.elements[row * self.row_len..][..self.row_len];
        let rows = extended(&self.chunk, self.reach, self.rows);
        f.debug_list().entries(rows.map(row)).finish()
    }
}

/// Lists the rows of the tile and of what lies around it in the matrix.
impl<T: fmt::Debug> fmt::Debug for HaloTile<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HaloRows { elements, rows, row_len, ref chunk, reach, .. } = self.rows;
        let columns = extended(&self.columns, reach, row_len);
        let row = |row: usize| &elements[row * row_len..][columns.clone()];
        f.debug_list().entries(extended(chunk, reach, rows).map(row)).finish()
    }
}

/// `range` with up to `reach` more on both sides, within `len`.
fn extended(range: &Range<usize>, reach: usize, len: usize) -> Range<usize> {
    range.start.saturating_sub(reach)..range.end.saturating_add(reach).min(len)
}

/// Encodes the reach of a halo and its boundary for the workers.
fn encode<T: Pod>(reach: usize, boundary: &Boundary<T>) -> Vec<u8> {
    let kind = match boundary {
        Boundary::Clamp => 0,
        Boundary::Reflect => 1,
        Boundary::Mirror => 2,
        Boundary::Wrap => 3,
        Boundary::Constant(_) => 4,
        Boundary::Shrink => 5,
    };
    let mut bytes = reach.to_le_bytes().to_vec();
    bytes.push(kind);
    if let Boundary::Constant(value) = boundary {
        bytes.extend_from_slice(bytemuck::bytes_of(value));
    }
    bytes
}

/// Decodes what [`encode`] returned.
///
/// # Panics
///
/// For other bytes.
fn decode<T: Pod>(bytes: &[u8]) -> (usize, Boundary<T>) {
    let (reach, rest) = bytes.split_first_chunk().expect("the reach of a halo");
    let boundary = match rest {
        [0] => Boundary::Clamp,
        [1] => Boundary::Reflect,
        [2] => Boundary::Mirror,
        [3] => Boundary::Wrap,
        [4, value @ ..] => Boundary::Constant(bytemuck::pod_read_unaligned(value)),
        [5] => Boundary::Shrink,
        _ => panic!("a boundary of the bytes {rest:?}"),
    };
    (usize::from_le_bytes(*reach), boundary)
}

/// The rows `chunk` of `operand`, with the rows around them.
///
/// # Safety
///
/// - Nobody writes to the operand while it is borrowed.
unsafe fn halo<T: Pod>(operand: &WorkerOperand, chunk: Range<usize>) -> HaloRows<'_, T> {
    let (rows, row_len) = (operand.layout.rows, operand.layout.row_len);
    // SAFETY: the same contract, passed on.
    let elements = unsafe { operand.read(&operand.elements(&(0..rows))) };
    let (reach, boundary) = decode(&operand.extra);
    HaloRows { elements, rows, row_len, chunk, reach, boundary, constant: OnceCell::new() }
}

macro_rules! halo_operand {
    ($bound:path, $operand:ty, read, $this:ident => $array:expr) => {
        halo_operand!($bound, $operand, Elements, $this => $array);
        halo_operand!($bound, $operand, ByRows, $this => $array);
        halo_operand!($bound, $operand, ByTiles, HaloTile<'a, T>, $this => $array,
            operand, chunk => {
                let (rows, columns) = tile(operand, chunk);
                // SAFETY: the same contract, passed on.
                HaloTile { rows: unsafe { halo(operand, rows) }, columns }
            }
        );
    };
    ($bound:path, $operand:ty, $unit:ty, $this:ident => $array:expr) => {
        halo_operand!($bound, $operand, $unit, HaloRows<'a, T>, $this => $array,
            operand, chunk => {
                // SAFETY: the same contract, passed on.
                unsafe { halo(operand, operand.rows(&chunk.range)) }
            }
        );
    };
    ($bound:path, $operand:ty, $unit:ty, $item:ty, $this:ident => $array:expr,
     $worker:ident, $chunk:ident => $part:expr) => {
        impl<T: $bound> Operand<$unit> for Halo<$operand, T> {
            type Item<'a> = $item;

            fn describe(&self, cut: Cut, operands: &mut Vec<HostOperand>) -> Result<()> {
                let Halo($this, reach, boundary) = self;
                let operand = HostOperand::new($array.source(), $array.shape(), false, cut)?;
                operands.push(HostOperand { extra: encode(*reach, boundary), ..operand });
                Ok(())
            }

            #[inline]
            unsafe fn item<'a>(
                operands: &mut slice::Iter<'a, WorkerOperand>,
                $chunk: &ClaimedChunk,
            ) -> $item {
                let $worker = WorkerOperand::next(operands);
                $part
            }
        }
    };
}
for_each_array!(read halo_operand!());

macro_rules! subsampled_halo {
    ($bound:path, $operand:ty, read, $this:ident => $array:expr) => {
        subsampled!($bound, Halo<$operand, T>, HaloRows<'a, T>);
    };
}
for_each_array!(read subsampled_halo!());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_reaches_the_workers_as_it_is() {
        for boundary in [
            Boundary::Clamp,
            Boundary::Reflect,
            Boundary::Mirror,
            Boundary::Wrap,
            Boundary::Constant(2.5f32),
            Boundary::Shrink,
        ] {
            assert_eq!(decode::<f32>(&encode(77, &boundary)), (77, boundary));
        }
    }
}
