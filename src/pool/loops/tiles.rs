//! Tiles: loops over rectangles of a matrix.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::slice;

use bytemuck::Pod;

use crate::error::Result;
use crate::pool::Pool;
use crate::pool::loops::operand::{
    ByTiles, ClaimedChunk, Cut, HostOperand, Operand, WorkerOperand, array_operand, for_each_array,
};
use crate::pool::loops::par_loop::ParLoop;

impl Pool {
    /// A loop over rectangles of `matrix`, an array of two dimensions. `shape` is the number of
    /// rows and columns of each tile; those at the lower and right edges may be smaller.
    ///
    /// The function gets a [`Tile`], or a [`TileMut`] of a matrix that is written. Zipped arrays
    /// must have the same shape, or be [`Whole`](crate::Whole); [`Halo`](crate::Halo) lends more
    /// rows and columns around the tile. Tiles are for work that reuses its input in both
    /// directions. If each row is used by itself, [`par_rows`](Pool::par_rows) is simpler and gives
    /// slices.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray, Whole};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([50, 70], |[i, j]| 100 * i + j)?;
    /// let mut transposed = SharedArray::<usize>::zeroed([70, 50])?;
    /// pool.par_tiles(&mut transposed, [16, 16]).zip(Whole(&a)).for_each(|(mut tile, a)| {
    ///     let (rows, columns) = (tile.rows(), tile.columns());
    ///     for (i, row) in rows.zip(tile.iter_mut()) {
    ///         for (j, element) in columns.clone().zip(row) {
    ///             *element = a[70 * j + i];
    ///         }
    ///     }
    /// })?;
    /// assert_eq!(transposed[[69, 49]], 4969);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_tiles<A: Operand<ByTiles>>(
        &self,
        matrix: A,
        shape: [usize; 2],
    ) -> ParLoop<'_, A, (), ByTiles> {
        self.par_loop(matrix, Cut::Tiles { shape }, 1)
    }
}

/// A rectangle of a matrix that a call of a loop reads; see [`Pool::par_tiles`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([4, 6], |[i, j]| 10 * i + j)?;
/// let corners = pool.par_tiles(&a, [2, 4]).map(|tile| (tile.row(0)[0], tile.iter().count()));
/// assert_eq!(corners.collect()?, [(0, 2), (4, 2), (20, 2), (24, 2)]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone)]
pub struct Tile<'a, T> {
    /// The whole matrix.
    elements: &'a [T],
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a, T> Tile<'a, T> {
    /// The rows of the matrix that the tile has.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the matrix that the tile has.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Row `i` of the tile, counted from its first.
    ///
    /// # Panics
    ///
    /// If the tile has fewer rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 4], |[i, j]| 10 * i + j)?;
    /// let firsts = pool.par_tiles(&a, [2, 2]).map(|tile| tile.row(1)[0]);
    /// assert_eq!(firsts.collect()?, [10, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows.len(), "row {i} of a tile of {}", self.rows.len());
        &self.elements[(self.rows.start + i) * self.width..][self.columns.clone()]
    }

    /// The tile's rows, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [T]> {
        (0..self.rows.len()).map(|i| self.row(i))
    }
}

/// A rectangle of a matrix that one call of a loop may write; see [`Pool::par_tiles`]. Its rows are
/// slices; the tile is not one slice, because other tiles lie between its rows.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let mut a = SharedArray::<u32>::zeroed([4, 6])?;
/// pool.par_tiles(&mut a, [2, 4]).enumerate().for_each(|(number, mut tile)| {
///     tile.iter_mut().for_each(|row| row.fill(number as u32));
///     tile.row_mut(1)[0] += 10;
/// })?;
/// assert_eq!(a.as_slice()[..12], [0, 0, 0, 0, 1, 1, 10, 0, 0, 0, 11, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct TileMut<'a, T> {
    /// The tile's first element.
    start: *mut T,
    /// The number of elements from one row to the next.
    width: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    elements: PhantomData<&'a mut [T]>,
}

