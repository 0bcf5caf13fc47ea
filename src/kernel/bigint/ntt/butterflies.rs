//! Butterflies on vectors in registers.
//!
//! Each value stays inside a proven interval.
//!
//! The butterflies are generic over the arithmetic ([`ResidueField`]): integers here, `f64` in
//! `arch::avx2`.
//!
//! An [`IntegerField`] holds a residue as an integer modulo 2^52 in the low 52 bits of a lane and
//! never reads the bits above. The *true value* of a lane is the integer in `0..2^52` with these
//! bits. The intervals below bound it, in units of `p`; `8 p < 2^52`, so nothing in `[0, 8)` wraps.
//! `e` stands for at most `2^-8`.
//!
//! | operation                 | needs           | gives                                          |
//! |---------------------------|-----------------|------------------------------------------------|
//! | [`ResidueField::mul_add`] | `x` in `[0, 8)` | `acc + r`, `r = x w (mod p)`, `r` in `[-1, 1)` |
//! | [`ResidueField::reduce`]  | `x` in `[0, 8)` | `[3, 4 + e)`                                   |
//! | forward butterfly         | `a` in `[1, 7)` | both results one wider than `a` on either side |
//! | inverse radix 4           | all in `[3, 5]` | all in `[3, 5]`                                |
//! | odd transform             | all in `[0, 8)` | all in `[3 - e, 5 + e]`                        |
//!
//! *Shoup's bound*: with `W = floor(w 2^52 / p)` and `q = floor(x W / 2^52)`, `x w / p - q` lies in
//! `[0, 1 + x / 2^52)`, so `x w - q p` is in `[0, 2p)`; subtracting one more `p` centres it.
//! *Reduction*: `q = floor(x / 2^49)`, `x - q p = (x mod 2^49) + q gap < 2^49 + 7 gap`.
//! *Forward*: after a reduction `[3, 4 + e)`, three layers give `[0, 7 + e)`; so the
//! multiplicand `a` is reduced in every third layer, counted by `phase`, through all passes.
//! *Inverse*: `u + v - 4p` doubles the distance from 4: 1, 2, 4; the products are back at 1, the
//! two sums are reduced.
#![allow(unsafe_code)]

use super::prime_field::{Factor, PRIMES, Prime, WORD_MASK};
use super::simd::{Arithmetic, Integers, Lanes};
use super::twiddles::OddFactors;

/// A factor, spread over the lanes: the multiplier and its quotient.
pub(super) type Spread<L> = (L, L);

/// The factors of a pass: of node `t < 2^d` of its layer `d`.
pub(super) trait Twiddles {
    /// The factor by which the upper half of node `t` of layer `d` is multiplied.
    fn factor(&self, d: usize, t: usize) -> &Factor;
}

/// Arithmetic modulo one of the primes, on vectors of residues. The existence of a value proves
/// that the processor has what its lanes need.
pub(super) trait ResidueField: Copy {
    /// A vector of residues.
    type Lane: Arithmetic;

    /// The arithmetic of prime `index`.
    ///
    /// # Safety
    ///
    /// - The processor has what the lanes need.
    unsafe fn new(index: usize) -> Self;

    /// A factor from memory.
    #[inline(always)]
    fn spread(&self, factor: &Factor) -> Spread<Self::Lane> {
        // SAFETY: a reference is readable; the caller of `new` guaranteed the processor.
        let w = unsafe { Self::Lane::splat_from(&raw const factor.w) };
        // SAFETY: as above.
        let quotient = unsafe { Self::Lane::splat_from(&raw const factor.quotient) };
        (w, quotient)
    }

    /// All lanes zero.
    fn zero(&self) -> Self::Lane;

    /// Subtracted from a sum to keep it centred; `3p` where residues are positive.
    fn three_p(&self) -> Self::Lane;

    /// The centre of the intervals; `4p` where residues are positive.
    fn four_p(&self) -> Self::Lane;

    /// A residue of `acc + x w`.
    fn mul_add(&self, acc: Self::Lane, x: Self::Lane, w: Spread<Self::Lane>) -> Self::Lane;

    /// A residue of `x w`, in the interval that butterflies return.
    fn mul(&self, x: Self::Lane, w: Spread<Self::Lane>) -> Self::Lane;

    /// A residue of `x`, in the narrowest interval.
    fn reduce(&self, x: Self::Lane) -> Self::Lane;

