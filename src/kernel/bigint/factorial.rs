//! n! by the exponents of its primes.
//!
//! With `e(p)` the exponent of the odd prime `p` in n! and `P_i` the product of the primes whose
//! exponent has bit `i`, `n! = 2^(n - ones(n)) * P_0 P_1^2 P_2^4 ...`, computed from the highest
//! bit down by `r <- r^2 P_i` (Schoenhage; P. Luschny, "Fast factorial functions").
//!
//! The parts are for callers that spread them: a [`FactorialPlan`] divides the primes into
//! segments; [`FactorialPlan::leaf`] multiplies, for each level `i`, those of one segment. The
//! leaves of a level are then multiplied in any grouping, which gives `P_i`; the top products are
//! the caller's, with a team. [`factorial`] does it all in one process.

use super::limbs::{shift_left, trim};
use super::mul::{mul, mul_scratch_limbs, square, square_scratch_limbs};
use super::product_tree::{product, product_scratch_limbs};
use super::sieve::{Sieve, factorial_exponent};
use super::thresholds::{FACTORIAL_SEGMENT_MIN, FACTORIAL_SEGMENTS_MAX};

/// Most levels of a plan: bits of the exponent of 3.
pub const FACTORIAL_LEVELS_MAX: usize = 63;

/// How n! is put together: from levels of primes, in segments.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::FactorialPlan;
/// let plan = FactorialPlan::new(10);
/// assert_eq!(plan.twos(), 8);
/// // 10! = 2^8 * (3 ^ 4) (5 ^ 2) 7, and 4 is binary 100, 2 is 10, 1 is 1.
/// let mut leaves = [0; 16];
/// let limbs = plan.leaf(0, &mut leaves);
/// assert_eq!((plan.levels(), &limbs[..3]), (3, &[1, 1, 1][..]));
/// assert_eq!(leaves[..3], [7, 5, 3]);
/// ```
#[derive(Debug, Clone)]
pub struct FactorialPlan {
    n: u64,
    sieve: Sieve,
    span: u64,
}

impl FactorialPlan {
    /// The plan for n!.
    #[must_use]
    pub fn new(n: u64) -> Self {
        let span = n.div_ceil(FACTORIAL_SEGMENTS_MAX).max(FACTORIAL_SEGMENT_MIN);
        Self { n, sieve: Sieve::new(n), span }
    }

    /// Limbs that are enough for n!, from `n! < (n / 2)^n` for n > 5.
    ///
    /// `None` if that is more than a `usize` counts.
    #[must_use]
    pub fn limbs(n: u64) -> Option<usize> {
        // floor(log2 n) + 1 bounds log2 n; one bit less a factor, as n! < (n / 2)^n.
        let bits = n.checked_mul(u64::from(n.max(4).ilog2()) + 1)?;
        let bits = if n > 5 { bits - n } else { bits };
        usize::try_from(bits / 64 + 2).ok()
    }

    /// The exponent of 2 in n!: what [`shift_left`] is for, at the end.
    #[must_use]
    pub fn twos(&self) -> u64 {
        self.n - u64::from(self.n.count_ones())
    }

    /// The number of levels: bits of the exponent of 3, the largest of an odd prime.
    #[must_use]
    pub fn levels(&self) -> usize {
        (u64::BITS - factorial_exponent(self.n, 3).leading_zeros()) as usize
    }

    /// The number of segments, each a unit of work.
    #[must_use]
    pub fn segments(&self) -> usize {
        usize::try_from((self.n + 1).div_ceil(self.span)).unwrap_or(usize::MAX)
    }

    /// The numbers of segment `segment`.
    fn interval(&self, segment: usize) -> (u64, u64) {
        let from = segment as u64 * self.span;
        (from, (from + self.span).min(self.n + 1))
    }

