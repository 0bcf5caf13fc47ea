//! Strided matrices within slices: safe views.

use std::ops::{Deref, RangeBounds};

use super::kernel::Float;
use super::strided::Strided;
use crate::error::Result;

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
/// assert_eq!(MatRef::new(&data, 2, 3, 1, 2)?.get(1, 0), Some(2.0));
/// assert!(MatRef::new(&data, 3, 3, 2, 1).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
pub type MatRef<'a, T> = MatBase<&'a [T]>;

/// A matrix to write, within a slice; no two of its elements coincide.
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
/// assert_eq!(MatMut::new(&mut data, 3, 2, 1, 3)?.get_mut(2, 1), Some(&mut 7.0));
/// // Two columns that are the same column.
/// assert!(MatMut::new(&mut data, 2, 2, 1, 0).is_err());
/// # Ok::<(), brigade::Error>(())
/// ```
pub type MatMut<'a, T> = MatBase<&'a mut [T]>;

/// A matrix within a slice: [`MatRef`] or [`MatMut`], depending on the borrow of the slice.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{MatBase, MatMut, MatRef};
/// fn is_square<E>(matrix: &MatBase<E>) -> bool {
///     matrix.shape()[0] == matrix.shape()[1]
/// }
/// let mut data = [0.0; 4];
/// assert!(is_square(&MatRef::row_major(&data, 2, 2)?));
/// assert!(!is_square(&MatMut::row_major(&mut data, 1, 4)?));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MatBase<E> {
    data: E,
    /// It lies within `data`.
    place: Strided<usize>,
}

impl<T, E: Deref<Target = [T]>> MatBase<E> {
    /// A view whose rows follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the slice has fewer than
    /// `rows * cols` elements.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let a = MatRef::row_major(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
    /// assert_eq!(a.get(1, 0), Some(4.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn row_major(data: E, rows: usize, cols: usize) -> Result<MatBase<E>> {
        MatBase::checked(data, rows, cols, [cols, 1])
    }

    /// A view with these strides, if it lies within `data`.
    fn checked(data: E, rows: usize, cols: usize, strides: [usize; 2]) -> Result<MatBase<E>> {
        // A stride above isize::MAX becomes negative. It then reaches below index 0 and is
        // rejected, unless no second row or column uses it.
        let [row_stride, col_stride] = strides.map(usize::cast_signed);
        let place = Strided { first: 0, rows, cols, row_stride, col_stride }.within(data.len())?;
        Ok(MatBase { data, place })
    }
}

impl<E> MatBase<E> {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        self.place.shape()
    }

    /// Rows and columns exchanged; nothing is copied.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let a = MatRef::row_major(&[1.0, 2.0, 3.0], 1, 3)?.transposed();
    /// assert_eq!((a.shape(), a.get(2, 0)), ([3, 1], Some(3.0)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn transposed(self) -> MatBase<E> {
        MatBase { place: self.place.transposed(), ..self }
    }

    /// The part in these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if it reaches outside the
    /// matrix.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let a = MatRef::row_major(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
    /// assert_eq!(a.block(1.., 1..3)?.get(0, 1), Some(6.0));
    /// assert!(a.block(..3, ..).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn block(
        self,
        rows: impl RangeBounds<usize>,
        cols: impl RangeBounds<usize>,
    ) -> Result<MatBase<E>> {
        Ok(MatBase { place: self.place.block(rows, cols)?, ..self })
    }

    /// The index of the element in this row and column, if there is one.
    fn index(&self, row: usize, col: usize) -> Option<usize> {
        (row < self.place.rows && col < self.place.cols).then(|| self.place.at(row, col))
    }
}

impl<'a, T: Float> MatRef<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if an element lies outside the
    /// slice.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let data = [1.0, 2.0, 3.0, 4.0];
    /// // Windows of three elements, each one element later.
    /// let windows = MatRef::new(&data, 2, 3, 1, 1)?;
    /// assert_eq!((windows.get(0, 2), windows.get(1, 0)), (Some(3.0), Some(2.0)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(
        data: &'a [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatRef<'a, T>> {
        MatBase::checked(data, rows, cols, [row_stride, col_stride])
    }

    /// The element in this row and column, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let a = MatRef::row_major(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3)?;
    /// assert_eq!((a.get(1, 2), a.get(2, 0)), (Some(6.0), None));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn get(&self, row: usize, col: usize) -> Option<T> {
        Some(self.data[self.index(row, col)?])
    }

    /// The matrix by address, without the borrow.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatRef;
    /// let data = [1.0, 2.0, 3.0, 4.0];
    /// let a = MatRef::row_major(&data, 2, 2)?.as_strided();
    /// assert_eq!(a.at(1, 0).cast_const(), &raw const data[2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn as_strided(&self) -> Strided<*mut T> {
        self.place.in_array(self.data.as_ptr().cast_mut())
    }
}

impl<'a, T: Float> MatMut<'a, T> {
    /// A view whose element (i, j) is `data[i * row_stride + j * col_stride]`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if an element lies outside the
    /// slice, or if two may coincide: the longer stride must step over everything that the
    /// shorter one reaches.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatMut;
    /// let mut data = [0.0; 6];
    /// *MatMut::new(&mut data, 2, 2, 3, 1)?.get_mut(1, 1).expect("it exists") = 7.0;
    /// assert_eq!(data[4], 7.0);
    /// assert!(MatMut::new(&mut data, 2, 2, 1, 1).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(
        data: &'a mut [T],
        rows: usize,
        cols: usize,
        row_stride: usize,
        col_stride: usize,
    ) -> Result<MatMut<'a, T>> {
        let matrix = MatBase::checked(data, rows, cols, [row_stride, col_stride])?;
        matrix.place.without_overlap()?;
        Ok(matrix)
    }

    /// The element in this row and column, if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::MatMut;
    /// let mut data = [0.0; 4];
    /// let mut a = MatMut::row_major(&mut data, 2, 2)?;
    /// assert_eq!(a.get_mut(0, 2), None);
    /// *a.get_mut(1, 0).expect("it exists") = 7.0;
    /// assert_eq!(data, [0.0, 0.0, 7.0, 0.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn get_mut(&mut self, row: usize, col: usize) -> Option<&mut T> {
        let index = self.index(row, col)?;
        Some(&mut self.data[index])
    }

    /// The matrix by address, without the borrow.
    #[must_use]
    pub fn as_strided(&mut self) -> Strided<*mut T> {
        self.place.in_array(self.data.as_mut_ptr())
    }
}