    /// `(a + x w, a - x w)`; `a` is reduced first if `reduce` is set.
    #[inline(always)]
    fn forward(
        &self,
        a: Self::Lane,
        x: Self::Lane,
        w: Spread<Self::Lane>,
        reduce: bool,
    ) -> (Self::Lane, Self::Lane) {
        let a = if reduce { self.reduce(a) } else { a };
        let product = self.mul(x, w);
        (a.add(product), a.sub(product))
    }

    /// `(u + v, (v - u) w)`: undoes [`ResidueField::forward`], up to a factor 2, if `w` is the
    /// negated inverse of its factor.
    #[inline(always)]
    fn inverse(
        &self,
        u: Self::Lane,
        v: Self::Lane,
        w: Spread<Self::Lane>,
    ) -> (Self::Lane, Self::Lane) {
        (u.add(v), self.mul(v.sub(u), w))
    }
}

/// The constants of one prime in registers. Its existence proves that the processor has what `L`
/// needs.
#[derive(Clone, Copy)]
pub(super) struct IntegerField<L> {
    pub(super) prime: Prime,
    pub(super) p: L,
    minus_p: L,
    three_p: L,
    four_p: L,
    one: L,
    minus_three: L,
    eight: L,
}

impl<L: Integers> IntegerField<L> {
    /// All lanes equal to `x`.
    #[inline(always)]
    pub(super) fn splat(&self, x: u64) -> L {
        // SAFETY: the caller of `new` guaranteed that the processor has what `L` needs.
        unsafe { L::splat(x) }
    }
}

impl<L: Integers> ResidueField for IntegerField<L> {
    type Lane = L;

    #[inline(always)]
    unsafe fn new(index: usize) -> Self {
        let prime = PRIMES[index];
        // SAFETY: the processor has what `L` needs, by this function's contract.
        let splat = |x| unsafe { L::splat(x) };
        Self {
            prime,
            p: splat(prime.p),
            minus_p: splat(prime.p.wrapping_neg() & WORD_MASK),
            three_p: splat(3 * prime.p),
            four_p: splat(4 * prime.p),
            one: splat(1),
            minus_three: splat(3u64.wrapping_neg()),
            eight: splat(8),
        }
    }

    #[inline(always)]
    fn zero(&self) -> L {
        self.splat(0)
    }

    #[inline(always)]
    fn three_p(&self) -> L {
        self.three_p
    }

    #[inline(always)]
    fn four_p(&self) -> L {
        self.four_p
    }

    /// `acc + r` with `r = x w (mod p)` in `[-p, p)`, for a true `x` in `[0, 2^52)`.
    #[inline(always)]
    fn mul_add(&self, acc: L, x: L, (w, quotient): Spread<L>) -> L {
        let q = self.one.add_high(x, quotient);
        acc.add_product(x, w).add_product(q, self.minus_p)
    }

    /// In `[3p, 5p)`.
    #[inline(always)]
    fn mul(&self, x: L, w: Spread<L>) -> L {
        self.mul_add(self.four_p, x, w)
    }

    /// A value congruent to `x` in `[3p, 4p + 7 gap)`.
    #[inline(always)]
    fn reduce(&self, x: L) -> L {
        x.add_product(self.minus_three.add_high(x, self.eight), self.minus_p)
    }

    #[inline(always)]
    fn forward(&self, a: L, x: L, w: Spread<L>, reduce: bool) -> (L, L) {
        let a = if reduce { self.reduce(a) } else { a };
        let sum = self.mul_add(a, x, w);
        (sum, a.add(a).sub(sum))
    }

    #[inline(always)]
    fn inverse(&self, u: L, v: L, w: Spread<L>) -> (L, L) {
        let u = u.sub(self.four_p);
        (v.add(u), self.mul(v.sub(u), w))
    }
}

impl<L: Lanes> IntegerField<L> {
    /// `x w mod p` in `[0, p)`, for a true `x` in `[0, 2^52)`.
    #[inline(always)]
    pub(super) fn mul_canonical(&self, x: L, w: Spread<L>) -> L {
        let product = self.mul_add(self.p, x, w).and(self.splat(WORD_MASK));
        product.min(product.sub(self.p))
    }
}

