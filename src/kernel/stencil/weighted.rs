//! Weighted sums of rows, the inner loop of every linear filter.
//!
//! `out[i]` is a sum over taps `k` of `w[k] row_k[i]`, added in a fixed order, without fused
//! multiply-add. So the bits are the same for every instruction set and wherever a row is cut.
//!
//! - plain: `((w0 r0 + w1 r1) + w2 r2) + ...`
//! - folded, for weights symmetric about a centre `h`:
//!   `((w_h r_h + w_{h+1} (r_{h-1} + r_{h+1})) + w_{h+2} (r_{h-2} + r_{h+2})) + ...`,
//!   with half the multiplications.
//!
//! A block of elements is summed over all taps in registers before it is stored.

// `vectorized!` calls the version for the processor. Rows are read through pointers that were
// checked once: a check for each tap of each block would take a third of the time.
#![allow(unsafe_code)]

use std::fmt::Debug;
use std::ops::{Add, Mul};

use crate::kernel::vectorized::vectorized;

/// Elements of a float array: `f32` or `f64`.
#[expect(unnameable_types, reason = "seals `FilterFloat`: no other crate can name it")]
pub trait Real:
    Copy + Default + PartialEq + Debug + Add<Output = Self> + Mul<Output = Self> + 'static
{
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The correctly rounded square root.
    fn sqrt(self) -> Self;
}

