//! AVX2 with FMA.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::super::blocking;
use super::super::gemv_kernel;
use super::super::microkernel;
use super::super::microkernel_table::{MicroKernels, Micropanel, Tile};
use super::super::packing;
use super::super::simd::Simd;

x86_simd! {
    /// 4 lanes of `f64` in a 256-bit register.
    F64x4: 4 x f64, __m256d, __m256i {
        zero: _mm256_setzero_pd,
        splat: _mm256_set1_pd,
        load: _mm256_loadu_pd,
        store: _mm256_storeu_pd,
        mul: _mm256_mul_pd,
        fma: _mm256_fmadd_pd,
        store_masked: _mm256_maskstore_pd,
        load_masked(from, mask): _mm256_maskload_pd(from, mask),
        mask(count): {
            // The four elements that begin `count` before the first zero.
            const BITS: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];
            let bits = &BITS[4 - count.min(4)..][..4];
            // SAFETY: the caller has checked for AVX2, and `bits` has 32 bytes.
            unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) }
        },
    }
}

micro_kernels! { [] F64x4, tile: blocking::AVX2_TILE, dots: (4, 2), feature: "avx2,fma" }

x86_simd! {
    /// 8 lanes of `f32` in a 256-bit register.
    F32x8: 8 x f32, __m256, __m256i {
        zero: _mm256_setzero_ps,
        splat: _mm256_set1_ps,
        load: _mm256_loadu_ps,
        store: _mm256_storeu_ps,
        mul: _mm256_mul_ps,
        fma: _mm256_fmadd_ps,
        store_masked: _mm256_maskstore_ps,
        load_masked(from, mask): _mm256_maskload_ps(from, mask),
        mask(count): {
            // The eight elements that begin `count` before the first zero.
            const BITS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
            let bits = &BITS[8 - count.min(8)..][..8];
            // SAFETY: the caller has checked for AVX2, and `bits` has 32 bytes.
            unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) }
        },
    }
}

micro_kernels! { [] F32x8, tile: blocking::AVX2_TILE, dots: (4, 2), feature: "avx2,fma" }