/// Two layers, from layer `d` at its node `t`, on the elements `at` of `x`.
#[inline(always)]
fn forward4<G: ResidueField>(
    field: &G,
    x: &mut [G::Lane],
    at: [usize; 4],
    (d, t): (usize, usize),
    phase: usize,
    twiddles: &impl Twiddles,
) {
    let [i0, i1, i2, i3] = at;
    let w = field.spread(twiddles.factor(d, t));
    let reduce = (phase + d).is_multiple_of(3);
    let (x0, x2) = field.forward(x[i0], x[i2], w, reduce);
    let (x1, x3) = field.forward(x[i1], x[i3], w, reduce);
    let reduce = (phase + d + 1).is_multiple_of(3);
    (x[i0], x[i1]) = field.forward(x0, x1, field.spread(twiddles.factor(d + 1, 2 * t)), reduce);
    (x[i2], x[i3]) = field.forward(x2, x3, field.spread(twiddles.factor(d + 1, 2 * t + 1)), reduce);
}

/// All `log2(R)` layers of a forward pass; layer `d` is `phase + d` layers after a reduction.
#[inline(always)]
pub(super) fn forward<G: ResidueField, const R: usize>(
    field: &G,
    x: &mut [G::Lane; R],
    phase: usize,
    twiddles: &impl Twiddles,
) {
    const { assert!(R == 1 || R == 2 || R == 4 || R == 8 || R == 16) };
    if R == 2 || R == 8 {
        let half = R / 2;
        let w = field.spread(twiddles.factor(0, 0));
        for i in 0..half {
            (x[i], x[i + half]) = field.forward(x[i], x[i + half], w, phase.is_multiple_of(3));
        }
    }
    if R == 8 {
        forward4(field, x, [0, 1, 2, 3], (1, 0), phase, twiddles);
        forward4(field, x, [4, 5, 6, 7], (1, 1), phase, twiddles);
    }
    if R == 4 {
        forward4(field, x, [0, 1, 2, 3], (0, 0), phase, twiddles);
    }
    if R == 16 {
        for i in 0..4 {
            forward4(field, x, [i, i + 4, i + 8, i + 12], (0, 0), phase, twiddles);
        }
        for t in 0..4 {
            let i = 4 * t;
            forward4(field, x, [i, i + 1, i + 2, i + 3], (2, t), phase, twiddles);
        }
    }
}

/// [`forward`] where the upper half of `x` is zero: both results of a butterfly of the first layer
/// are then its `a`. For 16 elements and phase 0.
#[inline(always)]
pub(super) fn forward_half<G: ResidueField>(
    field: &G,
    x: &mut [G::Lane],
    twiddles: &impl Twiddles,
) {
    for i in 0..8 {
        x[i] = field.reduce(x[i]);
        x[i + 8] = x[i];
    }
    for i in 0..4 {
        for t in 0..2 {
            let (at, w) = (i + 8 * t, field.spread(twiddles.factor(1, t)));
            (x[at], x[at + 4]) = field.forward(x[at], x[at + 4], w, false);
        }
    }
    for t in 0..4 {
        let i = 4 * t;
        forward4(field, x, [i, i + 1, i + 2, i + 3], (2, t), 0, twiddles);
    }
}

/// Undoes two layers, down to layer `d` at its node `t`, on the elements `at` of `x`.
#[inline(always)]
fn inverse4<G: ResidueField>(
    field: &G,
    x: &mut [G::Lane],
    at: [usize; 4],
    (d, t): (usize, usize),
    twiddles: &impl Twiddles,
) {
    let [i0, i1, i2, i3] = at;
    let (x0, x1) = field.inverse(x[i0], x[i1], field.spread(twiddles.factor(d + 1, 2 * t)));
    let (x2, x3) = field.inverse(x[i2], x[i3], field.spread(twiddles.factor(d + 1, 2 * t + 1)));
    let w = field.spread(twiddles.factor(d, t));
    let (x0, x2) = field.inverse(x0, x2, w);
    let (x1, x3) = field.inverse(x1, x3, w);
    x[i0] = field.reduce(x0);
    x[i1] = field.reduce(x1);
    x[i2] = x2;
    x[i3] = x3;
}

