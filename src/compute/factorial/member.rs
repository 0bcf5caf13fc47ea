//! A member's part of a factorial.
//!
//! 1. *Leaves*: for each segment of the primes and each level, the product of its primes. The
//!    segments are taken from a counter, so this begins before all members are there.
//! 2. *Groups*: the leaves of the lowest levels are multiplied in groups of about equal size,
//!    and the highest levels put together to a number r, the *head*; each by one member alone.
//! 3. *Steps*: some levels at a time, from the highest of the lowest down, r becomes
//!    r^(2^k) Q, with Q = P^(2^(k-1)) .. P' the product of k levels. That is done as s (s Q)
//!    with s = r^(2^(k-1)), all members working on each product: a product of two unlike
//!    numbers costs three transforms of the length of the result, a square two, and put this
//!    way there are fewer long ones than in squaring and multiplying level by level.
//! 4. The last product is written as many limbs on as n! has zero limbs below; the rest of the
//!    power of two is in the product of the lowest level already.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::kernel::bigint::team_arithmetic::{
    LimbSpan, TeamArithmetic, product_of, product_of_all, square_of,
};
use crate::kernel::bigint::{Backend, FactorialPlan, mul_limb};
use crate::kernel::{PeerDied, Team};

use super::layout::{
    Area, GROUPS_DONE, HEAD_LIMBS, LIMBS_DONE, Layout, RESULT_LIMBS, SEGMENTS_DONE,
    STEP_LEVELS_MAX, head_level,
};

/// Fewest limbs in a group of leaves, if a level has more.
const GROUP_LIMBS_MIN: usize = 512;

/// Counters of the team: the first ten are the products' own.
const SEGMENT: usize = 10;
const LEAF_LIMB: usize = 11;
const TASK: usize = 12;
const GROUP_LIMB: usize = 13;

/// The memory of a factorial, as one member sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// As long as [`Layout::total_limbs`].
    pub(super) workspace: LimbSpan,
    /// As long as [`Layout::result_limbs`].
    pub(super) result: LimbSpan,
}

/// Leaves of one level that are multiplied by one member.
#[derive(Debug)]
struct Group {
    level: usize,
    segments: Range<usize>,
    limbs: usize,
}

/// One member at work.
struct Member<'a, C> {
    arithmetic: TeamArithmetic<'a, C>,
    plan: &'a FactorialPlan,
    layout: &'a Layout,
    memory: Memory,
}

/// Where each leaf is: read from the leaf table once it is complete.
struct Leaves {
    /// For each segment, its offset and the limbs of each level.
    rows: Vec<Vec<usize>>,
}

impl Leaves {
    fn limbs(&self, segment: usize, level: usize) -> usize {
        self.rows[segment][1 + level]
    }

    fn offset(&self, segment: usize, level: usize) -> usize {
        self.rows[segment][..=level].iter().sum()
    }

    fn level_limbs(&self, level: usize) -> usize {
        (0..self.rows.len()).map(|segment| self.limbs(segment, level)).sum()
    }
}

/// n!, by the members of a team that share the memory: each calls this. Afterwards the limbs of
/// n! are the first of the result, and their number is the word [`RESULT_LIMBS`].
///
/// # Errors
///
/// [`PeerDied`] if a member died; the memory then holds anything.
///
/// # Panics
///
/// If `memory` is not as large as `layout` says.
///
/// # Safety
///
/// - `layout` is for `plan` and at least as many members as there are; workspace and result
///   do not overlap.
/// - All members call with the same plan, layout and memory; the team's counters are at zero.
pub(super) unsafe fn factorial(
    team: &impl Team,
    plan: &FactorialPlan,
    layout: &Layout,
    memory: Memory,
) -> Result<(), PeerDied> {
    let Area { start, limbs } = layout.scratch;
    let scratch = memory.workspace.part(start, limbs);
    let arithmetic = TeamArithmetic { team, scratch, backend: Backend::detect() };
    let member = Member { arithmetic, plan, layout, memory };
    member.leaves();
    team.barrier()?;
    let leaves = member.leaf_table();
    let low_levels = head_level(plan.levels(), team.members());
    let groups = member.divide(&leaves, low_levels);
    member.multiply_groups(&leaves, &groups, low_levels);
    team.barrier()?;
    member.steps(&groups, low_levels)
}

