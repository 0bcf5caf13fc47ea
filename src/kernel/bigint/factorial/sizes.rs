//! The memory that a team needs for a factorial.
//!
//! Sizes come from these bounds. Level i has the odd primes whose exponent in n! has bit i, which
//! is then at least 2^i. The exponent of p is below n / (p - 1), so none of these primes is above n
//! / 2^i + 1. A product of different primes up to x is below 4^x, so P_i, the product of level i,
//! has at most 2 (n / 2^i + 1) bits, and all levels together have 4 n + 2 `levels`. Each
//! intermediate product divides n!, so two factors of it have at most the limbs of n!, and one more
//! each.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::bigint::LIMBS_MAX;
use crate::kernel::bigint::team_arithmetic::{MemoryNeeds, scratch_limbs_max};

use super::plan::FactorialPlan;

/// The most levels that a step multiplies in at once.
pub(super) const STEP_LEVELS_MAX: usize = 3;

/// The sizes in limbs of the spans in the workspace, which lie one after another:
///
/// ```text
/// groups | factor | power | other | scratch
/// ```
#[derive(Debug)]
pub(crate) struct FactorialSizes {
    pub(super) plan: FactorialPlan,
    /// Products of groups of leaves.
    pub(super) groups: usize,
    /// The factor of a step.
    pub(super) factor: usize,
    /// Powers of the product so far.
    pub(super) power: usize,
    /// The other factor of a product.
    pub(super) other: usize,
    groups_expected: usize,
    /// The rest of the workspace holds the leaves first, then the scratch memory of products. Each
    /// member has memory for the leaves of a group and for the scratch memory of their products.
    pub(crate) needs: MemoryNeeds,
}

/// The lowest levels, which all members multiply together, are those below this one. One member
/// combines the others, while the rest multiply the leaves of the lower ones.
pub(super) fn head_level(levels: usize, members: usize) -> usize {
    let level = (7 * members).ilog2() as usize + 1;
    level.min(levels.saturating_sub(1)).max(2)
}

impl FactorialSizes {
    /// The sizes for n! by at most `members` members; `None` if n! has more than [`LIMBS_MAX`]
    /// limbs.
    pub(crate) fn new(n: u64, members: usize) -> Option<FactorialSizes> {
        let limbs = FactorialPlan::limbs(n).filter(|&limbs| limbs <= LIMBS_MAX)?;
        let plan = FactorialPlan::new(n);
        let (levels, segments) = (plan.levels(), plan.segments());
        let odd_limbs = limbs - plan.zero_limbs().min(limbs);
        // The most groups of leaves, for all levels, and the head.
        let groups_max = levels + 4 * members + 1;
        let bits = |bits: u64| usize::try_from(bits / 64).unwrap_or(usize::MAX) + 1;
        let levels_limbs = bits(4 * n + 2 * levels as u64);
        let leaves = levels_limbs + segments * (2 + 2 * levels);
        // The head is at most a fourth root of n!; each product has two words in a table.
        let groups = levels_limbs + 2 + 3 * groups_max + odd_limbs / 4 + 2;
        // Every level of a step adds the bits of 2 n + 2^(i + 1), and the shift up to 64.
        let factor = bits(STEP_LEVELS_MAX as u64 * 2 * n + 80) + 1;
        // power^2 factor <= n!, and other = power * factor.
        let power = odd_limbs / 2 + 2;
        let other = power + factor;
        let scratch = scratch_limbs_max(power, other).max(scratch_limbs_max(power, factor));
        // Each span begins on a cache line.
        let [groups, factor, power, other] =
            [groups, factor, power, other].map(|limbs| limbs.next_multiple_of(8));
        Some(FactorialSizes {
            groups,
            factor,
            power,
            other,
            plan,
            groups_expected: 2 * members,
            needs: MemoryNeeds {
                workspace: groups + factor + power + other + scratch.max(leaves),
                // Where the result begins is rounded down to a limb, where it ends rounded up.
                result: limbs + 2,
                member: 12 * groups / (2 * members),
                factors: [power, other],
            },
        })
    }
}

/// The progress of a factorial, counted by its members.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct FactorialProgress {
    segments: AtomicU64,
    groups: AtomicU64,
    /// Limbs of the products that all members have made together.
    limbs: AtomicU64,
}

impl FactorialProgress {
    /// The part of the time of a long factorial that segments and groups take.
    const SEGMENTS_SHARE: f64 = 0.25;
    const GROUPS_SHARE: f64 = 0.25;

    /// Limbs of the products of all members, in units of the result's: the last two have 3/2, those
    /// of each earlier step an eighth of the next.
    const PRODUCTS: f64 = 1.5 * 8.0 / 7.0;

    pub(super) fn add_segment(&self) {
        // Relaxed, here and below: an estimate.
        self.segments.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_group(&self) {
        self.groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn add_limbs(&self, limbs: usize) {
        self.limbs.fetch_add(limbs as u64, Ordering::Relaxed);
    }

    /// The approximate part of the time that has passed, from 0 to 1.
    pub(crate) fn fraction(&self, sizes: &FactorialSizes) -> f64 {
        let part =
            |done: &AtomicU64, all: f64| (done.load(Ordering::Relaxed) as f64 / all).min(1.0);
        let products = part(&self.limbs, Self::PRODUCTS * sizes.needs.result as f64);
        let groups = part(&self.groups, sizes.groups_expected as f64).max(products.ceil());
        Self::SEGMENTS_SHARE * part(&self.segments, sizes.plan.segments() as f64)
            + Self::GROUPS_SHARE * groups
            + (1.0 - Self::SEGMENTS_SHARE - Self::GROUPS_SHARE) * products
    }
}
