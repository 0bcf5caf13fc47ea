//! Micro-kernels: one tile of C, and packing one micropanel.
//!
//! The bodies are generic over the instruction set and are compiled once for each by the entry
//! points in `avx512.rs`, `avx2.rs` and `portable.rs`.
#![allow(unsafe_code)]

use super::element::Element;
use super::params;
use super::simd::Simd;

/// One call of the micro-kernel: a tile of C, at most MR x NR.
///
/// `C = alpha * A * B + beta * C`, where the tile's rows are contiguous in A and C.
#[derive(Debug)]
pub(super) struct Tile<T> {
    /// Products to add up.
    pub(super) k: usize,
    /// First column of the tile's rows of A.
    pub(super) a: *const T,
    /// Elements from one column of A to the next (direct tiles only).
    pub(super) a_step: isize,
    /// First row of the tile's columns of B.
    pub(super) b: *const T,
    /// Elements from one row of B to the next (direct tiles only).
    pub(super) b_step: isize,
    /// Elements from one column of B to the next (direct tiles only).
    pub(super) b_next: isize,
    /// Factor of the product.
    pub(super) alpha: T,
    /// Factor of C; zero means that C is not read.
    pub(super) beta: T,
    /// The tile of C.
    pub(super) c: *mut T,
    /// Elements from one column of C to the next.
    pub(super) c_next: isize,
    /// Rows in the last vector, from 1 to the number of lanes.
    pub(super) rows_last: usize,
    /// What will be needed next; need not be valid.
    pub(super) ahead: *const T,
    /// Elements from one prefetch, at every fourth of the k products, to the next.
    pub(super) ahead_step: isize,
}

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
///   columns j < NR: `a`, `b` and `c` are valid for reading, `c` for writing, at the steps given.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const MV: usize, const NR: usize, const LOAD_MASKED: bool>(
    t: &Tile<S::Elem>,
    a_step: isize,
    b_step: isize,
    b_next: isize,
) {
    // SAFETY: the caller vouches for the instruction set.
    let mask = unsafe { S::mask(t.rows_last) };
    for j in 0..NR {
        for i in 0..MV {
            S::prefetch(t.c.wrapping_offset(j as isize * t.c_next).wrapping_add(i * S::LANES));
        }
    }
    // SAFETY: the caller vouches for the instruction set.
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
        // SAFETY: the caller vouches for the tile of C.
        unsafe { update::<S, MV, NR, true>(&acc, t, mask) };
    } else {
        // SAFETY: the caller vouches for the tile of C, and its last vector is full.
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
    // SAFETY: the caller vouches for the instruction set.
    let mut column = [unsafe { S::zero() }; MV];
    for (i, vector) in column.iter_mut().enumerate() {
        let from = a.wrapping_add(i * S::LANES);
        *vector = if LOAD_MASKED && i + 1 == MV {
            // SAFETY: the mask leaves out the rows past the tile's last.
            unsafe { S::load_masked(from, mask) }
        } else {
            // SAFETY: the caller vouches for i * LANES .. (i + 1) * LANES.
            unsafe { S::load(from) }
        };
    }
    for (j, sums) in acc.iter_mut().enumerate() {
        // SAFETY: j < NR, and the caller vouches for NR columns of B.
        let x = unsafe { b.wrapping_offset(j as isize * b_next).read() };
        // SAFETY: the caller vouches for the instruction set.
        let x = unsafe { S::splat(x) };
        for i in 0..MV {
            // SAFETY: the caller vouches for the instruction set.
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
    let fresh = t.beta == S::Elem::ZERO;
    // SAFETY: the caller vouches for the instruction set.
    let alpha = unsafe { S::splat(t.alpha) };
    // SAFETY: the caller vouches for the instruction set.
    let beta = unsafe { S::splat(t.beta) };
    for (j, sums) in acc.iter().enumerate() {
        let column = t.c.wrapping_offset(j as isize * t.c_next);
        for (i, &sum) in sums.iter().enumerate() {
            let at = column.wrapping_add(i * S::LANES);
            let masked = MASKED && i + 1 == MV;
            let value = if fresh {
                // SAFETY: the caller vouches for the instruction set.
                unsafe { S::mul(alpha, sum) }
            } else {
                let old = if masked {
                    // SAFETY: the mask leaves out the rows past the tile's last.
                    unsafe { S::load_masked(at, mask) }
                } else {
                    // SAFETY: the caller vouches for the whole vector.
                    unsafe { S::load(at) }
                };
                // SAFETY: the caller vouches for the instruction set.
                let old = unsafe { S::mul(beta, old) };
                // SAFETY: the caller vouches for the instruction set.
                unsafe { S::fma(alpha, sum, old) }
            };
            if masked {
                // SAFETY: the mask leaves out the rows past the tile's last.
                unsafe { S::store_masked(at, mask, value) };
            } else {
                // SAFETY: the caller vouches for the whole vector.
                unsafe { S::store(at, value) };
            }
        }
    }
}

/// One micropanel to pack: `to[p * width + r] = from[r * minor + p * major]`.
#[derive(Debug)]
pub(super) struct Pack<T> {
    /// First element of the source.
    pub(super) from: *const T,
    /// Elements from one lane of the micropanel to the next, in the source.
    pub(super) minor: isize,
    /// Elements from one step of k to the next, in the source.
    pub(super) major: isize,
    /// Lanes that the source has, at least 1.
    pub(super) count: usize,
    /// Lanes of the micropanel, at least `count`; those past `count` become zero.
    pub(super) width: usize,
    /// Steps of k.
    pub(super) k: usize,
    /// The micropanel: `k * width` elements.
    pub(super) to: *mut T,
}

/// Packs one micropanel.
///
/// # Safety
///
/// - The processor has the instruction set S.
/// - `from` is valid for reading at `r * minor + p * major` for r < count, p < k.
/// - `to` is valid for writing `k * width` elements, `0 < count <= width`, `width <= 64`.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(t: &Pack<S::Elem>) {
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
        // SAFETY: the caller vouches for the instruction set.
        let zero = unsafe { S::zero() };
        for p in 0..t.k {
            for r in (t.count..t.width).step_by(S::LANES) {
                // SAFETY: the caller vouches for the instruction set.
                let mask = unsafe { S::mask(t.width - r) };
                // SAFETY: p < k and the mask ends at the width, so it is inside the micropanel.
                unsafe { S::store_masked(t.to.wrapping_add(p * t.width + r), mask, zero) };
            }
        }
    }
}

/// Lanes are contiguous in the source: copies a row at a time.
///
/// # Safety
///
/// As [`pack`], and `minor == 1`.
#[inline(always)]
unsafe fn pack_rows<S: Simd>(t: &Pack<S::Elem>) {
    let whole = t.count - t.count % S::LANES;
    // SAFETY: the caller vouches for the instruction set.
    let mask = unsafe { S::mask(t.count - whole) };
    for p in 0..t.k {
        let from = t.from.wrapping_offset(p as isize * t.major);
        let to = t.to.wrapping_add(p * t.width);
        let ahead = from.wrapping_offset(params::PACK_AHEAD * t.major);
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

/// Steps of k are contiguous in the source: transposes blocks of 8 lanes.
///
/// # Safety
///
/// As [`pack`], and `major == 1`.
#[inline(always)]
unsafe fn pack_columns<S: Simd>(t: &Pack<S::Elem>) {
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

/// Any strides: an element at a time.
///
/// # Safety
///
/// As [`pack`], `lanes` within `0..count`, `steps` within `0..k`.
#[inline(always)]
unsafe fn pack_scattered<S: Simd>(
    t: &Pack<S::Elem>,
    lanes: std::ops::Range<usize>,
    steps: std::ops::Range<usize>,
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
