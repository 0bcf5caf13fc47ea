//! Strided views of matrices, raw and safe.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;

use super::element::Element;
use crate::error::{Error, Result};

/// A matrix by address and strides, checked by nobody.
///
/// Element (i, j) lies `i * row_stride + j * col_stride` elements after `data`. Strides may be
/// negative, and zero in a matrix that is only read.
#[derive(Debug)]
pub struct Strided<T> {
    /// Address of element (0, 0).
    pub data: *mut T,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub row_stride: isize,
    /// Elements from one column to the next.
    pub col_stride: isize,
}

impl<T> Clone for Strided<T> {
    fn clone(&self) -> Strided<T> {
        *self
    }
}

impl<T> Copy for Strided<T> {}

impl<T> Strided<T> {
    /// The same elements with rows and columns exchanged.
    #[must_use]
    pub fn transposed(self) -> Strided<T> {
        Strided {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Address of element (row, col); it need not exist.
    pub(super) fn at(&self, row: usize, col: usize) -> *mut T {
        // Offsets of elements that exist fit an isize, as their bytes do; others only wrap.
        let offset = (row as isize)
            .wrapping_mul(self.row_stride)
            .wrapping_add((col as isize).wrapping_mul(self.col_stride));
        self.data.wrapping_offset(offset)
    }

    /// The part of these rows and columns, which must exist.
    pub(super) fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Strided<T> {
        debug_assert!(rows.end <= self.rows && cols.end <= self.cols);
        Strided {
            data: self.at(rows.start, cols.start),
            rows: rows.len(),
            cols: cols.len(),
            ..*self
        }
    }
}

/// Checks that a `rows` x `cols` matrix with these strides lies within `len` elements.
fn check_bounds(len: usize, rows: usize, cols: usize, strides: (usize, usize)) -> Result<()> {
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let down = (rows - 1).checked_mul(strides.0);
    let across = (cols - 1).checked_mul(strides.1);
    let last = down.zip(across).and_then(|(down, across)| down.checked_add(across));
    if last.is_none_or(|last| last >= len) {
        return Err(Error::invalid(
            "the last element of a matrix",
            format_args!("{rows} x {cols} with strides {strides:?}"),
            format!("within the {len} elements of its slice"),
        ));
    }
    Ok(())
}

/// Strides as they are kept: any stride of an existing second row or column was checked.
fn signed(stride: usize) -> isize {
    isize::try_from(stride).unwrap_or(0)
}

/// A matrix to read, within a slice.
///
/// # Examples
///
/// The same six numbers as two rows of three, and as three rows of two:
///
/// ```
/// use brigade::kernel::matmul::MatRef;
/// let data = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let a = MatRef::row_major(&data, 2, 3)?;
/// assert_eq!((a.get(1, 0), a.transposed().get(0, 1)), (Some(4.0), Some(4.0)));
/// assert_eq!(a.block(1..2, 1..3)?.get(0, 1), Some(6.0));
/// assert!(MatRef::new(&data, 3, 3, 2, 1).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    raw: Strided<T>,
    life: PhantomData<&'a [T]>,
}

// SAFETY: it stands for a `&[T]`, whose elements are only read through it.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}

impl<'a, T: Element> MatRef<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element lies outside the slice.
    pub fn new(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatRef<'a, T>> {
        check_bounds(data.len(), rows, cols, (row_stride, col_stride))?;
        let raw = Strided {
            data: data.as_ptr().cast_mut(),
            rows,
            cols,
            row_stride: signed(row_stride),
            col_stride: signed(col_stride),
        };
        Ok(MatRef { raw, life: PhantomData })
    }

