//! Scalar arithmetic modulo the three transform primes.

/// The bits of a multiplicand, and of each half of a product.
pub(super) const WORD_BITS: u32 = 52;

/// The low `WORD_BITS` bits.
pub(super) const WORD_MASK: u64 = (1 << WORD_BITS) - 1;

/// Every prime has roots of unity of this order: 2^24 * 3^2 * 5 * 7.
pub(super) const ROOT_ORDER: u64 = 315 << 24;

/// A prime `p = 2^49 - gap` with `p = 1 (mod ROOT_ORDER)`, and a root of unity of that order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prime {
    pub(super) p: u64,
    pub(super) root: u64,
    /// `floor(gap * 2^64 / p)`.
    gap_over_p: u64,
}

/// The three largest such primes. `gap < 2^36.7` for each, `8 * p < 2^52`.
pub(super) const PRIMES: [Prime; 3] = [
    Prime::new(562_886_501_990_401, 14_078_667_560_713),
    Prime::new(562_865_362_698_241, 134_820_162_579_474),
    Prime::new(562_838_938_583_041, 453_570_683_764_400),
];

/// A constant multiplier: `w < p` and `floor(w * 2^52 / p)`, which makes a product modulo `p`
/// three multiplications without a division (Shoup).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(super) struct Factor {
    pub(super) w: u64,
    pub(super) quotient: u64,
}

impl Prime {
    const fn new(p: u64, root: u64) -> Self {
        let gap = (1 << 49) - p as u128;
        Self { p, root, gap_over_p: low((gap << 64) / p as u128) }
    }

    /// `2^49 - p`, to which 2^49 is congruent.
    pub(super) const fn gap(self) -> u64 {
        (1 << 49) - self.p
    }

    /// `a * b mod p` for `a, b < 2^64`.
    pub(super) const fn mul(self, a: u64, b: u64) -> u64 {
        low(a as u128 * b as u128 % self.p as u128)
    }

    /// `a - b mod p` for `a, b < p`.
    pub(super) const fn sub(self, a: u64, b: u64) -> u64 {
        if a >= b { a - b } else { a + self.p - b }
    }

    /// `base ^ exponent mod p`.
    pub(super) const fn pow(self, base: u64, mut exponent: u64) -> u64 {
        let mut square = base % self.p;
        let mut power = 1;
        while exponent > 0 {
            if exponent & 1 == 1 {
                power = self.mul(power, square);
            }
            square = self.mul(square, square);
            exponent >>= 1;
        }
        power
    }

    /// `1 / a mod p` for `a` not divisible by `p`, by Fermat.
    pub(super) const fn inverse(self, a: u64) -> u64 {
        self.pow(a, self.p - 2)
    }

    /// A root of unity of exact order `order`, which divides [`ROOT_ORDER`].
    pub(super) const fn root_of_order(self, order: u64) -> u64 {
        assert!(ROOT_ORDER.is_multiple_of(order), "the prime has no root of this order");
        self.pow(self.root, ROOT_ORDER / order)
    }

    /// `1 / p mod 2^52`, by Newton: each step doubles the correct low bits, from 3.
    pub(super) const fn inverse_of_p(self) -> u64 {
        let mut x = self.p;
        let mut step = 0;
        while step < 5 {
            x = x.wrapping_mul(2u64.wrapping_sub(self.p.wrapping_mul(x)));
            step += 1;
        }
        x & WORD_MASK
    }

    /// The factor of `w < p`.
    ///
    /// `w * 2^52 / p = 8 w + 8 w gap / p`. The second term, from the truncated fraction, is at most
    /// 2 too small; the remainder is then small enough to be exact modulo 2^64.
    pub(super) const fn factor(self, w: u64) -> Factor {
        let mut quotient = 8 * w + low((8 * w as u128 * self.gap_over_p as u128) >> 64);
        let mut rest = (w << WORD_BITS).wrapping_sub(quotient.wrapping_mul(self.p));
        while rest >= self.p {
            rest -= self.p;
            quotient += 1;
        }
        Factor { w, quotient }
    }

    /// The bits of a factor, taken as a residue of either sign, and of its quotient by `p`, both
    /// as `f64`.
    pub(super) fn f64_factor(self, factor: Factor) -> Factor {
        let negative = factor.w > self.p / 2;
        let magnitude = if negative { self.p - factor.w } else { factor.w };
        let w = if negative { -(magnitude as f64) } else { magnitude as f64 };
        Factor { w: w.to_bits(), quotient: (w / self.p as f64).to_bits() }
    }

    /// `x * f.w mod p` for `x < 2^52`: the remainder is below `2 p` before the correction.
    pub(super) const fn mul_factor(self, x: u64, f: Factor) -> u64 {
        let quotient = low((x as u128 * f.quotient as u128) >> WORD_BITS);
        let rest = x.wrapping_mul(f.w).wrapping_sub(quotient.wrapping_mul(self.p));
        if rest >= self.p { rest - self.p } else { rest }
    }
}

/// The low 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(x: u128) -> u64 {
    x as u64
}

const _: () = {
    let mut i = 0;
    while i < 3 {
        let prime = PRIMES[i];
        assert!((prime.p - 1).is_multiple_of(ROOT_ORDER) && 8 * prime.p < 1 << WORD_BITS);
        assert!(prime.pow(prime.root, ROOT_ORDER) == 1);
        let divisors = [2, 3, 5, 7];
        let mut d = 0;
        while d < 4 {
            assert!(prime.pow(prime.root, ROOT_ORDER / divisors[d]) != 1);
            d += 1;
        }
        assert!(prime.p.wrapping_mul(prime.inverse_of_p()) & WORD_MASK == 1);
        i += 1;
    }
};
