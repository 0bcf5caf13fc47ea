//! Residues as `f64`, multiplied by fused multiply-add.
//!
//! For processors with AVX2 and FMA, four lanes in a register. A residue is an integer of either
//! sign, represented as an `f64`.
//!
//! # Why it is exact
//!
//! Every value is an integer below `2^52` in magnitude. An `f64` represents it exactly, and also
//! the sums and differences of such values.
//!
//! *Products.* A factor `w` has `|w| < p / 2`. It is stored with `w' = w / p`, rounded, whose error
//! is at most `2^-55`, because `|w / p| < 1/2`. For `|x| < 2^52`:
//!
//! 1. `h = x w`, rounded, and `l = x w - h`, which is an `f64`, by a fused operation. As
//!    `|h| <= 2^100`, `|l| <= 2^46`.
//! 2. `q` is `x w'` rounded to an integer: `1.5 * 2^52` is added by a fused operation, and
//!    subtracted. As `|x w'| < 2^51`, this rounds once, to the nearest integer. So `q` differs from
//!    `x w / p` by at most `1/2 + |x| 2^-55`.
//! 3. `r = x w - q p` has `|r| <= p (1/2 + |x| 2^-55) <= 5/8 p`. `h - q p = r - l` is an integer
//!    below `2^50`, so a fused operation gives it exactly; and then `(h - q p) + l` is `r`.
//!
//! *Reduction*: `x - q p`, where `q` is `x / p` rounded as in 2, is at most `p (1/2 + 2^-40)`.
//!
//! *Leaves.* Eight products of factors of at most `5/8 p` each have a sum below `2^100`. It is
//! accumulated on top of `1.5 * 2^101`, where `f64`s are multiples of `2^49`: a fused operation
//! adds the product, rounded to such a multiple; the difference from the previous sum is the part
//! `h` that was added; and `l = a b - h`, an integer of at most `2^48`, is added to a second sum,
//! which stays below `2^51`. So both sums are exact. The first is below `2^51 p`, and is reduced as
//! above, to at most `3/4 p`, before the second is added.
//!
//! `magnitude_proof` checks the bounds of the butterflies by running them on magnitudes.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use crate::kernel::bigint::ntt::arch::portable::PortableLanes;
use crate::kernel::bigint::ntt::butterflies::{ResidueField, Spread};
use crate::kernel::bigint::ntt::crt::{Crt, P1_IN_P2, P1_IN_P3, P2_IN_P3, scales};
use crate::kernel::bigint::ntt::plan::{Line, Node, TransformPlan, padded};
use crate::kernel::bigint::ntt::prime_field::{Factor, PRIMES, Prime, WORD_BITS};
use crate::kernel::bigint::ntt::simd::{Arithmetic, LANES};
use crate::kernel::bigint::ntt::splitting::{DigitResidues, Digits, multiples};
use crate::kernel::bigint::ntt::twiddles::TwiddleTable;

/// Adding and subtracting this rounds a value below `2^51` to an integer.
const ROUNDER: f64 = 1.5 * (1u64 << 52) as f64;

/// The same for multiples of `2^49`, below `2^100`.
const ROUNDER_WIDE: f64 = ROUNDER * (1u64 << 49) as f64;

/// `2^52`: its bits with a number below `2^52` in the lowest ones are those of the sum of both.
const INTEGER_BASE: f64 = (1u64 << 52) as f64;

/// `2^-52` modulo each prime.
const ONE_OVER_WORD: [u64; 3] = [
    PRIMES[0].inverse(1 << WORD_BITS),
    PRIMES[1].inverse(1 << WORD_BITS),
    PRIMES[2].inverse(1 << WORD_BITS),
];

/// Four `f64` in a register of 256 bits.
///
/// Needs AVX2 and FMA. The contract of the unsafe constructors is that the processor has them, so
/// the existence of an `F64Lanes` permits each intrinsic below.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct F64Lanes(__m256d);

impl Arithmetic for F64Lanes {
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn splat(bits: u64) -> Self {
        // SAFETY: AVX is available, by this function's contract.
        Self(unsafe { _mm256_set1_pd(f64::from_bits(bits)) })
    }

