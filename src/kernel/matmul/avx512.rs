//! Vectors of AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::micro::{self, Pack, Tile};
use super::simd::Simd;
use super::micro_vector;

/// 8 lanes of `f64` in a 512-bit register.
#[derive(Debug, Clone, Copy)]
pub(super) struct F64x8;

impl Simd for F64x8 {
    type Elem = f64;
    type Vector = __m512d;
    type Mask = __mmask8;

    const LANES: usize = 8;
    const VECTORS: usize = 3;
    const COLUMNS: usize = 8;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __mmask8 {
        let bits = if count >= 8 { __mmask8::MAX } else { (1 << count) - 1 };
        bits
    }

    #[inline(always)]
    unsafe fn zero() -> __m512d {
        // SAFEf64: the caller vouches for AVX-512.
        unsafe { _mm512_setzero_pd() }
    }

    #[inline(always)]
    unsafe fn splat(x: f64) -> __m512d {
        // SAFEf64: the caller vouches for AVX-512.
        unsafe { _mm512_set1_pd(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> __m512d {
        // SAFEf64: the caller vouches for AVX-512 and for 8 elements.
        unsafe { _mm512_loadu_pd(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f64, v: __m512d) {
        // SAFEf64: the caller vouches for AVX-512 and for 8 elements.
        unsafe { _mm512_storeu_pd(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f64, mask: __mmask8) -> __m512d {
        // SAFEf64: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_maskz_loadu_pd(mask, from) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f64, mask: __mmask8, v: __m512d) {
        // SAFEf64: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_mask_storeu_pd(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512d, b: __m512d) -> __m512d {
        // SAFEf64: the caller vouches for AVX-512.
        unsafe { _mm512_mul_pd(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        // SAFEf64: the caller vouches for AVX-512.
        unsafe { _mm512_fmadd_pd(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f64) {
        // SAFEf64: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose8(from: *const f64, from_step: isize, to: *mut f64, to_step: usize) {
        // SAFEf64: the caller vouches for AVX-512.
        let mut row = [unsafe { _mm512_setzero_pd() }; 8];
        for (r, v) in row.iter_mut().enumerate() {
            // SAFEf64: the caller vouches for 8 rows of 8 elements.
            *v = unsafe { _mm512_loadu_pd(from.wrapping_offset(r as isize * from_step)) };
        }
        // Pairs of rows, then of pairs, then of fours: after stage s, 2^s rows are interleaved.
        let mut pair = row;
        for r in (0..8).step_by(2) {
            // SAFEf64: the caller vouches for AVX-512.
            pair[r] = unsafe { _mm512_unpacklo_pd(row[r], row[r + 1]) };
            // SAFEf64: the caller vouches for AVX-512.
            pair[r + 1] = unsafe { _mm512_unpackhi_pd(row[r], row[r + 1]) };
        }
        let mut four = pair;
        for r in [0, 1, 4, 5] {
            // SAFEf64: the caller vouches for AVX-512.
            four[r] = unsafe { _mm512_shuffle_f64x2::<0x88>(pair[r], pair[r + 2]) };
            // SAFEf64: the caller vouches for AVX-512.
            four[r + 2] = unsafe { _mm512_shuffle_f64x2::<0xdd>(pair[r], pair[r + 2]) };
        }
        // four[0] has columns 0 and 4 of rows 0-3, four[1] 1 and 5, four[2] 2 and 6, ...
        for c in 0..4 {
            // SAFEf64: the caller vouches for AVX-512.
            let low = unsafe { _mm512_shuffle_f64x2::<0x88>(four[c], four[c + 4]) };
            // SAFEf64: the caller vouches for AVX-512.
            let high = unsafe { _mm512_shuffle_f64x2::<0xdd>(four[c], four[c + 4]) };
            // SAFEf64: the caller vouches for 8 rows of 8 elements.
            unsafe { _mm512_storeu_pd(to.wrapping_add(c * to_step), low) };
            // SAFEf64: the caller vouches for 8 rows of 8 elements.
            unsafe { _mm512_storeu_pd(to.wrapping_add((c + 4) * to_step), high) };
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f64>) {
        let width = (MV * Self::LANES) as isize;
        // SAFEf64: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f64>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFEf64: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn pack(pack: &Pack<f64>) {
        // SAFEf64: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn columns(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFEf64: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn dots(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFEf64: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 2, 4>(sum, a, a_step, x) }
    }
}

/// 16 lanes of `f32` in a 512-bit register.
#[derive(Debug, Clone, Copy)]
pub(super) struct F32x16;

impl Simd for F32x16 {
    type Elem = f32;
    type Vector = __m512;
    type Mask = __mmask16;

    const LANES: usize = 16;
    const VECTORS: usize = 3;
    const COLUMNS: usize = 8;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __mmask16 {
        let bits = if count >= 16 { __mmask16::MAX } else { (1 << count) - 1 };
        bits
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFEf32: the caller vouches for AVX-512.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFEf32: the caller vouches for AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFEf32: the caller vouches for AVX-512 and for 16 elements.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        // SAFEf32: the caller vouches for AVX-512 and for 16 elements.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFEf32: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: __mmask16, v: __m512) {
        // SAFEf32: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_mask_storeu_ps(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFEf32: the caller vouches for AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFEf32: the caller vouches for AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFEf32: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f32>) {
        let width = (MV * Self::LANES) as isize;
        // SAFEf32: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f32>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFEf32: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn pack(pack: &Pack<f32>) {
        // SAFEf32: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn columns(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFEf32: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn dots(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFEf32: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 2, 4>(sum, a, a_step, x) }
    }
}