    /// Limbs that are enough for [`leaf`](FactorialPlan::leaf).
    ///
    /// An interval of y numbers has at most 2 y / ln y primes (Montgomery and Vaughan), and of
    /// course at most half of them; each is in at most as many levels as its exponent has bits.
    #[must_use]
    pub fn leaf_limbs(&self, segment: usize) -> usize {
        let (from, to) = self.interval(segment);
        let numbers = to.saturating_sub(from);
        // ln y > 0.69 floor(log2 y), so 2 y / ln y < 2.9 y / floor(log2 y).
        let primes = (3 * numbers / u64::from(numbers.max(2).ilog2())).min(numbers / 2 + 1);
        let exponent = factorial_exponent(self.n, from.max(3));
        let levels = u64::from(u64::BITS - exponent.leading_zeros()).max(1);
        let bits = u64::from(u64::BITS - to.leading_zeros());
        // Words hold as many primes as fit, so that none is filled less than half with short ones.
        let words = primes.div_ceil((64 / bits).max(1)) + 1;
        usize::try_from(levels * words).unwrap_or(usize::MAX) + self.levels()
    }

    /// For each level, the product of the primes of segment `segment` that it has: limbs one level
    /// after another in `out`, and their numbers, at least one for each of
    /// [`levels`](FactorialPlan::levels).
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`leaf_limbs`](FactorialPlan::leaf_limbs).
    pub fn leaf(&self, segment: usize, out: &mut [u64]) -> [usize; FACTORIAL_LEVELS_MAX] {
        let levels = self.levels();
        let mut words: Vec<Vec<u64>> = vec![vec![1]; levels];
        let (from, to) = self.interval(segment);
        self.sieve.for_each_odd(from, to, |p| {
            let mut exponent = factorial_exponent(self.n, p);
            while exponent > 0 {
                push_factor(&mut words[exponent.trailing_zeros() as usize], p);
                exponent &= exponent - 1;
            }
        });
        let longest = words.iter().map(Vec::len).max().unwrap_or(0);
        let mut scratch = vec![0; product_scratch_limbs(longest)];
        let mut limbs = [0; FACTORIAL_LEVELS_MAX];
        let mut at = 0;
        for (level, words) in words.iter().enumerate() {
            limbs[level] = product(&mut out[at..], words, &mut scratch);
            at += limbs[level];
        }
        limbs
    }
}

/// Multiplies `factor` into the last word, or begins another.
pub(super) fn push_factor(words: &mut Vec<u64>, factor: u64) {
    match words.last_mut().map(|word| (word.checked_mul(factor), word)) {
        Some((Some(product), word)) => *word = product,
        _ => words.push(factor),
    }
}

/// n!, without zero limbs at the end, in one process.
///
/// # Panics
///
/// If n! has more limbs than a `usize` counts, or its parts are too long for one product.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::factorial;
/// assert_eq!(factorial(20), [2_432_902_008_176_640_000]);
/// assert_eq!(factorial(25), [7_034_535_277_573_963_776, 840_864]);
/// ```
#[must_use]
pub fn factorial(n: u64) -> Vec<u64> {
    let limbs = FactorialPlan::limbs(n).expect("n! fits into the address space");
    let mut out =
        if n <= SMALL_MAX { odd_part_of_small(n, limbs) } else { odd_part_by_primes(n, limbs) };
    out.resize(limbs, 0);
    shift_left(&mut out, n - u64::from(n.count_ones()));
    out.truncate(trim(&out).len());
    out
}

/// Largest n for which n! is a row of words.
const SMALL_MAX: u64 = 1000;

/// Words that their odd parts fill.
const SMALL_WORDS: usize = 126;

/// Words whose products are the odd parts of factorials.
const SMALL: SmallWords = SmallWords::new();

/// The odd parts of 1, 2, 3, ... multiplied into as few words as hold them.
struct SmallWords {
    words: [u64; SMALL_WORDS],
    /// The last number whose odd part is in each word; beyond the last word, no number at all.
    last: [u64; SMALL_WORDS],
}

