//! A team member's part of a factorial.
//!
//! 1. *Leaves*: for each segment of the primes and each level, the product of its primes. The
//!    segments are taken from a counter, so this begins before all members have joined.
//! 2. *Groups*: the leaves of the lowest levels are multiplied in groups of about equal size, and
//!    the highest levels are combined into a number r, the *head*. One member computes each of
//!    them.
//! 3. *Steps*: some levels at a time, from the highest of the lowest down, r becomes r^(2^k) Q,
//!    with Q = P^(2^(k-1)) .. P' the product of k levels. It is computed as s (s Q) with s =
//!    r^(2^(k-1)), the whole team working on each product. A product of two different numbers costs
//!    three transforms of the length of the result, a square two. So this takes fewer long
//!    transforms than squaring and multiplying level by level.
//! 4. The last product is written behind as many limbs as n! has zero limbs at its low end; the
//!    rest of the power of two is already in the product of the lowest level.

use std::cmp::Reverse;
use std::ops::Range;

use crate::kernel::bigint::limbs::{mul_limb, trim};
use crate::kernel::bigint::product_tree::{product_of, product_of_all, square_of};
use crate::kernel::bigint::team_arithmetic::{LimbSpan, Scratch, TeamArithmetic};
use crate::kernel::team::{PeerDied, Team};

use super::plan::FactorialPlan;
use super::sizes::{FactorialProgress, FactorialSizes, STEP_LEVELS_MAX, head_level};

/// The fewest limbs in a group of leaves, if a level has more.
const GROUP_LIMBS_MIN: usize = 512;

/// Limbs that a member clears at a time.
const CLEARED_LIMBS: usize = 1 << 16;

/// Leaves of one level that are multiplied by one member.
#[derive(Debug)]
struct Group {
    level: usize,
    segments: Range<usize>,
    limbs: usize,
}

/// The leaves of all segments.
struct Leaves<'a> {
    plan: &'a FactorialPlan,
    /// For each segment, the result of [`FactorialPlan::leaf`].
    segments: Vec<&'a [u64]>,
}

impl Leaves<'_> {
    /// The leaf of `level` in segment `segment`.
    fn leaf(&self, segment: usize, level: usize) -> &[u64] {
        let (limbs, products) = self.segments[segment].split_at(self.plan.levels());
        let word = |limb: &u64| usize::try_from(*limb).expect("a count of limbs");
        let start = limbs[..level].iter().map(word).sum::<usize>();
        &products[start..][..word(&limbs[level])]
    }

    fn level_limbs(&self, level: usize) -> usize {
        (0..self.segments.len()).map(|segment| self.leaf(segment, level).len()).sum()
    }

    /// The product of the leaves of `level` in `segments`.
    fn product(&self, level: usize, segments: Range<usize>, scratch: &mut Vec<u64>) -> Vec<u64> {
        let leaves = segments.map(|segment| self.leaf(segment, level));
        product_of_all(&leaves.filter(|leaf| *leaf != [1]).collect::<Vec<_>>(), scratch)
    }

    /// The product of the levels from `low_levels` on, each with its exponent.
    fn head(&self, low_levels: usize, scratch: &mut Vec<u64>) -> Vec<u64> {
        let mut r = vec![1];
        for level in (low_levels..self.plan.levels()).rev() {
            if r != [1] {
                r = square_of(&r, scratch);
            }
            let product = self.product(level, 0..self.segments.len(), scratch);
            r = product_of(&r, &product, scratch);
        }
        r
    }

    /// Divides the leaves of the lowest levels into groups, the longest first.
    fn divide(&self, low_levels: usize, members: usize) -> Vec<Group> {
        let all: usize = (0..low_levels).map(|level| self.level_limbs(level)).sum();
        let mut groups = Vec::new();
        for level in 0..low_levels {
            let limbs = self.level_limbs(level);
            let count = (2 * members * limbs + all / 2) / all;
            let count = count.min(limbs / GROUP_LIMBS_MIN).max(1);
            let (mut before, mut number) = (0, usize::MAX);
            for segment in 0..self.segments.len() {
                if number != before * count / limbs {
                    number = before * count / limbs;
                    groups.push(Group { level, segments: segment..segment, limbs: 0 });
                }
                let group = groups.last_mut().expect("the first segment begins one");
                let leaf_limbs = self.leaf(segment, level).len();
                group.segments.end = segment + 1;
                group.limbs += leaf_limbs;
                before += leaf_limbs;
            }
        }
        groups.sort_by_key(|group| Reverse(group.limbs));
        groups
    }
}

/// The odd part of n!, level by level: for short factorials, by one thread.
pub(super) fn odd_part(n: u64) -> Vec<u64> {
    let plan = &FactorialPlan::new(n);
    let segments: Vec<Vec<u64>> = (0..plan.segments()).map(|i| plan.leaf(i)).collect();
    let segments = segments.iter().map(Vec::as_slice).collect();
    Leaves { plan, segments }.head(0, &mut Vec::new())
}

