//! Small products: no packing of B, and none of A if its rows are contiguous.
//!
//! ```text
//! LOOP 4  pc over k by KC
//! LOOP 2  jr over n by NR, columns divided evenly: 20 are 7 + 7 + 6, not 8 + 8 + 4
//! LOOP 1  ir over m by MR, vectors divided evenly
//! ```
#![allow(unsafe_code)]

use std::ops::Range;

use super::buffer::Buffer;
use super::element::Element;
use super::loops::{depth, pack_rows};
use super::micro::Tile;
use super::params::ALIGN_BYTES;
use super::tiles::{Gemm, run_tile};

/// The product, by one process.
///
/// # Safety
///
/// - The operands are valid, and nobody else writes C.
pub(super) unsafe fn multiply<T: Element>(gemm: &Gemm<T>) {
    let (m, _, k) = gemm.sizes();
    if gemm.a.row_stride == 1 {
        for pc in (0..k).step_by(depth(k)) {
            let steps = pc..k.min(pc + depth(k));
            let (a, a_step) = (gemm.a.at(0, pc), gemm.a.col_stride);
            // SAFETY: the caller's conditions; A lies where it lies.
            unsafe { pass(gemm, &steps, |row, _| (a.wrapping_add(row), a_step)) };
        }
        return;
    }
    let rows = gemm.table.rows();
    let bytes = m.next_multiple_of(rows) * depth(k) * size_of::<T>();
    let buffer = Buffer::of_bytes(bytes.next_multiple_of(ALIGN_BYTES));
    let packed = buffer.start().cast::<T>();
    for pc in (0..k).step_by(depth(k)) {
        let steps = pc..k.min(pc + depth(k));
        let mut first = 0;
        for height in heights(m, gemm) {
            let to = packed.wrapping_add(first * steps.len());
            // SAFETY: the rows lie within A, and the buffer has room for all of m.
            unsafe { pack_rows(gemm, first..first + height, steps.clone(), to) };
            first += height;
        }
        let k = steps.len();
        let lanes = gemm.table.lanes;
        let place = |row: usize, height: usize| {
            let width = height.next_multiple_of(lanes);
            (packed.wrapping_add(row * k), width as isize)
        };
        // SAFETY: the caller's conditions; A is packed in the same heights.
        unsafe { pass(gemm, &steps, place) };
    }
    buffer.keep();
}

/// Heights of tiles that make up `m` rows: equal but for one vector.
fn heights<T: Element>(m: usize, gemm: &Gemm<T>) -> impl Iterator<Item = usize> + use<T> {
    let lanes = gemm.table.lanes;
    let vectors = m.div_ceil(lanes);
    let mut left = m;
    even(vectors, gemm.table.vectors).map(move |vectors| {
        let height = left.min(vectors * lanes);
        left -= height;
        height
    })
}

/// `total` as the fewest pieces of at most `most`, equal but for one.
fn even(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let pieces = total.div_ceil(most);
    (0..pieces).map(move |i| (total * (i + 1)) / pieces - (total * i) / pieces)
}

/// One pass over C, with the steps of k that `place` says where to find in A: for the tile at a
/// row with a height, its address and the elements to step.
///
/// # Safety
///
/// - The operands are valid, nobody else writes C, and `place` is right.
unsafe fn pass<T: Element>(
    gemm: &Gemm<T>,
    steps: &Range<usize>,
    place: impl Fn(usize, usize) -> (*mut T, isize),
) {
    let table = gemm.table;
    let (m, n, _) = gemm.sizes();
    let mut tile = Tile {
        k: steps.len(),
        a: gemm.a.data,
        a_step: 0,
        b: gemm.b.data,
        b_step: gemm.b.row_stride,
        b_next: gemm.b.col_stride,
        alpha: gemm.alpha,
        beta: if steps.start == 0 { gemm.beta } else { T::ONE },
        c: gemm.c.data,
        c_next: 0,
        rows_last: table.lanes,
        ahead: std::ptr::null(),
        ahead_step: 0,
    };
    let mut jr = 0;
    // LOOP 2
    for width in even(n, table.columns) {
        tile.b = gemm.b.at(steps.start, jr);
        let mut ir = 0;
        // LOOP 1
        for height in heights(m, gemm) {
            (tile.a, tile.a_step) = place(ir, height);
            let masked = !height.is_multiple_of(table.lanes);
            let functions = if masked { &table.direct_masked } else { &table.direct };
            let c = gemm.c.part(ir..ir + height, jr..jr + width);
            // SAFETY: `place` says where the tile's rows of A are; its columns of B exist; so
            // does its part of C, which only the caller writes.
            unsafe { run_tile(table, functions, &mut tile, c) };
            ir += height;
        }
        jr += width;
    }
}
