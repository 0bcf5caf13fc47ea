//! AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::blocking;
use super::super::gemv_kernel;
use super::super::microkernel;
use super::super::microkernel_table::{MicroKernels, Micropanel, Tile};
use super::super::packing;
use super::super::simd::Simd;

x86_simd! {
    /// 8 lanes of `f64` in a 512-bit register.
    F64x8: 8 x f64, __m512d, __mmask8 {
        zero: _mm512_setzero_pd,
        splat: _mm512_set1_pd,
        load: _mm512_loadu_pd,
        store: _mm512_storeu_pd,
        mul: _mm512_mul_pd,
        fma: _mm512_fmadd_pd,
        store_masked: _mm512_mask_storeu_pd,
        load_masked(from, mask): _mm512_maskz_loadu_pd(mask, from),
        mask(count): if count >= 8 { __mmask8::MAX } else { (1 << count) - 1 },
    }

    #[inline(always)]
    unsafe fn transpose8(from: *const f64, from_step: isize, to: *mut f64, to_step: usize) {
        // SAFETY: the caller has checked for AVX-512.
        let mut rows = [unsafe { _mm512_setzero_pd() }; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller guarantees 8 rows of 8 elements.
            *row = unsafe { _mm512_loadu_pd(from.wrapping_offset(r as isize * from_step)) };
        }
        // SAFETY: the caller has checked for AVX-512.
        let columns = unsafe { transposed_f64(rows) };
        for (c, &column) in columns.iter().enumerate() {
            // SAFETY: the caller guarantees 8 rows of 8 elements.
            unsafe { _mm512_storeu_pd(to.wrapping_add(c * to_step), column) };
        }
    }
}

micro_kernels! { [] F64x8, tile: blocking::AVX512_TILE, dots: (2, 4), feature: "avx512f" }

x86_simd! {
    /// 16 lanes of `f32` in a 512-bit register.
    F32x16: 16 x f32, __m512, __mmask16 {
        zero: _mm512_setzero_ps,
        splat: _mm512_set1_ps,
        load: _mm512_loadu_ps,
        store: _mm512_storeu_ps,
        mul: _mm512_mul_ps,
        fma: _mm512_fmadd_ps,
        store_masked: _mm512_mask_storeu_ps,
        load_masked(from, mask): _mm512_maskz_loadu_ps(mask, from),
        mask(count): if count >= 16 { __mmask16::MAX } else { (1 << count) - 1 },
    }

    #[inline(always)]
    unsafe fn transpose8(from: *const f32, from_step: isize, to: *mut f32, to_step: usize) {
        // SAFETY: the caller has checked for AVX-512.
        let mut rows = [unsafe { _mm512_setzero_ps() }; 8];
        for (r, row) in rows.iter_mut().enumerate() {
            // SAFETY: the caller guarantees 8 rows of 16 elements.
            *row = unsafe { _mm512_loadu_ps(from.wrapping_offset(r as isize * from_step)) };
        }
        // SAFETY: the caller has checked for AVX-512.
        let columns = unsafe { transposed_f32(rows) };
        for (c, &column) in columns.iter().enumerate() {
            // SAFETY: the caller guarantees 16 rows of 8 elements.
            unsafe { _mm256_storeu_ps(to.wrapping_add(c * to_step), column) };
        }
    }
}

micro_kernels! { [] F32x16, tile: blocking::AVX512_TILE, dots: (2, 4), feature: "avx512f" }

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
