//! n! by the exponents of its primes.
//!
//! With `e(p)` the exponent of the odd prime `p` in n! and `P_i` the product of the primes whose
//! exponent has bit `i`, `n! = 2^(n - ones(n)) * P_0 P_1^2 P_2^4 ...`, computed from the highest
//! bit down by `r <- r^2 P_i` (Schoenhage; P. Luschny, "Fast factorial functions").
//!
//! | module     | what it does                                                      |
//! |------------|-------------------------------------------------------------------|
//! | `plan`     | divides the primes into segments and levels, multiplies a segment |
//! | `sizes`    | the memory that a team needs                                      |
//! | `assembly` | multiplies the segments and levels, by a team                     |

mod assembly;
mod plan;
mod sizes;

use crate::kernel::SingleThread;

use super::limbs::{shift_left, trim};
use super::product_tree::{product, product_scratch_limbs};
use super::team_arithmetic::{LimbSpan, TeamArithmetic};
use super::thresholds::FACTORIAL_STEPS_MIN;

use assembly::odd_part;

pub(crate) use assembly::factorial_team;
pub(crate) use plan::FactorialPlan;
pub(crate) use sizes::{FactorialProgress, FactorialSizes};

/// n!, without zero limbs at the end, by one thread.
///
/// # Panics
///
/// If a `usize` cannot hold the number of limbs of n!, or if n! has more than
/// [`LIMBS_MAX`](super::LIMBS_MAX).
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
    if n >= FACTORIAL_STEPS_MIN {
        return by_steps(n);
    }
    let limbs = FactorialPlan::limbs(n).expect("n! fits into the address space");
    let mut out = if n > SMALL_MAX { odd_part(n) } else { odd_part_of_small(n, limbs) };
    out.resize(limbs, 0);
    shift_left(&mut out, n - u64::from(n.count_ones()));
    out.truncate(trim(&out).len());
    out
}

/// n! for `n >= 6` by [`factorial_team`], with a team of one.
fn by_steps(n: u64) -> Vec<u64> {
    let sizes = FactorialSizes::new(n, 1).expect("n! has not too many limbs");
    let needs = sizes.needs;
    let mut workspace = vec![0; needs.workspace];
    let mut result = vec![0; needs.result];
    let team = SingleThread::default();
    let limbs = factorial_team(
        &TeamArithmetic::single(&team),
        &sizes,
        LimbSpan::from(&mut result[..]),
        LimbSpan::from(&mut workspace[..]),
        &FactorialProgress::default(),
    );
    result.truncate(limbs.expect("a team of one has no peer that dies"));
    result
}

/// The largest n for which n! is a product of precomputed words.
const SMALL_MAX: u64 = 1000;

/// The number of words that their odd parts fill.
const SMALL_WORDS: usize = 126;

/// Words whose products are the odd parts of factorials.
const SMALL: SmallWords = SmallWords::new();

/// The odd parts of 1, 2, 3, ... multiplied into as few words as possible.
struct SmallWords {
    words: [u64; SMALL_WORDS],
    /// The last number whose odd part is in each word; the word after the last has none.
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

/// The odd part of n! for `n <= SMALL_MAX`: whole words, and a part of one more.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::limbs::mul_limb;
    use crate::kernel::bigint::tests::by_team;

    /// The naive oracle: multiplies by one factor at a time.
    fn factorial_naive(n: u64) -> Vec<u64> {
        let mut out = vec![1];
        for factor in 2..=n {
            let carry = mul_limb(&mut out, factor, 0);
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
        for n in [6, 7, 20, 100, 700, 1000] {
            assert_eq!(by_steps(n), factorial_naive(n), "{n}!");
        }
    }

    #[test]
    fn teams_of_any_size_give_the_same_factorial() {
        for n in [6, 1000, 60_000, 150_000] {
            let expected = factorial(n);
            for members in [1, 2, 3, 5] {
                let sizes = &FactorialSizes::new(n, members).unwrap();
                let progress = FactorialProgress::default();
                let needs = [sizes.needs.workspace, sizes.needs.result];
                let found = by_team(members, needs, |arithmetic, result, workspace| {
                    factorial_team(arithmetic, sizes, result, workspace, &progress)
                });
                assert!(found == expected, "{n}! by {members} members");
            }
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

    /// Digests of the digits, computed with Python's integers.
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
}
