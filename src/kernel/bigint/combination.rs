//! Primorials and binomial coefficients, as products of segments.
//!
//! Both are products of prime powers. The exponent of `p` in `C(n, k)` is the number of carries
//! when `k` and `n - k` are added in base `p` (Kummer). So if `n` is not much larger than `k`, the
//! coefficient is the product of `p^e` over the primes up to `n`. For larger `n` most of the
//! factors `n - k + 1, ..., n` have large primes, each once: all primes up to `k` are divided out
//! of these factors, and replaced by `p^e` for the primes up to `k`.

use std::ops::Range;

use super::product_tree::{product, product_of_all, product_scratch_limbs, push_factor as push};
use super::sieve::Sieve;

/// The fewest numbers in a segment.
const SEGMENT_MIN: u64 = 1 << 16;

/// The most segments.
const SEGMENTS_MAX: u64 = 1024;

/// The same where each segment tests all primes up to `k`.
const SEGMENTS_SPARSE_MAX: u64 = 64;

/// The greatest ratio `n / k` for which the primes up to `n` are sieved.
const DENSE_RATIO_MAX: u64 = 64;

/// The product of all primes up to `n`, n#, or a binomial coefficient, in segments whose products
/// can be multiplied in any grouping.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::Combination;
/// assert_eq!(Combination::binomial(10, 4).product(), [210]);
/// assert_eq!(Combination::primorial(12).product(), [2 * 3 * 5 * 7 * 11]);
/// assert_eq!(Combination::binomial(u64::MAX, 1).product(), [u64::MAX]);
/// assert!(Combination::binomial(3, 4).product().is_empty()); // zero
/// ```
#[derive(Debug, Clone)]
pub struct Combination {
    kind: Kind,
    /// The numbers from 0 up to this one are divided into segments.
    numbers: u64,
    span: u64,
    sieve: Sieve,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Zero,
    Primorial,
    /// `C(n, k)`, `k <= n - k`, by the primes up to `n`.
    Dense {
        n: u64,
        k: u64,
    },
    /// The same by the factors above `n - k`.
    Sparse {
        n: u64,
        k: u64,
    },
}

impl Combination {
    /// The product of all primes up to `n`; 1 if there are none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert_eq!(Combination::primorial(10).product(), [210]);
    /// assert_eq!(Combination::primorial(1).product(), [1]);
    /// ```
    #[must_use]
    pub fn primorial(n: u64) -> Self {
        Self::new(Kind::Primorial, n.saturating_add(1), n)
    }

    /// `n` over `k`; zero if `k > n`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert_eq!(Combination::binomial(52, 5).product(), [2_598_960]);
    /// ```
    #[must_use]
    pub fn binomial(n: u64, k: u64) -> Self {
        let Some(k) = n.checked_sub(k).map(|other| other.min(k)) else {
            return Self::new(Kind::Zero, 0, 0);
        };
        if k == 0 {
            // The empty product.
            Self::primorial(0)
        } else if n / k < DENSE_RATIO_MAX {
            Self::new(Kind::Dense { n, k }, n.saturating_add(1), n)
        } else {
            Self::new(Kind::Sparse { n, k }, k + 1, k)
        }
    }

    fn new(kind: Kind, numbers: u64, sieve_max: u64) -> Self {
        // Each sparse segment tests all primes.
        let segments_max = match kind {
            Kind::Sparse { .. } => SEGMENTS_SPARSE_MAX,
            _ => SEGMENTS_MAX,
        };
        let span = numbers.div_ceil(segments_max).max(SEGMENT_MIN);
        Self { kind, numbers, span, sieve: Sieve::new(sieve_max) }
    }

    /// Limbs that are enough for n#, by `theta(n) < 1.0163 n` (Rosser and Schoenfeld, 1962); `None`
    /// if a `usize` cannot hold their number.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert!(Combination::primorial_limbs(1000).is_some_and(|limbs| (22..30).contains(&limbs)));
    /// ```
    #[must_use]
    pub fn primorial_limbs(n: u64) -> Option<usize> {
        // 1.0163 / ln 2 < 1.467
        usize::try_from(u128::from(n) * 1467 / 64_000 + 2).ok()
    }

