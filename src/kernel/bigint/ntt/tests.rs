//! Tests of the transform, against the naive oracle.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::arch::avx2::F64Crt;
#[cfg(target_arch = "x86_64")]
use super::arch::avx512::U64x8;
use super::arch::portable::PortableLanes;
use super::backend::PortableKernel;
#[cfg(target_arch = "x86_64")]
use super::backend::{FmaKernel, IfmaKernel};
use super::convolution::{Convolution, scratch_lines};
use super::crt::{Crt, IntegerCrt};
use super::plan::{Line, TransformPlan};
use super::prime_field::{PRIMES, WORD_BITS, WORD_MASK};
use super::simd::{Arithmetic, Lanes};
use super::*;
use crate::kernel::bigint::tests::{awkward, is_product};
use crate::kernel::team::SingleThread;
use dashu_int::UBig;
use plan::ODD_PARTS;

/// The product by a given plan, if the backend is available.
fn multiply_by(plan: TransformPlan, backend: Backend, a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut scratch = vec![Line([u64::MAX; 8]); scratch_lines(plan, false)];
    let out_limbs = a.len() + b.len();
    let mut out = vec![u64::MAX; out_limbs];
    let scratch = scratch.as_mut_ptr();
    let product = Convolution { plan, a, b: Some(b), out: out.as_mut_ptr(), out_limbs, scratch };
    let team = SingleThread::default();
    let done = match backend {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the vectors have the required lengths, and the backend is one of `all`.
        Backend::Ifma => unsafe { product.run::<IfmaKernel>(&team) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Backend::Fma => unsafe { product.run::<FmaKernel>(&team) },
        // SAFETY: the vectors have the required lengths.
        _ => unsafe { product.run::<PortableKernel>(&team) },
    };
    done.unwrap();
    out
}

#[test]
fn every_shape_of_transform_gives_the_product() {
    for (odd, head) in ODD_PARTS {
        for log in head.max(1)..9 {
            for digit_bits in [60, 62, 63] {
                let plan = TransformPlan { odd, log, digit_bits };
                // As many digits as the length can take, divided evenly and unevenly.
                let digits = plan.lines() * 8 + 1;
                for part in [digits / 2, digits / 7 + 1] {
                    let limbs = |digits: usize| digits * digit_bits as usize / 64;
                    let (n, m) = (limbs(part), limbs(digits - part));
                    let seed = (log + digit_bits) as u64;
                    let (a, b) = (awkward(n.max(1), seed), awkward(m.max(1), seed / 2));
                    for &backend in Backend::all() {
                        let product = multiply_by(plan, backend, &a, &b);
                        assert!(is_product(&product, &a, &b), "{plan:?} {backend:?} {n} {m}");
                    }
                }
            }
        }
    }
}

#[test]
fn digits_are_narrower_for_longer_operands() {
    let width = |limbs| TransformPlan::new(limbs, limbs).map(|plan| plan.digit_bits);
    assert_eq!(width(1000), Some(63));
    assert_eq!(width(2_060_000), Some(63));
    assert_eq!(width(2_100_000), Some(62));
    assert_eq!(width(8_120_000), Some(62));
    assert_eq!(width(8_130_000), Some(60));
    assert_eq!(width(SHORTER_LIMBS_MAX), Some(60));
    assert_eq!(width(SHORTER_LIMBS_MAX * 11 / 10), None);
}

/// `p1 p2 p3`.
fn modulus() -> UBig {
    PRIMES.iter().fold(UBig::ONE, |product, prime| product * prime.p)
}

/// The largest number for which `holds` is true; it must be true for all below.
fn largest(holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (1, 1 << 40);
    while high - low > 1 {
        let middle = usize::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[test]
fn no_coefficient_reaches_the_product_of_the_primes() {
    for width in [63u32, 62, 60] {
        let fits =
            |limbs| TransformPlan::new(limbs, limbs).is_some_and(|plan| plan.digit_bits >= width);
        let limbs = largest(fits);
        let digits = (limbs * 64).div_ceil(width as usize);
        let digit = (UBig::ONE << width as usize) - UBig::ONE;
        assert!(digit.sqr() * digits < modulus(), "{limbs} limbs in digits of {width} bits");
    }
}

#[test]
fn a_product_by_a_factor_leaves_less_than_two_moduli() {
    for prime in PRIMES {
        let p = u128::from(prime.p);
        for w in [0, 1, 2, prime.p / 2, prime.p - 2, prime.p - 1, prime.root, prime.gap()] {
            let factor = prime.factor(w);
            assert_eq!(u128::from(factor.quotient), (u128::from(w) << WORD_BITS) / p);
            for x in [0, 1, prime.p - 1, prime.p, 4 * prime.p + 1, WORD_MASK - 1, WORD_MASK] {
                let product = u128::from(x) * u128::from(w);
                let q = (u128::from(x) * u128::from(factor.quotient)) >> WORD_BITS;
                let rest = product - q * p;
                assert!(rest < 2 * p, "{x} {w} modulo {p}");
                assert_eq!(u128::from(prime.mul_factor(x, factor)), product % p);
            }
        }
    }
}

/// Reconstructs `coefficients` from their residues and compares the digits.
///
/// # Safety
///
/// - The processor has what `J` needs.
unsafe fn assert_reconstructed<J: Crt, const D: u32>(
    coefficients: &[UBig; 8],
    residues: impl Fn(usize, u64) -> u64,
) {
    let plan = TransformPlan { odd: 1, log: 6, digit_bits: D };
    // SAFETY: by this function's contract.
    let crt = unsafe { J::new(&plan) };
    let lines = [0, 1, 2].map(|i| {
        let prime = PRIMES[i];
        Line(coefficients.each_ref().map(|c| {
            // The residue that 2^52 / lines turns into the coefficient again.
            let c = c % prime.p;
            let unscaled = prime.mul(prime.inverse((1 << (WORD_BITS - plan.log)) % prime.p), c);
            residues(i, unscaled)
        }))
    });
    // SAFETY: the lines are here.
    let digits = unsafe { crt.digits::<D>(lines.each_ref().map(|line| &raw const *line)) };
    let mut found = [[0; 8]; 3];
    for (found, digits) in found.iter_mut().zip(digits) {
        // SAFETY: the array is 64 bytes.
        unsafe { digits.store(found.as_mut_ptr()) };
    }
    let [d0, d1, d2] = found;
    for (i, c) in coefficients.iter().enumerate() {
        assert!(d0[i] >> D == 0 && d1[i] >> D == 0 && d2[i] >> 27 == 0, "{c}");
        let sum = UBig::from(d0[i])
            + (UBig::from(d1[i]) << D as usize)
            + (UBig::from(d2[i]) << (2 * D as usize));
        assert_eq!(sum, *c);
    }
}

#[test]
fn any_coefficient_is_reconstructed_from_its_residues() {
    let [p1, p2, p3] = PRIMES.map(|prime| UBig::from(prime.p));
    let most = modulus() - UBig::ONE;
    let coefficients = [
        UBig::ZERO,
        UBig::ONE,
        most.clone(),
        &most / 3u8,
        &p1 * &p2,
        &p1 * &p2 - UBig::ONE,
        &p2 * &p3 + UBig::ONE,
        &most - &p1,
    ];
    // Canonical residues, and residues as far from canonical as a transform leaves them.
    for far in [0, 3, 5] {
        let lazy = |i: usize, residue| residue + far * PRIMES[i].p;
        // SAFETY: no processor feature is needed.
        unsafe { assert_reconstructed::<IntegerCrt<PortableLanes>, 63>(&coefficients, lazy) };
        // SAFETY: as above.
        unsafe { assert_reconstructed::<IntegerCrt<PortableLanes>, 60>(&coefficients, lazy) };
        #[cfg(target_arch = "x86_64")]
        if Backend::Ifma.is_available() {
            // SAFETY: the processor's features were just detected.
            unsafe { assert_reconstructed::<IntegerCrt<U64x8>, 62>(&coefficients, lazy) };
        }
    }
    #[cfg(target_arch = "x86_64")]
    if Backend::Fma.is_available() {
        for sign in [0.0, -1.0, 3.0] {
            let lazy = |i: usize, residue| {
                // Leaf products of `f64` residues have no factor 2^-52.
                let residue = PRIMES[i].mul(residue, 1 << WORD_BITS);
                (residue as f64 + sign * PRIMES[i].p as f64).to_bits()
            };
            // SAFETY: the processor's features were just detected.
            unsafe { assert_reconstructed::<F64Crt, 62>(&coefficients, lazy) };
            // SAFETY: as above.
            unsafe { assert_reconstructed::<F64Crt, 63>(&coefficients, lazy) };
        }
    }
}

/// Ripples a carry through digits, and compares with a loop over digits.
///
/// # Safety
///
/// - The processor has what the lanes need.
unsafe fn assert_ripples<L: Lanes>(digits: [u64; 8], carry: u32) {
    const D: u32 = 62;
    let mut expected = digits;
    let mut above = u64::from(carry);
    for digit in &mut expected {
        let sum = *digit + above;
        (*digit, above) = (sum % (1 << D), sum >> D);
    }
    // SAFETY: the array is 64 bytes, and the processor as this function's contract says.
    let (found, out) = unsafe { L::load(digits.as_ptr()) }.ripple::<D>(carry);
    let mut lanes = [0; 8];
    // SAFETY: the array is 64 bytes.
    unsafe { found.store(lanes.as_mut_ptr()) };
    assert_eq!((lanes, u64::from(out)), (expected, above), "{digits:?} and {carry}");
}

#[test]
fn a_carry_ripples_through_any_run_of_full_digits() {
    const MAX: u64 = (1 << 62) - 1;
    // A full digit, one that makes a carry, one that makes none.
    let kinds = [MAX, MAX + 1, MAX + (1 << 27), MAX - 1, 0];
    for choice in 0..5u64.pow(6) {
        let digit = |i: u32| kinds[(choice / 5u64.pow(i.min(5)) % 5) as usize];
        let digits = [0, 1, 2, 3, 4, 5, 1, 0].map(digit);
        for carry in [0, 1] {
            // SAFETY: no processor feature is needed.
            unsafe { assert_ripples::<PortableLanes>(digits, carry) };
            #[cfg(target_arch = "x86_64")]
            if Backend::Ifma.is_available() {
                // SAFETY: the processor's features were just detected.
                unsafe { assert_ripples::<U64x8>(digits, carry) };
            }
        }
    }
}