impl SmallWords {
    const fn new() -> Self {
        let mut this = Self { words: [1; SMALL_WORDS], last: [u64::MAX; SMALL_WORDS] };
        let (mut at, mut k) = (0, 1);
        while k <= SMALL_MAX {
            let odd = k >> k.trailing_zeros();
            match this.words[at].checked_mul(odd) {
                Some(product) => this.words[at] = product,
                None => {
                    this.last[at] = k - 1;
                    at += 1;
                    this.words[at] = odd;
                }
            }
            k += 1;
        }
        this
    }
}

/// The odd part of n! for `n <= SMALL_MAX`: whole words, and part of one more.
fn odd_part_of_small(n: u64, limbs: usize) -> Vec<u64> {
    let whole = SMALL.last.partition_point(|&last| last <= n);
    let first = if whole == 0 { 1 } else { SMALL.last[whole - 1] + 1 };
    let mut words = [0; SMALL_WORDS];
    words[..whole].copy_from_slice(&SMALL.words[..whole]);
    words[whole] = (first..=n).map(|k| k >> k.trailing_zeros()).product();
    let words = &words[..=whole];
    let mut out = vec![0; limbs.max(words.len())];
    let used = product(&mut out, words, &mut vec![0; product_scratch_limbs(words.len())]);
    out.truncate(used);
    out
}

/// `a b`, without zero limbs at the end.
fn product_of(a: &[u64], b: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    let needed = mul_scratch_limbs(a.len(), b.len());
    if scratch.len() < needed {
        scratch.resize(needed, 0);
    }
    let mut out = vec![0; a.len() + b.len()];
    mul(&mut out, a, b, scratch);
    out.truncate(trim(&out).len());
    out
}

/// The odd part of n!, by [`FactorialPlan`].
fn odd_part_by_primes(n: u64, limbs: usize) -> Vec<u64> {
    let plan = FactorialPlan::new(n);
    let mut levels: Vec<Vec<Vec<u64>>> = vec![Vec::new(); plan.levels()];
    let mut leaf = Vec::new();
    for segment in 0..plan.segments() {
        leaf.resize(plan.leaf_limbs(segment).max(leaf.len()), 0);
        let counts = plan.leaf(segment, &mut leaf);
        let mut rest = &leaf[..];
        for (level, products) in levels.iter_mut().enumerate() {
            let (product, after) = rest.split_at(counts[level]);
            rest = after;
            if product != [1] {
                products.push(product.to_vec());
            }
        }
    }
    // Room for the longest product from the start: memory that grows is mapped again and again.
    let half = limbs / 2 + 1;
    let mut scratch = Vec::with_capacity(mul_scratch_limbs(half, half));
    let (mut r, mut next) = (Vec::with_capacity(limbs + 2), Vec::with_capacity(limbs + 2));
    r.push(1);
    for level in levels.into_iter().rev() {
        if r != [1] {
            next.clear();
            next.resize(2 * r.len(), 0);
            let needed = square_scratch_limbs(r.len());
            scratch.resize(needed.max(scratch.len()), 0);
            square(&mut next, &r, &mut scratch);
            next.truncate(trim(&next).len());
            (r, next) = (next, r);
        }
        if let Some(factor) = product_of_all(level, &mut scratch) {
            next.clear();
            next.resize(r.len() + factor.len(), 0);
            let needed = mul_scratch_limbs(r.len(), factor.len());
            scratch.resize(needed.max(scratch.len()), 0);
            mul(&mut next, &r, &factor, &mut scratch);
            next.truncate(trim(&next).len());
            (r, next) = (next, r);
        }
    }
    r
}

