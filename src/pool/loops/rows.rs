//! Rows of an array, for a call of a loop.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Index, IndexMut};
use std::slice;

use crate::error::Result;
use crate::pool::loops::operand::{
    ByRows, ClaimedChunk, Cut, HostOperand, Operand, WorkerOperand, array_operand, for_each_array,
};

/// Rows of an array that a call of a loop reads; see [`Pool::par_rows`](crate::Pool::par_rows).
///
/// Indexing gives a row as a slice, counted from the first of these rows.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([5, 3], |[i, j]| 10 * i + j)?;
/// let seen = pool.par_rows(&a, 2).map(|rows| {
///     (rows.first(), rows.len(), rows.row_len(), rows[0].to_vec(), rows.as_slice().len())
/// });
/// assert_eq!(seen.collect()?[2], (4, 1, 3, vec![40, 41, 42], 3));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Rows<'a, T> {
    elements: &'a [T],
    first: usize,
    len: usize,
    row_len: usize,
}

/// Rows of an array that one call of a loop may write; see
/// [`Pool::par_rows_mut`](crate::Pool::par_rows_mut).
///
/// Indexing gives a row as a slice, counted from the first of these rows.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let mut a = SharedArray::<usize>::zeroed([5, 3])?;
/// pool.par_rows_mut(&mut a, 2).for_each(|mut rows| {
///     let first = rows.first();
///     rows[0][2] = 1;
///     for (i, row) in rows.iter_mut().enumerate() {
///         row[0] = first + i;
///     }
/// })?;
/// assert_eq!(a.as_slice()[9..], [3, 0, 0, 4, 0, 1]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct RowsMut<'a, T> {
    elements: &'a mut [T],
    first: usize,
    len: usize,
    row_len: usize,
}

impl<T> Clone for Rows<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rows<'_, T> {}

macro_rules! measures {
    ($type:ident) => {
        impl<'a, T> $type<'a, T> {
            /// The index in the array of the first of these rows.
            #[must_use]
            pub fn first(&self) -> usize {
                self.first
            }

            /// The number of rows.
            #[must_use]
            pub fn len(&self) -> usize {
                self.len
            }

            /// Whether there are no rows; a loop passes no such chunk.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len == 0
            }

            /// The number of elements of a row: the product of the other extents.
            #[must_use]
            pub fn row_len(&self) -> usize {
                self.row_len
            }

            /// The rows, in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = &[T]> + DoubleEndedIterator {
                (0..self.len).map(|row| &self[row])
            }
        }

        impl<T> Index<usize> for $type<'_, T> {
            type Output = [T];

            /// # Panics
            ///
            /// If there are not so many rows.
            fn index(&self, row: usize) -> &[T] {
                assert!(row < self.len, "row {row} of {}", self.len);
                &self.elements[row * self.row_len..][..self.row_len]
            }
        }

        impl<T: fmt::Debug> fmt::Debug for $type<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_list().entries(self.iter()).finish()
            }
        }
    };
}
measures!(Rows);
measures!(RowsMut);

impl<'a, T> Rows<'a, T> {
    /// All elements, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &'a [T] {
        self.elements
    }

    /// The rows as a matrix.
    ///
    /// # Panics
    ///
    /// Never: the rows have as many elements as the shape.
    #[cfg(feature = "ndarray")]
    #[must_use]
    pub fn view(&self) -> ndarray::ArrayView2<'a, T> {
        ndarray::ArrayView2::from_shape((self.len, self.row_len), self.elements)
            .expect("as many elements as the shape has")
    }
}

impl<'a, T> RowsMut<'a, T> {
    /// All elements, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        self.elements
    }

    /// All elements, row after row, to be written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.elements
    }

    /// All elements, row after row, for as long as the call lasts.
    #[must_use]
    pub fn into_slice(self) -> &'a mut [T] {
        self.elements
    }

    /// The rows, in order, to be written.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [T]> {
        RowIterMut { left: self.len, row_len: self.row_len, elements: &mut *self.elements }
    }

    /// The rows as a matrix, to be written.
    ///
    /// # Panics
    ///
    /// Never: the rows have as many elements as the shape.
    #[cfg(feature = "ndarray")]
    #[must_use]
    pub fn view_mut(&mut self) -> ndarray::ArrayViewMut2<'_, T> {
        ndarray::ArrayViewMut2::from_shape((self.len, self.row_len), &mut *self.elements)
            .expect("as many elements as the shape has")
    }
}

impl<T> IndexMut<usize> for RowsMut<'_, T> {
    fn index_mut(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.len, "row {row} of {}", self.len);
        &mut self.elements[row * self.row_len..][..self.row_len]
    }
}

/// An iterator over mutable rows, which may have no elements.
struct RowIterMut<'a, T> {
    elements: &'a mut [T],
    row_len: usize,
    left: usize,
}

impl<'a, T> Iterator for RowIterMut<'a, T> {
    type Item = &'a mut [T];

    fn next(&mut self) -> Option<&'a mut [T]> {
        self.left = self.left.checked_sub(1)?;
        let (row, rest) = std::mem::take(&mut self.elements).split_at_mut(self.row_len);
        self.elements = rest;
        Some(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for RowIterMut<'_, T> {}

for_each_array!(array_operand!(ByRows, (Rows<'a, T>, read), (RowsMut<'a, T>, write);));

/// The rows of `operand` that belong to `chunk`, to be read.
///
/// # Safety
///
/// - Nobody writes to them while they are borrowed.
#[inline]
pub(super) unsafe fn read<'a, T: bytemuck::Pod>(
    operand: &'a WorkerOperand,
    chunk: &ClaimedChunk,
) -> Rows<'a, T> {
    let rows = operand.rows(&chunk.range);
    // SAFETY: the same contract, passed on.
    let elements = unsafe { operand.read(&operand.elements(&rows)) };
    Rows { elements, first: rows.start, len: rows.len(), row_len: operand.layout.row_len }
}

/// The rows of `operand` that belong to `chunk`, to be written.
///
/// # Safety
///
/// - Nobody else uses them while they are borrowed.
#[inline]
pub(super) unsafe fn write<'a, T: bytemuck::Pod>(
    operand: &'a WorkerOperand,
    chunk: &ClaimedChunk,
) -> RowsMut<'a, T> {
    let rows = operand.rows(&chunk.range);
    // SAFETY: the same contract, passed on.
    let elements = unsafe { operand.write(&operand.elements(&rows)) };
    RowsMut { elements, first: rows.start, len: rows.len(), row_len: operand.layout.row_len }
}