    /// Limbs that are enough for `n` over `k`, by `C(n, k) <= min(2^n, (e n / k)^k)`; `None` if a
    /// `usize` cannot hold their number.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// let limbs = Combination::binomial_limbs(1000, 500);
    /// assert!(limbs.is_some_and(|limbs| (16..20).contains(&limbs)));
    /// ```
    #[must_use]
    pub fn binomial_limbs(n: u64, k: u64) -> Option<usize> {
        let k = k.min(n.saturating_sub(k));
        if k == 0 {
            return Some(1);
        }
        let bits = k as f64 * ((n as f64 / k as f64).log2() + std::f64::consts::LOG2_E);
        // Exceeds the error of the logarithm and of all rounding.
        let bits = (bits * (1.0 + 1e-9)).min(n as f64 * (1.0 + 1e-9));
        let limbs = bits / 64.0 + 2.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and below the bound just compared with"
        )]
        (limbs < usize::MAX as f64 / 2.0).then_some(limbs as usize)
    }

    /// The number of segments, each a unit of work; at least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert_eq!(Combination::primorial(100).segments(), 1);
    /// assert!(Combination::primorial(1_000_000).segments() > 10);
    /// ```
    #[must_use]
    pub fn segments(&self) -> usize {
        usize::try_from(self.numbers.div_ceil(self.span)).unwrap_or(usize::MAX).max(1)
    }

    /// The product of one segment, without zeros at the end.
    ///
    /// # Panics
    ///
    /// If there is no such segment.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert_eq!(Combination::primorial(10).segment(0), [210]);
    /// ```
    #[must_use]
    pub fn segment(&self, segment: usize) -> Vec<u64> {
        assert!(segment < self.segments(), "segment {segment} of {}", self.segments());
        let from = segment as u64 * self.span;
        let to = (from + self.span).min(self.numbers);
        let mut words = vec![1];
        match self.kind {
            Kind::Zero => return Vec::new(),
            Kind::Primorial => self.for_each_prime(from, to, |p| push(&mut words, p)),
            Kind::Dense { n, k } => self.powers(from, to, n, k, &mut words),
            Kind::Sparse { n, k } => {
                self.powers(from, to, n, k, &mut words);
                // Factor `i` is `n - k + i`, for `i` from 1 to `k`.
                self.rough_parts(n - k + from.max(1), n - k + (to - 1), k, &mut words);
            }
        }
        let mut out = vec![0; words.len()];
        let limbs = product(&mut out, &words, &mut vec![0; product_scratch_limbs(words.len())]);
        out.truncate(limbs);
        out
    }

    /// The product of all segments, by one thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Combination;
    /// assert_eq!(Combination::binomial(6, 3).product(), [20]);
    /// ```
    #[must_use]
    pub fn product(&self) -> Vec<u64> {
        self.product_of(0..self.segments(), &mut Vec::new())
    }

    /// The product of some segments; `scratch` grows as needed.
    pub(super) fn product_of(&self, segments: Range<usize>, scratch: &mut Vec<u64>) -> Vec<u64> {
        let products: Vec<Vec<u64>> = segments.map(|i| self.segment(i)).collect();
        product_of_all(&products.iter().map(Vec::as_slice).collect::<Vec<_>>(), scratch)
    }

    fn for_each_prime(&self, from: u64, to: u64, mut each: impl FnMut(u64)) {
        if from <= 2 && 2 < to {
            each(2);
        }
        self.sieve.for_each_odd(from, to, each);
    }

    /// Appends `p^e` for each prime from `from` to below `to`, `e` its exponent in `C(n, k)`.
    fn powers(&self, from: u64, to: u64, n: u64, k: u64, words: &mut Vec<u64>) {
        self.for_each_prime(from, to, |p| {
            for _ in 0..carries(n, k, p) {
                push(words, p);
            }
        });
    }

    /// Appends the numbers from `from` to `to` without their primes up to `k`.
    fn rough_parts(&self, from: u64, to: u64, k: u64, words: &mut Vec<u64>) {
        let mut parts: Vec<u64> = (from..=to).collect();
        self.for_each_prime(0, k + 1, |p| {
            let offset = from.checked_next_multiple_of(p).map(|first| first - from);
            let step = usize::try_from(p).unwrap_or(usize::MAX);
            let mut at = offset.and_then(|offset| usize::try_from(offset).ok());
            while let Some(part) = at.and_then(|at| parts.get_mut(at)) {
                while part.is_multiple_of(p) {
                    *part /= p;
                }
                at = at.and_then(|at| at.checked_add(step));
            }
        });
        parts.into_iter().for_each(|part| push(words, part));
    }
}

