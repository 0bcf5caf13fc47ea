//! A product in the micro-kernel's orientation, and its tiles.
#![allow(unsafe_code)]

use super::element::Element;
use super::micro::Tile;
use super::table::{COLUMNS_MAX, Table, TileFn, VECTORS_MAX};
use super::view::Strided;

/// A product `C = alpha * A * B + beta * C`, for one instruction set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gemm<T: 'static> {
    pub(super) table: &'static Table<T>,
    pub(super) alpha: T,
    pub(super) a: Strided<T>,
    pub(super) b: Strided<T>,
    pub(super) beta: T,
    pub(super) c: Strided<T>,
}

impl<T: Element> Gemm<T> {
    /// m, n and k.
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.c.rows, self.c.cols, self.a.cols)
    }

    /// The same product as `C^T = alpha * B^T * A^T + beta * C^T`.
    pub(super) fn transposed(self) -> Gemm<T> {
        Gemm { a: self.b.transposed(), b: self.a.transposed(), c: self.c.transposed(), ..self }
    }

    /// The same product turned as the micro-kernel wants it: a single row becomes a column;
    /// else rows of C are contiguous, if either its rows or columns are; else those of A, if
    /// possible. An element's sum is the same in both orientations.
    pub(super) fn oriented(self) -> Gemm<T> {
        let by_rows = self.c.col_stride == 1;
        let by_columns = self.c.row_stride == 1;
        if self.c.cols == 1 {
            self
        } else if self.c.rows == 1 {
            self.transposed()
        } else if by_columns || (!by_rows && self.a.row_stride == 1) {
            self
        } else if by_rows || self.b.col_stride == 1 {
            self.transposed()
        } else {
            self
        }
    }
}

/// Room for the largest tile of any instruction set: 3 vectors of 64 bytes by 8 columns.
const TILE_ELEMENTS: usize = VECTORS_MAX * 16 * COLUMNS_MAX;

/// Runs the micro-kernel of the right size for the tile `c`, which sets `tile.c` and
/// `tile.rows_last`; a tile without contiguous rows goes through a copy.
///
/// # Safety
///
/// - `tile` is valid for the micro-kernel, its `c` aside, and `c` fits the instruction set's tile.
/// - `c` is valid for reading and writing, by nobody else meanwhile.
pub(super) unsafe fn run_tile<T: Element>(
    table: &Table<T>,
    functions: &[[TileFn<T>; COLUMNS_MAX]; VECTORS_MAX],
    tile: &mut Tile<T>,
    c: Strided<T>,
) {
    let vectors = c.rows.div_ceil(table.lanes);
    tile.rows_last = c.rows - (vectors - 1) * table.lanes;
    let function = functions[vectors - 1][c.cols - 1];
    if c.row_stride == 1 {
        tile.c = c.data;
        tile.c_next = c.col_stride;
        // SAFETY: the caller's conditions; the function is of this size.
        unsafe { function(tile) };
        return;
    }
    let mut copy = [T::ZERO; TILE_ELEMENTS];
    if tile.beta != T::ZERO {
        for j in 0..c.cols {
            for i in 0..c.rows {
                // SAFETY: the element exists, and the caller vouches for C.
                copy[j * c.rows + i] = unsafe { c.at(i, j).read() };
            }
        }
    }
    tile.c = copy.as_mut_ptr();
    tile.c_next = c.rows as isize;
    // SAFETY: the caller's conditions; the copy has the tile's elements, column by column.
    unsafe { function(tile) };
    for j in 0..c.cols {
        for i in 0..c.rows {
            // SAFETY: the element exists, and the caller vouches for C.
            unsafe { c.at(i, j).write(copy[j * c.rows + i]) };
        }
    }
}