/// Writes the factorial of `sizes`, of a number of at least 6, to the beginning of `result`, by the
/// members of a team. Returns the number of its limbs.
///
/// # Errors
///
/// [`PeerDied`] if a member died; the contents of the memory are then unspecified.
///
/// # Panics
///
/// If the memory is less than `sizes` says, or `sizes` is for fewer members.
pub(crate) fn factorial_team<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    sizes: &FactorialSizes,
    result: LimbSpan<'_>,
    mut workspace: LimbSpan<'_>,
    progress: &FactorialProgress,
) -> Result<usize, PeerDied> {
    let plan = &sizes.plan;
    let [groups_room, factor, power, other] =
        [sizes.groups, sizes.factor, sizes.power, sizes.other].map(|limbs| workspace.take(limbs));
    let segments = arithmetic.map(plan.segments(), workspace.reborrow(), |segment| {
        let leaf = plan.leaf(segment);
        progress.add_segment();
        leaf
    })?;
    let leaves = Leaves { plan, segments };
    let low_levels = head_level(plan.levels(), arithmetic.members());
    let groups = leaves.divide(low_levels, arithmetic.members());
    let mut scratch = Vec::new();
    let numbers = arithmetic.map(1 + groups.len(), groups_room, |i| {
        let Some(number) = i.checked_sub(1) else { return leaves.head(low_levels, &mut scratch) };
        let Group { level, ref segments, .. } = groups[number];
        let mut product = leaves.product(level, segments.clone(), &mut scratch);
        if (level, segments.start) == (0, 0) {
            let carry = mul_limb(&mut product, 1 << (plan.twos() % 64), 0);
            product.extend((carry > 0).then_some(carry));
        }
        progress.add_group();
        product
    })?;
    let levels = (0..low_levels).map(|level| {
        let of_level = numbers[1..].iter().zip(&groups).filter(|(_, group)| group.level == level);
        of_level.map(|(&number, _)| number).collect()
    });
    let mut buffers = StepBuffers { factor, power, other, scratch: arithmetic.scratch(workspace)? };
    let made = |limbs| {
        if arithmetic.is_first() {
            progress.add_limbs(limbs);
        }
    };
    let levels: Vec<Vec<&[u64]>> = levels.collect();
    steps(arithmetic, numbers[0], &levels, (result, plan.zero_limbs()), &mut buffers, made)
}

/// The buffers of the steps.
struct StepBuffers<'a> {
    factor: LimbSpan<'a>,
    power: LimbSpan<'a>,
    other: LimbSpan<'a>,
    scratch: Scratch<'a>,
}

/// Multiplies the levels, given by their groups, into `head`. The product begins `zeros` limbs
/// after the beginning of `result`, behind zeros. Returns the number of limbs of both together.
fn steps<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    head: &[u64],
    levels: &[Vec<&[u64]>],
    (mut result, zeros): (LimbSpan<'_>, usize),
    buffers: &mut StepBuffers<'_>,
    made: impl Fn(usize),
) -> Result<usize, PeerDied> {
    let count = levels.len().div_ceil(STEP_LEVELS_MAX);
    // The last steps have the longest numbers and take the most levels; each takes two or three.
    let bound = |step| levels.len() - (count - step) * levels.len() / count;
    let mut r_limbs = None;
    for step in (0..count).rev() {
        let levels = &levels[bound(step)..bound(step + 1)];
        let q_limbs = factor(arithmetic, levels, buffers)?;
        let StepBuffers { factor, power, other, scratch } = buffers;
        let r = r_limbs.map_or(head, |limbs| &result.read()[..limbs]);
        let s = if levels.len() == 3 {
            let r_squared = arithmetic.square(other.reborrow(), r, scratch)?;
            arithmetic.square(power.reborrow(), r_squared, scratch)?
        } else {
            arithmetic.square(power.reborrow(), r, scratch)?
        };
        let q = &factor.read()[..q_limbs];
        let sq = trim(arithmetic.multiply(other.reborrow(), s, q, scratch)?);
        made(sq.len());
        let mut out = result.reborrow();
        let zeros = if step == 0 { zeros } else { 0 };
        let below = out.take(zeros);
        arithmetic.for_each_part(
            below,
            CLEARED_LIMBS,
            [].as_mut_slice().into(),
            |_, part, _| {
                part.fill(0);
            },
        )?;
        let r = trim(arithmetic.multiply(out, s, sq, scratch)?);
        made(r.len());
        r_limbs = Some(zeros + r.len());
    }
    Ok(r_limbs.expect("there is a step"))
}

/// The factor of a step: `(..(P^2 P')^2 ..)^2 P''` from the highest level down, at the beginning of
/// the buffer `factor`. Returns the number of its limbs. There are at least two levels.
fn factor<T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    levels: &[Vec<&[u64]>],
    buffers: &mut StepBuffers<'_>,
) -> Result<usize, PeerDied> {
    let StepBuffers { factor, power, other, scratch } = buffers;
    let (highest, lower) = levels.split_last().expect("a step has levels");
    let mut limbs = None;
    for groups in lower.iter().rev() {
        let q = match limbs {
            Some(limbs) => &factor.read()[..limbs],
            None => level(arithmetic, highest, power, scratch)?,
        };
        let square = arithmetic.square(other.reborrow(), q, scratch)?;
        let product = level(arithmetic, groups, power, scratch)?;
        let q = arithmetic.multiply(factor.reborrow(), square, product, scratch)?;
        limbs = Some(trim(q).len());
    }
    Ok(limbs.expect("a step has several levels"))
}

/// The product of a level's groups, in `buffer` if there are several.
fn level<'r, T: Team>(
    arithmetic: &TeamArithmetic<'_, T>,
    groups: &[&'r [u64]],
    buffer: &'r mut LimbSpan<'_>,
    scratch: &mut Scratch<'_>,
) -> Result<&'r [u64], PeerDied> {
    let mut rest = buffer.reborrow();
    let to = rest.take(rest.len() / 2);
    arithmetic.multiply_all(groups, to, rest, scratch)
}
