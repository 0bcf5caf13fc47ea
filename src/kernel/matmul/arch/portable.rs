//! Arrays as vectors, for every processor.
#![allow(unsafe_code)]

use std::fmt::Debug;
use std::marker::PhantomData;
use std::ops::{Add, Mul};

use super::super::blocking;
use super::super::gemv_kernel;
use super::super::microkernel;
use super::super::microkernel_table::{MicroKernels, Micropanel, Tile};
use super::super::packing;
use super::super::simd::Simd;

/// Whether `mul_add` is one instruction here. Where it is not, it is a slow library call.
const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// `f32` or `f64`, with the standard library's `mul_add`.
pub(in super::super) trait MulAdd:
    Copy + Debug + Default + PartialEq + Add<Output = Self> + Mul<Output = Self> + 'static
{
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
}

impl MulAdd for f32 {
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
}

impl MulAdd for f64 {
    #[inline(always)]
    fn mul_add(self, a: f64, b: f64) -> f64 {
        self.mul_add(a, b)
    }
}

/// An array of LANES elements: 16 bytes fill a register of SSE2 or NEON.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Portable<T, const LANES: usize>(PhantomData<T>);

impl<T: MulAdd, const LANES: usize> Simd for Portable<T, LANES> {
    type Elem = T;
    type Vector = [T; LANES];
    type Mask = usize;

    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count.min(LANES)
    }

    #[inline(always)]
    unsafe fn zero() -> [T; LANES] {
        [T::default(); LANES]
    }

    #[inline(always)]
    unsafe fn splat(x: T) -> [T; LANES] {
        [x; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> [T; LANES] {
        // SAFETY: the caller guarantees LANES elements.
        unsafe { from.cast::<[T; LANES]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(to: *mut T, v: [T; LANES]) {
        // SAFETY: the caller guarantees LANES elements.
        unsafe { to.cast::<[T; LANES]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const T, mask: usize) -> [T; LANES] {
        let mut v = [T::default(); LANES];
        for (lane, x) in v.iter_mut().enumerate().take(mask) {
            // SAFETY: the caller guarantees the lanes of the mask.
            *x = unsafe { from.wrapping_add(lane).read() };
        }
        v
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut T, mask: usize, v: [T; LANES]) {
        for (lane, x) in v.into_iter().enumerate().take(mask) {
            // SAFETY: the caller guarantees the lanes of the mask.
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
            std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
        } else {
            std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
        }
    }

    #[inline(always)]
    fn prefetch(_at: *const T) {}
}

micro_kernels! {
    [T: MulAdd, const LANES: usize] Portable<T, LANES>, tile: blocking::PORTABLE_TILE, dots: (8, 1)
}
