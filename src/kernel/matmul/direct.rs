//! Small products, without packing of B.
//!
//! ```text
//! LOOP 4  pc over k by KC
//! LOOP 3  ic over m by what fits the second-level cache
//! LOOP 2  jr over n by NR, columns divided evenly: 20 are 7 + 7 + 6, not 8 + 8 + 4
//! LOOP 1  ir over m by MR, vectors divided evenly
//! ```
#![allow(unsafe_code)]

use super::buffer::Buffer;
use super::element::Element;
use super::loops::{depth, pack_rows};
use super::micro::Tile;
use super::params::{self, balanced};
use super::tiles::{Gemm, run_tile};

/// Whether the micro-kernel may read B where it lies: contiguous along k, or within so few bytes
/// that the rows of a micropanel stay in the cache whatever their distance.
pub(super) fn reads_well<T: Element>(gemm: &Gemm<T>) -> bool {
    let (m, n, k) = gemm.sizes();
    let deep = depth(k) * size_of::<T>();
    let b_span = gemm.b.row_stride.unsigned_abs().saturating_mul(deep);
    let b_is_close = gemm.b.row_stride == 1 || b_span <= params::DIRECT_B_BYTES;
    b_is_close && (m.saturating_mul(deep) <= params::DIRECT_A_BYTES || n <= params::DIRECT_COLUMNS)
}

/// Whether the micro-kernel may read A, whose rows are contiguous, where it lies: columns at
/// multiples of a large power of two compete for the same places in the caches.
fn a_reads_well<T: Element>(gemm: &Gemm<T>, kc: usize) -> bool {
    let step_bytes = gemm.a.col_stride.unsigned_abs().saturating_mul(size_of::<T>());
    let (span, n) = (step_bytes.saturating_mul(kc), gemm.c.cols);
    let even_step = step_bytes.is_multiple_of(params::UNEVEN_BYTES);
    let most = if even_step { params::DIRECT_SPAN_BYTES } else { 4 * params::DIRECT_SPAN_BYTES };
    span <= most || n <= params::DIRECT_COLUMNS_FAR
}

/// The product, by one process.
///
/// # Safety
///
/// - The operands are valid, and nobody else writes C.
pub(super) unsafe fn multiply<T: Element>(gemm: &Gemm<T>) {
    let (m, n, k) = gemm.sizes();
    let kc = depth(k);
    let most = params::DIRECT_A_BYTES / (kc * size_of::<T>());
    let mc = balanced(m, most, gemm.table.rows());
    let in_place = gemm.a.row_stride == 1 && a_reads_well(gemm, kc);
    let buffer = Buffer::of_bytes(if in_place { 0 } else { mc * kc * size_of::<T>() });
    for pc in (0..k).step_by(kc) {
        let steps = pc..k.min(pc + kc);
        // LOOP 3
        for ic in (0..m).step_by(mc) {
            let rows = ic..m.min(ic + mc);
            let part = Gemm {
                a: gemm.a.part(rows.clone(), steps.clone()),
                b: gemm.b.part(steps.clone(), 0..n),
                c: gemm.c.part(rows, 0..n),
                beta: if pc == 0 { gemm.beta } else { T::ONE },
                ..*gemm
            };
            if in_place {
                let (a, a_step) = (part.a.data, part.a.col_stride);
                // SAFETY: the caller's conditions; A lies where it lies.
                unsafe { pass(&part, |row, _| (a.wrapping_add(row), a_step)) };
            } else {
                // SAFETY: the caller's conditions; the buffer has room for mc x kc elements.
                unsafe { packed_pass(&part, buffer.start().cast::<T>()) };
            }
        }
    }
    buffer.keep();
}

/// One pass over C with A packed to `packed`.
///
/// # Safety
///
/// - The operands are valid, nobody else writes C, and `packed` has room for A, rows rounded up
///   to whole vectors.
unsafe fn packed_pass<T: Element>(gemm: &Gemm<T>, packed: *mut T) {
    let (m, _, k) = gemm.sizes();
    let mut first = 0;
    for height in heights(m, gemm) {
        let to = packed.wrapping_add(first * k);
        // SAFETY: the rows lie within A, and the caller vouches for the room.
        unsafe { pack_rows(gemm, first..first + height, 0..k, to) };
        first += height;
    }
    let lanes = gemm.table.lanes;
    let place = |row: usize, height: usize| {
        (packed.wrapping_add(row * k), height.next_multiple_of(lanes) as isize)
    };
    // SAFETY: the caller's conditions; A is packed in the same heights.
    unsafe { pass(gemm, place) };
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

/// One pass over C, where `place` says where to find a tile's rows of A: for a first row and a
/// height, their address and the elements to step.
///
/// # Safety
///
/// - The operands are valid, nobody else writes C, and `place` is right.
unsafe fn pass<T: Element>(gemm: &Gemm<T>, place: impl Fn(usize, usize) -> (*mut T, isize)) {
    let table = gemm.table;
    let (m, n, k) = gemm.sizes();
    let mut tile = Tile {
        k,
        a: gemm.a.data,
        a_step: 0,
        b: gemm.b.data,
        b_step: gemm.b.row_stride,
        b_next: gemm.b.col_stride,
        alpha: gemm.alpha,
        beta: gemm.beta,
        c: gemm.c.data,
        c_next: 0,
        rows_last: table.lanes,
        ahead: std::ptr::null(),
        ahead_step: 0,
    };
    let mut jr = 0;
    // LOOP 2
    for width in even(n, table.columns) {
        tile.b = gemm.b.at(0, jr);
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
