//! Small products, without packing of B.
//!
//! ```text
//! LOOP 4  pc over k by KC
//! LOOP 3  ic over m by what fits the second-level cache
//! LOOP 2  jr over n by NR, columns divided evenly: 20 are 7 + 7 + 6, not 8 + 8 + 4
//! LOOP 1  ir over m by MR, vectors divided evenly
//! ```
#![allow(unsafe_code)]

use super::blocking::{self, balanced, depth};
use super::gemm::Gemm;
use super::kernel::Float;
use super::microkernel_table::{MicroKernelTable, Tile};
use super::pack_buffer::PackBuffer;
use super::packing::pack_a;
use super::tile::run_tile;

/// Whether reading B in place is fast: it is contiguous along k, or small enough that the rows of a
/// micropanel stay in the cache at any distance. Also, A and B must be so small, or C so narrow,
/// that packing does not pay.
pub(super) fn reads_well<T: Float>(gemm: &Gemm<T>) -> bool {
    let (m, n, k) = gemm.sizes();
    let deep = depth(k) * size_of::<T>();
    let b_span = gemm.b.row_stride.unsigned_abs().saturating_mul(deep);
    let b_is_close = gemm.b.row_stride == 1 || b_span <= blocking::UNPACKED_B_BYTES;
    let b_is_small =
        m < blocking::UNPACKED_ROWS || n.saturating_mul(deep) <= blocking::UNPACKED_B_BYTES;
    let is_small = b_is_small && m.saturating_mul(deep) <= blocking::UNPACKED_A_BYTES;
    b_is_close && (is_small || n <= blocking::UNPACKED_COLUMNS)
}

/// Whether reading A in place is fast, if its rows are contiguous: columns at multiples of a large
/// power of two map to the same sets of the caches.
fn a_reads_well<T: Float>(gemm: &Gemm<T>, kc: usize) -> bool {
    let step_bytes = gemm.a.col_stride.unsigned_abs().saturating_mul(size_of::<T>());
    let (span, n) = (step_bytes.saturating_mul(kc), gemm.c.cols);
    let even_step = step_bytes.is_multiple_of(blocking::UNEVEN_BYTES);
    let most =
        if even_step { blocking::UNPACKED_SPAN_BYTES } else { 4 * blocking::UNPACKED_SPAN_BYTES };
    span <= most || n <= blocking::UNPACKED_COLUMNS_FAR
}

/// The product, by one thread.
///
/// # Safety
///
/// - The operands are valid, and only the caller writes C.
pub(super) unsafe fn multiply<T: Float>(gemm: &Gemm<T>) {
    let (m, n, k) = gemm.sizes();
    let kc = depth(k);
    let most = blocking::UNPACKED_A_BYTES / (kc * size_of::<T>());
    let mc = balanced(m, most, T::table(gemm.kernel).rows());
    let in_place = gemm.a.row_stride == 1 && a_reads_well(gemm, kc);
    let mut buffer = PackBuffer::of_bytes(if in_place { 0 } else { mc * kc * size_of::<T>() });
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
                let (a, a_step) = (part.a.first, part.a.col_stride);
                // SAFETY: the caller's conditions; A is read in place.
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
/// - The operands are valid, only the caller writes C, and `packed` has room for A, with rows
///   rounded up to whole vectors.
unsafe fn packed_pass<T: Float>(gemm: &Gemm<T>, packed: *mut T) {
    let table = T::table(gemm.kernel);
    let (m, _, k) = gemm.sizes();
    let mut first = 0;
    for height in heights(m, table) {
        let to = packed.wrapping_add(first * k);
        // SAFETY: the rows lie within A, and the caller guarantees the room.
        unsafe { pack_a(table, &gemm.a, first..first + height, 0..k, to) };
        first += height;
    }
    let place = |row: usize, height: usize| {
        (packed.wrapping_add(row * k), height.next_multiple_of(table.lanes) as isize)
    };
    // SAFETY: the caller's conditions; A is packed in the same heights.
    unsafe { pass(gemm, place) };
}

/// The heights of tiles that make up `m` rows. They differ by at most one vector.
fn heights<T>(m: usize, table: &MicroKernelTable<T>) -> impl Iterator<Item = usize> + use<T> {
    let lanes = table.lanes;
    let vectors = m.div_ceil(lanes);
    let mut left = m;
    even(vectors, table.vectors).map(move |vectors| {
        let height = left.min(vectors * lanes);
        left -= height;
        height
    })
}

/// `total` as the fewest pieces of at most `most`. They differ by at most 1.
fn even(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let pieces = total.div_ceil(most);
    (0..pieces).map(move |i| (total * (i + 1)) / pieces - (total * i) / pieces)
}

/// One pass over C. For a tile's first row and its height, `place` returns the address of these
/// rows of A and the number of elements from one column to the next.
///
/// # Safety
///
/// - The operands are valid, only the caller writes C, and `place` returns the rows of A.
unsafe fn pass<T: Float>(gemm: &Gemm<T>, place: impl Fn(usize, usize) -> (*mut T, isize)) {
    let table = T::table(gemm.kernel);
    let (m, n, k) = gemm.sizes();
    let mut tile = Tile::new(k, gemm.alpha, gemm.beta);
    (tile.b_step, tile.b_next) = (gemm.b.row_stride, gemm.b.col_stride);
    let mut jr = 0;
    // LOOP 2
    for width in even(n, table.columns) {
        tile.b = gemm.b.at(0, jr);
        let mut ir = 0;
        // LOOP 1
        for height in heights(m, table) {
            (tile.a, tile.a_step) = place(ir, height);
            let masked = !height.is_multiple_of(table.lanes);
            let functions = if masked { &table.unpacked_masked } else { &table.unpacked };
            let c = gemm.c.part(ir..ir + height, jr..jr + width);
            // SAFETY: `place` returns the tile's rows of A, by the caller's conditions; its columns
            // of B exist; so does its part of C, which only the caller writes.
            unsafe { run_tile(table, functions, &mut tile, c) };
            ir += height;
        }
        jr += width;
    }
}