/// The product of `factors`, neighbours first; `None` for none.
fn product_of_all(mut factors: Vec<Vec<u64>>, scratch: &mut Vec<u64>) -> Option<Vec<u64>> {
    while factors.len() > 1 {
        let pairs = factors.chunks(2).map(|pair| match pair {
            [x, y] => product_of(x, y, scratch),
            _ => pair[0].clone(),
        });
        factors = pairs.collect();
    }
    factors.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::Sieve;

    /// The naive oracle: one factor after another.
    fn factorial_naive(n: u64) -> Vec<u64> {
        let mut out = vec![1];
        for factor in 2..=n {
            let carry = super::super::limbs::mul_limb(&mut out, factor, 0);
            if carry > 0 {
                out.push(carry);
            }
        }
        out
    }

    #[test]
    fn factorials_agree_with_the_naive_oracle() {
        for n in (0..310).chain([500, 999, 1000, 1001, 1234, 2000, 4095, 4096, 4097]) {
            assert_eq!(factorial(n), factorial_naive(n), "{n}!");
        }
        for n in [5, 6, 7, 20, 100, 700, 1000] {
            let limbs = FactorialPlan::limbs(n).unwrap();
            assert_eq!(odd_part_of_small(n, limbs), odd_part_by_primes(n, limbs), "{n}!");
        }
    }

    #[test]
    fn a_factorial_agrees_with_other_products_modulo_primes() {
        let n = 60_000;
        let factorial = factorial(n);
        for gap in [59, 83, 95] {
            let p = u128::from(u64::MAX) + 1 - gap;
            let residue =
                factorial.iter().rev().fold(0, |r, &limb| (r << 64 | u128::from(limb)) % p);
            assert_eq!(residue, (1..=u128::from(n)).fold(1, |r, k| r * k % p));
        }
    }

    /// Digests of the digits, from Python's own integers.
    #[test]
    fn factorials_have_the_known_digits() {
        use sha2::{Digest, Sha256};
        let known = [
            (1000, "cc336cf135d690c1105664b3b859db66b940db51cd66cf891fee120584cf7873"),
            (10_000, "f17f312be51414ec57f0fda0b1589003663a505df1ef2aafac40bb3be2e46c8e"),
            (30_000, "cb7761b716bc89db93454b8a4e5a9a3bd58a36c63a7838e84d7915ef4b933c11"),
        ];
        for (n, expected) in known {
            let digest = Sha256::digest(crate::kernel::bigint::to_decimal(&factorial(n)));
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{n}!");
        }
    }

    #[test]
    fn a_leaf_fits_into_the_limbs_that_it_is_promised() {
        for n in [1, 2, 3, 10, 1000, 40_000, 3_000_000] {
            let plan = FactorialPlan::new(n);
            for segment in 0..plan.segments().min(3) {
                let mut out = vec![0; plan.leaf_limbs(segment)];
                let used: usize = plan.leaf(segment, &mut out).iter().sum();
                assert!(used <= out.len(), "{n}! {segment}");
            }
        }
    }

    #[test]
    fn the_levels_of_a_plan_give_each_prime_its_exponent() {
        let n = 5000;
        let plan = FactorialPlan::new(n);
        let mut leaf = vec![0; plan.leaf_limbs(0)];
        assert_eq!(plan.segments(), 1);
        let counts = plan.leaf(0, &mut leaf);
        let mut exponents = std::collections::HashMap::new();
        let mut rest = &leaf[..];
        for (level, &limbs) in counts.iter().enumerate() {
            let (product, after) = rest.split_at(limbs);
            rest = after;
            Sieve::new(n).for_each_odd(3, n + 1, |p| {
                let residue = product
                    .iter()
                    .rev()
                    .fold(0, |r: u128, &limb| (r << 64 | u128::from(limb)) % u128::from(p));
                if limbs > 0 && residue == 0 {
                    *exponents.entry(p).or_insert(0) += 1u64 << level;
                }
            });
        }
        Sieve::new(n).for_each_odd(3, n + 1, |p| {
            assert_eq!(exponents[&p], factorial_exponent(n, p), "{p}");
        });
    }
}
