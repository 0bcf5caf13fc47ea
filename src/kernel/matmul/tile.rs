//! One tile of C, in any layout.
#![allow(unsafe_code)]

use super::kernel::Float;
use super::microkernel_table::{COLUMNS_MAX, MicroKernelTable, Tile, Tiles, VECTORS_MAX};
use super::strided::Strided;

/// Room for the largest tile of any instruction set: 3 vectors of 64 bytes by 8 columns.
const TILE_ELEMENTS: usize = VECTORS_MAX * 16 * COLUMNS_MAX;

/// Runs the micro-kernel of the right size for the tile `c`. It sets `tile.c`, `tile.c_next` and
/// `tile.rows_last`. A tile whose rows are not contiguous is computed in a copy.
///
/// # Safety
///
/// - `tile` is valid for the micro-kernel, except for the fields that are set here, and `c` is at
///   most as large as the instruction set's tile.
/// - `c` is valid for reading and writing, and until it returns nothing else accesses it.
pub(super) unsafe fn run_tile<T: Float>(
    table: &MicroKernelTable<T>,
    functions: &Tiles<T>,
    tile: &mut Tile<T>,
    c: Strided<*mut T>,
) {
    let vectors = c.rows.div_ceil(table.lanes);
    tile.rows_last = c.rows - (vectors - 1) * table.lanes;
    let function = functions[vectors - 1][c.cols - 1];
    if c.row_stride == 1 {
        tile.c = c.first;
        tile.c_next = c.col_stride;
        // SAFETY: the caller's conditions; the function is of this size.
        unsafe { function(tile) };
        return;
    }
    let mut copy = [T::ZERO; TILE_ELEMENTS];
    if tile.beta != T::ZERO {
        for j in 0..c.cols {
            for i in 0..c.rows {
                // SAFETY: the element exists, and the caller guarantees C.
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
            // SAFETY: the element exists, and the caller guarantees C.
            unsafe { c.at(i, j).write(copy[j * c.rows + i]) };
        }
    }
}
