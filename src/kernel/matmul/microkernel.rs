//! The micro-kernel: one tile of C.
//!
//! The body is generic over the instruction set. `arch/` compiles it once for each.
#![allow(unsafe_code)]

use super::microkernel_table::Tile;
use super::simd::Simd;

/// Computes one tile of MV vectors by NR columns.
///
/// ```text
/// for p in 0..k:  acc[j][i] += a[p * a_step + i * LANES ..] * b[p * b_step + j * b_next]
/// C[j][i] = alpha * acc[j][i] + beta * C[j][i]
/// ```
///
/// Each element of C is one chain of `fma` in the order of p, whatever the tile's size.
///
/// # Safety
///
/// - The processor has the instruction set S.
/// - For p < k, rows r < (MV - 1) * LANES + rows_last (or MV * LANES without LOAD_MASKED) and
///   columns j < NR: `a`, `b` and `c` are valid for reading, `c` for writing, at the given steps.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const MV: usize, const NR: usize, const LOAD_MASKED: bool>(
    t: &Tile<S::Elem>,
    a_step: isize,
    b_step: isize,
    b_next: isize,
) {
    // SAFETY: the caller has checked for the instruction set.
    let mask = unsafe { S::mask(t.rows_last) };
    for j in 0..NR {
        for i in 0..MV {
            S::prefetch(t.c.wrapping_offset(j as isize * t.c_next).wrapping_add(i * S::LANES));
        }
    }
    // SAFETY: the caller has checked for the instruction set.
    let mut acc = [[unsafe { S::zero() }; MV]; NR];
    let (mut a, mut b, mut ahead) = (t.a, t.b, t.ahead);
    for _ in 0..t.k / 4 {
        S::prefetch(ahead);
        ahead = ahead.wrapping_offset(t.ahead_step);
        for _ in 0..4 {
            // SAFETY: fewer than k steps were taken, so a and b point at a valid step.
            unsafe { outer::<S, MV, NR, LOAD_MASKED>(&mut acc, a, b, b_next, mask) };
            a = a.wrapping_offset(a_step);
            b = b.wrapping_offset(b_step);
        }
    }
    for _ in 0..t.k % 4 {
        // SAFETY: fewer than k steps were taken, so a and b point at a valid step.
        unsafe { outer::<S, MV, NR, LOAD_MASKED>(&mut acc, a, b, b_next, mask) };
        a = a.wrapping_offset(a_step);
        b = b.wrapping_offset(b_step);
    }
    if LOAD_MASKED || t.rows_last < S::LANES {
        // SAFETY: the caller guarantees the tile of C.
        unsafe { update::<S, MV, NR, true>(&acc, t, mask) };
    } else {
        // SAFETY: the caller guarantees the tile of C, and its last vector is full.
        unsafe { update::<S, MV, NR, false>(&acc, t, mask) };
    }
}

/// Adds the outer product of one column of A and one row of B.
///
/// # Safety
///
/// As [`tile`], for one p.
#[inline(always)]
unsafe fn outer<S: Simd, const MV: usize, const NR: usize, const LOAD_MASKED: bool>(
    acc: &mut [[S::Vector; MV]; NR],
    a: *const S::Elem,
    b: *const S::Elem,
    b_next: isize,
    mask: S::Mask,
) {
    // SAFETY: the caller has checked for the instruction set.
    let mut column = [unsafe { S::zero() }; MV];
    for (i, vector) in column.iter_mut().enumerate() {
        let from = a.wrapping_add(i * S::LANES);
        *vector = if LOAD_MASKED && i + 1 == MV {
            // SAFETY: the mask leaves out the rows past the tile's last.
            unsafe { S::load_masked(from, mask) }
        } else {
            // SAFETY: the caller guarantees i * LANES .. (i + 1) * LANES.
            unsafe { S::load(from) }
        };
    }
    for (j, sums) in acc.iter_mut().enumerate() {
        // SAFETY: j < NR, and the caller guarantees NR columns of B.
        let x = unsafe { b.wrapping_offset(j as isize * b_next).read() };
        // SAFETY: the caller has checked for the instruction set.
        let x = unsafe { S::splat(x) };
        for i in 0..MV {
            // SAFETY: the caller has checked for the instruction set.
            sums[i] = unsafe { S::fma(column[i], x, sums[i]) };
        }
    }
}

/// Writes `alpha * acc + beta * C` to C.
///
/// # Safety
///
/// As [`tile`], for C.
#[inline(always)]
unsafe fn update<S: Simd, const MV: usize, const NR: usize, const MASKED: bool>(
    acc: &[[S::Vector; MV]; NR],
    t: &Tile<S::Elem>,
    mask: S::Mask,
) {
    let fresh = t.beta == S::Elem::default();
    // SAFETY: the caller has checked for the instruction set.
    let alpha = unsafe { S::splat(t.alpha) };
    // SAFETY: the caller has checked for the instruction set.
    let beta = unsafe { S::splat(t.beta) };
    for (j, sums) in acc.iter().enumerate() {
        let column = t.c.wrapping_offset(j as isize * t.c_next);
        for (i, &sum) in sums.iter().enumerate() {
            let at = column.wrapping_add(i * S::LANES);
            let masked = MASKED && i + 1 == MV;
            let value = if fresh {
                // SAFETY: the caller has checked for the instruction set.
                unsafe { S::mul(alpha, sum) }
            } else {
                let old = if masked {
                    // SAFETY: the mask leaves out the rows past the tile's last.
                    unsafe { S::load_masked(at, mask) }
                } else {
                    // SAFETY: the caller guarantees the whole vector.
                    unsafe { S::load(at) }
                };
                // SAFETY: the caller has checked for the instruction set.
                let old = unsafe { S::mul(beta, old) };
                // SAFETY: the caller has checked for the instruction set.
                unsafe { S::fma(alpha, sum, old) }
            };
            if masked {
                // SAFETY: the mask leaves out the rows past the tile's last.
                unsafe { S::store_masked(at, mask, value) };
            } else {
                // SAFETY: the caller guarantees the whole vector.
                unsafe { S::store(at, value) };
            }
        }
    }
}
