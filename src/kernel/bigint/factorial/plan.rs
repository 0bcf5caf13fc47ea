//! The primes of n! by the bits of their exponents.

use crate::kernel::bigint::product_tree::{product, product_scratch_limbs, push_factor};
use crate::kernel::bigint::sieve::{Sieve, factorial_exponent};
use crate::kernel::bigint::thresholds::{FACTORIAL_SEGMENT_MIN, FACTORIAL_SEGMENTS_MAX};

/// How n! is composed of levels of primes, in segments.
#[derive(Debug, Clone)]
pub(crate) struct FactorialPlan {
    n: u64,
    sieve: Sieve,
    span: u64,
}

impl FactorialPlan {
    /// The plan for n!.
    pub(crate) fn new(n: u64) -> Self {
        let span = n.div_ceil(FACTORIAL_SEGMENTS_MAX).max(FACTORIAL_SEGMENT_MIN);
        Self { n, sieve: Sieve::new(n), span }
    }

    /// Limbs that are enough for n!, from `n! < (n / 2)^n` for n > 5.
    ///
    /// `None` if a `usize` cannot hold their number.
    pub(crate) fn limbs(n: u64) -> Option<usize> {
        // floor(log2 n) + 1 bounds log2 n; one bit less a factor, as n! < (n / 2)^n.
        let bits = n.checked_mul(u64::from(n.max(4).ilog2()) + 1)?;
        let bits = if n > 5 { bits - n } else { bits };
        usize::try_from(bits / 64 + 2).ok()
    }

    /// The exponent of 2 in n!.
    pub(super) fn twos(&self) -> u64 {
        self.n - u64::from(self.n.count_ones())
    }

    /// The limbs of n! that are zero because of that.
    pub(super) fn zero_limbs(&self) -> usize {
        usize::try_from(self.twos() / 64).unwrap_or(usize::MAX)
    }

    /// The number of levels: bits of the exponent of 3, the largest of an odd prime.
    pub(super) fn levels(&self) -> usize {
        (u64::BITS - factorial_exponent(self.n, 3).leading_zeros()) as usize
    }

    /// The number of segments, each a unit of work.
    pub(super) fn segments(&self) -> usize {
        usize::try_from((self.n + 1).div_ceil(self.span)).unwrap_or(usize::MAX)
    }

    /// The range of numbers of segment `segment`.
    fn interval(&self, segment: usize) -> (u64, u64) {
        let from = segment as u64 * self.span;
        (from, (from + self.span).min(self.n + 1))
    }

    /// For each level, the product of its primes in segment `segment`: first the number of limbs of
    /// each product, at least one, then the products.
    pub(super) fn leaf(&self, segment: usize) -> Vec<u64> {
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
        let mut leaf = vec![0; levels + words.iter().map(Vec::len).sum::<usize>()];
        let mut end = levels;
        for (level, words) in words.iter().enumerate() {
            let limbs = product(&mut leaf[end..], words, &mut scratch);
            leaf[level] = limbs as u64;
            end += limbs;
        }
        leaf.truncate(end);
        leaf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_levels_of_a_plan_give_each_prime_its_exponent() {
        let n = 5000;
        let plan = FactorialPlan::new(n);
        assert_eq!(plan.segments(), 1);
        let leaf = plan.leaf(0);
        let (counts, mut rest) = leaf.split_at(plan.levels());
        let mut exponents = std::collections::HashMap::new();
        for (level, &limbs) in counts.iter().enumerate() {
            let (product, after) = rest.split_at(usize::try_from(limbs).unwrap());
            rest = after;
            Sieve::new(n).for_each_odd(3, n + 1, |p| {
                let residue = product
                    .iter()
                    .rev()
                    .fold(0, |r: u128, &limb| (r << 64 | u128::from(limb)) % u128::from(p));
                if residue == 0 {
                    *exponents.entry(p).or_insert(0) += 1u64 << level;
                }
            });
        }
        assert!(rest.is_empty());
        Sieve::new(n).for_each_odd(3, n + 1, |p| {
            assert_eq!(exponents[&p], factorial_exponent(n, p), "{p}");
        });
    }
}
