//! Micro-kernels of matrix times vector.
#![allow(unsafe_code)]

use super::simd::Simd;

/// Bytes of a row that a dot product sums in separate lanes. It is the same for vectors of any
/// size, so that the bits do not depend on the size.
pub(super) const DOT_BYTES: usize = 128;

/// `sum[i] += a[i + j * a_step] * x[j]`, where rows are contiguous.
///
/// Eight columns are taken together, so that `sum` is loaded and stored once for eight.
/// Each sum is one chain of `fma` in the order of j.
///
/// # Safety
///
/// - The processor has the instruction set S.
/// - `a` is valid for reading at `i + j * a_step` for i < `sum.len()`, j < `x.len()`.
#[inline(always)]
pub(super) unsafe fn columns<S: Simd>(
    sum: &mut [S::Elem],
    a: *const S::Elem,
    a_step: isize,
    x: &[S::Elem],
) {
    let mut eights = x.chunks_exact(8);
    let mut at = a;
    for eight in &mut eights {
        // SAFETY: the eight columns are among those the caller guarantees.
        unsafe { columns_some::<S, 8>(sum, at, a_step, eight) };
        at = at.wrapping_offset(8 * a_step);
    }
    for one in eights.remainder().chunks_exact(1) {
        // SAFETY: the column is among those the caller guarantees.
        unsafe { columns_some::<S, 1>(sum, at, a_step, one) };
        at = at.wrapping_offset(a_step);
    }
}

/// [`columns`] for `N` of them.
///
/// # Safety
///
/// As [`columns`], with `x.len() == N`.
#[inline(always)]
unsafe fn columns_some<S: Simd, const N: usize>(
    sum: &mut [S::Elem],
    a: *const S::Elem,
    a_step: isize,
    x: &[S::Elem],
) {
    // SAFETY: the caller has checked for the instruction set.
    let mut factor = [unsafe { S::zero() }; N];
    for (f, &x) in factor.iter_mut().zip(x) {
        // SAFETY: the caller has checked for the instruction set.
        *f = unsafe { S::splat(x) };
    }
    let whole = sum.len() - sum.len() % S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        let at = sum.as_mut_ptr().wrapping_add(i);
        // SAFETY: i + LANES <= sum.len().
        let mut v = unsafe { S::load(at) };
        for (j, &f) in factor.iter().enumerate() {
            let from = a.wrapping_offset(j as isize * a_step).wrapping_add(i);
            // SAFETY: i + LANES <= sum.len() and j < N.
            let column = unsafe { S::load(from) };
            // SAFETY: the caller has checked for the instruction set.
            v = unsafe { S::fma(column, f, v) };
        }
        // SAFETY: i + LANES <= sum.len().
        unsafe { S::store(at, v) };
    }
    if whole < sum.len() {
        // SAFETY: the caller has checked for the instruction set.
        let mask = unsafe { S::mask(sum.len() - whole) };
        let at = sum.as_mut_ptr().wrapping_add(whole);
        // SAFETY: the mask ends at sum.len().
        let mut v = unsafe { S::load_masked(at, mask) };
        for (j, &f) in factor.iter().enumerate() {
            let from = a.wrapping_offset(j as isize * a_step).wrapping_add(whole);
            // SAFETY: the mask ends at sum.len(), and j < N.
            let column = unsafe { S::load_masked(from, mask) };
            // SAFETY: the caller has checked for the instruction set.
            v = unsafe { S::fma(column, f, v) };
        }
        // SAFETY: the mask ends at sum.len().
        unsafe { S::store_masked(at, mask, v) };
    }
}

