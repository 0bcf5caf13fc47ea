//! Vectors of AVX2 with FMA.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::micro::{self, Pack, Tile};
use super::micro_vector;
use super::params;
use super::simd::Simd;

/// 4 lanes of `f64` in a 256-bit register.
#[derive(Debug, Clone, Copy)]
pub(super) struct F64x4;

impl Simd for F64x4 {
    type Elem = f64;
    type Vector = __m256d;
    type Mask = __m256i;

    const LANES: usize = 4;
    const VECTORS: usize = params::AVX2_TILE.0;
    const COLUMNS: usize = params::AVX2_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        // The window that begins `count` before the boundary has its first `count` lanes set.
        const BITS: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
        let window = &BITS[4 - count.min(4)..][..4];
        // SAFETY: the caller vouches for AVX2, and the window has 32 bytes.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256d {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_setzero_pd() }
    }

    #[inline(always)]
    unsafe fn splat(x: f64) -> __m256d {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_set1_pd(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> __m256d {
        // SAFETY: the caller vouches for AVX2 and for 4 elements.
        unsafe { _mm256_loadu_pd(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f64, v: __m256d) {
        // SAFETY: the caller vouches for AVX2 and for 4 elements.
        unsafe { _mm256_storeu_pd(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f64, mask: __m256i) -> __m256d {
        // SAFETY: the caller vouches for AVX2 and for the lanes of the mask.
        unsafe { _mm256_maskload_pd(from, mask) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f64, mask: __m256i, v: __m256d) {
        // SAFETY: the caller vouches for AVX2 and for the lanes of the mask.
        unsafe { _mm256_maskstore_pd(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256d, b: __m256d) -> __m256d {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_mul_pd(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256d, b: __m256d, c: __m256d) -> __m256d {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_fmadd_pd(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f64) {
        // SAFETY: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f64>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f64>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn pack(pack: &Pack<f64>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn columns(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn dots(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 4, 2>(sum, a, a_step, x) }
    }
}

/// 8 lanes of `f32` in a 256-bit register.
#[derive(Debug, Clone, Copy)]
pub(super) struct F32x8;

impl Simd for F32x8 {
    type Elem = f32;
    type Vector = __m256;
    type Mask = __m256i;

    const LANES: usize = 8;
    const VECTORS: usize = params::AVX2_TILE.0;
    const COLUMNS: usize = params::AVX2_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> __m256i {
        // The window that begins `count` before the boundary has its first `count` lanes set.
        const BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        let window = &BITS[8 - count.min(8)..][..8];
        // SAFETY: the caller vouches for AVX2, and the window has 32 bytes.
        unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m256 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for AVX2 and for 8 elements.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m256) {
        // SAFETY: the caller vouches for AVX2 and for 8 elements.
        unsafe { _mm256_storeu_ps(to, v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: __m256i) -> __m256 {
        // SAFETY: the caller vouches for AVX2 and for the lanes of the mask.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: __m256i, v: __m256) {
        // SAFETY: the caller vouches for AVX2 and for the lanes of the mask.
        unsafe { _mm256_maskstore_ps(to, mask, v) }
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the caller vouches for AVX2.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn prefetch(at: *const f32) {
        // SAFETY: prefetching is in SSE, which x86-64 has, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f32>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f32>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn pack(pack: &Pack<f32>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn columns(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn dots(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 4, 2>(sum, a, a_step, x) }
    }
}
