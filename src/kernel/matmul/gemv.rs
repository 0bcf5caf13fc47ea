//! Matrix times vector, which the memory bandwidth limits.
#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ops::Range;
use std::slice;

use super::gemm::Gemm;
use super::kernel::Float;
use super::shares::shares;
use crate::kernel::Team;

/// The counter of row blocks.
const ROWS: usize = 1;

/// Rows that are summed at a time: 16 KiB of f64, a third of a 48 KiB first-level cache.
const SUMS: usize = 2048;

/// Columns copied at a time when neither rows nor columns are contiguous.
const GATHERED: usize = 8;

/// One member's part of the product, where B and C have one column.
///
/// # Safety
///
/// - The operands are valid, and only members of this team write C.
/// - All members pass the same arguments.
pub(super) unsafe fn multiply<T: Float, W: Team>(gemm: &Gemm<T>, members: usize, team: &W) {
    let (m, _, k) = gemm.sizes();
    let b = &gemm.b;
    let x = if b.row_stride == 1 || k == 1 {
        // SAFETY: B is valid and its k rows are contiguous; nothing writes to it until `x` is
        // dropped.
        Cow::Borrowed(unsafe { slice::from_raw_parts(b.first.cast_const(), k) })
    } else {
        // SAFETY: p < k, and B is valid.
        (0..k).map(|p| unsafe { b.at(p, 0).read() }).collect()
    };
    // Long blocks give long contiguous columns. Several members need several blocks each.
    let pieces = if members == 1 { 1 } else { 4 * members };
    let block = m.div_ceil(pieces).next_multiple_of(64).min(SUMS);
    for part in shares(team, ROWS, m, block) {
        // SAFETY: the rows exist, and the counter gave them to this member alone.
        unsafe { rows(gemm, part, &x) };
    }
}

/// `C = alpha * A * x + beta * C` for at most [`SUMS`] rows.
///
/// # Safety
///
/// - The operands are valid, and only the caller writes these rows of C.
unsafe fn rows<T: Float>(gemm: &Gemm<T>, rows: Range<usize>, x: &[T]) {
    let table = T::table(gemm.kernel);
    let mut sums = [T::ZERO; SUMS];
    let sums = &mut sums[..rows.len()];
    let a = gemm.a.part(rows.clone(), 0..x.len());
    if a.row_stride == 1 {
        // SAFETY: rows are contiguous, columns are x.len(), and the table is of this machine.
        unsafe { (table.gemv_columns)(sums, a.first, a.col_stride, x) };
    } else if a.col_stride == 1 {
        // SAFETY: columns are contiguous, rows are sums.len(), and the table is of this machine.
        unsafe { (table.gemv_dots)(sums, a.first, a.row_stride, x) };
    } else {
        let mut copy = vec![T::ZERO; GATHERED * rows.len()];
        for (number, x) in x.chunks(GATHERED).enumerate() {
            for j in 0..x.len() {
                for i in 0..rows.len() {
                    // SAFETY: the element exists, and A is valid.
                    copy[j * rows.len() + i] = unsafe { a.at(i, number * GATHERED + j).read() };
                }
            }
            let step = rows.len() as isize;
            // SAFETY: the copy has x.len() columns of sums.len() contiguous rows.
            unsafe { (table.gemv_columns)(sums, copy.as_ptr(), step, x) };
        }
    }
    for (i, &sum) in rows.zip(&*sums) {
        let at = gemm.c.at(i, 0);
        let product = gemm.alpha * sum;
        let value = if gemm.beta == T::ZERO {
            product
        } else {
            // SAFETY: the row exists, and only the caller writes it.
            product + gemm.beta * unsafe { at.read() }
        };
        // SAFETY: as above.
        unsafe { at.write(value) };
    }
}