/// `sum[i] = dot(a[i * a_step ..], x)`, where columns are contiguous.
///
/// Element p of a row is summed in lane p modulo the lanes of 128 bytes, and the lanes are added
/// as a binary tree, for every instruction set. DV is the number of vectors in 128 bytes, R the
/// number of rows taken together.
///
/// # Safety
///
/// - The processor has the instruction set S.
/// - `a` is valid for reading at `i * a_step + p` for i < `sum.len()`, p < `x.len()`.
#[inline(always)]
pub(super) unsafe fn dots<S: Simd, const DV: usize, const R: usize>(
    sum: &mut [S::Elem],
    a: *const S::Elem,
    a_step: isize,
    x: &[S::Elem],
) {
    let mut at = a;
    let mut some = sum.chunks_exact_mut(R);
    for rows in &mut some {
        // SAFETY: the R rows are among those the caller guarantees.
        unsafe { dots_some::<S, DV, R>(rows, at, a_step, x) };
        at = at.wrapping_offset(R as isize * a_step);
    }
    for row in some.into_remainder().chunks_exact_mut(1) {
        // SAFETY: the row is among those the caller guarantees.
        unsafe { dots_some::<S, DV, 1>(row, at, a_step, x) };
        at = at.wrapping_offset(a_step);
    }
}

/// [`dots`] for `R` of them.
///
/// # Safety
///
/// As [`dots`], with `sum.len() == R`.
#[inline(always)]
unsafe fn dots_some<S: Simd, const DV: usize, const R: usize>(
    sum: &mut [S::Elem],
    a: *const S::Elem,
    a_step: isize,
    x: &[S::Elem],
) {
    // SAFETY: the caller has checked for the instruction set.
    let mut acc = [[unsafe { S::zero() }; DV]; R];
    let lanes = DV * S::LANES;
    let whole = x.len() - x.len() % lanes;
    for p in (0..whole).step_by(lanes) {
        for v in 0..DV {
            let from = p + v * S::LANES;
            // SAFETY: from + LANES <= p + lanes <= x.len().
            let factor = unsafe { S::load(x.as_ptr().wrapping_add(from)) };
            for (r, row) in acc.iter_mut().enumerate() {
                let from = a.wrapping_offset(r as isize * a_step).wrapping_add(from);
                // SAFETY: as above, and r < R.
                let part = unsafe { S::load(from) };
                // SAFETY: the caller has checked for the instruction set.
                row[v] = unsafe { S::fma(part, factor, row[v]) };
            }
        }
    }
    if whole < x.len() {
        for v in 0..DV {
            let from = whole + v * S::LANES;
            // SAFETY: the caller has checked for the instruction set.
            let mask = unsafe { S::mask(x.len().saturating_sub(from)) };
            // SAFETY: the mask ends at x.len().
            let factor = unsafe { S::load_masked(x.as_ptr().wrapping_add(from), mask) };
            for (r, row) in acc.iter_mut().enumerate() {
                let from = a.wrapping_offset(r as isize * a_step).wrapping_add(from);
                // SAFETY: the mask ends at x.len(), and r < R.
                let part = unsafe { S::load_masked(from, mask) };
                // SAFETY: the caller has checked for the instruction set.
                row[v] = unsafe { S::fma(part, factor, row[v]) };
            }
        }
    }
    for (row, sum) in acc.iter().zip(sum) {
        // SAFETY: the caller has checked for the instruction set.
        *sum = unsafe { add_lanes::<S, DV>(row) };
    }
}

/// The sum of all lanes, as a binary tree over their positions.
///
/// # Safety
///
/// - The processor has the instruction set S.
#[inline(always)]
unsafe fn add_lanes<S: Simd, const DV: usize>(row: &[S::Vector; DV]) -> S::Elem {
    let mut lane = [S::Elem::default(); DOT_BYTES / 4];
    for (v, &vector) in row.iter().enumerate() {
        // SAFETY: DV * LANES elements make up 128 bytes, which the array has at least.
        unsafe { S::store(lane.as_mut_ptr().wrapping_add(v * S::LANES), vector) };
    }
    let mut half = DV * S::LANES / 2;
    while half > 0 {
        for i in 0..half {
            lane[i] = lane[i] + lane[i + half];
        }
        half /= 2;
    }
    lane[0]
}