impl Real for f32 {
    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
    #[inline]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

impl Real for f64 {
    fn from_f64(value: f64) -> Self {
        value
    }
    #[inline]
    fn sqrt(self) -> Self {
        self.sqrt()
    }
}

/// Elements of a block: 8 vectors of AVX2, which has 16 registers, or 4 of AVX-512.
const BLOCK_F32: usize = 64;
const BLOCK_F64: usize = 32;

/// Elements of a block in the remainder of a row.
const BLOCK_SMALL: usize = 8;

vectorized! {
    /// `out[i] = sum of weights[k] rows[k][at + i]`, plain order.
    ///
    /// # Panics
    ///
    /// If a row ends before `at + out.len()`, or there are fewer rows than weights.
    pub(super) fn sum_rows<T: Real>(out: &mut [T], rows: &[&[T]], at: usize, weights: &[T]) {
        check_rows(rows, weights.len(), at, out.len());
        let row = |k: usize| {
            debug_assert!(k < rows.len());
            // SAFETY: `plain` uses only the rows that `check_rows` checked.
            unsafe { rows.get_unchecked(k) }.as_ptr().wrapping_add(at)
        };
        // SAFETY: each row has `at + out.len()` elements, by `check_rows`.
        unsafe { plain(out, row, weights) };
    }
}

vectorized! {
    /// The same in folded order: `weights` from the centre outwards, `2 weights.len() - 1` rows.
    ///
    /// # Panics
    ///
    /// If a row ends before `at + out.len()`, or there are fewer rows.
    pub(super) fn sum_rows_folded<T: Real>(
        out: &mut [T], rows: &[&[T]], at: usize, weights: &[T],
    ) {
        check_rows(rows, (2 * weights.len()).saturating_sub(1), at, out.len());
        let row = |k: usize| {
            debug_assert!(k < rows.len());
            // SAFETY: `folded` uses only the rows that `check_rows` checked.
            unsafe { rows.get_unchecked(k) }.as_ptr().wrapping_add(at)
        };
        // SAFETY: each row has `at + out.len()` elements, by `check_rows`.
        unsafe { folded(out, row, weights) };
    }
}

vectorized! {
    /// `out[i] = sum of weights[k] source[i + k]`, plain order.
    ///
    /// # Panics
    ///
    /// If `source` has fewer than `out.len() + weights.len() - 1` elements.
    pub(super) fn sum_shifted<T: Real>(out: &mut [T], source: &[T], weights: &[T]) {
        check_source(source, weights.len(), out.len());
        // SAFETY: `source` has the elements of all shifts, by `check_source`.
        unsafe { plain(out, |k| source.as_ptr().wrapping_add(k), weights) };
    }
}

vectorized! {
    /// The same in folded order: `weights` from the centre outwards.
    ///
    /// # Panics
    ///
    /// If `source` has fewer than `out.len() + 2 weights.len() - 2` elements.
    pub(super) fn sum_shifted_folded<T: Real>(out: &mut [T], source: &[T], weights: &[T]) {
        check_source(source, (2 * weights.len()).saturating_sub(1), out.len());
        // SAFETY: `source` has the elements of all shifts, by `check_source`.
        unsafe { folded(out, |k| source.as_ptr().wrapping_add(k), weights) };
    }
}

/// # Safety
///
/// - For `k` below `weights.len()`, `out.len()` elements can be read from `row(k)` on.
#[inline(always)]
unsafe fn plain<T: Real>(out: &mut [T], row: impl Fn(usize) -> *const T + Copy, weights: &[T]) {
    let Some((first, others)) = weights.split_first() else {
        return out.fill(T::default());
    };
    let others = (first, others);
    let done = if size_of::<T>() == 4 {
        // SAFETY: by this function's contract; the same for the following.
        unsafe { plain_blocks::<T, BLOCK_F32>(out, 0, row, others) }
    } else {
        // SAFETY: as above.
        unsafe { plain_blocks::<T, BLOCK_F64>(out, 0, row, others) }
    };
    // SAFETY: as above.
    let done = unsafe { plain_blocks::<T, BLOCK_SMALL>(out, done, row, others) };
    // SAFETY: as above.
    unsafe { plain_blocks::<T, 1>(out, done, row, others) };
}

/// Sums whole blocks of `out` from `done` on; returns where they end.
///
/// # Safety
///
/// - As for [`plain`].
#[inline(always)]
unsafe fn plain_blocks<T: Real, const B: usize>(
    out: &mut [T],
    done: usize,
    row: impl Fn(usize) -> *const T,
    (first, others): (&T, &[T]),
) -> usize {
    let (blocks, rest) = out[done..].as_chunks_mut::<B>();
    let end = done + blocks.len() * B;
    debug_assert!(rest.len() < B);
    for (b, block) in blocks.iter_mut().enumerate() {
        let at = done + b * B;
        // SAFETY: the block at `at` is within `out`, and each row has as many elements.
        let mut sums = unsafe { chunk::<T, B>(row(0), at) };
        for sum in &mut sums {
            *sum = *first * *sum;
        }
        for (k, &w) in others.iter().enumerate() {
            // SAFETY: the block at `at` is within `out`, and each row has as many elements.
            let x = unsafe { chunk::<T, B>(row(k + 1), at) };
            for i in 0..B {
                sums[i] = sums[i] + w * x[i];
            }
        }
        *block = sums;
    }
    end
}

/// # Safety
///
/// - For `k` below `2 weights.len() - 1`, `out.len()` elements can be read from `row(k)` on.
#[inline(always)]
unsafe fn folded<T: Real>(out: &mut [T], row: impl Fn(usize) -> *const T + Copy, weights: &[T]) {
    let Some((centre, pairs)) = weights.split_first() else {
        return out.fill(T::default());
    };
    let weights = (centre, pairs);
    let done = if size_of::<T>() == 4 {
        // SAFETY: by this function's contract; the same for the following.
        unsafe { folded_blocks::<T, BLOCK_F32>(out, 0, row, weights) }
    } else {
        // SAFETY: as above.
        unsafe { folded_blocks::<T, BLOCK_F64>(out, 0, row, weights) }
    };
    // SAFETY: as above.
    let done = unsafe { folded_blocks::<T, BLOCK_SMALL>(out, done, row, weights) };
    // SAFETY: as above.
    unsafe { folded_blocks::<T, 1>(out, done, row, weights) };
}

/// Sums whole blocks of `out` from `done` on; returns where they end.
///
/// # Safety
///
/// - As for [`folded`].
#[inline(always)]
unsafe fn folded_blocks<T: Real, const B: usize>(
    out: &mut [T],
    done: usize,
    row: impl Fn(usize) -> *const T,
    (centre, pairs): (&T, &[T]),
) -> usize {
    let (blocks, rest) = out[done..].as_chunks_mut::<B>();
    let end = done + blocks.len() * B;
    debug_assert!(rest.len() < B);
    let h = pairs.len();
    for (b, block) in blocks.iter_mut().enumerate() {
        let at = done + b * B;
        // SAFETY: the block at `at` is within `out`, and each row has as many elements.
        let mut sums = unsafe { chunk::<T, B>(row(h), at) };
        for sum in &mut sums {
            *sum = *centre * *sum;
        }
        for (k, &w) in pairs.iter().enumerate() {
            // SAFETY: the block at `at` is within `out`, and each row has as many elements.
            let x = unsafe { chunk::<T, B>(row(h - 1 - k), at) };
            // SAFETY: the block at `at` is within `out`, and each row has as many elements.
            let y = unsafe { chunk::<T, B>(row(h + 1 + k), at) };
            for i in 0..B {
                sums[i] = sums[i] + w * (x[i] + y[i]);
            }
        }
        *block = sums;
    }
    end
}

/// # Safety
///
/// - `at + B` elements can be read from `row` on.
#[inline(always)]
unsafe fn chunk<T: Copy, const B: usize>(row: *const T, at: usize) -> [T; B] {
    // SAFETY: by this function's contract; an array has its element's alignment.
    unsafe { row.wrapping_add(at).cast::<[T; B]>().read() }
}

fn check_rows<T>(rows: &[&[T]], taps: usize, at: usize, len: usize) {
    assert!(rows.len() >= taps, "{} rows for {taps} weights", rows.len());
    let end = at.checked_add(len).expect("a range of a row");
    assert!(rows.iter().all(|row| end <= row.len()), "a row is shorter than the output");
}

fn check_source<T>(source: &[T], taps: usize, len: usize) {
    assert!(source.len() + 1 >= len + taps, "{} elements for {len} of {taps} taps", source.len());
}
