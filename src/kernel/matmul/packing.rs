//! Packing blocks of A and micropanels of B for the micro-kernel.
#![allow(unsafe_code)]

use std::ops::Range;

use super::blocking;
use super::microkernel_table::{MicroKernelTable, Micropanel};
use super::simd::Simd;
use super::strided::Strided;

/// Packs rows of A as micropanels, the last as narrow as its vectors allow.
///
/// # Safety
///
/// - A is valid, `rows` and `steps` lie within it, and `to` has room for them, with rows rounded up
///   to MR.
pub(super) unsafe fn pack_a<T>(
    table: &MicroKernelTable<T>,
    a: &Strided<*mut T>,
    rows: Range<usize>,
    steps: Range<usize>,
    to: *mut T,
) {
    // If rows are contiguous, each column is in another page: few columns at a time, for all rows.
    let pages = if a.row_stride == 1 { blocking::PACK_STEPS } else { steps.len() };
    for pc in steps.clone().step_by(pages) {
        for (index, ir) in rows.clone().step_by(table.rows()).enumerate() {
            let count = (rows.end - ir).min(table.rows());
            let width = count.next_multiple_of(table.lanes);
            let place = index * table.rows() * steps.len() + (pc - steps.start) * width;
            let micropanel = Micropanel {
                from: a.at(ir, pc),
                minor: a.row_stride,
                major: a.col_stride,
                count,
                width,
                k: pages.min(steps.end - pc),
                to: to.wrapping_add(place),
            };
            // SAFETY: rows and steps lie within A, the table is of this machine, and the caller
            // guarantees the room.
            unsafe { (table.pack)(&micropanel) };
        }
    }
}

/// Packs one micropanel.
///
/// # Safety
///
/// - The processor has the instruction set S.
/// - `from` is valid for reading at `r * minor + p * major` for r < count, p < k.
/// - `to` is valid for writing `k * width` elements, `0 < count <= width`, `width <= 64`.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(t: &Micropanel<S::Elem>) {
    if t.minor == 1 {
        // SAFETY: the caller's conditions are those of the callee.
        unsafe { pack_rows::<S>(t) };
    } else if t.major == 1 {
        // SAFETY: the caller's conditions are those of the callee.
        unsafe { pack_columns::<S>(t) };
    } else {
        // SAFETY: the caller's conditions are those of the callee.
        unsafe { pack_scattered::<S>(t, 0..t.count, 0..t.k) };
    }
    if t.count < t.width {
        // SAFETY: the caller has checked for the instruction set.
        let zero = unsafe { S::zero() };
        for p in 0..t.k {
            for r in (t.count..t.width).step_by(S::LANES) {
                // SAFETY: the caller has checked for the instruction set.
                let mask = unsafe { S::mask(t.width - r) };
                // SAFETY: p < k and the mask ends at the width, so it is inside the micropanel.
                unsafe { S::store_masked(t.to.wrapping_add(p * t.width + r), mask, zero) };
            }
        }
    }
}

/// For lanes that are contiguous in the source: copies a row at a time.
///
/// # Safety
///
/// As [`pack`], and `minor == 1`.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(t: &Micropanel<S::Elem>) {
    let whole = t.count - t.count % S::LANES;
    // SAFETY: the caller has checked for the instruction set.
    let mask = unsafe { S::mask(t.count - whole) };
    for p in 0..t.k {
        let from = t.from.wrapping_offset(p as isize * t.major);
        let to = t.to.wrapping_add(p * t.width);
        let ahead = from.wrapping_offset(blocking::PACK_AHEAD * t.major);
        for r in (0..whole).step_by(S::LANES) {
            S::prefetch(ahead.wrapping_add(r));
            // SAFETY: r + LANES <= count.
            let v = unsafe { S::load(from.wrapping_add(r)) };
            // SAFETY: r + LANES <= count <= width.
            unsafe { S::store(to.wrapping_add(r), v) };
        }
        if whole < t.count {
            // SAFETY: the mask ends at count.
            let v = unsafe { S::load_masked(from.wrapping_add(whole), mask) };
            // SAFETY: the mask ends at count <= width.
            unsafe { S::store_masked(to.wrapping_add(whole), mask, v) };
        }
    }
}

/// For steps of k that are contiguous in the source: transposes blocks of 8 lanes.
///
/// # Safety
///
/// As [`pack`], and `major == 1`.
#[inline(always)]
unsafe fn pack_columns<S: Simd>(t: &Micropanel<S::Elem>) {
    let (lanes, steps) = (t.count - t.count % 8, t.k - t.k % S::LANES);
    for r in (0..lanes).step_by(8) {
        let from = t.from.wrapping_offset(r as isize * t.minor);
        for p in (0..steps).step_by(S::LANES) {
            let to = t.to.wrapping_add(p * t.width + r);
            // SAFETY: r + 8 <= count <= width and p + LANES <= k.
            unsafe { S::transpose8(from.wrapping_add(p), t.minor, to, t.width) };
        }
    }
    // SAFETY: the caller's conditions are those of the callee, the ranges lie inside.
    unsafe { pack_scattered::<S>(t, 0..lanes, steps..t.k) };
    // SAFETY: the caller's conditions are those of the callee, the ranges lie inside.
    unsafe { pack_scattered::<S>(t, lanes..t.count, 0..t.k) };
}

/// For any strides: copies an element at a time.
///
/// # Safety
///
/// As [`pack`], `lanes` within `0..count`, `steps` within `0..k`.
#[inline(always)]
unsafe fn pack_scattered<S: Simd>(
    t: &Micropanel<S::Elem>,
    lanes: Range<usize>,
    steps: Range<usize>,
) {
    for p in steps {
        for r in lanes.clone() {
            let from = t.from.wrapping_offset(r as isize * t.minor + p as isize * t.major);
            // SAFETY: r < count and p < k.
            let x = unsafe { from.read() };
            // SAFETY: r < count <= width and p < k.
            unsafe { t.to.wrapping_add(p * t.width + r).write(x) };
        }
    }
}
