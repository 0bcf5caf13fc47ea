//! Proof by computation that every value stays inside its interval.
//!
//! The butterflies are run on [`Interval`]s: linear forms over intervals, so that `2 a - (a + r)`
//! is known to be `a - r`. Each multiplicand must lie in `[0, 2^52)` for all values of the
//! intervals at once. So the result holds for all inputs, not only for those of a test.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::butterflies::{self, IntegerField, ResidueField, Twiddles};
use super::plan::{ODD_PARTS, TransformPlan};
use super::prime_field::{Factor, PRIMES, WORD_MASK};
use super::simd::{Arithmetic, Integers};
use super::twiddles::{self, tables};

/// What is known of a lane: the index of a [`LinearForm`] in the arena of this thread.
#[derive(Clone, Copy)]
struct Interval(usize);

#[derive(Clone, Debug, Default)]
struct LinearForm {
    constant: i128,
    /// Coefficients of the unknowns, by number.
    terms: BTreeMap<usize, i128>,
    /// `x w`, added modulo 2^52 to the low half: the form of `x`, and `w`.
    pending: Option<(usize, i128)>,
    /// This is `constant + floor(x * factor / 2^52)`: the form of `x`, and the factor.
    quotient: Option<(usize, i128)>,
}

thread_local! {
    static FORMS: RefCell<Vec<LinearForm>> = const { RefCell::new(Vec::new()) };
    /// The interval of each unknown, both ends included.
    static UNKNOWNS: RefCell<Vec<(i128, i128)>> = const { RefCell::new(Vec::new()) };
}

impl Interval {
    fn new(form: LinearForm) -> Self {
        FORMS.with_borrow_mut(|forms| {
            forms.push(form);
            Self(forms.len() - 1)
        })
    }

    fn form(self) -> LinearForm {
        FORMS.with_borrow(|forms| forms[self.0].clone())
    }

    /// A new unknown between `low` and `high`.
    fn unknown(low: i128, high: i128) -> Self {
        let number = UNKNOWNS.with_borrow_mut(|unknowns| {
            unknowns.push((low, high));
            unknowns.len() - 1
        });
        Self::new(LinearForm { terms: BTreeMap::from([(number, 1)]), ..LinearForm::default() })
    }

    fn bounds(self) -> (i128, i128) {
        let form = self.form();
        assert!(form.pending.is_none() && form.quotient.is_none(), "not a value: {form:?}");
        UNKNOWNS.with_borrow(|unknowns| {
            form.terms.iter().fold((form.constant, form.constant), |(low, high), (&n, &k)| {
                let (a, b) = unknowns[n];
                (low + (k * a).min(k * b), high + (k * a).max(k * b))
            })
        })
    }

    /// The bounds of a multiplicand, which must be a true value.
    fn multiplicand(self) -> (i128, i128) {
        let (low, high) = self.bounds();
        assert!(low >= 0 && high <= i128::from(WORD_MASK), "{low}..={high} wraps");
        (low, high)
    }

    fn combine(self, other: Self, sign: i128) -> Self {
        let (mut form, other) = (self.form(), other.form());
        assert!(form.pending.is_none() && other.pending.is_none(), "half a product");
        form.constant += sign * other.constant;
        for (n, k) in other.terms {
            *form.terms.entry(n).or_insert(0) += sign * k;
        }
        Self::new(form)
    }

    fn constant(self) -> i128 {
        let form = self.form();
        assert!(form.terms.is_empty(), "not a constant: {form:?}");
        form.constant
    }
}

impl Arithmetic for Interval {
    const WIDTH: usize = 1;

    unsafe fn splat(x: u64) -> Self {
        Self::new(LinearForm { constant: x.into(), ..LinearForm::default() })
    }

    unsafe fn load(_: *const u64) -> Self {
        unimplemented!("butterflies do not touch memory")
    }

    unsafe fn store(self, _: *mut u64) {
        unimplemented!("butterflies do not touch memory")
    }

    fn add(self, other: Self) -> Self {
        self.combine(other, 1)
    }

    fn sub(self, other: Self) -> Self {
        self.combine(other, -1)
    }
}

impl Integers for Interval {
    fn add_high(self, x: Self, y: Self) -> Self {
        x.multiplicand();
        // A constant near 2^64 is negative.
        let constant = self.constant();
        let wrap = if constant > i128::from(i64::MAX) { 1 << 64 } else { 0 };
        let constant = constant - wrap;
        Self::new(LinearForm {
            constant,
            quotient: Some((x.0, y.constant())),
            ..LinearForm::default()
        })
    }

    fn add_product(self, x: Self, y: Self) -> Self {
        let mut form = self.form();
        let Some((multiplicand, factor)) = x.form().quotient else {
            x.multiplicand();
            assert!(form.pending.is_none(), "two products at once");
            form.pending = Some((x.0, y.constant()));
            return Self::new(form);
        };
        let p = i128::from(WORD_MASK) + 1 - y.constant();
        let more = -x.form().constant * p;
        let (_, high) = Self(multiplicand).multiplicand();
        if let Some((product_of, w)) = form.pending.take() {
            assert_eq!((product_of, factor), (multiplicand, (w << 52) / p), "another's quotient");
            // Shoup: x w - floor(x W / 2^52) p is in [0, p + x p / 2^52).
            let remainder = Self::unknown(more, more + p + ((high * p) >> 52));
            return Self::new(form).combine(remainder, 1);
        }
        // A reduction: x - floor(x / 2^49) p = (x mod 2^49) + floor(x / 2^49) gap.
        assert_eq!((multiplicand, factor), (self.0, 8), "a reduction of something else");
        let gap = (1 << 49) - p;
        Self::unknown(more, more + (1 << 49) - 1 + (high >> 49) * gap)
    }
}

