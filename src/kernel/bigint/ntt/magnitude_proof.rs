//! Proof by computation that `f64` residues stay exact.
//!
//! The butterflies are run on bounds: each operand must be below `2^52` in magnitude for all values
//! within the bounds at once. `arch::avx2` relies on that.
#![allow(unsafe_code)]

use super::butterflies::{self, ResidueField, Spread};
use super::interval_proof::{AnyFactors, plan};
use super::plan::ODD_PARTS;
use super::prime_field::PRIMES;
use super::simd::Arithmetic;
use super::twiddles::{self, tables};

/// An integer of at most this magnitude.
#[derive(Clone, Copy, Debug)]
struct Bound(i128);

impl Bound {
    fn new(magnitude: i128) -> Self {
        assert!(magnitude < 1 << 52, "{magnitude} is not below 2^52");
        Self(magnitude)
    }
}

impl Arithmetic for Bound {
    const WIDTH: usize = 1;

    #[expect(clippy::cast_possible_truncation, reason = "below 2^52, or it is not accepted")]
    unsafe fn splat(bits: u64) -> Self {
        Self::new(f64::from_bits(bits).abs().ceil() as i128)
    }

    unsafe fn load(_: *const u64) -> Self {
        unimplemented!("butterflies do not touch memory")
    }

    unsafe fn store(self, _: *mut u64) {
        unimplemented!("butterflies do not touch memory")
    }

    fn add(self, other: Self) -> Self {
        Self::new(self.0 + other.0)
    }

    fn sub(self, other: Self) -> Self {
        Self::new(self.0 + other.0)
    }
}

/// The bounds that `arch::avx2` proves of its arithmetic, and nothing else.
#[derive(Clone, Copy)]
struct BoundField {
    p: i128,
}

impl ResidueField for BoundField {
    type Lane = Bound;

    unsafe fn new(index: usize) -> Self {
        Self { p: PRIMES[index].p.into() }
    }

    fn zero(&self) -> Bound {
        Bound(0)
    }

    fn three_p(&self) -> Bound {
        Bound(0)
    }

    fn four_p(&self) -> Bound {
        Bound(0)
    }

    fn mul_add(&self, acc: Bound, x: Bound, w: Spread<Bound>) -> Bound {
        acc.add(self.mul(x, w))
    }

    fn mul(&self, x: Bound, (w, quotient): Spread<Bound>) -> Bound {
        assert!(w.0 <= self.p / 2 && quotient.0 <= 1, "a factor that is not centred");
        Bound::new(self.p / 2 + ((x.0 * self.p) >> 55) + 1)
    }

    fn reduce(&self, x: Bound) -> Bound {
        Bound::new(x.0.min(self.p / 2 + (self.p >> 40)))
    }
}

/// Bounds of values that are `phase` layers from a reduction, in 16ths of p.
const PHASES: [i128; 3] = [40, 20, 30];

fn for_each_prime(check: impl Fn(BoundField, AnyFactors<'_>)) {
    for index in 0..PRIMES.len() {
        // SAFETY: bounds need no processor feature.
        let field = unsafe { BoundField::new(index) };
        check(field, AnyFactors(tables(plan(1), twiddles::ResidueKind::F64)[index].row(0)));
    }
}

fn assert_below(x: &[Bound], bound: i128, what: &str) {
    assert!(x.iter().all(|x| x.0 <= bound), "{what}: {x:?} above {bound}");
}

fn butterflies_stay_below<const R: usize>() {
    for_each_prime(|field, factors| {
        for (phase, sixteenths) in PHASES.into_iter().enumerate() {
            let mut x = [Bound::new(sixteenths * field.p / 16); R];
            butterflies::forward(&field, &mut x, phase, &factors);
            let after = (phase + R.ilog2() as usize) % 3;
            assert_below(&x, PHASES[after] * field.p / 16, "forward");
        }
        let mut x = [Bound::new(field.p); R];
        butterflies::inverse(&field, &mut x, &factors);
        assert_below(&x, field.p, "inverse");
    });
}

#[test]
fn butterflies_of_f64_residues_stay_exact() {
    butterflies_stay_below::<2>();
    butterflies_stay_below::<4>();
    butterflies_stay_below::<8>();
    butterflies_stay_below::<16>();
    for_each_prime(|field, factors| {
        let mut x = [Bound::new(5 * field.p); 16];
        butterflies::forward_half(&field, &mut x, &factors);
        assert_below(&x, PHASES[1] * field.p / 16, "forward half");
        let mut x = [Bound::new(5 * field.p); 16];
        butterflies::forward(&field, &mut x, 0, &factors);
        assert_below(&x, PHASES[1] * field.p / 16, "the first pass");
    });
}

fn odd_stays_below<const M: usize>() {
    assert!(ODD_PARTS.iter().any(|&(odd, _)| odd == M));
    for index in 0..PRIMES.len() {
        // SAFETY: bounds need no processor feature.
        let field = unsafe { BoundField::new(index) };
        let tables = tables(plan(M), twiddles::ResidueKind::F64);
        let y = butterflies::odd(&field, &tables[index].odd_factors, [Bound::new(5 * field.p); M]);
        assert_below(&y, PHASES[1] * field.p / 16, "odd");
    }
}

#[test]
fn odd_transforms_of_f64_residues_stay_exact() {
    odd_stays_below::<3>();
    odd_stays_below::<5>();
    odd_stays_below::<7>();
    odd_stays_below::<9>();
    odd_stays_below::<15>();
}
