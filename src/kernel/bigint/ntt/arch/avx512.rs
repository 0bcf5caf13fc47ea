//! Eight lanes in an AVX-512 register, multiplied by IFMA.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::kernel::bigint::ntt::simd::{Arithmetic, Integers, LANES, Lanes};
use crate::kernel::bigint::ntt::splitting::multiples;

/// Eight lanes in a register of 512 bits.
///
/// Needs AVX-512 F, DQ, IFMA and VBMI2. The contract of the unsafe constructors is that the
/// processor has them, so the existence of a `U64x8` permits each intrinsic below.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct U64x8(__m512i);

impl Arithmetic for U64x8 {
    const WIDTH: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: u64) -> Self {
        // SAFETY: AVX-512 F is available, by this function's contract.
        Self(unsafe { _mm512_set1_epi64(x.cast_signed()) })
    }

    #[inline(always)]
    unsafe fn load(source: *const u64) -> Self {
        // SAFETY: AVX-512 F is available and 64 bytes are readable, by this function's contract.
        Self(unsafe { _mm512_loadu_si512(source.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u64) {
        // SAFETY: 64 bytes are writable, by this function's contract; AVX-512 F by the type's.
        unsafe { _mm512_storeu_si512(target.cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_add_epi64(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_sub_epi64(self.0, other.0) })
    }
}

impl Integers for U64x8 {
    #[inline(always)]
    fn add_high(self, x: Self, y: Self) -> Self {
        // SAFETY: AVX-512 IFMA is available, by the type's contract.
        Self(unsafe { _mm512_madd52hi_epu64(self.0, x.0, y.0) })
    }

    #[inline(always)]
    fn add_product(self, x: Self, y: Self) -> Self {
        self.add_low(x, y)
    }
}

impl Lanes for U64x8 {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_and_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_or_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_min_epu64(self.0, other.0) })
    }

    #[inline(always)]
    fn shift_right<const N: u32>(self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_srli_epi64::<N>(self.0) })
    }

    #[inline(always)]
    fn shift_left<const N: u32>(self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_slli_epi64::<N>(self.0) })
    }

    #[inline(always)]
    fn add_low(self, x: Self, y: Self) -> Self {
        // SAFETY: AVX-512 IFMA is available, by the type's contract.
        Self(unsafe { _mm512_madd52lo_epu64(self.0, x.0, y.0) })
    }

    #[inline(always)]
    fn align<const N: i32>(self, low: Self) -> Self {
        // SAFETY: AVX-512 F is available, by the type's contract.
        Self(unsafe { _mm512_alignr_epi64::<N>(self.0, low.0) })
    }

    #[inline(always)]
    fn shift_apart(self, counts: Self) -> Self {
        let below = self.align::<7>(self.sub(self));
        // SAFETY: AVX-512 VBMI2 is available, by the type's contract.
        Self(unsafe { _mm512_shldv_epi64(self.0, below.0, counts.0) })
    }

    #[inline(always)]
    fn pack<const D: u32>(self) -> Self {
        const { assert!(D < 64 && 8 * (64 - D) <= 64) };
        let step = const { 64 - D };
        // Limb i is digit i shifted right by i * step, and digit i + 1 above it.
        let zero = self.sub(self);
        let above = zero.align::<1>(self);
        let down = const { multiples(64 - D) };
        // SAFETY: the array is 64 bytes; AVX-512 F, by the type's contract.
        let down = unsafe { Self::load(down.as_ptr()) };
        // SAFETY: AVX-512 F is available, by the type's contract.
        let up = unsafe { Self::splat(u64::from(64 - step)) }.sub(down);
        // SAFETY: AVX-512 F is available, by the type's contract.
        let low = Self(unsafe { _mm512_srlv_epi64(self.0, down.0) });
        // SAFETY: AVX-512 F is available, by the type's contract.
        low.or(Self(unsafe { _mm512_sllv_epi64(above.0, up.0) }))
    }

    #[inline(always)]
    fn ripple<const D: u32>(self, carry: u32) -> (Self, u32) {
        // SAFETY: AVX-512 F is available, by the type's contract.
        let max = unsafe { Self::splat((1 << D) - 1) };
        // SAFETY: AVX-512 F is available, by the type's contract.
        let makes = u32::from(unsafe { _mm512_cmpgt_epu64_mask(self.0, max.0) });
        // SAFETY: AVX-512 F is available, by the type's contract.
        let passes = u32::from(unsafe { _mm512_cmpeq_epu64_mask(self.0, max.0) });
        // One addition carries through every run of lanes that pass a carry on. A lane that makes a
        // carry does not pass one on, so the two bits added at any place are never both set.
        let sum = passes + (makes << 1 | carry);
        let [into, _, _, _] = (sum ^ passes).to_le_bytes();
        // SAFETY: AVX-512 F is available, by the type's contract.
        let one = unsafe { Self::splat(1) };
        // SAFETY: AVX-512 F is available, by the type's contract.
        let digits = Self(unsafe { _mm512_mask_add_epi64(self.0, into, self.0, one.0) });
        (digits.and(max), sum >> 8)
    }

    #[inline(always)]
    fn last(self) -> u64 {
        let mut lanes = [0; 8];
        // SAFETY: the array is 64 bytes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes[7]
    }
}
