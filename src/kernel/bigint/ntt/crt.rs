//! From residues to limbs, by the Chinese remainder theorem (CRT).
//!
//! Each coefficient `c < p1 p2 p3` of the product is reconstructed in mixed radix (Garner): with
//! canonical residues `r1, r2, r3`, `c = r1 + p1 t2 + p1 p2 t3`, `t2 = (r2 - r1) / p1 mod p2`,
//! `t3 = ((r3 - r1) / p1 - t2) / p2 mod p3`, also canonical. It has 147 bits, in digits of `D`
//! bits `c = d0 + d1 2^D + d2 2^(2D)`, `d2 < 2^27`. Digit `i` of the number is the sum of `d0[i]`,
//! `d1[i-1]`, `d2[i-2]` and a carry. `d0 + d1 < 2^(D+1) <= 2^64` carries 0 or 1; without it, and
//! with `d2` and the carry of the digit below, what is left is at most `2^D - 1 + 2^27 + 1`, with
//! a carry of 0 or 1 that [`Lanes::ripple`] propagates.
#![allow(unsafe_code)]

use super::butterflies::{IntegerField, ResidueField};
use super::plan::{Line, TransformPlan, padded};
use super::prime_field::{Factor, PRIMES, WORD_BITS, WORD_MASK};
use super::simd::{Arithmetic, LANES, Lanes};

/// `1 / p1 mod p2`.
pub(super) const P1_IN_P2: Factor = PRIMES[1].factor(PRIMES[1].inverse(PRIMES[0].p % PRIMES[1].p));
/// `1 / p1 mod p3`.
pub(super) const P1_IN_P3: Factor = PRIMES[2].factor(PRIMES[2].inverse(PRIMES[0].p % PRIMES[2].p));
/// `1 / p2 mod p3`.
pub(super) const P2_IN_P3: Factor = PRIMES[2].factor(PRIMES[2].inverse(PRIMES[1].p % PRIMES[2].p));
/// `p1 p2` in words of 52 bits.
const P1_P2: [u64; 2] = {
    let product = PRIMES[0].p as u128 * PRIMES[1].p as u128;
    #[expect(clippy::cast_possible_truncation, reason = "98 bits in words of 52")]
    let words = [product as u64 & WORD_MASK, (product >> WORD_BITS) as u64];
    words
};

/// What to multiply the transform's results by: `2^52 / lines`, for each prime.
pub(super) fn scales(plan: TransformPlan) -> [Factor; 3] {
    PRIMES.map(|prime| {
        let odd = plan.odd as u64;
        // 1 / odd is the multiple of p, plus one, that odd divides.
        let multiple = (0..odd).find(|k| (k * (prime.p % odd) + 1).is_multiple_of(odd));
        let inverse = prime.mul(multiple.unwrap_or(0), 1) as u128 * u128::from(prime.p) + 1;
        let inverse = u64::try_from(inverse / u128::from(odd)).unwrap_or(0);
        prime.factor(prime.mul(inverse, (1 << (WORD_BITS - plan.log)) % prime.p))
    })
}

/// Reconstruction of coefficients from residues of one kind, as digits. The existence of a value
/// proves that the processor has what it needs.
pub(super) trait Crt: Sized {
    /// The vectors of digits.
    type Digits: Lanes;

    /// The reconstruction for a plan.
    ///
    /// # Safety
    ///
    /// - The processor has what the kind needs.
    unsafe fn new(plan: &TransformPlan) -> Self;

    /// All lanes equal to `x`.
    fn splat(&self, x: u64) -> Self::Digits;

    /// The digits `d0, d1, d2` of eight coefficients, from their residues.
    ///
    /// # Safety
    ///
    /// - Each line is readable.
    unsafe fn digits<const D: u32>(&self, residues: [*const Line; 3]) -> [Self::Digits; 3];
}

/// Reconstruction from integer residues.
pub(super) struct IntegerCrt<L> {
    fields: [IntegerField<L>; 3],
    scales: [Factor; 3],
}

impl<L: Lanes> Crt for IntegerCrt<L> {
    type Digits = L;

    #[inline(always)]
    unsafe fn new(plan: &TransformPlan) -> Self {
        // SAFETY: by this function's contract.
        let fields = [0, 1, 2].map(|i| unsafe { IntegerField::<L>::new(i) });
        Self { fields, scales: scales(*plan) }
    }

    #[inline(always)]
    fn splat(&self, x: u64) -> L {
        self.fields[0].splat(x)
    }

    #[inline(always)]
    unsafe fn digits<const D: u32>(&self, lines: [*const Line; 3]) -> [L; 3] {
        let [f1, f2, f3] = &self.fields;
        let mut residues = [f1.p; 3];
        for (i, residue) in residues.iter_mut().enumerate() {
            let field = &self.fields[i];
            // SAFETY: readable by this function's contract.
            let x = unsafe { L::load(lines[i].cast()) };
            *residue = field.mul_canonical(x, field.spread(&self.scales[i]));
        }
        let [r1, r2, r3] = residues;

        let two_p2 = f2.splat(2 * f2.prime.p);
        let two_p3 = f3.splat(2 * f3.prime.p);
        let t2 = f2.mul_canonical(r2.sub(r1).add(two_p2), f2.spread(&P1_IN_P2));
        let s3 = f3.mul_canonical(r3.sub(r1).add(two_p3), f3.spread(&P1_IN_P3));
        let t3 = f3.mul_canonical(s3.sub(t2).add(two_p3), f3.spread(&P2_IN_P3));

        // r1 + p1 t2 + (p1 p2) t3 in words of 52 bits; each sum has at most four terms.
        let [low, high] = P1_P2.map(|word| f1.splat(word));
        let mask = f1.splat(WORD_MASK);
        let w0 = r1.add_low(f1.p, t2).add_low(low, t3);
        let w1 = w0.shift_right::<WORD_BITS>().add_high(f1.p, t2);
        let w1 = w1.add_high(low, t3).add_low(high, t3);
        let w2 = w1.shift_right::<WORD_BITS>().add_high(high, t3);
        let (w0, w1) = (w0.and(mask), w1.and(mask));
        split::<L, D>(f1, w0, w1, w2)
    }
}

