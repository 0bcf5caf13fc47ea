//! Strided matrices within slices: safe views.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::RangeBounds;

use super::kernel::Float;
use super::strided::Strided;
use crate::error::Result;

/// A matrix with these strides, within `len` elements.
fn checked(len: usize, rows: usize, cols: usize, strides: [usize; 2]) -> Result<Strided<usize>> {
    // A stride above isize::MAX becomes negative. It then reaches below index 0, and is refused
    // unless there is no second row or column that uses it.
    let [row_stride, col_stride] = strides.map(usize::cast_signed);
    Strided { first: 0, rows, cols, row_stride, col_stride }.within(len)
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
/// assert_eq!(a.block(1.., 1..)?.get(0, 1), Some(6.0));
/// assert_eq!(a.rows_reversed().get(0, 0), Some(4.0));
/// assert_eq!(MatRef::col_major(&data, 2, 3)?.get(1, 0), Some(2.0));
/// assert!(MatRef::new(&data, 3, 3, 2, 1).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    raw: Strided<*mut T>,
    life: PhantomData<&'a [T]>,
}

// SAFETY: it stands for a `&[T]`, whose elements are only read through it.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}

impl<'a, T: Float> MatRef<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if an element lies outside the
    /// slice.
    pub fn new(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatRef<'a, T>> {
        let matrix = checked(data.len(), rows, cols, [row_stride, col_stride])?;
        Ok(MatRef { raw: matrix.in_array(data.as_ptr().cast_mut()), life: PhantomData })
    }

    /// A view whose rows follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slice has fewer than
    /// `rows * cols` elements.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Result<MatRef<'a, T>> {
        MatRef::new(data, rows, cols, cols, 1)
    }

    /// A view whose columns follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slice has fewer than
    /// `rows * cols` elements.
    pub fn col_major(data: &'a [T], rows: usize, cols: usize) -> Result<MatRef<'a, T>> {
        MatRef::new(data, rows, cols, 1, rows)
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.raw.shape()
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

    /// The part in these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if it reaches outside the
    /// matrix.
    pub fn block(
        self,
        rows: impl RangeBounds<usize>,
        cols: impl RangeBounds<usize>,
    ) -> Result<MatRef<'a, T>> {
        Ok(MatRef { raw: self.raw.block(rows, cols)?, life: PhantomData })
    }

    /// The rows in reverse order; nothing is copied.
    #[must_use]
    pub fn rows_reversed(self) -> MatRef<'a, T> {
        let first = self.raw.at(self.raw.rows.saturating_sub(1), 0);
        let raw = Strided { first, row_stride: self.raw.row_stride.wrapping_neg(), ..self.raw };
        MatRef { raw, life: PhantomData }
    }

    /// The matrix by address, without the borrow.
    #[must_use]
    pub fn as_strided(&self) -> Strided<*mut T> {
        self.raw
    }
}

/// A matrix to write, within a slice; no two of its elements share a place.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::MatMut;
/// let mut data = [0.0f64; 6];
/// let mut a = MatMut::row_major(&mut data, 2, 3)?.block(1.., ..)?.transposed();
/// assert_eq!(a.shape(), [3, 1]);
/// *a.get_mut(2, 0).expect("it exists") = 7.0;
/// assert_eq!(data, [0.0, 0.0, 0.0, 0.0, 0.0, 7.0]);
/// assert_eq!(MatMut::col_major(&mut data, 3, 2)?.get_mut(2, 1), Some(&mut 7.0));
/// // Two columns that are the same column.
/// assert!(MatMut::new(&mut data, 2, 2, 1, 0).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct MatMut<'a, T> {
    raw: Strided<*mut T>,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]`, of which it is the only user.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared reference to it gives only its shape.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<'a, T: Float> MatMut<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if an element lies outside the
    /// slice, or if two may coincide: the longer stride must step over everything that the
    /// shorter one reaches.
    pub fn new(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatMut<'a, T>> {
        let matrix = checked(data.len(), rows, cols, [row_stride, col_stride])?;
        let raw = matrix.without_overlap()?.in_array(data.as_mut_ptr());
        Ok(MatMut { raw, life: PhantomData })
    }

    /// A view whose rows follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slice has fewer than
    /// `rows * cols` elements.
    pub fn row_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<MatMut<'a, T>> {
        MatMut::new(data, rows, cols, cols, 1)
    }

    /// A view whose columns follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slice has fewer than
    /// `rows * cols` elements.
    pub fn col_major(data: &'a mut [T], rows: usize, cols: usize) -> Result<MatMut<'a, T>> {
        MatMut::new(data, rows, cols, 1, rows)
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.raw.shape()
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

    /// The part in these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if it reaches outside the
    /// matrix.
    pub fn block(
        self,
        rows: impl RangeBounds<usize>,
        cols: impl RangeBounds<usize>,
    ) -> Result<MatMut<'a, T>> {
        Ok(MatMut { raw: self.raw.block(rows, cols)?, life: PhantomData })
    }

    /// The matrix by address, without the borrow.
    #[must_use]
    pub fn as_strided(&mut self) -> Strided<*mut T> {
        self.raw
    }
}
