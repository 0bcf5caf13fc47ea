//! A matrix in memory that a team shares, column after column.
#![allow(unsafe_code)]

use std::ops::Range;
use std::slice;

use crate::kernel::matmul::{Float, Strided};

/// Columns at a multiple of this distance, in bytes, would compete for few sets of a cache.
const UNEVEN_BYTES: usize = 1024;
/// Columns begin at multiples of this many elements.
const UNIT: usize = 8;

/// A matrix whose columns are contiguous, in memory that the members of a team share.
///
/// The algorithm decides which member writes which columns between two barriers, so its calls of
/// the `unsafe` methods state why no other member accesses them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedColumns<T> {
    first: *mut T,
    rows: usize,
    cols: usize,
}

impl<T: Float> SharedColumns<T> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one column to the next.
    pub(crate) fn stride(&self) -> usize {
        stride_of::<T>(self.rows)
    }

    /// The matrix by address.
    pub(crate) fn strided(&self) -> Strided<*mut T> {
        let col_stride = self.stride().cast_signed();
        Strided { first: self.first, rows: self.rows, cols: self.cols, row_stride: 1, col_stride }
    }

    /// Columns to read, with the elements between them.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and nothing writes to these columns while the slice is in use.
    pub(super) unsafe fn read<'a>(&self, cols: Range<usize>) -> &'a [T] {
        assert!(cols.start <= cols.end && cols.end <= self.cols, "columns exist");
        let first = self.first.wrapping_add(cols.start * self.stride());
        // SAFETY: the columns exist; the caller guarantees the memory.
        unsafe { slice::from_raw_parts(first, cols.len() * self.stride()) }
    }

    /// Columns to write, with the elements between them.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and nothing else accesses these columns while the slice is in use.
    pub(super) unsafe fn write<'a>(&self, cols: Range<usize>) -> &'a mut [T] {
        assert!(cols.start <= cols.end && cols.end <= self.cols, "columns exist");
        let first = self.first.wrapping_add(cols.start * self.stride());
        // SAFETY: the columns exist; the caller guarantees the memory.
        unsafe { slice::from_raw_parts_mut(first, cols.len() * self.stride()) }
    }

    /// Some rows of one column to read.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and nothing writes to these elements while the slice is in use.
    pub(super) unsafe fn read_part<'a>(&self, rows: Range<usize>, col: usize) -> &'a [T] {
        assert!(rows.start <= rows.end && rows.end <= self.rows && col < self.cols, "part exists");
        let first = self.first.wrapping_add(col * self.stride() + rows.start);
        // SAFETY: the elements exist; the caller guarantees the memory.
        unsafe { slice::from_raw_parts(first, rows.len()) }
    }

    /// Some rows of one column to write.
    ///
    /// # Safety
    ///
    /// - The memory is valid, and nothing else accesses these elements while the slice is in use.
    pub(super) unsafe fn write_part<'a>(&self, rows: Range<usize>, col: usize) -> &'a mut [T] {
        assert!(rows.start <= rows.end && rows.end <= self.rows && col < self.cols, "part exists");
        let first = self.first.wrapping_add(col * self.stride() + rows.start);
        // SAFETY: the elements exist; the caller guarantees the memory.
        unsafe { slice::from_raw_parts_mut(first, rows.len()) }
    }
}

/// One piece of memory, from which matrices are cut one after the other.
///
/// From a null address it only counts, so that one function states the layout and the size.
#[derive(Debug)]
pub(crate) struct Carver<T> {
    first: *mut T,
    used: usize,
}

impl<T: Float> Carver<T> {
    /// Memory that begins at `first`.
    pub(crate) fn new(first: *mut T) -> Carver<T> {
        Carver { first, used: 0 }
    }

    /// The elements that all matrices take.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The next matrix.
    pub(super) fn columns(&mut self, rows: usize, cols: usize) -> SharedColumns<T> {
        let first = self.first.wrapping_add(self.used);
        self.used += stride_of::<T>(rows) * cols;
        SharedColumns { first, rows, cols }
    }
}

/// The distance of columns of `rows` elements.
pub(super) fn stride_of<T>(rows: usize) -> usize {
    let stride = rows.next_multiple_of(UNIT);
    if (stride * size_of::<T>()).is_multiple_of(UNEVEN_BYTES) { stride + UNIT } else { stride }
}

/// Copies a part of a strided matrix to columns that are `stride` apart, each element times
/// `factor`.
///
/// # Safety
///
/// - `from` is valid for reading.
pub(super) unsafe fn load_columns<T: Float>(
    from: &Strided<*mut T>,
    cols: Range<usize>,
    factor: T,
    to: &mut [T],
    stride: usize,
) {
    let block = 16;
    for first in (0..from.rows).step_by(block) {
        for j in cols.clone() {
            for i in first..from.rows.min(first + block) {
                // SAFETY: the element exists, and the caller guarantees `from`.
                let x = unsafe { from.at(i, j).read() };
                to[(j - cols.start) * stride + i] = x * factor;
            }
        }
    }
}

/// Copies columns that are `stride` apart to a part of a strided matrix.
///
/// # Safety
///
/// - `to` is valid for writing, and nothing else accesses these columns of it.
pub(super) unsafe fn store_columns<T: Float>(
    from: &[T],
    stride: usize,
    to: &Strided<*mut T>,
    cols: Range<usize>,
) {
    let block = 16;
    for first in (0..to.rows).step_by(block) {
        for i in first..to.rows.min(first + block) {
            for j in cols.clone() {
                let x = from[(j - cols.start) * stride + i];
                // SAFETY: the element exists, and the caller guarantees `to`.
                unsafe { to.at(i, j).write(x) };
            }
        }
    }
}
