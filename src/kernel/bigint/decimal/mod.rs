//! Decimal digits by multiplication alone: a tree of fractions.
//!
//! A number `x` of at most `N` digits is held as the fraction `y = (x + h) / 10^N`, where `h` stays
//! near 1/2. With `N = 2 M`, `x = u 10^M + v`:
//!
//! - `y 10^M = u + (v + h) / 10^M`: the part after the point is the fraction of `v`;
//! - `y = (u + f) / 10^M` with `f = (v + h) / 10^M`, which is known from the first step; `y + (1/2
//!   - f) / 10^M` is the fraction of `u`.
//!
//! So a node gives its two halves by one product and one addition, without a remainder. Fractions
//! have one limb more than `10^N`. Cutting one to that length, or taking `1 / 10^M` from a quotient
//! of 64 bits, moves its `h` by less than `2^-58`. So `h` stays within 1/4 of 1/2 through any
//! number of levels, every digit is certain, and the numbers at the leaves are exact; their digits
//! are shifted out by products with `10^19`. The root's fraction is one product with a
//! [`reciprocal`]. (After Bernstein, "Scaled remainder trees"; Brent and Zimmermann, "Modern
//! Computer Arithmetic", 1.7.)
//!
//! The whole team computes the powers of five, the reciprocal and the highest nodes. When there are
//! a few nodes for each member, one member takes each node to the end (`conversion`).

#![allow(unsafe_code)]

mod conversion;
mod power_of_ten;
mod workspace;

use crate::kernel::team::{PeerDied, SingleThread, Team};

use super::Backend;
use super::limbs::{low_limb, trim};
use super::team_arithmetic::{LimbSpan, TeamArithmetic, TeamSpan};
use super::thresholds::DECIMAL_TREE_MIN;

use power_of_ten::{BLOCK, BLOCK_DIGITS, write_block};
use workspace::{Tree, Workspace};

/// The decimal digits of `x`, computed by one thread.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::to_decimal;
/// assert_eq!(to_decimal(&[]), "0");
/// assert_eq!(to_decimal(&[0, 1]), "18446744073709551616");
/// ```
#[must_use]
pub fn to_decimal(x: &[u64]) -> String {
    let x = trim(x);
    let digits = if x.len() < DECIMAL_TREE_MIN { by_division(x) } else { by_tree(x) };
    let digits = without_zeros(&digits);
    digits.iter().map(|&digit| char::from(digit)).collect()
}

/// Removes leading zeros, but keeps the last digit.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::without_zeros;
/// assert_eq!((without_zeros(b"0070"), without_zeros(b"00")), (&b"70"[..], &b"0"[..]));
/// ```
#[must_use]
pub fn without_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[zeros.min(digits.len().saturating_sub(1))..]
}

/// The digits that [`to_decimal_team`] writes for a number of `limbs` limbs, including leading
/// zeros.
///
/// # Examples
///
/// ```
/// assert!(brigade::kernel::bigint::decimal_digits(100) >= 1927); // 6400 log10(2) = 1926.6
/// ```
#[must_use]
pub fn decimal_digits(limbs: usize) -> usize {
    Tree::new(limbs).digits(Tree::new(limbs).levels)
}

/// Limbs of memory that [`to_decimal_team`] needs for a number of `limbs` limbs and at most
/// `members_max` members: about 17 times as many, and more for many members.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::decimal_memory_limbs;
/// let (one, many) = (decimal_memory_limbs(1000, 1), decimal_memory_limbs(1000, 64));
/// assert!(10_000 < one && one <= many);
/// ```
#[must_use]
pub fn decimal_memory_limbs(limbs: usize, members_max: usize) -> usize {
    Workspace::new(limbs, members_max).total_limbs
}

/// Writes the decimal digits of `x` in ASCII, padded with leading zeros. The members of a team
/// share the memory and all call this, each with its own view of the team.
///
/// # Errors
///
/// [`PeerDied`] if a member died; the contents of `digits` are then unspecified.
///
/// # Panics
///
/// If the processor lacks the backend.
///
/// # Safety
///
/// - `digits` is valid for writes of [`decimal_digits`] bytes, `memory` for reads and writes of
///   [`decimal_memory_limbs`] initialised limbs; neither overlaps the other or `x`.
/// - Only the team uses both until every member has returned or is dead.
/// - All members call with the same arguments, and there are at most `members_max` of them. The
///   team's counters are at zero.
///
/// # Examples
///
/// ```
/// use brigade::kernel::bigint::{
///     Backend, decimal_digits, decimal_memory_limbs, to_decimal_team, without_zeros,
/// };
/// use brigade::kernel::SingleThread;
/// let (team, backend) = (SingleThread::default(), Backend::detect());
/// let mut digits = vec![0; decimal_digits(1)];
/// let mut memory = vec![0; decimal_memory_limbs(1, 1)];
/// let (out, room) = (digits.as_mut_ptr(), memory.as_mut_ptr());
/// // SAFETY: both are as long as asked for, and the team has one member.
/// let done = unsafe { to_decimal_team(&team, backend, &[1 << 40], out, room, 1) };
/// assert_eq!((done, without_zeros(&digits)), (Ok(()), &b"1099511627776"[..]));
/// ```
pub unsafe fn to_decimal_team(
    team: &impl Team,
    backend: Backend,
    x: &[u64],
    digits: *mut u8,
    memory: *mut u64,
    members_max: usize,
) -> Result<(), PeerDied> {
    // SAFETY: all members pass the same arguments, and the counters are at zero, by this function's
    // contract; nothing precedes the first step.
    let arithmetic = unsafe { TeamArithmetic::new(team, backend, members_max) };
    // SAFETY: the length was required, and only the team uses it, by this function's contract.
    let digits = unsafe { TeamSpan::new(digits, decimal_digits(x.len())) };
    // SAFETY: as above.
    let memory = unsafe { LimbSpan::new(memory, decimal_memory_limbs(x.len(), members_max)) };
    write_decimal(&arithmetic, x, digits, memory)
}