    /// Rows one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the slice has fewer than `rows * cols` elements.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Result<MatRef<'a, T>> {
        MatRef::new(data, rows, cols, cols, 1)
    }

    /// Columns one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the slice has fewer than `rows * cols` elements.
    pub fn col_major(data: &'a [T], rows: usize, cols: usize) -> Result<MatRef<'a, T>> {
        MatRef::new(data, rows, cols, 1, rows)
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.raw.rows, self.raw.cols]
    }

    /// The element in this row and column, if there is one.
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<T> {
        let exists = row < self.raw.rows && col < self.raw.cols;
        // SAFETY: the element exists, and every element lies within the slice borrowed for 'a,
        // checked in `new`.
        exists.then(|| unsafe { self.raw.at(row, col).read() })
    }

    /// Rows and columns exchanged; nothing is copied.
    #[must_use]
    pub fn transposed(self) -> MatRef<'a, T> {
        MatRef { raw: self.raw.transposed(), life: PhantomData }
    }

    /// The part of these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it reaches outside the matrix.
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Result<MatRef<'a, T>> {
        check_block(&self.raw, &rows, &cols)?;
        Ok(MatRef { raw: self.raw.part(rows, cols), life: PhantomData })
    }

    /// The rows in reverse order; nothing is copied.
    #[must_use]
    pub fn rows_reversed(self) -> MatRef<'a, T> {
        let last = self.raw.rows.saturating_sub(1);
        let raw =
            Strided { data: self.raw.at(last, 0), row_stride: -self.raw.row_stride, ..self.raw };
        MatRef { raw, life: PhantomData }
    }

    /// The view without its guarantees.
    #[must_use]
    pub fn as_strided(&self) -> Strided<T> {
        self.raw
    }
}

fn check_block<T>(raw: &Strided<T>, rows: &Range<usize>, cols: &Range<usize>) -> Result<()> {
    let inside = |range: &Range<usize>, len| range.start <= range.end && range.end <= len;
    if inside(rows, raw.rows) && inside(cols, raw.cols) {
        return Ok(());
    }
    Err(Error::invalid(
        "a block of a matrix",
        format_args!("rows {rows:?}, columns {cols:?}"),
        format!("within {} x {}", raw.rows, raw.cols),
    ))
}

/// A matrix to write, within a slice; no two of its elements share a place.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::MatMut;
/// let mut data = [0.0f64; 6];
/// assert_eq!(MatMut::row_major(&mut data, 2, 3)?.shape(), [2, 3]);
/// // Two columns that are the same column.
/// assert!(MatMut::new(&mut data, 2, 2, 1, 0).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct MatMut<'a, T> {
    raw: Strided<T>,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`, of which it is the only user.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared reference to it only tells its shape.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<'a, T: Element> MatMut<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if an element lies outside the slice, or if two may coincide:
    /// the longer stride must step over everything that the shorter one reaches.
    pub fn new(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatMut<'a, T>> {
        check_bounds(data.len(), rows, cols, (row_stride, col_stride))?;
        let ((short, extent), (long, count)) = if row_stride <= col_stride {
            ((row_stride, rows), (col_stride, cols))
        } else {
            ((col_stride, cols), (row_stride, rows))
        };
        let reach = extent.saturating_sub(1).saturating_mul(short);
        let exists = rows > 0 && cols > 0;
        if exists && ((extent > 1 && short == 0) || (count > 1 && long <= reach)) {
            return Err(Error::invalid(
                "strides of a matrix to write",
                format_args!("{row_stride} and {col_stride} for {rows} x {cols}"),
                "such that no two elements coincide",
            ));
        }
        let raw = Strided {
            data: data.as_mut_ptr(),
            rows,
            cols,
            row_stride: signed(row_stride),
            col_stride: signed(col_stride),
        };
        Ok(MatMut { raw, life: PhantomData })
    }

    /// Rows one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the slice has fewer than `rows * cols` elements.
    pub fn row_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<MatMut<'a, T>> {
        MatMut::new(data, rows, cols, cols, 1)
    }

    /// Columns one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the slice has fewer than `rows * cols` elements.
    pub fn col_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<MatMut<'a, T>> {
        MatMut::new(data, rows, cols, 1, rows)
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.raw.rows, self.raw.cols]
    }

    /// The element in this row and column, if there is one.
    #[must_use]
    pub fn get_mut(&mut self, row: usize, col: usize) -> Option<&mut T> {
        let exists = row < self.raw.rows && col < self.raw.cols;
        // SAFETY: the element exists, every element lies within the slice borrowed exclusively
        // for 'a, checked in `new`, and the reference borrows the view.
        exists.then(|| unsafe { &mut *self.raw.at(row, col) })
    }

    /// Rows and columns exchanged; nothing is copied.
    #[must_use]
    pub fn transposed(self) -> MatMut<'a, T> {
        MatMut { raw: self.raw.transposed(), life: PhantomData }
    }

    /// The part of these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if it reaches outside the matrix.
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Result<MatMut<'a, T>> {
        check_block(&self.raw, &rows, &cols)?;
        Ok(MatMut { raw: self.raw.part(rows, cols), life: PhantomData })
    }

    /// The view without its guarantees.
    #[must_use]
    pub fn as_strided(&mut self) -> Strided<T> {
        self.raw
    }
}
