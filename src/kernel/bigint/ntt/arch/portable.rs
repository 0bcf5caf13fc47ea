//! Lanes of any processor, without vector instructions.
#![allow(unsafe_code)]

use crate::kernel::bigint::limbs::mul_add;
use crate::kernel::bigint::ntt::prime_field::{WORD_BITS, WORD_MASK};
use crate::kernel::bigint::ntt::simd::{Arithmetic, Integers, LANES, Lanes};

/// Eight lanes in an array, for any processor.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct PortableLanes([u64; LANES]);

impl PortableLanes {
    #[inline(always)]
    fn map(self, f: impl Fn(usize, u64) -> u64) -> Self {
        let mut lanes = self.0;
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = f(i, *lane);
        }
        Self(lanes)
    }
}

impl Arithmetic for PortableLanes {
    const WIDTH: usize = LANES;

    #[inline(always)]
    unsafe fn splat(x: u64) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    unsafe fn load(source: *const u64) -> Self {
        // SAFETY: 64 bytes are readable, by this function's contract.
        Self(unsafe { source.cast::<[u64; LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u64) {
        // SAFETY: 64 bytes are writable, by this function's contract.
        unsafe { target.cast::<[u64; LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.map(|i, x| x.wrapping_add(other.0[i]))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.map(|i, x| x.wrapping_sub(other.0[i]))
    }
}

impl Integers for PortableLanes {
    #[inline(always)]
    fn add_high(self, x: Self, y: Self) -> Self {
        self.map(|i, sum| sum.wrapping_add(high_half(x.0[i], y.0[i])))
    }

    #[inline(always)]
    fn add_product(self, x: Self, y: Self) -> Self {
        self.map(|i, sum| sum.wrapping_add(x.0[i].wrapping_mul(y.0[i])))
    }
}

impl Lanes for PortableLanes {
    #[inline(always)]
    fn and(self, other: Self) -> Self {
        self.map(|i, x| x & other.0[i])
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        self.map(|i, x| x | other.0[i])
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.map(|i, x| x.min(other.0[i]))
    }

    #[inline(always)]
    fn shift_right<const N: u32>(self) -> Self {
        self.map(|_, x| x >> N)
    }

    #[inline(always)]
    fn shift_left<const N: u32>(self) -> Self {
        self.map(|_, x| x << N)
    }

    #[inline(always)]
    fn add_low(self, x: Self, y: Self) -> Self {
        self.map(|i, sum| sum.wrapping_add(x.0[i].wrapping_mul(y.0[i]) & WORD_MASK))
    }

    #[inline(always)]
    fn align<const N: i32>(self, low: Self) -> Self {
        let n = N.unsigned_abs() as usize;
        self.map(|i, _| if i + n < LANES { low.0[i + n] } else { self.0[i + n - LANES] })
    }

    #[inline(always)]
    fn shift_apart(self, counts: Self) -> Self {
        self.map(|i, limb| {
            let below = if i == 0 { 0 } else { self.0[i - 1] };
            limb << counts.0[i] | below >> 1 >> (63 - counts.0[i])
        })
    }

    #[inline(always)]
    fn pack<const D: u32>(self) -> Self {
        let step = 64 - D as usize;
        self.map(|i, digit| {
            let above = if i + 1 == LANES { 0 } else { self.0[i + 1] << (64 - step * (i + 1)) };
            digit >> (step * i) | above
        })
    }

    #[inline(always)]
    fn ripple<const D: u32>(self, carry: u32) -> (Self, u32) {
        let mut lanes = self.0;
        let mut carry = u64::from(carry);
        for lane in &mut lanes {
            let sum = *lane + carry;
            *lane = sum & ((1 << D) - 1);
            carry = sum >> D;
        }
        (Self(lanes), u32::from(carry != 0))
    }

    #[inline(always)]
    fn last(self) -> u64 {
        self.0[LANES - 1]
    }
}

/// One lane, for any processor. Butterflies of single lanes fit into registers where those of
/// vectors do not.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct SingleLane(u64);

impl Arithmetic for SingleLane {
    const WIDTH: usize = 1;

    #[inline(always)]
    unsafe fn splat(x: u64) -> Self {
        Self(x)
    }

    #[inline(always)]
    unsafe fn load(source: *const u64) -> Self {
        // SAFETY: one word is readable, by this function's contract.
        Self(unsafe { source.read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u64) {
        // SAFETY: one word is writable, by this function's contract.
        unsafe { target.write_unaligned(self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl Integers for SingleLane {
    #[inline(always)]
    fn add_product(self, x: Self, y: Self) -> Self {
        Self(self.0.wrapping_add(x.0.wrapping_mul(y.0)))
    }

    #[inline(always)]
    fn add_high(self, x: Self, y: Self) -> Self {
        Self(self.0.wrapping_add(high_half(x.0, y.0)))
    }
}

/// `floor(x * y / 2^52)` of the low 52 bits of `x` and `y`. Shifting one of them up drops its bits
/// from 52 on, and puts the high half at bit 64.
#[inline(always)]
const fn high_half(x: u64, y: u64) -> u64 {
    mul_add(x << (64 - WORD_BITS), y & WORD_MASK, 0, 0).1
}