impl<T> TileMut<'_, T> {
    /// The rows of the matrix that the tile has.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the matrix that the tile has.
    #[must_use]
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    fn row_start(&self, i: usize) -> *mut T {
        assert!(i < self.rows.len(), "row {i} of a tile of {}", self.rows.len());
        self.start.wrapping_add(i * self.width)
    }

    /// Row `i` of the tile, counted from its first.
    ///
    /// # Panics
    ///
    /// If the tile has fewer rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut a = SharedArray::from_fn([2, 4], |[i, j]| 10 * i + j)?;
    /// pool.par_tiles(&mut a, [2, 2]).for_each(|mut tile| {
    ///     let below = tile.row(1)[0];
    ///     tile.row_mut(0).fill(below);
    /// })?;
    /// assert_eq!(a.as_slice(), [10, 10, 12, 12, 10, 11, 12, 13]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn row(&self, i: usize) -> &[T] {
        let start = self.row_start(i);
        // SAFETY: `write_tile` checked that all rows of the tile lie in the array, and nobody else
        // uses them while the tile lives; `&self` excludes `row_mut`.
        unsafe { slice::from_raw_parts(start, self.columns.len()) }
    }

    /// Row `i` of the tile, counted from its first, to be written.
    ///
    /// # Panics
    ///
    /// If the tile has fewer rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut a = SharedArray::from_fn([2, 4], |[i, j]| 10 * i + j)?;
    /// pool.par_tiles(&mut a, [2, 2]).for_each(|mut tile| tile.row_mut(1)[0] = 7)?;
    /// assert_eq!(a.as_slice(), [0, 1, 2, 3, 7, 11, 7, 13]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        let start = self.row_start(i);
        // SAFETY: as in `row`; `&mut self` excludes any other slice of the tile.
        unsafe { slice::from_raw_parts_mut(start, self.columns.len()) }
    }

    /// The tile's rows, in order, to be written.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut a = SharedArray::from_fn([2, 4], |[i, j]| 10 * i + j)?;
    /// pool.par_tiles(&mut a, [2, 2]).for_each(|mut tile| {
    ///     tile.iter_mut().for_each(|row| row.reverse());
    /// })?;
    /// assert_eq!(a.as_slice(), [1, 0, 3, 2, 11, 10, 13, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [T]> {
        let (start, width, len) = (self.start, self.width, self.columns.len());
        (0..self.rows.len()).map(move |i| {
            // SAFETY: as in `row_mut`; each row is given out once, and no two overlap, because a
            // row of the tile is no longer than one of the matrix.
            unsafe { slice::from_raw_parts_mut(start.wrapping_add(i * width), len) }
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for Tile<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for TileMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries((0..self.rows.len()).map(|i| self.row(i))).finish()
    }
}

/// The rows and columns of the tile of `operand` for `chunk`.
///
/// # Panics
///
/// If the layout is not one of a loop over tiles.
pub(super) fn tile(operand: &WorkerOperand, chunk: &ClaimedChunk) -> (Range<usize>, Range<usize>) {
    let layout = &operand.layout;
    let [height, width] = layout.tile;
    let across = layout.row_len.div_ceil(width);
    let (down, across) = (chunk.range.start / across, chunk.range.start % across);
    let part = |index: usize, size: usize, len: usize| index * size..((index + 1) * size).min(len);
    (part(down, height, layout.rows), part(across, width, layout.row_len))
}

/// # Safety
///
/// - Nobody writes to the operand while it is borrowed.
#[inline]
unsafe fn read_tile<'a, T: Pod>(operand: &'a WorkerOperand, chunk: &ClaimedChunk) -> Tile<'a, T> {
    let (rows, columns) = tile(operand, chunk);
    let all = operand.elements(&(0..operand.layout.rows));
    // SAFETY: the same contract, passed on.
    let elements = unsafe { operand.read(&all) };
    Tile { elements, width: operand.layout.row_len, rows, columns }
}

/// # Safety
///
/// - Nobody else uses the tile while it is borrowed.
#[inline]
unsafe fn write_tile<'a, T: Pod>(
    operand: &'a WorkerOperand,
    chunk: &ClaimedChunk,
) -> TileMut<'a, T> {
    let (rows, columns) = tile(operand, chunk);
    // All rows of the tile lie between its first element and the end of its last row.
    let all = operand.elements(&rows);
    let start = operand.start::<T>(&all).wrapping_add(columns.start);
    assert!(columns.start < columns.end && columns.end <= operand.layout.row_len, "{columns:?}");
    TileMut { start, width: operand.layout.row_len, rows, columns, elements: PhantomData }
}

for_each_array!(array_operand!(ByTiles, (Tile<'a, T>, read_tile), (TileMut<'a, T>, write_tile);));
