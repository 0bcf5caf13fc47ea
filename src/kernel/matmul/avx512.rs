//! Vectors of AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::micro::{self, Pack, Tile};
use super::micro_vector;
use super::params;
use super::simd::Simd;

/// 8 lanes of `f64` in a 512-bit register.
#[derive(Debug, Clone, Copy)]
pub(super) struct F64x8;

impl Simd for F64x8 {
    type Elem = f64;
    type Vector = __m512d;
    type Mask = __mmask8;

    const LANES: usize = 8;
    const VECTORS: usize = params::AVX512_TILE.0;
    const COLUMNS: usize = params::AVX512_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __mmask8 {
        if count >= 8 { __mmask8::MAX } else { (1 << count) - 1 }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512d {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_setzero_pd() }
    }

    #[inline(always)]
    unsafe fn splat(x: f64) -> __m512d {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_set1_pd(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> __m512d {
        // SAFETY: the caller vouches for AVX-512 and for 8 elements.
        unsafe { _mm512_loadu_pd(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f64, v: __m512d) {
        // SAFETY: the caller vouches for AVX-512 and for 8 elements.
        unsafe { _mm512_storeu_pd(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f64, mask: __mmask8) -> __m512d {
        // SAFETY: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_maskz_loadu_pd(mask, from) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f64, mask: __mmask8, v: __m512d) {
        // SAFETY: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_mask_storeu_pd(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_mul_pd(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_fmadd_pd(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f64) {
        // SAFETY: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose8(from: *const f64, from_step: isize, to: *mut f64, to_step: usize) {
        // SAFETY: the caller vouches for AVX-512.
        let mut rows = [unsafe { _mm512_setzero_pd() }; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller vouches for 8 rows of 8 elements.
            *row = unsafe { _mm512_loadu_pd(from.wrapping_offset(r as isize * from_step)) };
        }
        // SAFETY: the caller vouches for AVX-512.
        let columns = unsafe { transposed_f64(rows) };
        for (c, &column) in columns.iter().enumerate() {
            // SAFETY: the caller vouches for 8 rows of 8 elements.
            unsafe { _mm512_storeu_pd(to.wrapping_add(c * to_step), column) };
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f64>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f64>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn pack(pack: &Pack<f64>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn columns(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn dots(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
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
    const VECTORS: usize = params::AVX512_TILE.0;
    const COLUMNS: usize = params::AVX512_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __mmask16 {
        if count >= 16 { __mmask16::MAX } else { (1 << count) - 1 }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for AVX-512 and for 16 elements.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for AVX-512 and for 16 elements.
        unsafe { _mm512_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
        // SAFETY: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_maskz_loadu_ps(mask, from) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: __mmask16, v: __m512) {
        // SAFETY: the caller vouches for AVX-512 and for the lanes of the mask.
        unsafe { _mm512_mask_storeu_ps(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the caller vouches for AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose8(from: *const f32, from_step: isize, to: *mut f32, to_step: usize) {
        // SAFETY: the caller vouches for AVX-512.
        let mut rows = [unsafe { _mm512_setzero_ps() }; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller vouches for 8 rows of 16 elements.
            *row = unsafe { _mm512_loadu_ps(from.wrapping_offset(r as isize * from_step)) };
        }
        // SAFETY: the caller vouches for AVX-512.
        let columns = unsafe { transposed_f32(rows) };
        for (c, &column) in columns.iter().enumerate() {
            // SAFETY: the caller vouches for 16 rows of 8 elements.
            unsafe { _mm256_storeu_ps(to.wrapping_add(c * to_step), column) };
        }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f32>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f32>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn pack(pack: &Pack<f32>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn columns(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn dots(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 2, 4>(sum, a, a_step, x) }
    }
}

/// The 8 columns of an 8 x 8 matrix given by its rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed_f64(row: [__m512d; 8]) -> [__m512d; 8] {
    // After each stage, twice as many rows are interleaved in a vector.
    let mut two = row;
    for r in [0, 2, 4, 6] {
        two[r] = _mm512_unpacklo_pd(row[r], row[r + 1]);
        two[r + 1] = _mm512_unpackhi_pd(row[r], row[r + 1]);
    }
    // four[c] has columns c and c + 4 of rows 0 to 3, four[c + 4] of rows 4 to 7.
    let mut four = two;
    for r in [0, 1, 4, 5] {
        four[r] = _mm512_shuffle_f64x2::<0x88>(two[r], two[r + 2]);
        four[r + 2] = _mm512_shuffle_f64x2::<0xdd>(two[r], two[r + 2]);
    }
    let mut column = four;
    for c in 0..4 {
        column[c] = _mm512_shuffle_f64x2::<0x88>(four[c], four[c + 4]);
        column[c + 4] = _mm512_shuffle_f64x2::<0xdd>(four[c], four[c + 4]);
    }
    column
}

/// The 16 columns of an 8 x 16 matrix given by its rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed_f32(row: [__m512; 8]) -> [__m256; 16] {
    // four[half][c]: in 128-bit lane l, column 4 * l + c of rows 0 to 3, or 4 to 7.
    let zero = _mm512_setzero_pd();
    let mut four = [[zero; 4]; 2];
    for (half, four) in four.iter_mut().enumerate() {
        let r = 4 * half;
        let low = _mm512_castps_pd(_mm512_unpacklo_ps(row[r], row[r + 1]));
        let high = _mm512_castps_pd(_mm512_unpackhi_ps(row[r], row[r + 1]));
        let next_low = _mm512_castps_pd(_mm512_unpacklo_ps(row[r + 2], row[r + 3]));
        let next_high = _mm512_castps_pd(_mm512_unpackhi_ps(row[r + 2], row[r + 3]));
        four[0] = _mm512_unpacklo_pd(low, next_low);
        four[1] = _mm512_unpackhi_pd(low, next_low);
        four[2] = _mm512_unpacklo_pd(high, next_high);
        four[3] = _mm512_unpackhi_pd(high, next_high);
    }
    // Lanes 0 and 1 of both halves, alternating; then lanes 2 and 3.
    let first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    let last = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    let mut column = [_mm256_setzero_ps(); 16];
    for c in 0..4 {
        let low = _mm512_permutex2var_pd(four[0][c], first, four[1][c]);
        let high = _mm512_permutex2var_pd(four[0][c], last, four[1][c]);
        column[c] = _mm256_castpd_ps(_mm512_castpd512_pd256(low));
        column[c + 4] = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(low));
        column[c + 8] = _mm256_castpd_ps(_mm512_castpd512_pd256(high));
        column[c + 12] = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(high));
    }
    column
}