/// Undoes [`forward`], up to a factor `R`; the factors are the negated inverses of its factors.
#[inline(always)]
pub(super) fn inverse<G: ResidueField, const R: usize>(
    field: &G,
    x: &mut [G::Lane; R],
    twiddles: &impl Twiddles,
) {
    const { assert!(R == 1 || R == 2 || R == 4 || R == 8 || R == 16) };
    if R == 16 {
        for t in 0..4 {
            let i = 4 * t;
            inverse4(field, x, [i, i + 1, i + 2, i + 3], (2, t), twiddles);
        }
        for i in 0..4 {
            inverse4(field, x, [i, i + 4, i + 8, i + 12], (0, 0), twiddles);
        }
    }
    if R == 4 {
        inverse4(field, x, [0, 1, 2, 3], (0, 0), twiddles);
    }
    if R == 8 {
        inverse4(field, x, [0, 1, 2, 3], (1, 0), twiddles);
        inverse4(field, x, [4, 5, 6, 7], (1, 1), twiddles);
    }
    if R == 2 || R == 8 {
        let half = R / 2;
        let w = field.spread(twiddles.factor(0, 0));
        for i in 0..half {
            let (sum, difference) = field.inverse(x[i], x[i + half], w);
            (x[i], x[i + half]) = (field.reduce(sum), difference);
        }
    }
}

/// `y[e] = sum_t x[t] w^(e t)` for `w` of odd order `M`.
#[inline(always)]
pub(super) fn odd<G: ResidueField, const M: usize>(
    field: &G,
    factors: &OddFactors,
    x: [G::Lane; M],
) -> [G::Lane; M] {
    match M {
        1 => x,
        9 => odd_composite::<G, 3, 3, M>(field, factors, x),
        15 => odd_composite::<G, 3, 5, M>(field, factors, x),
        _ => odd_prime(field, factors, 0, x),
    }
}

/// Of prime order `M <= 7`: with `u = x[t] + x[M-t]`, `v = x[t] - x[M-t]` for `t` in `1..=M/2`,
/// `y[e]` and `y[M-e]` are `x[0] + sum u cos(e t) +- sum v sin(e t)`.
///
/// Intervals, with `T = M / 2 <= 3` terms: `u` in `[3, 5 + e)`, `v` in `[2 - e, 4 + e)`; the two
/// sums in `[3 - T, 4 + e + T)` and `[3 - T, 3 + T)`.
#[inline(always)]
fn odd_prime<G: ResidueField, const M: usize>(
    field: &G,
    factors: &OddFactors,
    set: usize,
    x: [G::Lane; M],
) -> [G::Lane; M] {
    const { assert!(M % 2 == 1 && M <= 7 || M == 9 || M == 15) };
    let (cos, sin) = (&factors.cos[set], &factors.sin[set]);
    let mut x = x;
    for x in &mut x {
        *x = field.reduce(*x);
    }
    let mut u = x;
    let mut v = x;
    let mut y = x;
    for t in 1..=M / 2 {
        u[t] = x[t].add(x[M - t]).sub(field.three_p());
        v[t] = x[t].sub(x[M - t]).add(field.three_p());
        y[0] = field.reduce(y[0].add(u[t]).sub(field.three_p()));
    }
    for e in 1..=M / 2 {
        let mut even = x[0];
        let mut odd = field.three_p();
        for t in 1..=M / 2 {
            even = field.mul_add(even, u[t], field.spread(&cos[e * t % M]));
            odd = field.mul_add(odd, v[t], field.spread(&sin[e * t % M]));
        }
        let (even, odd) = (field.reduce(even), field.reduce(odd));
        y[e] = even.add(odd).sub(field.three_p());
        y[M - e] = even.sub(odd).add(field.four_p());
    }
    y
}

/// Of order `M = A B`, by Cooley and Tukey: `t = B a + b`, `e = e1 + A e2`.
#[inline(always)]
fn odd_composite<G: ResidueField, const A: usize, const B: usize, const M: usize>(
    field: &G,
    factors: &OddFactors,
    mut x: [G::Lane; M],
) -> [G::Lane; M] {
    for b in 0..B {
        let mut inner = [field.zero(); A];
        for a in 0..A {
            inner[a] = x[B * a + b];
        }
        let inner = odd_prime(field, factors, 0, inner);
        for e in 0..A {
            let twist = field.spread(&factors.twist[b * A + e]);
            x[B * e + b] = field.mul(inner[e], twist);
        }
    }
    let mut y = x;
    for e1 in 0..A {
        let mut outer = [field.zero(); B];
        for b in 0..B {
            outer[b] = x[B * e1 + b];
        }
        let outer = odd_prime(field, factors, 1, outer);
        for e2 in 0..B {
            y[e1 + A * e2] = outer[e2];
        }
    }
    y
}
