//! The primes of an interval, by a sieve.

/// The numbers in a segment of the sieve. Half of them, the odd ones, have a byte each.
const SPAN: u64 = 1 << 16;

/// A sieve for primes up to a limit: the primes up to its square root.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::Sieve;
/// let mut primes = vec![2];
/// Sieve::new(20).for_each_odd(0, 20, |p| primes.push(p));
/// assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19]);
/// ```
#[derive(Debug, Clone)]
pub struct Sieve {
    limit: u64,
    base: Vec<u64>,
}

impl Sieve {
    /// A sieve for primes of at most `limit`.
    ///
    /// # Examples
    ///
    /// ```
    /// let sieve = brigade::kernel::bigint::Sieve::new(10);
    /// let mut sum = 0;
    /// sieve.for_each_odd(0, 11, |p| sum += p);
    /// assert_eq!(sum, 3 + 5 + 7);
    /// ```
    #[must_use]
    pub fn new(limit: u64) -> Self {
        let root = limit.isqrt();
        let base = if root < 3 {
            Vec::new()
        } else {
            let mut base = Vec::new();
            Self::new(root).for_each_odd(3, root + 1, |p| base.push(p));
            base
        };
        Self { limit, base }
    }

    /// Calls `each` with every odd prime `p`, `from <= p < to`, in ascending order.
    ///
    /// # Panics
    ///
    /// If `to` is above the sieve's limit plus one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::bigint::Sieve;
    /// let mut primes = Vec::new();
    /// Sieve::new(50).for_each_odd(20, 44, |p| primes.push(p));
    /// assert_eq!(primes, [23, 29, 31, 37, 41, 43]);
    /// ```
    pub fn for_each_odd(&self, from: u64, to: u64, mut each: impl FnMut(u64)) {
        assert!(to <= self.limit + 1, "primes below {to} asked of a sieve up to {}", self.limit);
        let mut first = from.max(3) | 1;
        let longest = SPAN.min(to.saturating_sub(first)).div_ceil(2);
        let mut composite = vec![false; usize::try_from(longest).unwrap_or(0)];
        while first < to {
            let end = to.min(first.saturating_add(SPAN));
            let odds = usize::try_from((end - first).div_ceil(2)).unwrap_or(0);
            let composite = &mut composite[..odds];
            self.mark(first, end, composite);
            let primes = composite.iter().zip((first..).step_by(2));
            primes.filter(|&(&composite, _)| !composite).for_each(|(_, p)| each(p));
            first += SPAN;
        }
    }

    /// Sets `composite[i]` to whether `first + 2 i`, below `end`, is composite.
    fn mark(&self, first: u64, end: u64, composite: &mut [bool]) {
        composite.fill(false);
        for &p in self.base.iter().take_while(|&&p| p * p < end) {
            // The first odd multiple, from p^2 on, that is not below `first`.
            let multiple = (first.div_ceil(p) | 1).max(p) * p;
            let (start, step) = (usize::try_from((multiple - first) / 2), usize::try_from(p));
            let (Ok(start), Ok(step)) = (start, step) else { continue };
            let mut i = start;
            while let Some(entry) = composite.get_mut(i) {
                *entry = true;
                i += step;
            }
        }
    }
}

/// The exponent of the prime `p` in n!: `floor(n/p) + floor(n/p^2) + ...` (Legendre).
///
/// # Examples
///
/// ```
/// assert_eq!(brigade::kernel::bigint::factorial_exponent(100, 7), 14 + 2);
/// ```
#[must_use]
pub const fn factorial_exponent(n: u64, p: u64) -> u64 {
    let mut quotient = n / p;
    let mut exponent = 0;
    while quotient > 0 {
        exponent += quotient;
        quotient /= p;
    }
    exponent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_prime(n: u64) -> bool {
        n >= 2 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d))
    }

    #[test]
    fn a_sieve_finds_the_odd_primes_of_any_interval() {
        for (from, to) in [(0, 0), (0, 4), (3, 4), (4, 5), (0, 3000), (9, 10), (119, 122)] {
            let mut primes = Vec::new();
            Sieve::new(3000).for_each_odd(from, to, |p| primes.push(p));
            let expected: Vec<u64> = (from.max(3)..to).filter(|&n| is_prime(n)).collect();
            assert_eq!(primes, expected, "{from}..{to}");
        }
    }

    #[test]
    fn a_sieve_goes_across_segments() {
        let mut count = 0;
        Sieve::new(1_000_000).for_each_odd(0, 1_000_001, |_| count += 1);
        assert_eq!(count, 78_498 - 1);
        let (mut primes, from) = (Vec::new(), 65_530);
        Sieve::new(200_000).for_each_odd(from, 131_100, |p| primes.push(p));
        assert_eq!(primes, (from..131_100).filter(|&n| is_prime(n)).collect::<Vec<_>>());
    }

    #[test]
    fn an_exponent_counts_the_factors_one_by_one() {
        for n in [0, 1, 2, 6, 7, 48, 49, 50, 100] {
            for p in [2, 3, 7] {
                let count = |mut k: u64| {
                    std::iter::from_fn(|| k.is_multiple_of(p).then(|| k /= p)).count() as u64
                };
                let all: u64 = (1..=n).map(count).sum();
                assert_eq!(factorial_exponent(n, p), all, "{n} {p}");
            }
        }
    }
}