/// Some factors: the bounds do not depend on their values.
pub(super) struct AnyFactors<'a>(pub(super) &'a [Factor]);

impl Twiddles for AnyFactors<'_> {
    fn factor(&self, d: usize, t: usize) -> &Factor {
        &self.0[(1 << d) + t]
    }
}

pub(super) fn plan(odd: usize) -> TransformPlan {
    TransformPlan { odd, log: 6, digit_bits: 63 }
}

/// The interval of values that are `phase` layers from a reduction, in units of p and with a slack
/// of p / 256: `[0, 8)`, `[2, 5 + e]`, `[1, 6 + e]`.
fn phase_interval(phase: usize, p: i128) -> (i128, i128) {
    match phase % 3 {
        0 => (0, 1 << 52),
        1 => (2 * p, 5 * p + p / 256),
        _ => (p, 6 * p + p / 256),
    }
}

fn assert_inside(x: &[Interval], (low, high): (i128, i128), what: &str) {
    for x in x {
        let (a, b) = x.bounds();
        assert!(low <= a && b <= high, "{what}: {a}..={b} leaves {low}..={high}");
    }
}

/// Runs `check` with the constants of each prime and factors for it.
fn for_each_prime(check: impl Fn(&IntegerField<Interval>, i128, AnyFactors<'_>)) {
    for (index, prime) in PRIMES.iter().enumerate() {
        // SAFETY: intervals need no processor feature.
        let field = unsafe { IntegerField::<Interval>::new(index) };
        check(
            &field,
            prime.p.into(),
            AnyFactors(tables(plan(1), twiddles::ResidueKind::Integer)[index].row(0)),
        );
    }
}

fn forward_stays_inside<const R: usize>() {
    for_each_prime(|field, p, factors| {
        for phase in 0..3 {
            let (low, high) = phase_interval(phase, p);
            let mut x = [(); R].map(|()| Interval::unknown(low, high.min(8 * p)));
            butterflies::forward(field, &mut x, phase, &factors);
            let after = phase + R.ilog2() as usize;
            // From phase 0, one more layer gives `[0, 7 + e]`, which phase 0 then reduces.
            let interval =
                if after.is_multiple_of(3) { (0, 8 * p) } else { phase_interval(after, p) };
            assert_inside(&x, interval, "forward");
        }
    });
}

#[test]
fn forward_butterflies_stay_inside_their_intervals() {
    forward_stays_inside::<2>();
    forward_stays_inside::<4>();
    forward_stays_inside::<8>();
    forward_stays_inside::<16>();
    for_each_prime(|field, p, factors| {
        let mut x = [(); 16].map(|()| Interval::unknown(0, 8 * p));
        butterflies::forward_half(field, &mut x, &factors);
        assert_inside(&x, phase_interval(1, p), "forward half");
    });
}

fn inverse_stays_inside<const R: usize>() {
    for_each_prime(|field, p, factors| {
        let mut x = [(); R].map(|()| Interval::unknown(3 * p, 5 * p));
        butterflies::inverse(field, &mut x, &factors);
        assert_inside(&x, (3 * p, 5 * p), "inverse");
    });
}

#[test]
fn inverse_butterflies_stay_inside_their_interval() {
    inverse_stays_inside::<2>();
    inverse_stays_inside::<4>();
    inverse_stays_inside::<8>();
    inverse_stays_inside::<16>();
}

fn odd_stays_inside<const M: usize>() {
    assert!(ODD_PARTS.iter().any(|&(odd, _)| odd == M));
    for (index, prime) in PRIMES.iter().enumerate() {
        // SAFETY: intervals need no processor feature.
        let field = unsafe { IntegerField::<Interval>::new(index) };
        let p = i128::from(prime.p);
        let x = [(); M].map(|()| Interval::unknown(0, 8 * p));
        let y = butterflies::odd(
            &field,
            &tables(plan(M), twiddles::ResidueKind::Integer)[index].odd_factors,
            x,
        );
        assert_inside(&y, phase_interval(1, p), "odd");
    }
}

#[test]
fn odd_transforms_stay_inside_their_intervals() {
    odd_stays_inside::<3>();
    odd_stays_inside::<5>();
    odd_stays_inside::<7>();
    odd_stays_inside::<9>();
    odd_stays_inside::<15>();
}

#[test]
fn the_digits_of_both_ends_stay_inside_the_first_interval() {
    for prime in PRIMES {
        let largest = ((1u64 << 49) - 1) + ((1 << 14) - 1) * prime.gap();
        assert!(largest < 5 * prime.p, "a digit of 63 bits, folded once");
        // Leaves: high and low halves of eight products of values below 2^52 fit into 64 bits,
        // and the Montgomery step leaves less than 2^55 + 8 + p, folded into [3p, 5p].
        let sum = (1u64 << 55) + 8 + prime.p;
        let folded = 3 * prime.p + ((1 << 49) - 1) + (sum >> 49) * prime.gap();
        assert!(folded <= 5 * prime.p);
    }
}