/// [`to_decimal_team`] with spans that the caller has made.
///
/// # Errors
///
/// [`PeerDied`] if a member died.
///
/// # Panics
///
/// If there is less memory than [`decimal_digits`] and [`decimal_memory_limbs`] say.
pub(crate) fn write_decimal<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    x: &[u64],
    digits: TeamSpan<'_, u8>,
    memory: LimbSpan<'_>,
) -> Result<(), PeerDied> {
    let sizes = Workspace::new(x.len(), arithmetic.members_max());
    conversion::write_digits(arithmetic, &sizes, x, digits, memory)
}

/// Digits, padded with leading zeros, by the tree.
fn by_tree(x: &[u64]) -> Vec<u8> {
    let mut digits = vec![0; decimal_digits(x.len())];
    let mut memory = vec![0; decimal_memory_limbs(x.len(), 1)];
    let team = SingleThread::default();
    let arithmetic = TeamArithmetic::single(&team);
    write_decimal(&arithmetic, x, (&mut digits[..]).into(), (&mut memory[..]).into())
        .expect("a team of one has no peer that dies");
    digits
}

/// Digits, padded with leading zeros, by repeated division by `10^19`.
fn by_division(x: &[u64]) -> Vec<u8> {
    let mut x = x.to_vec();
    let mut blocks = Vec::new();
    while !x.is_empty() {
        let mut rest = 0;
        for limb in x.iter_mut().rev() {
            let dividend = u128::from(rest) << 64 | u128::from(*limb);
            (*limb, rest) =
                (low_limb(dividend / u128::from(BLOCK)), low_limb(dividend % u128::from(BLOCK)));
        }
        blocks.push(rest);
        x.truncate(trim(&x).len());
    }
    let mut out = vec![b'0'; blocks.len().max(1) * BLOCK_DIGITS];
    for (out, &block) in out.chunks_exact_mut(BLOCK_DIGITS).zip(blocks.iter().rev()) {
        write_block(out, block);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::bigint::tests::{Shared, awkward, with_team};
    use crate::kernel::bigint::{add_assign, mul_limb, sub_assign};
    use dashu_int::UBig;

    fn naive(x: &[u64]) -> String {
        let digits = String::from_utf8(by_division(x)).unwrap();
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { "0".into() } else { digits.into() }
    }

    #[test]
    fn decimals_agree_with_repeated_division_at_every_small_size() {
        for limbs in 0..70 {
            for seed in 0..5 {
                let x = if limbs == 0 { vec![] } else { awkward(limbs, seed) };
                assert_eq!(to_decimal(&x), naive(&x), "{limbs} {seed}");
                assert_eq!(without_zeros(&by_tree(&x)), naive(&x).as_bytes());
            }
        }
    }

    #[test]
    fn long_decimals_agree_with_repeated_division_and_another_library() {
        for limbs in [100, 127, 128, 129, 300, 1000, 2500] {
            for seed in 0..5 {
                let x = awkward(limbs, seed);
                assert!(to_decimal(&x) == naive(&x), "{limbs} {seed}");
            }
        }
        let x = awkward(8000, 4);
        assert!(to_decimal(&x) == UBig::from_words(&x).to_string());
    }

    #[test]
    fn powers_of_ten_and_their_neighbours_have_the_right_digits() {
        for digits in [1, 18, 19, 20, 500, 607, 608, 609, 4000, 20_000] {
            let mut power = vec![1];
            for _ in 0..digits {
                let carry = mul_limb(&mut power, 10, 0);
                if carry > 0 {
                    power.push(carry);
                }
            }
            let expected = format!("1{}", "0".repeat(digits));
            assert_eq!(to_decimal(&power), expected);
            sub_assign(&mut power, &[1]);
            assert_eq!(to_decimal(&power), "9".repeat(digits));
            add_assign(&mut power, &[2]);
            assert_eq!(to_decimal(&power), expected[..digits].to_owned() + "1");
        }
    }

    #[test]
    fn teams_of_any_size_give_the_same_digits() {
        for limbs in [40, 700, 20_000, 50_000] {
            let x = awkward(limbs, 11);
            let expected = by_tree(&x);
            for members in [1, 2, 3, 5] {
                let mut digits = vec![0; decimal_digits(limbs)];
                let mut memory = vec![u64::MAX; decimal_memory_limbs(limbs, 5)];
                let (at, buffer) = (Shared(digits.as_mut_ptr()), Shared(memory.as_mut_ptr()));
                with_team(members, false, |team| {
                    let backend = Backend::detect();
                    // SAFETY: the vectors outlive the team and have the required lengths.
                    let done =
                        unsafe { to_decimal_team(team, backend, &x, at.get(), buffer.get(), 5) };
                    done.unwrap();
                });
                assert!(digits == expected, "{limbs} limbs, {members} members");
            }
        }
    }
}