    #[inline(always)]
    unsafe fn load(source: *const u64) -> Self {
        // SAFETY: AVX is available and 32 bytes are readable, by this function's contract.
        Self(unsafe { _mm256_loadu_pd(source.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u64) {
        // SAFETY: 32 bytes are writable, by this function's contract; AVX by the type's.
        unsafe { _mm256_storeu_pd(target.cast(), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: AVX is available, by the type's contract.
        Self(unsafe { _mm256_add_pd(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: AVX is available, by the type's contract.
        Self(unsafe { _mm256_sub_pd(self.0, other.0) })
    }
}

impl F64Lanes {
    /// `self other`, rounded.
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: AVX is available, by the type's contract.
        Self(unsafe { _mm256_mul_pd(self.0, other.0) })
    }

    /// `self other + sum`, rounded once.
    #[inline(always)]
    fn mul_plus(self, other: Self, sum: Self) -> Self {
        // SAFETY: FMA is available, by the type's contract.
        Self(unsafe { _mm256_fmadd_pd(self.0, other.0, sum.0) })
    }

    /// `self other - sum`, rounded once.
    #[inline(always)]
    fn mul_minus(self, other: Self, sum: Self) -> Self {
        // SAFETY: FMA is available, by the type's contract.
        Self(unsafe { _mm256_fmsub_pd(self.0, other.0, sum.0) })
    }

    /// `self - x y`, rounded once.
    #[inline(always)]
    fn minus_product(self, x: Self, y: Self) -> Self {
        // SAFETY: FMA is available, by the type's contract.
        Self(unsafe { _mm256_fnmadd_pd(x.0, y.0, self.0) })
    }

    /// The numbers below `2^52` in the lanes of a vector of integers.
    #[inline(always)]
    fn of_integers(&self, integers: __m256i) -> Self {
        // SAFETY: AVX is available, by the type's contract.
        let base = unsafe { _mm256_set1_pd(INTEGER_BASE) };
        // SAFETY: as above.
        let integers = unsafe { _mm256_castsi256_pd(integers) };
        // SAFETY: as above.
        Self(unsafe { _mm256_or_pd(integers, base) }).sub(Self(base))
    }

    /// Writes the lanes, integers in `0..2^52`, as integers.
    #[inline(always)]
    fn to_integers(self, target: &mut [u64]) {
        assert_eq!(target.len(), 4, "a place for each lane");
        // SAFETY: AVX is available, by the type's contract.
        let base = unsafe { _mm256_set1_pd(INTEGER_BASE) };
        let sum = self.add(Self(base));
        // SAFETY: as above.
        let bits = Self(unsafe { _mm256_xor_pd(sum.0, base) });
        // SAFETY: the slice has 32 bytes, as asserted.
        unsafe { bits.store(target.as_mut_ptr()) }
    }

    /// `p` where a lane is negative, else 0.
    #[inline(always)]
    fn where_negative(self, p: Self) -> Self {
        // SAFETY: AVX is available, by the type's contract.
        let zero = unsafe { _mm256_setzero_pd() };
        // SAFETY: as above.
        let negative = unsafe { _mm256_cmp_pd::<_CMP_LT_OQ>(self.0, zero) };
        // SAFETY: as above.
        Self(unsafe { _mm256_and_pd(negative, p.0) })
    }
}

/// The constants of one prime in registers; proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct F64Field {
    prime: Prime,
    p: F64Lanes,
    one_over_p: F64Lanes,
    rounder: F64Lanes,
    zero: F64Lanes,
}

impl F64Field {
    #[inline(always)]
    fn splat(&self, x: f64) -> F64Lanes {
        // SAFETY: the caller of `new` guaranteed AVX.
        unsafe { F64Lanes::splat(x.to_bits()) }
    }

    /// `x w` modulo the prime, in `[0, p)`.
    #[inline(always)]
    pub(in crate::kernel::bigint::ntt) fn mul_canonical(
        &self,
        x: F64Lanes,
        w: Spread<F64Lanes>,
    ) -> F64Lanes {
        let product = self.mul(x, w);
        product.add(product.where_negative(self.p))
    }
}

impl ResidueField for F64Field {
    type Lane = F64Lanes;

    #[inline(always)]
    unsafe fn new(index: usize) -> Self {
        let prime = PRIMES[index];
        let p = prime.p as f64;
        // SAFETY: the processor has AVX, by this function's contract.
        let splat = |x: f64| unsafe { F64Lanes::splat(x.to_bits()) };
        Self {
            prime,
            p: splat(p),
            one_over_p: splat(1.0 / p),
            rounder: splat(ROUNDER),
            zero: splat(0.0),
        }
    }

    #[inline(always)]
    fn zero(&self) -> F64Lanes {
        self.zero
    }

    /// Residues may have either sign, so nothing has to be centred.
    #[inline(always)]
    fn three_p(&self) -> F64Lanes {
        self.zero
    }

    #[inline(always)]
    fn four_p(&self) -> F64Lanes {
        self.zero
    }

    #[inline(always)]
    fn mul_add(&self, acc: F64Lanes, x: F64Lanes, w: Spread<F64Lanes>) -> F64Lanes {
        acc.add(self.mul(x, w))
    }

    /// A residue of `x w`, at most `5/8 p`.
    #[inline(always)]
    fn mul(&self, x: F64Lanes, (w, quotient): Spread<F64Lanes>) -> F64Lanes {
        let h = x.mul(w);
        let l = x.mul_minus(w, h);
        let q = x.mul_plus(quotient, self.rounder).sub(self.rounder);
        h.minus_product(q, self.p).add(l)
    }

    /// At most `p (1/2 + 2^-40)`.
    #[inline(always)]
    fn reduce(&self, x: F64Lanes) -> F64Lanes {
        let q = x.mul_plus(self.one_over_p, self.rounder).sub(self.rounder);
        x.minus_product(q, self.p)
    }
}

/// How eight digits are extracted from as many bytes as a digit has bits: digit `i` is limb `i`
/// shifted left by `i (64 - bits)`, with the bits that leave limb `i - 1`, and masked.
#[derive(Clone, Copy)]
pub(in crate::kernel::bigint::ntt) struct F64Split {
    left: [__m256i; 2],
    right: [__m256i; 2],
    mask: __m256i,
    low: __m256i,
    gap: F64Lanes,
}

impl DigitResidues for F64Field {
    type Split = F64Split;

    #[inline(always)]
    fn split(&self, digit_bits: u32) -> F64Split {
        let left = multiples(64 - digit_bits);
        let right = left.map(|count| 64 - count);
        // SAFETY: the caller of `new` guaranteed AVX2.
        let splat = |x: u64| unsafe { _mm256_set1_epi64x(x.cast_signed()) };
        let half = |counts: &[u64; LANES], i: usize| {
            let counts = counts[4 * i..4 * i + 4].as_ptr();
            // SAFETY: the slice has 32 bytes; AVX as above.
            unsafe { _mm256_loadu_si256(counts.cast()) }
        };
        F64Split {
            left: [half(&left, 0), half(&left, 1)],
            right: [half(&right, 0), half(&right, 1)],
            mask: splat((1 << digit_bits) - 1),
            low: splat((1 << 49) - 1),
            gap: self.splat(self.prime.gap() as f64),
        }
    }

    #[inline(always)]
    fn residues(&self, operand: &Digits<'_>, split: &F64Split, vector: usize) -> F64Lanes {
        let (line, half) = (vector / 2, vector % 2);
        let mut rest = [0; LANES];
        let limbs = operand.limbs_of_line(line, &mut rest);
        // SAFETY: 64 bytes are readable from `limbs` on (`limbs_of_line`), and these are the
        // first or last 32 of them; the caller of `new` guaranteed AVX.
        let here = unsafe { _mm256_loadu_si256(limbs.wrapping_add(4 * half).cast()) };
        let below = if half == 0 {
            // Limb -1 has no effect: it is shifted by 64.
            // SAFETY: the caller of `new` guaranteed AVX2.
            unsafe { _mm256_permute4x64_epi64::<0b10_01_00_00>(here) }
        } else {
            // SAFETY: limbs 3 to 6 of the eight.
            unsafe { _mm256_loadu_si256(limbs.wrapping_add(3).cast()) }
        };
        // SAFETY: the caller of `new` guaranteed AVX2.
        let here = unsafe { _mm256_sllv_epi64(here, split.left[half]) };
        // SAFETY: as above.
        let below = unsafe { _mm256_srlv_epi64(below, split.right[half]) };
        // SAFETY: as above.
        let digits = unsafe { _mm256_or_si256(here, below) };
        // SAFETY: as above.
        let digits = unsafe { _mm256_and_si256(digits, split.mask) };
        // As in `splitting::residue`: below 2^51.5, so exact.
        // SAFETY: as above.
        let low = unsafe { _mm256_and_si256(digits, split.low) };
        // SAFETY: as above.
        let high = unsafe { _mm256_srli_epi64::<49>(digits) };
        let low = self.zero.of_integers(low);
        self.zero.of_integers(high).mul_plus(split.gap, low)
    }
}

/// Products of leaves: `a <- a b (mod x^8 - rho, p)` for each of `leaves` from `leaf` on, where
/// `rho` is the leaf's `omega^row R[index]^2`. Results are at most `p (1/2 + e)`.
///
/// # Safety
///
/// - The processor has AVX2 and FMA.
/// - The lines of these leaves at `a` are this thread's to read and write, those at `b` to read.
#[inline(always)]
pub(in crate::kernel::bigint::ntt) unsafe fn leaves(
    a: *mut Line,
    b: *const Line,
    leaf: Node,
    leaves: usize,
    table: &TwiddleTable,
) {
    // SAFETY: by this function's contract.
    let field = unsafe { F64Field::new(table.prime) };
    let row = table.row(leaf.row);
    for n in 0..leaves {
        let place = padded(leaf.line + n);
        let index = leaf.index + n;
        let rho = field.spread(&row[index / 2]);
        let b = b.wrapping_add(place).cast::<u64>();
        let mut rows = [0u64; 2 * LANES];
        for half in 0..2 {
            // SAFETY: half of the leaf's line, readable by this function's contract.
            let y = field.reduce(unsafe { F64Lanes::load(b.wrapping_add(4 * half)) });
            let ry = field.mul(y, rho);
            let ry = if index.is_multiple_of(2) { ry } else { field.zero.sub(ry) };
            let at = rows.as_mut_ptr().wrapping_add(4 * half);
            // SAFETY: lanes 0 to 7 of the sixteen.
            unsafe { ry.store(at) };
            // SAFETY: lanes 8 to 15.
            unsafe { y.store(at.wrapping_add(LANES)) };
        }
        // SAFETY: the line is the leaf's, exclusive by this function's contract.
        unsafe { leaf_product(&field, a.wrapping_add(place).cast(), &rows) };
    }
}

/// One leaf product: `a <- a y`, given `rho y` and `y`. Row `i` of it is `a[i]` times the eight
/// lanes from `8 - i` on.
///
/// # Safety
///
/// - 64 bytes at `a` are readable and writable.
#[inline(always)]
unsafe fn leaf_product(field: &F64Field, a: *mut u64, rows: &[u64; 2 * LANES]) {
    let mut x = [0u64; LANES];
    for half in 0..2 {
        // SAFETY: half of the line, readable by this function's contract.
        let reduced = field.reduce(unsafe { F64Lanes::load(a.wrapping_add(4 * half)) });
        // SAFETY: half of the array.
        unsafe { reduced.store(x.as_mut_ptr().wrapping_add(4 * half)) };
    }
    let base = field.splat(ROUNDER_WIDE);
    let (mut high, mut low) = ([base; 2], [field.zero; 2]);
    for (i, x) in x.iter().enumerate() {
        // SAFETY: a reference is readable; the caller of `F64Field::new` guaranteed AVX.
        let x = unsafe { F64Lanes::splat_from(x) };
        for half in 0..2 {
            let row = rows[LANES - i + 4 * half..][..4].as_ptr();
            // SAFETY: the slice has 32 bytes; AVX as above.
            let row = unsafe { F64Lanes::load(row) };
            let sum = x.mul_plus(row, high[half]);
            low[half] = low[half].add(x.mul_minus(row, sum.sub(high[half])));
            high[half] = sum;
        }
    }
    for half in 0..2 {
        let product = field.reduce(field.reduce(high[half].sub(base)).add(low[half]));
        // SAFETY: half of the line, writable by this function's contract.
        unsafe { product.store(a.wrapping_add(4 * half)) };
    }
}

/// Reconstruction from `f64` residues; the digits are portable integers.
pub(in crate::kernel::bigint::ntt) struct F64Crt {
    fields: [F64Field; 3],
    scales: [Factor; 3],
    /// `1 / p1 mod p2`, `1 / p1 mod p3`, `1 / p2 mod p3`.
    inverses: [Factor; 3],
}

impl Crt for F64Crt {
    type Digits = PortableLanes;

    #[inline(always)]
    unsafe fn new(plan: &TransformPlan) -> Self {
        // SAFETY: by this function's contract.
        let fields = [0, 1, 2].map(|i| unsafe { F64Field::new(i) });
        // Leaf products have no factor 2^-52 here.
        let mut scales = scales(*plan);
        for (i, scale) in scales.iter_mut().enumerate() {
            let w = PRIMES[i].mul(scale.w, ONE_OVER_WORD[i]);
            *scale = PRIMES[i].f64_factor(PRIMES[i].factor(w));
        }
        let inverses = [(1, P1_IN_P2), (2, P1_IN_P3), (2, P2_IN_P3)];
        let inverses = inverses.map(|(i, factor)| PRIMES[i].f64_factor(factor));
        Self { fields, scales, inverses }
    }

    #[inline(always)]
    fn splat(&self, x: u64) -> PortableLanes {
        // SAFETY: no processor feature is needed.
        unsafe { PortableLanes::splat(x) }
    }

    #[inline(always)]
    unsafe fn digits<const D: u32>(&self, residues: [*const Line; 3]) -> [PortableLanes; 3] {
        let [f1, f2, f3] = &self.fields;
        let [scale1, scale2, scale3] = &self.scales;
        let (scale1, scale2) = (f1.spread(scale1), f2.spread(scale2));
        let scale3 = f3.spread(scale3);
        let [p1_in_p2, p1_in_p3, p2_in_p3] = &self.inverses;
        let (p1_in_p2, p1_in_p3) = (f2.spread(p1_in_p2), f3.spread(p1_in_p3));
        let p2_in_p3 = f3.spread(p2_in_p3);
        let mut mixed = [[0; LANES]; 3];
        for half in [0, 4] {
            let mut x = [f1.zero; 3];
            for (x, line) in x.iter_mut().zip(residues) {
                // SAFETY: half of a line, readable by this function's contract.
                *x = unsafe { F64Lanes::load(line.cast::<u64>().wrapping_add(half)) };
            }
            // Every multiplicand is below 2 p in magnitude.
            let r1 = f1.mul_canonical(x[0], scale1);
            let r2 = f2.mul(x[1], scale2);
            let r3 = f3.mul(x[2], scale3);
            let t2 = f2.mul_canonical(r2.sub(r1), p1_in_p2);
            let s3 = f3.mul(r3.sub(r1), p1_in_p3);
            let t3 = f3.mul_canonical(s3.sub(t2), p2_in_p3);
            for (mixed, x) in mixed.iter_mut().zip([r1, t2, t3]) {
                x.to_integers(&mut mixed[half..half + 4]);
            }
        }
        let [r1, t2, t3] = mixed;
        let mut digits = [[0; LANES]; 3];
        for i in 0..LANES {
            [digits[0][i], digits[1][i], digits[2][i]] =
                mixed_radix_digits::<D>(r1[i], t2[i], t3[i]);
        }
        // SAFETY: the arrays are 64 bytes; no processor feature is needed.
        digits.map(|digits| unsafe { PortableLanes::load(digits.as_ptr()) })
    }
}

/// `r1 + p1 t2 + p1 p2 t3` in digits of `D` bits.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "words of a longer number")]
fn mixed_radix_digits<const D: u32>(r1: u64, t2: u64, t3: u64) -> [u64; 3] {
    const P1_P2: u128 = PRIMES[0].p as u128 * PRIMES[1].p as u128;
    let [low, high] = [P1_P2 as u64, (P1_P2 >> 64) as u64].map(u128::from);
    let sum = u128::from(r1) + u128::from(PRIMES[0].p) * u128::from(t2) + low * u128::from(t3);
    let above = high * u128::from(t3) + (sum >> 64);
    let (w0, w1, w2) = (sum as u64, above as u64, (above >> 64) as u64);
    let max = (1 << D) - 1;
    let d1 = w0 >> D | w1 << (64 - D);
    let d2 = w1 >> (2 * D - 64) | w2 << (128 - 2 * D);
    [w0 & max, d1 & max, d2]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values at both ends of the allowed range, and noise.
    fn values(max: i64, seed: u64) -> Vec<i64> {
        let mut state = seed | 1;
        let mut noise = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state.cast_signed() % (max + 1)
        };
        let mut values = vec![0, 1, -1, max, -max, max - 1, 1 - max, max / 2, -max / 3];
        values.extend((0..2000).map(|_| noise()));
        values
    }

    fn lanes(x: i64) -> F64Lanes {
        // SAFETY: the tests run only if the processor has AVX.
        unsafe { F64Lanes::splat((x as f64).to_bits()) }
    }

    fn lane(x: F64Lanes) -> i64 {
        let mut out = [0; 4];
        // SAFETY: the array is 32 bytes.
        unsafe { x.store(out.as_mut_ptr()) };
        let x = f64::from_bits(out[0]);
        assert_eq!(x, x.trunc());
        #[expect(clippy::cast_possible_truncation, reason = "an integer, below 2^53")]
        return x as i64;
    }

    fn for_each_field(check: impl Fn(F64Field, i128)) {
        if !is_x86_feature_detected!("avx2") || !is_x86_feature_detected!("fma") {
            return;
        }
        for (i, prime) in PRIMES.iter().enumerate() {
            // SAFETY: the processor's features were just detected.
            check(unsafe { F64Field::new(i) }, prime.p.into());
        }
    }

    #[test]
    fn products_and_reductions_are_exact_and_inside_their_bounds() {
        for_each_field(|field, p| {
            let max = (1i64 << 52) - 1;
            let half = i64::try_from(p / 2).unwrap();
            for (x, w) in values(max, 7).into_iter().zip(values(half, 99).into_iter().rev()) {
                for w in [w, half, -half, 1] {
                    let residue = u64::try_from(i128::from(w).rem_euclid(p)).unwrap();
                    let factor = field.prime.f64_factor(field.prime.factor(residue));
                    let found = i128::from(lane(field.mul(lanes(x), field.spread(&factor))));
                    let product = i128::from(x) * i128::from(w);
                    assert_eq!((found - product) % p, 0, "{x} {w} modulo {p}");
                    let bound = p / 2 + ((i128::from(x).abs() * p) >> 55) + 1;
                    assert!(found.abs() <= bound, "{x} {w} modulo {p}: {found}");
                }
                let found = i128::from(lane(field.reduce(lanes(x))));
                assert_eq!((found - i128::from(x)) % p, 0, "{x} modulo {p}");
                assert!(found.abs() <= p / 2 + (p >> 40), "{x} modulo {p}: {found}");
            }
        });
    }

    #[test]
    fn leaf_products_are_exact_at_the_bounds() {
        for_each_field(|field, p| {
            let most = i64::try_from(p * 5 / 8).unwrap();
            let sets = [[most; 8], [-most; 8]];
            let noise = values(most, 3);
            let sets = sets
                .into_iter()
                .chain(noise.chunks_exact(8).map(|x| <[i64; 8]>::try_from(x).unwrap()));
            for a in sets {
                let y = [most, most - 1, -most, 5, 0, most, most, -1];
                let ry = [-most, most, most, 1 - most, most, most, most, 2];
                let bits = |x: i64| (x as f64).to_bits();
                let mut rows = [0; 16];
                for i in 0..8 {
                    (rows[i], rows[8 + i]) = (bits(ry[i]), bits(y[i]));
                }
                let mut line = a.map(bits);
                // SAFETY: the array is 64 bytes.
                unsafe { leaf_product(&field, line.as_mut_ptr(), &rows) };
                for (n, found) in line.iter().enumerate() {
                    let row = |i: usize| if n >= i { y[n - i] } else { ry[8 + n - i] };
                    let sum: i128 = (0..8).map(|i| i128::from(a[i]) * i128::from(row(i))).sum();
                    #[expect(clippy::cast_possible_truncation, reason = "an integer, below 2^53")]
                    let found = f64::from_bits(*found) as i128;
                    assert_eq!((found - sum) % p, 0, "lane {n} modulo {p}");
                    assert!(found.abs() <= p / 2 + (p >> 40), "lane {n} modulo {p}");
                }
            }
        });
    }
}
