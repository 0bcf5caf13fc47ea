//! Where the numbers of a factorial lie in its workspace.
//!
//! Sizes come from these bounds. Level i has the odd primes whose exponent in n! has bit i, so
//! at least 2^i; as the exponent of p is below n / (p - 1), none is above n / 2^i + 1. A product
//! of different primes up to x is below 4^x, so P_i, the product of level i, has at most
//! 2 (n / 2^i + 1) bits, and all levels together have 4 n + 2 `levels`. What is put together on
//! the way divides n!, so two factors of it have the limbs of n! at most, and one more each.

use crate::error::{Error, Result};
use crate::kernel::bigint::team_arithmetic::scratch_limbs_max;
use crate::kernel::bigint::{FactorialPlan, LIMBS_MAX};

/// Most levels whose squarings are put off to be multiplied at once.
pub(super) const STEP_LEVELS_MAX: usize = 3;

/// Words at the beginning of the workspace: what members tell each other and the host.
pub(super) const WORDS: usize = 8;

/// Word: limbs of the result, with zeros at the end.
pub(super) const RESULT_LIMBS: usize = 0;
/// Word: limbs of the product of the levels that one member does alone.
pub(super) const HEAD_LIMBS: usize = 1;

/// Count: segments whose leaves are made.
pub(super) const SEGMENTS_DONE: usize = 2;
/// Count: groups that are multiplied.
pub(super) const GROUPS_DONE: usize = 3;
/// Count: limbs of the products that all members have made together.
pub(super) const LIMBS_DONE: usize = 4;

/// A part of the workspace, in limbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) start: usize,
    pub(super) limbs: usize,
}

/// The workspace of a factorial: its areas, one after another.
///
/// ```text
/// words | leaf table | group table | groups | factor | power | other | scratch
/// ```
///
/// | area        | holds                                       | written by             |
/// |-------------|---------------------------------------------|------------------------|
/// | words       | lengths for all to know                     | one member each        |
/// | leaf table  | for each segment: where, limbs of each level| who did the segment    |
/// | group table | for each group: where, limbs                | who did the group      |
/// | groups      | products of groups of leaves                | who did the group      |
/// | factor      | what a step multiplies in                   | all, by team products  |
/// | power       | powers of the product so far                | all, by team products  |
/// | other       | the other factor of a product               | all, by team products  |
/// | scratch     | first the leaves; then team products'       | who did the segment; all |
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) leaf_table: Area,
    pub(super) group_table: Area,
    pub(super) groups: Area,
    pub(super) factor: Area,
    pub(super) power: Area,
    pub(super) other: Area,
    pub(super) scratch: Area,
    /// Limbs of the whole workspace.
    pub(super) total_limbs: usize,
    /// Limbs for the result.
    pub(super) result_limbs: usize,
    segments: usize,
    groups_expected: usize,
    /// Limbs of the longest factors.
    pub(super) factors: [usize; 2],
    /// Limbs that a member needs in its own memory: a group's leaves and the scratch memory of
    /// their products.
    pub(super) member_limbs: usize,
}

/// The first of the lowest levels, which all members do together; one alone does those from
/// here on, while the others multiply the leaves of the lower ones.
pub(super) fn head_level(levels: usize, members: usize) -> usize {
    let level = (7 * members).ilog2() as usize + 1;
    level.min(levels.saturating_sub(1)).max(2)
}

/// Groups of leaves that a level of the lowest is divided into, at most, for all levels together.
fn groups_max(levels: usize, members: usize) -> usize {
    levels + 4 * members
}

impl Layout {
    /// The layout for n! by at most `members` members.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] if n! has more than [`LIMBS_MAX`] limbs.
    pub(super) fn new(n: u64, members: usize) -> Result<Layout> {
        let result_limbs = check(n)?;
        let plan = FactorialPlan::new(n);
        let (levels, segments) = (plan.levels(), plan.segments());
        let bits = |bits: u64| usize::try_from(bits / 64).unwrap_or(usize::MAX) + 1;
        let leaves = bits(4 * n + 2 * levels as u64) + levels * segments;
        let groups = bits(4 * n + 2 * levels as u64) + 2 + groups_max(levels, members);
        // Every level of a step adds the bits of 2 n + 2^(i + 1), and the shift up to 64.
        let factor = bits(STEP_LEVELS_MAX as u64 * 2 * n + 80) + 1;
        // power^2 factor <= n!, and other = power * factor.
        let power = odd_limbs(n, result_limbs) / 2 + 2;
        let other = power + factor;
        let scratch = scratch_limbs_max(power, other).max(scratch_limbs_max(power, factor));
        let mut end = WORDS;
        let mut area = |limbs: usize| {
            let start = end.next_multiple_of(8);
            end = start + limbs;
            Area { start, limbs }
        };
        Ok(Layout {
            leaf_table: area(segments * (1 + levels)),
            group_table: area(2 * groups_max(levels, members)),
            groups: area(groups),
            factor: area(factor),
            power: area(power),
            other: area(other),
            scratch: area(scratch.max(leaves)),
            total_limbs: end,
            // Where the result begins is rounded down to a limb, where it ends is rounded up.
            result_limbs: result_limbs + 2,
            segments,
            groups_expected: 2 * members,
            factors: [power, other],
            member_limbs: 12 * groups / (2 * members),
        })
    }
}

/// Shares of the time that leaves and groups take of a long factorial.
const LEAVES_SHARE: f64 = 0.25;
const GROUPS_SHARE: f64 = 0.25;

/// Limbs of the products of all members in units of the result's: the last two have 3/2, those
/// of each step before an eighth of the next.
const PRODUCTS: f64 = 1.5 * 8.0 / 7.0;

impl Layout {
    /// About how much of the time has passed, from what is done of each part.
    pub(super) fn progress(&self, segments: f64, groups: f64, limbs: f64) -> f64 {
        let part = |done: f64, all: usize| (done / all as f64).min(1.0);
        let products = (limbs / (PRODUCTS * self.result_limbs as f64)).min(1.0);
        LEAVES_SHARE * part(segments, self.segments)
            + GROUPS_SHARE * part(groups, self.groups_expected).max(products.ceil())
            + (1.0 - LEAVES_SHARE - GROUPS_SHARE) * products
    }
}

/// Limbs that are enough for n!, if it can be computed at all.
///
/// # Errors
///
/// [`Error::TooLarge`].
pub(super) fn check(n: u64) -> Result<usize> {
    let limbs = FactorialPlan::limbs(n);
    limbs.filter(|&limbs| limbs <= LIMBS_MAX).ok_or(Error::TooLarge {
        what: "a factorial",
        size_bytes: limbs.map_or(u64::MAX, |limbs| limbs as u64 * 8),
        limit_bytes: LIMBS_MAX as u64 * 8,
    })
}

/// Limbs that are enough for the odd part of n!, which has `limbs`.
fn odd_limbs(n: u64, limbs: usize) -> usize {
    let twos = n - u64::from(n.count_ones());
    limbs - usize::try_from(twos / 64).unwrap_or(0).min(limbs)
}
