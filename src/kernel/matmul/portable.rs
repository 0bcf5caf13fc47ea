//! Vectors that the compiler makes of arrays, for every processor.
#![allow(unsafe_code)]

use super::micro::{self, Pack, Tile};
use super::micro_vector;
use super::params;
use super::simd::Simd;

/// Whether `mul_add` is one instruction here: on others it is a slow library call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// 16 bytes of `f64`: a register of SSE2 or NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct PortableF64;

/// Lanes of [`PortableF64`].
const LANES_F64: usize = 2;

impl Simd for PortableF64 {
    type Elem = f64;
    type Vector = [f64; LANES_F64];
    type Mask = usize;

    const LANES: usize = LANES_F64;
    const VECTORS: usize = params::PORTABLE_TILE.0;
    const COLUMNS: usize = params::PORTABLE_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count.min(Self::LANES)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; LANES_F64]
    }

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self::Vector {
        [x; LANES_F64]
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self::Vector {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f64, v: Self::Vector) {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { to.cast::<Self::Vector>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f64, mask: usize) -> Self::Vector {
        let mut v = [0.0; LANES_F64];
        for (lane, x) in v.iter_mut().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            *x = unsafe { from.wrapping_add(lane).read() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f64, mask: usize, v: Self::Vector) {
        for (lane, x) in v.into_iter().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            unsafe { to.wrapping_add(lane).write(x) };
        }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        if FUSED {
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
        }
    }

    #[inline(always)]
    fn prefetch(_at: *const f64) {}

    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f64>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f64>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    unsafe fn pack(pack: &Pack<f64>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    unsafe fn columns(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    unsafe fn dots(sum: &mut [f64], a: *const f64, a_step: isize, x: &[f64]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 8, 1>(sum, a, a_step, x) }
    }
}

/// 16 bytes of `f32`: a register of SSE2 or NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct PortableF32;

/// Lanes of [`PortableF32`].
const LANES_F32: usize = 4;

impl Simd for PortableF32 {
    type Elem = f32;
    type Vector = [f32; LANES_F32];
    type Mask = usize;

    const LANES: usize = LANES_F32;
    const VECTORS: usize = params::PORTABLE_TILE.0;
    const COLUMNS: usize = params::PORTABLE_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count.min(Self::LANES)
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; LANES_F32]
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self::Vector {
        [x; LANES_F32]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::Vector {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { from.cast::<Self::Vector>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::Vector) {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { to.cast::<Self::Vector>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: usize) -> Self::Vector {
        let mut v = [0.0; LANES_F32];
        for (lane, x) in v.iter_mut().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            *x = unsafe { from.wrapping_add(lane).read() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: usize, v: Self::Vector) {
        for (lane, x) in v.into_iter().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            unsafe { to.wrapping_add(lane).write(x) };
        }
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        if FUSED {
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
        }
    }

    #[inline(always)]
    fn prefetch(_at: *const f32) {}

    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<f32>) {
        let width = (MV * Self::LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<f32>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    unsafe fn pack(pack: &Pack<f32>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    unsafe fn columns(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    unsafe fn dots(sum: &mut [f32], a: *const f32, a_step: isize, x: &[f32]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 8, 1>(sum, a, a_step, x) }
    }
}