/// `w0 + w1 2^52 + w2 2^104` in digits of `D` bits.
#[inline(always)]
fn split<L: Lanes, const D: u32>(field: &IntegerField<L>, w0: L, w1: L, w2: L) -> [L; 3] {
    let max = field.splat((1 << D) - 1);
    let d0 = w0.or(w1.shift_left::<WORD_BITS>()).and(max);
    let (d1, d2) = match D {
        63 => (w1.shift_right::<11>().or(w2.shift_left::<41>()), w2.shift_right::<22>()),
        62 => (w1.shift_right::<10>().or(w2.shift_left::<42>()), w2.shift_right::<20>()),
        _ => (w1.shift_right::<8>().or(w2.shift_left::<44>()), w2.shift_right::<16>()),
    };
    [d0, d1.and(max), d2]
}

/// `x / 2^D`.
#[inline(always)]
fn shift_right_by<L: Lanes, const D: u32>(x: L) -> L {
    match D {
        63 => x.shift_right::<63>(),
        62 => x.shift_right::<62>(),
        _ => x.shift_right::<60>(),
    }
}

/// Writes lines `lines` of the product, `digit_bits` bytes each, at `digit_bits * line` in `out`,
/// up to its end, as if the lines below gave no carry. Returns the carry out of the last line.
///
/// # Safety
///
/// - The processor has what `J` needs.
/// - The residues of `lines` and of the line below, where the plan has them, are readable.
/// - Bytes `D * lines` of `out` are this thread's to write, up to its end, `out_bytes`.
#[inline(always)]
pub(super) unsafe fn reconstruct<J: Crt, const D: u32>(
    residues: [*const Line; 3],
    plan: &TransformPlan,
    lines: std::ops::Range<usize>,
    out: *mut u8,
    out_bytes: usize,
) -> u64 {
    const { assert!(D == 63 || D == 62 || D == 60) };
    // SAFETY: by this function's contract.
    let crt = unsafe { J::new(plan) };
    let max = crt.splat((1 << D) - 1);
    let zero = crt.splat(0);

    let (mut below1, mut below2) = (zero, zero);
    if lines.start > 0 {
        // SAFETY: the line below is readable, by this function's contract.
        let below = unsafe { line_digits::<J, D>(&crt, residues, plan, lines.start - 1) };
        [_, below1, below2] = below;
    }
    let (mut below_carries, mut carry) = (zero, 0);
    let end_byte = (lines.end * D as usize).min(out_bytes);
    for line in lines {
        // SAFETY: the line is readable, by this function's contract.
        let [d0, d1, d2] = unsafe { line_digits::<J, D>(&crt, residues, plan, line) };
        let sum = d0.add(d1.align::<7>(below1));
        let carries = shift_right_by::<J::Digits, D>(sum);
        let digits = sum.and(max).add(d2.align::<6>(below2)).add(carries.align::<7>(below_carries));
        (below1, below2, below_carries) = (d1, d2, carries);
        let (digits, out_carry) = digits.ripple::<D>(carry);
        carry = out_carry;

        let at = line * D as usize;
        let packed = digits.pack::<D>();
        if at + 64 <= end_byte {
            // SAFETY: the 64 bytes lie below `end_byte`, exclusive by this function's contract.
            unsafe { packed.store(out.wrapping_add(at).cast()) };
        } else {
            // SAFETY: bytes from `at` to `end_byte` are exclusive, by this function's contract.
            unsafe {
                store_some(
                    packed,
                    out.wrapping_add(at),
                    end_byte.saturating_sub(at).min(D as usize),
                )
            };
        }
    }
    below_carries.last() + u64::from(carry)
}

/// The digits `d0, d1, d2` of the coefficients of a line; zeros past the end.
///
/// # Safety
///
/// - Line `line`, if it is below the plan's, is readable for each prime.
#[inline(always)]
unsafe fn line_digits<J: Crt, const D: u32>(
    crt: &J,
    residues: [*const Line; 3],
    plan: &TransformPlan,
    line: usize,
) -> [J::Digits; 3] {
    if line >= plan.lines() {
        return [crt.splat(0); 3];
    }
    let place = padded(line);
    let [a, b, c] = residues;
    let lines = [a.wrapping_add(place), b.wrapping_add(place), c.wrapping_add(place)];
    // SAFETY: readable by this function's contract.
    unsafe { crt.digits::<D>(lines) }
}

/// Writes the first `bytes` bytes of a line.
///
/// # Safety
///
/// - `bytes` bytes at `target` are writable, at most 64.
#[inline(never)]
unsafe fn store_some<L: Lanes>(line: L, target: *mut u8, bytes: usize) {
    let mut limbs = [0u64; LANES];
    // SAFETY: the array is 64 bytes.
    unsafe { line.store(limbs.as_mut_ptr()) };
    // SAFETY: `bytes` are writable, and readable in the array, by this function's contract.
    unsafe { target.copy_from_nonoverlapping(limbs.as_ptr().cast(), bytes) };
}