/// The exponent of `p` in `C(n, k)`: carries of `k + (n - k)` in base `p`.
fn carries(n: u64, k: u64, p: u64) -> u64 {
    let (mut sum, mut x, mut y) = (n, k, n - k);
    let mut exponent = 0;
    while sum >= p {
        (sum, x, y) = (sum / p, x / p, y / p);
        exponent += sum - x - y;
    }
    exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::{factorial, mul, mul_scratch_limbs, trim};
    use dashu_int::UBig;

    /// The naive oracle: multiplies and divides by one factor at a time.
    fn binomial_naive(n: u64, k: u64) -> UBig {
        (0..k).fold(UBig::ONE, |c, i| c * (n - i) / (i + 1))
    }

    fn primorial_naive(n: u64) -> UBig {
        let primes = (2..=n).filter(|p| (2..=p.isqrt()).all(|d| !p.is_multiple_of(d)));
        primes.fold(UBig::ONE, |product, p| product * p)
    }

    fn assert_binomial(n: u64, k: u64) {
        let found = Combination::binomial(n, k).product();
        assert!(UBig::from_words(&found) == binomial_naive(n, k), "{n} over {k}");
        assert_eq!(trim(&found).len(), found.len(), "{n} over {k}");
        assert!(found.len() <= Combination::binomial_limbs(n, k).unwrap(), "{n} over {k}");
    }

    #[test]
    fn binomials_agree_with_the_naive_oracle() {
        for n in 0..70 {
            for k in 0..=n {
                assert_binomial(n, k);
            }
        }
        for (n, k) in [
            (1000, 500),
            (6400, 100),
            (6399, 100),
            (6401, 100),
            (1 << 40, 77),
            (u64::MAX, 3),
            (u64::MAX, u64::MAX - 30),
            (u64::MAX, u64::MAX),
            (3000, 1),
            (200_000, 900),
        ] {
            assert_binomial(n, k.min(n - k));
            assert_eq!(Combination::binomial(n, k).product(), {
                Combination::binomial(n, n - k).product()
            });
        }
    }

    #[test]
    fn a_binomial_is_zero_beyond_its_row() {
        assert!(Combination::binomial(0, 1).product().is_empty());
        assert!(Combination::binomial(7, u64::MAX).product().is_empty());
    }

    #[test]
    fn a_binomial_of_several_segments_times_two_factorials_is_a_factorial() {
        let (n, k) = (200_000, 70_001);
        let combination = Combination::binomial(n, k);
        assert!(combination.segments() > 1);
        let times = |a: &[u64], b: &[u64]| {
            let mut out = vec![0; a.len() + b.len()];
            mul(&mut out, a, b, &mut vec![0; mul_scratch_limbs(a.len(), b.len())]);
            out
        };
        let below = times(&factorial(k), &factorial(n - k));
        assert!(trim(&times(&combination.product(), &below)) == factorial(n));
    }

    #[test]
    fn a_sparse_binomial_of_several_segments_has_the_residues_of_its_factors() {
        let (n, k) = (1 << 50, 150_000);
        let combination = Combination::binomial(n, k);
        assert!(combination.segments() > 1);
        let c = combination.product();
        let p = u128::from(u64::MAX - 58);
        let residue = |limbs: &[u64]| {
            limbs.iter().rev().fold(0, |r: u128, &limb| (r << 64 | u128::from(limb)) % p)
        };
        let upper = (0..k).fold(1, |r, i| r * u128::from(n - i) % p);
        let lower = (1..=u128::from(k)).fold(1, |r, i| r * i % p);
        assert_eq!(residue(&c) * lower % p, upper);
    }

    #[test]
    fn primorials_agree_with_the_naive_oracle() {
        for n in (0..200).chain([65_535, 65_536, 65_537, 70_000]) {
            let found = Combination::primorial(n).product();
            assert!(UBig::from_words(&found) == primorial_naive(n), "{n}#");
            assert!(found.len() <= Combination::primorial_limbs(n).unwrap(), "{n}#");
        }
    }
}