impl<C: Team> Member<'_, C> {
    fn area(&self, area: Area) -> LimbSpan {
        self.memory.workspace.part(area.start, area.limbs)
    }

    /// The leaves of the segments that this member takes.
    fn leaves(&self) {
        let (segments, levels) = (self.plan.segments(), self.plan.levels());
        let table = self.area(self.layout.leaf_table);
        let team = self.arithmetic.team;
        let mut leaf = Vec::new();
        loop {
            let segment = team.take(SEGMENT, 1);
            if segment >= segments {
                return;
            }
            leaf.resize(self.plan.leaf_limbs(segment).max(leaf.len()), 0);
            let counts = self.plan.leaf(segment, &mut leaf);
            let counts = &counts[..levels];
            let limbs = counts.iter().sum();
            let offset = team.take(LEAF_LIMB, limbs);
            // SAFETY: the counter gave this place to this member alone; nobody reads it before the
            // barrier after the leaves.
            unsafe { self.arithmetic.scratch.rest(offset).store(&leaf[..limbs]) };
            self.tell(SEGMENTS_DONE, 1);
            let row = segment * (1 + levels);
            // SAFETY: as above; the row is the segment's, and that is this member's.
            unsafe { table.set_word(row, offset) };
            for (level, &limbs) in counts.iter().enumerate() {
                // SAFETY: as above.
                unsafe { table.set_word(row + 1 + level, limbs) };
            }
        }
    }

    fn leaf_table(&self) -> Leaves {
        let width = 1 + self.plan.levels();
        let table = self.area(self.layout.leaf_table);
        let row = |segment: usize| {
            let start = segment * width;
            // SAFETY: private to this file, and called after the barrier after the leaves, from
            // which on nobody writes to the table.
            (start..start + width).map(|word| unsafe { table.word(word) }).collect()
        };
        Leaves { rows: (0..self.plan.segments()).map(row).collect() }
    }

    /// The product of the leaves of `level` in `segments`, by this member.
    fn product(
        &self,
        leaves: &Leaves,
        level: usize,
        segments: Range<usize>,
        scratch: &mut Vec<u64>,
    ) -> Vec<u64> {
        let numbers = segments.map(|segment| {
            let (offset, limbs) = (leaves.offset(segment, level), leaves.limbs(segment, level));
            // SAFETY: private to this file, and called between the barrier after the leaves and
            // the next, until which nobody writes to the scratch memory, where they are.
            unsafe { self.arithmetic.scratch.part(offset, limbs).read() }
        });
        let factors: Vec<&[u64]> = numbers.filter(|number| *number != [1]).collect();
        product_of_all(&factors, scratch)
    }

    /// Divides the leaves of the lowest levels into groups.
    fn divide(&self, leaves: &Leaves, low_levels: usize) -> Vec<Group> {
        let all: usize = (0..low_levels).map(|level| leaves.level_limbs(level)).sum();
        let members = self.arithmetic.team.members();
        let mut groups = Vec::new();
        for level in 0..low_levels {
            let limbs = leaves.level_limbs(level);
            let count = (2 * members * limbs + all / 2) / all;
            let count = count.min(limbs / GROUP_LIMBS_MIN).max(1);
            let (mut before, mut number) = (0, usize::MAX);
            for segment in 0..self.plan.segments() {
                if number != before * count / limbs {
                    number = before * count / limbs;
                    groups.push(Group { level, segments: segment..segment, limbs: 0 });
                }
                let group = groups.last_mut().expect("the first segment begins one");
                group.segments.end = segment + 1;
                group.limbs += leaves.limbs(segment, level);
                before += leaves.limbs(segment, level);
            }
        }
        groups
    }

    /// The products of the groups that this member takes, and perhaps the head.
    fn multiply_groups(&self, leaves: &Leaves, groups: &[Group], low_levels: usize) {
        let table = self.area(self.layout.group_table);
        let room = self.area(self.layout.groups);
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&group| std::cmp::Reverse(groups[group].limbs));
        let mut scratch = Vec::new();
        loop {
            let task = self.arithmetic.team.take(TASK, 1);
            if task == 0 {
                self.head(leaves, low_levels, &mut scratch);
                continue;
            }
            let Some(&number) = order.get(task - 1) else { return };
            let Group { level, ref segments, .. } = groups[number];
            let mut product = self.product(leaves, level, segments.clone(), &mut scratch);
            if (level, segments.start) == (0, 0) {
                let carry = mul_limb(&mut product, 1 << (self.plan.twos() % 64), 0);
                product.extend((carry > 0).then_some(carry));
            }
            let offset = self.arithmetic.team.take(GROUP_LIMB, product.len());
            // SAFETY: the counter gave this place to this member alone; nobody reads it before the
            // barrier after the groups.
            unsafe { room.rest(offset).store(&product) };
            // SAFETY: as above; the entry is the group's, and that is this member's.
            unsafe { table.set_word(2 * number, offset) };
            // SAFETY: as above.
            unsafe { table.set_word(2 * number + 1, product.len()) };
            self.tell(GROUPS_DONE, 1);
        }
    }

    /// The product of the highest levels, into the result's memory, by one member.
    fn head(&self, leaves: &Leaves, low_levels: usize, scratch: &mut Vec<u64>) {
        let mut r = vec![1];
        for level in (low_levels..self.plan.levels()).rev() {
            if r != [1] {
                r = square_of(&r, scratch);
            }
            let product = self.product(leaves, level, 0..self.plan.segments(), scratch);
            r = product_of(&r, &product, scratch);
        }
        // SAFETY: the counter gave the head to this member alone; nobody uses the result before the
        // barrier after the groups.
        unsafe { self.memory.result.store(&r) };
        // SAFETY: as above, of this word.
        unsafe { self.memory.workspace.set_word(HEAD_LIMBS, r.len()) };
    }

    /// Takes the lowest levels in, by products of the whole team.
    fn steps(&self, groups: &[Group], low_levels: usize) -> Result<(), PeerDied> {
        let steps = low_levels.div_ceil(STEP_LEVELS_MAX);
        let Memory { workspace, result } = self.memory;
        let [power, other] = [self.area(self.layout.power), self.area(self.layout.other)];
        // SAFETY: it was written before the last barrier, and is never written again.
        let mut r = result.part(0, unsafe { workspace.word(HEAD_LIMBS) });
        for step in (0..steps).rev() {
            // The lowest steps, with the longest numbers, have the most levels.
            let bound = |step| low_levels - (steps - step) * low_levels / steps;
            let levels = bound(step)..bound(step + 1);
            let q = self.factor(groups, levels.clone())?;
            let mut s = r;
            for squaring in 1..levels.len() {
                let is_for_power = squaring % 2 == (levels.len() - 1) % 2;
                let room = if is_for_power { power } else { other };
                // SAFETY: r is in `result`, and the squares take turns in two other areas.
                s = unsafe { self.arithmetic.square(room, s)? };
            }
            // SAFETY: s is in `power`, after an even number of turns, and q in `factor`.
            let sq = unsafe { self.arithmetic.multiply(other, s, q)? };
            self.tell_product(sq);
            let zeros = if step == 0 { self.zero_limbs() } else { 0 };
            self.clear(result.part(0, zeros));
            // SAFETY: s is in `power`, sq in `other`, and nobody reads the last r any more.
            r = unsafe { self.arithmetic.multiply(result.rest(zeros), s, sq)? };
            self.tell_product(r);
        }
        if self.arithmetic.team.rank() == 0 {
            // SAFETY: only this member uses the word, and the host when no task is left.
            unsafe { workspace.set_word(RESULT_LIMBS, self.zero_limbs() + r.limbs()) };
        }
        Ok(())
    }

    /// Counts a product that all have made.
    fn tell_product(&self, product: LimbSpan) {
        if self.arithmetic.team.rank() == 0 {
            self.tell(LIMBS_DONE, product.limbs() as u64);
        }
    }

    /// Adds to one of the three counts that the host looks at.
    fn tell(&self, count: usize, more: u64) {
        debug_assert!([SEGMENTS_DONE, GROUPS_DONE, LIMBS_DONE].contains(&count));
        // SAFETY: members use these words by this function alone, and the host as atomics.
        unsafe { self.memory.workspace.count(count, more) };
    }

    /// Limbs of n! that are zero because of the power of two in it.
    fn zero_limbs(&self) -> usize {
        usize::try_from(self.plan.twos() / 64).expect("n! fits into memory")
    }

    /// Clears this member's share of what all clear together.
    fn clear(&self, room: LimbSpan) {
        let team = self.arithmetic.team;
        let share = room.limbs().div_ceil(team.members());
        let start = (team.rank() * share).min(room.limbs());
        // SAFETY: private to this file, and called for the beginning of `result`, which no product
        // reads or writes; each member has a share of its own.
        unsafe { room.part(start, share.min(room.limbs() - start)).clear() };
    }

    /// The factor of a step: `(..(P^2 P')^2 ..)^2 P''` from the highest of `levels` down; in the
    /// area `factor` if there are two and more.
    fn factor(&self, groups: &[Group], levels: Range<usize>) -> Result<LimbSpan, PeerDied> {
        let [factor, other] = [self.area(self.layout.factor), self.area(self.layout.other)];
        let mut q = self.level(groups, levels.end - 1)?;
        for level in levels.rev().skip(1) {
            // SAFETY: q is among the groups, in `power` or in `factor`.
            let square = unsafe { self.arithmetic.square(other, q)? };
            let product = self.level(groups, level)?;
            // SAFETY: the square is in `other`, the level among the groups or in `power`.
            q = unsafe { self.arithmetic.multiply(factor, square, product)? };
        }
        Ok(q)
    }

    /// The product of a level: of its groups, in the area `power` if there are several.
    fn level(&self, groups: &[Group], level: usize) -> Result<LimbSpan, PeerDied> {
        let table = self.area(self.layout.group_table);
        let area = self.area(self.layout.groups);
        let numbers = groups.iter().enumerate().filter(|(_, group)| group.level == level);
        let numbers = numbers.map(|(number, _)| {
            // SAFETY: private to this file, and called after the barrier after the groups, from
            // which on nobody writes to the table.
            let [at, limbs] = [0, 1].map(|word| unsafe { table.word(2 * number + word) });
            area.part(at, limbs)
        });
        let power = self.area(self.layout.power);
        let half = power.limbs() / 2;
        let rooms = [power.part(0, half), power.rest(half)];
        // SAFETY: the groups are in another area than `power`, where nobody reads meanwhile.
        unsafe { self.arithmetic.multiply_all(rooms, numbers.collect()) }
    }
}
