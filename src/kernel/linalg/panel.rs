//! A panel in its own memory: contiguous columns, or rows.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::kernel::matmul::{Float, Strided};

/// Columns that are factored one after the other. More of them are halved.
pub(super) const LEAF: usize = 16;
/// Rows and columns that are copied at a time.
const BLOCK: usize = 8;
/// Columns at a multiple of this distance, in bytes, would compete for few sets of a cache.
const UNEVEN_BYTES: usize = 1024;

/// The memory of panels, which a member uses for one after the other.
pub(super) struct Panel<T> {
    elements: Vec<T>,
    rows: usize,
    cols: usize,
    /// Elements from one column to the next.
    stride: usize,
}

impl<T: Float> Panel<T> {
    /// Without memory: [`load`](Panel::load) makes room.
    pub(super) fn new() -> Panel<T> {
        Panel { elements: Vec::new(), rows: 0, cols: 0, stride: 0 }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// All columns, and the number of elements from one to the next.
    pub(super) fn columns(&mut self) -> (&mut [T], usize) {
        (&mut self.elements, self.stride)
    }

    /// The part in these rows and columns, by address. The panel must not be used otherwise while
    /// the address is.
    pub(super) fn part(&mut self, rows: Range<usize>, cols: Range<usize>) -> Strided<*mut T> {
        assert!(rows.end <= self.rows && cols.end <= self.cols, "a part of the panel");
        let first = self.elements.as_mut_ptr();
        let col_stride = self.stride.cast_signed();
        Strided { first, rows: self.rows, cols: self.cols, row_stride: 1, col_stride }
            .part(rows, cols)
    }

    /// Copies `from` to the panel.
    ///
    /// # Safety
    ///
    /// - `from` is valid for reading.
    pub(super) unsafe fn load(&mut self, from: Strided<*mut T>) {
        (self.rows, self.cols) = (from.rows, from.cols);
        self.stride = from.rows.next_multiple_of(BLOCK);
        if (self.stride * size_of::<T>()).is_multiple_of(UNEVEN_BYTES) {
            self.stride += BLOCK;
        }
        let len = self.stride * from.cols;
        if self.elements.len() < len {
            self.elements.resize(len, T::ZERO);
        }
        let to = self.part(0..from.rows, 0..from.cols);
        // SAFETY: the caller guarantees `from`; `to` is the panel's own memory, of the same shape.
        unsafe { copy(from, to) };
    }

    /// Copies the panel to `to`.
    ///
    /// # Safety
    ///
    /// - `to` is valid for writing, has the panel's shape, and nothing else accesses it.
    pub(super) unsafe fn store(&mut self, to: Strided<*mut T>) {
        let from = self.part(0..to.rows, 0..to.cols);
        // SAFETY: the caller guarantees `to`; `from` is the panel's own memory, of the same shape.
        unsafe { copy(from, to) };
    }
}

/// The halves of columns that are more than [`LEAF`].
pub(super) fn halves(columns: &Range<usize>) -> (Range<usize>, Range<usize>) {
    let middle = columns.start + (columns.len() / 2).next_multiple_of(LEAF);
    (columns.start..middle, middle..columns.end)
}

/// Copies a matrix.
///
/// # Safety
///
/// - The shapes are the same; `from` is valid for reading, `to` for writing, and nothing else
///   accesses `to`.
pub(super) unsafe fn copy<T: Float>(from: Strided<*mut T>, to: Strided<*mut T>) {
    debug_assert_eq!(from.shape(), to.shape());
    let is_turned = from.col_stride != 1;
    let (from, to) = if is_turned { (from.transposed(), to.transposed()) } else { (from, to) };
    if from.col_stride == 1 && to.col_stride == 1 {
        for row in 0..from.rows {
            // SAFETY: both rows are contiguous, exist, and are different memory, by the caller's
            // conditions.
            unsafe { from.at(row, 0).copy_to_nonoverlapping(to.at(row, 0), from.cols) };
        }
        return;
    }
    let is_transpose = from.col_stride == 1 && to.row_stride == 1;
    for i in (0..from.rows).step_by(BLOCK) {
        let rows = i..from.rows.min(i + BLOCK);
        for j in (0..from.cols).step_by(BLOCK) {
            let cols = j..from.cols.min(j + BLOCK);
            let (from, to) = (from.part(rows.clone(), cols.clone()), to.part(rows.clone(), cols));
            if is_transpose && from.shape() == [BLOCK, BLOCK] {
                // SAFETY: the caller's conditions; rows and columns are contiguous.
                unsafe { transpose_block(from, to) };
            } else {
                // SAFETY: the caller's conditions.
                unsafe { copy_elements(from, to) };
            }
        }
    }
}

/// Copies a block of contiguous rows to contiguous columns.
///
/// # Safety
///
/// - As [`copy`]. The block is BLOCK x BLOCK; columns of `from` are one element apart, and so are
///   rows of `to`.
#[inline]
unsafe fn transpose_block<T: Float>(from: Strided<*mut T>, to: Strided<*mut T>) {
    let mut block = [[T::ZERO; BLOCK]; BLOCK];
    for (i, row) in block.iter_mut().enumerate() {
        // SAFETY: the row exists and is contiguous, by the caller's conditions.
        *row = unsafe { from.at(i, 0).cast::<[T; BLOCK]>().read() };
    }
    let columns: [[T; BLOCK]; BLOCK] = std::array::from_fn(|j| block.map(|row| row[j]));
    for (j, column) in columns.into_iter().enumerate() {
        // SAFETY: the column exists and is contiguous, by the caller's conditions.
        unsafe { to.at(0, j).cast::<[T; BLOCK]>().write(column) };
    }
}

/// Copies one element after the other.
///
/// # Safety
///
/// - As [`copy`].
unsafe fn copy_elements<T: Float>(from: Strided<*mut T>, to: Strided<*mut T>) {
    for row in 0..from.rows {
        for col in 0..from.cols {
            // SAFETY: the element exists, and the caller guarantees `from`.
            let element = unsafe { from.at(row, col).read() };
            // SAFETY: the element exists, and the caller guarantees `to`.
            unsafe { to.at(row, col).write(element) };
        }
    }
}
