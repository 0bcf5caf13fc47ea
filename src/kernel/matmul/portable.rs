//! Vectors that the compiler makes of arrays, for every processor.
#![allow(unsafe_code)]

use std::marker::PhantomData;

use super::element::Element;
use super::micro::{self, Pack, Tile};
use super::micro_vector;
use super::params;
use super::simd::Simd;

/// Whether `mul_add` is one instruction here: on others it is a slow library call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// What [`Portable`] needs of its elements beyond sum and product.
pub(super) trait Fuse: Element {
    /// `self * a + b`, rounded once.
    fn fuse(self, a: Self, b: Self) -> Self;
}

impl Fuse for f32 {
    #[inline(always)]
    fn fuse(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
}

impl Fuse for f64 {
    #[inline(always)]
    fn fuse(self, a: f64, b: f64) -> f64 {
        self.mul_add(a, b)
    }
}

/// Arrays of LANES elements: 16 bytes fill a register of SSE2 or NEON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable<T, const LANES: usize>(PhantomData<T>);

impl<T: Fuse, const LANES: usize> Simd for Portable<T, LANES> {
    type Elem = T;
    type Vector = [T; LANES];
    type Mask = usize;

    const LANES: usize = LANES;
    const VECTORS: usize = params::PORTABLE_TILE.0;
    const COLUMNS: usize = params::PORTABLE_TILE.1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count.min(LANES)
    }

    #[inline(always)]
    unsafe fn zero() -> [T; LANES] {
        [T::ZERO; LANES]
    }

    #[inline(always)]
    unsafe fn splat(x: T) -> [T; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> [T; LANES] {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { from.cast::<[T; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut T, v: [T; LANES]) {
        // SAFETY: the caller vouches for LANES elements.
        unsafe { to.cast::<[T; LANES]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const T, mask: usize) -> [T; LANES] {
        let mut v = [T::ZERO; LANES];
        for (lane, x) in v.iter_mut().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            *x = unsafe { from.wrapping_add(lane).read() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut T, mask: usize, v: [T; LANES]) {
        for (lane, x) in v.into_iter().enumerate().take(mask) {
            // SAFETY: the caller vouches for the lanes of the mask.
            unsafe { to.wrapping_add(lane).write(x) };
        }
    }

    #[inline(always)]
    unsafe fn mul(a: [T; LANES], b: [T; LANES]) -> [T; LANES] {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }

    #[inline(always)]
    unsafe fn fma(a: [T; LANES], b: [T; LANES], c: [T; LANES]) -> [T; LANES] {
        if FUSED {
            std::array::from_fn(|lane| a[lane].fuse(b[lane], c[lane]))
        } else {
            std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
        }
    }

    #[inline(always)]
    fn prefetch(_at: *const T) {}

    unsafe fn tile_packed<const MV: usize, const NR: usize>(tile: &Tile<T>) {
        let width = (MV * LANES) as isize;
        // SAFETY: the caller's conditions; packed operands have these steps.
        unsafe { micro::tile::<Self, MV, NR, false>(tile, width, Self::COLUMNS as isize, 1) }
    }

    unsafe fn tile_direct<const MV: usize, const NR: usize, const MASKED: bool>(tile: &Tile<T>) {
        let Tile { a_step, b_step, b_next, .. } = *tile;
        // SAFETY: the caller's conditions.
        unsafe { micro::tile::<Self, MV, NR, MASKED>(tile, a_step, b_step, b_next) }
    }

    unsafe fn pack(pack: &Pack<T>) {
        // SAFETY: the caller's conditions.
        unsafe { micro::pack::<Self>(pack) }
    }

    unsafe fn columns(sum: &mut [T], a: *const T, a_step: isize, x: &[T]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::columns::<Self>(sum, a, a_step, x) }
    }

    unsafe fn dots(sum: &mut [T], a: *const T, a_step: isize, x: &[T]) {
        // SAFETY: the caller's conditions.
        unsafe { micro_vector::dots::<Self, 8, 1>(sum, a, a_step, x) }
    }
}
