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
use std::slice;

use crate::kernel::bigint::{
    Backend, FactorialPlan, mul, mul_crew, mul_limb, mul_scratch_limbs, square, square_crew,
    square_scratch_limbs, trim,
};
use crate::kernel::{Crew, Deserted};

use super::layout::{Area, HEAD_LIMBS, Layout, RESULT_LIMBS, STEP_LEVELS_MAX, head_level};

/// Limbs of the longer factor from which on a product is worth the crew's barriers.
const CREW_LIMBS_MIN: usize = 4000;

/// Fewest limbs in a group of leaves, if a level has more.
const GROUP_LIMBS_MIN: usize = 512;

/// Counters of the crew: the first ten are the products' own.
const SEGMENT: usize = 10;
const LEAF_LIMB: usize = 11;
const TASK: usize = 12;
const GROUP_LIMB: usize = 13;

/// The memory of a factorial, as one member sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// As long as [`Layout::total_limbs`].
    pub(super) workspace: *mut u64,
    /// As long as [`Layout::result_limbs`].
    pub(super) result: *mut u64,
}

/// A number in shared memory.
#[derive(Debug, Clone, Copy)]
struct Number {
    at: *mut u64,
    limbs: usize,
}

/// Room for a number.
#[derive(Debug, Clone, Copy)]
struct Room {
    at: *mut u64,
    limbs: usize,
}

/// Leaves of one level that are multiplied by one member.
#[derive(Debug)]
struct Group {
    level: usize,
    segments: Range<usize>,
    limbs: usize,
}

/// One member at work.
pub(super) struct Member<'a, C> {
    crew: &'a C,
    plan: &'a FactorialPlan,
    layout: &'a Layout,
    memory: Memory,
    backend: Backend,
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

/// n!, by the members of a crew that share the memory: each calls this. Afterwards the limbs of
/// n! are the first of the result, and their number is the word [`RESULT_LIMBS`].
///
/// # Errors
///
/// [`Deserted`] if a member died; the memory then holds anything.
///
/// # Safety
///
/// - `memory` is as large as `layout` says, for `plan` and at least as many members as there
///   are, aligned to limbs, and for the crew alone until every member has returned or is dead.
/// - All members call with the same plan, layout and memory; the crew's counters are at zero.
pub(super) unsafe fn factorial(
    crew: &impl Crew,
    plan: &FactorialPlan,
    layout: &Layout,
    memory: Memory,
) -> Result<(), Deserted> {
    let member = Member { crew, plan, layout, memory, backend: Backend::detect() };
    member.leaves();
    crew.barrier()?;
    let leaves = member.leaf_table();
    let low_levels = head_level(plan.levels(), crew.members());
    let groups = member.divide(&leaves, low_levels);
    member.multiply_groups(&leaves, &groups, low_levels);
    crew.barrier()?;
    member.steps(&groups, low_levels)
}

impl<C: Crew> Member<'_, C> {
    fn area(&self, area: Area) -> Room {
        Room { at: self.memory.workspace.wrapping_add(area.start), limbs: area.limbs }
    }

    fn result(&self) -> Room {
        Room { at: self.memory.result, limbs: self.layout.result_limbs }
    }

    /// Writes a word of the workspace that no other member writes.
    fn write_word(&self, word: usize, value: usize) {
        assert!(word < self.layout.total_limbs, "word {word} of the workspace");
        // SAFETY: inside the workspace, as asserted; by the contract of `factorial` it is the
        // crew's, and each word has one writer, between barriers.
        unsafe { self.memory.workspace.wrapping_add(word).write(value as u64) };
    }

    /// Reads a word of the workspace that was written before the last barrier.
    fn read_word(&self, word: usize) -> usize {
        assert!(word < self.layout.total_limbs, "word {word} of the workspace");
        // SAFETY: as in `write_word`; nobody writes it after the barrier.
        let value = unsafe { self.memory.workspace.wrapping_add(word).read() };
        usize::try_from(value).expect("a number of limbs")
    }

    /// Copies a number into shared memory that is this member's.
    fn store(&self, room: Room, at: usize, limbs: &[u64]) {
        assert!(at + limbs.len() <= room.limbs, "{at} + {} of {} limbs", limbs.len(), room.limbs);
        let to = room.at.wrapping_add(at);
        // SAFETY: inside the room, as asserted, which lies in the crew's memory by the contract
        // of `factorial`; callers got the place from a counter, or are the only ones to use it.
        unsafe { to.copy_from_nonoverlapping(limbs.as_ptr(), limbs.len()) };
    }

    /// A number in shared memory.
    ///
    /// # Safety
    ///
    /// - It was written before the last barrier, and nobody writes there while it is borrowed.
    unsafe fn read<'n>(&self, number: Number) -> &'n [u64] {
        // SAFETY: `Number`s are made of rooms and lengths that were checked against them.
        unsafe { slice::from_raw_parts(number.at, number.limbs) }
    }

    /// The leaves of the segments that this member takes.
    fn leaves(&self) {
        let (segments, levels) = (self.plan.segments(), self.plan.levels());
        let mut leaf = Vec::new();
        loop {
            let segment = self.crew.take(SEGMENT, 1);
            if segment >= segments {
                return;
            }
            leaf.resize(self.plan.leaf_limbs(segment).max(leaf.len()), 0);
            let counts = self.plan.leaf(segment, &mut leaf);
            let counts = &counts[..levels];
            let limbs = counts.iter().sum();
            let offset = self.crew.take(LEAF_LIMB, limbs);
            self.store(self.area(self.layout.scratch), offset, &leaf[..limbs]);
            let row = self.layout.leaf_table.start + segment * (1 + levels);
            self.write_word(row, offset);
            for (level, &limbs) in counts.iter().enumerate() {
                self.write_word(row + 1 + level, limbs);
            }
        }
    }

    fn leaf_table(&self) -> Leaves {
        let width = 1 + self.plan.levels();
        let row = |segment: usize| {
            let start = self.layout.leaf_table.start + segment * width;
            (start..start + width).map(|word| self.read_word(word)).collect()
        };
        Leaves { rows: (0..self.plan.segments()).map(row).collect() }
    }

    /// The leaves of `level` in `segments`, less those that are 1.
    ///
    /// # Safety
    ///
    /// - All leaves were written before the last barrier, and nobody writes over them while
    ///   they are borrowed.
    unsafe fn leaves_of(
        &self,
        leaves: &Leaves,
        level: usize,
        segments: Range<usize>,
    ) -> Vec<&[u64]> {
        let area = self.area(self.layout.scratch);
        let numbers = segments.map(|segment| {
            let (offset, limbs) = (leaves.offset(segment, level), leaves.limbs(segment, level));
            assert!(offset + limbs <= area.limbs, "a leaf lies in its area");
            // SAFETY: inside the area, as asserted; the rest is this function's contract.
            unsafe { self.read(Number { at: area.at.wrapping_add(offset), limbs }) }
        });
        numbers.filter(|number| *number != [1]).collect()
    }

    /// Divides the leaves of the lowest levels into groups.
    fn divide(&self, leaves: &Leaves, low_levels: usize) -> Vec<Group> {
        let all: usize = (0..low_levels).map(|level| leaves.level_limbs(level)).sum();
        let mut groups = Vec::new();
        for level in 0..low_levels {
            let limbs = leaves.level_limbs(level);
            let count = (2 * self.crew.members() * limbs + all / 2) / all;
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
        let mut order: Vec<usize> = (0..groups.len()).collect();
        order.sort_by_key(|&group| std::cmp::Reverse(groups[group].limbs));
        let mut scratch = Vec::new();
        loop {
            let task = self.crew.take(TASK, 1);
            if task == 0 {
                self.head(leaves, low_levels, &mut scratch);
                continue;
            }
            let Some(&number) = order.get(task - 1) else { return };
            let Group { level, ref segments, .. } = groups[number];
            // SAFETY: a barrier came after the leaves, and the area is not written before the
            // next.
            let factors = unsafe { self.leaves_of(leaves, level, segments.clone()) };
            let mut product = product_of_all(&factors, &mut scratch);
            if (level, segments.start) == (0, 0) {
                let carry = mul_limb(&mut product, 1 << (self.plan.twos() % 64), 0);
                product.extend((carry > 0).then_some(carry));
            }
            let offset = self.crew.take(GROUP_LIMB, product.len());
            self.store(self.area(self.layout.groups), offset, &product);
            let row = self.layout.group_table.start + 2 * number;
            self.write_word(row, offset);
            self.write_word(row + 1, product.len());
        }
    }

    /// The product of the highest levels, into the result's memory.
    fn head(&self, leaves: &Leaves, low_levels: usize, scratch: &mut Vec<u64>) {
        let mut r = vec![1];
        for level in (low_levels..self.plan.levels()).rev() {
            if r != [1] {
                r = square_of(&r, scratch);
            }
            // SAFETY: as in `multiply_groups`.
            let factors = unsafe { self.leaves_of(leaves, level, 0..self.plan.segments()) };
            r = product_of(&r, &product_of_all(&factors, scratch), scratch);
        }
        self.store(self.result(), 0, &r);
        self.write_word(HEAD_LIMBS, r.len());
    }

    /// Takes the lowest levels in, by products of the whole crew.
    fn steps(&self, groups: &[Group], low_levels: usize) -> Result<(), Deserted> {
        let steps = low_levels.div_ceil(STEP_LEVELS_MAX);
        let [result, power, other] =
            [self.result(), self.area(self.layout.power), self.area(self.layout.other)];
        let mut r = Number { at: result.at, limbs: self.read_word(HEAD_LIMBS) };
        assert!(r.limbs <= result.limbs, "the head lies in the result's memory");
        for step in (0..steps).rev() {
            // The lowest steps, with the longest numbers, have the most levels.
            let bound = |step| low_levels - (steps - step) * low_levels / steps;
            let levels = bound(step)..bound(step + 1);
            let q = self.factor(groups, levels.clone())?;
            let mut s = r;
            for squaring in 1..levels.len() {
                let is_last = squaring % 2 == (levels.len() - 1) % 2;
                s = self.square(if is_last { power } else { other }, s)?;
            }
            let sq = self.multiply(other, s, q)?;
            let zeros = if step == 0 { self.zero_limbs() } else { 0 };
            self.clear(Room { limbs: zeros, ..result });
            let room = Room {
                at: result.at.wrapping_add(zeros),
                limbs: result.limbs.saturating_sub(zeros),
            };
            r = self.multiply(room, s, sq)?;
        }
        if self.crew.rank() == 0 {
            self.write_word(RESULT_LIMBS, self.zero_limbs() + r.limbs);
        }
        Ok(())
    }

    /// Limbs of n! that are zero because of the power of two in it.
    fn zero_limbs(&self) -> usize {
        usize::try_from(self.plan.twos() / 64).expect("n! fits into memory")
    }

    /// Clears this member's share of a room that all clear together.
    fn clear(&self, room: Room) {
        assert!(room.limbs <= self.layout.result_limbs, "what is cleared is the result");
        let share = room.limbs.div_ceil(self.crew.members());
        let start = (self.crew.rank() * share).min(room.limbs);
        let limbs = share.min(room.limbs - start);
        // SAFETY: inside the result, as asserted; the shares of members are disjoint.
        unsafe { room.at.wrapping_add(start).write_bytes(0, limbs) };
    }

    /// The factor of a step: `(..(P^2 P')^2 ..)^2 P''` from the highest of `levels` down.
    fn factor(&self, groups: &[Group], levels: Range<usize>) -> Result<Number, Deserted> {
        let mut q = self.level(groups, levels.end - 1)?;
        for level in levels.rev().skip(1) {
            let square = self.square(self.area(self.layout.other), q)?;
            let product = self.level(groups, level)?;
            q = self.multiply(self.area(self.layout.factor), square, product)?;
        }
        Ok(q)
    }

    /// The product of a level: of its groups, neighbours first.
    fn level(&self, groups: &[Group], level: usize) -> Result<Number, Deserted> {
        let area = self.area(self.layout.groups);
        let mut numbers = Vec::new();
        for (number, _) in groups.iter().enumerate().filter(|(_, group)| group.level == level) {
            let row = self.layout.group_table.start + 2 * number;
            let (offset, limbs) = (self.read_word(row), self.read_word(row + 1));
            assert!(offset + limbs <= area.limbs, "a group's product lies in its area");
            numbers.push(Number { at: area.at.wrapping_add(offset), limbs });
        }
        // Rounds write to one half of this and read from the other.
        let power = self.area(self.layout.power);
        let half = power.limbs / 2;
        for round in 0.. {
            if numbers.len() == 1 {
                break;
            }
            let mut room = Room { at: power.at.wrapping_add(round % 2 * half), limbs: half };
            let mut products = Vec::new();
            for pair in numbers.chunks(2) {
                let &[x, y] = pair else {
                    products.push(pair[0]);
                    continue;
                };
                products.push(self.multiply(room, x, y)?);
                let used = x.limbs + y.limbs;
                room = Room { at: room.at.wrapping_add(used), limbs: room.limbs - used };
            }
            numbers = products;
        }
        Ok(numbers[0])
    }

    /// `a b` into `room`, by the whole crew or, if it is small, one of it.
    fn multiply(&self, room: Room, a: Number, b: Number) -> Result<Number, Deserted> {
        let limbs = a.limbs + b.limbs;
        assert!(limbs <= room.limbs, "a product of {limbs} limbs in {} limbs", room.limbs);
        let scratch = self.area(self.layout.scratch);
        assert!(mul_scratch_limbs(a.limbs, b.limbs) <= scratch.limbs, "scratch is too short");
        // SAFETY: written before the last barrier; the rooms of products and operands are
        // different areas, or disjoint parts of one.
        let (x, y) = unsafe { (self.read(a), self.read(b)) };
        if a.limbs.max(b.limbs) >= CREW_LIMBS_MIN {
            // SAFETY: room and scratch are long enough, as asserted, and the crew's alone; all
            // members come here with the same numbers, because they read the same tables.
            unsafe { mul_crew(self.crew, self.backend, room.at, x, y, scratch.at)? };
        } else {
            self.alone(room, limbs, |out, scratch| mul(out, x, y, scratch))?;
        }
        Ok(self.trimmed(Number { at: room.at, limbs }))
    }

    /// `a^2` into `room`: as [`Member::multiply`].
    fn square(&self, room: Room, a: Number) -> Result<Number, Deserted> {
        let limbs = 2 * a.limbs;
        assert!(limbs <= room.limbs, "a square of {limbs} limbs in {} limbs", room.limbs);
        let scratch = self.area(self.layout.scratch);
        assert!(square_scratch_limbs(a.limbs) <= scratch.limbs, "scratch is too short");
        // SAFETY: as in `multiply`.
        let x = unsafe { self.read(a) };
        if a.limbs >= CREW_LIMBS_MIN {
            // SAFETY: as in `multiply`.
            unsafe { square_crew(self.crew, self.backend, room.at, x, scratch.at)? };
        } else {
            self.alone(room, limbs, |out, scratch| square(out, x, scratch))?;
        }
        Ok(self.trimmed(Number { at: room.at, limbs }))
    }

    /// Has one member do `work` on the room and the scratch memory, and all wait for it.
    fn alone(
        &self,
        room: Room,
        limbs: usize,
        work: impl FnOnce(&mut [u64], &mut [u64]),
    ) -> Result<(), Deserted> {
        if self.crew.rank() == 0 {
            let scratch = self.area(self.layout.scratch);
            // SAFETY: callers asserted that the room is so long; only one member has rank 0, and
            // the others wait.
            let out = unsafe { slice::from_raw_parts_mut(room.at, limbs) };
            // SAFETY: as above.
            let scratch = unsafe { slice::from_raw_parts_mut(scratch.at, scratch.limbs) };
            work(out, scratch);
        }
        self.crew.barrier()
    }

    /// A number without the zero limbs at its end.
    fn trimmed(&self, number: Number) -> Number {
        // SAFETY: written before the last barrier, and not again before the next.
        let limbs = trim(unsafe { self.read(number) }).len();
        Number { limbs, ..number }
    }
}

/// The product of `factors`, in a balanced tree.
fn product_of_all(factors: &[&[u64]], scratch: &mut Vec<u64>) -> Vec<u64> {
    match *factors {
        [] => vec![1],
        [factor] => factor.to_vec(),
        [x, y] => product_of(x, y, scratch),
        _ => {
            let (left, right) = factors.split_at(factors.len() / 2);
            let (x, y) = (product_of_all(left, scratch), product_of_all(right, scratch));
            product_of(&x, &y, scratch)
        }
    }
}

/// `a b`, without zero limbs at the end.
fn product_of(a: &[u64], b: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(mul_scratch_limbs(a.len(), b.len()).max(scratch.len()), 0);
    let mut out = vec![0; a.len() + b.len()];
    mul(&mut out, a, b, scratch);
    out.truncate(trim(&out).len());
    out
}

/// `a^2`, without zero limbs at the end.
fn square_of(a: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(square_scratch_limbs(a.len()).max(scratch.len()), 0);
    let mut out = vec![0; 2 * a.len()];
    square(&mut out, a, scratch);
    out.truncate(trim(&out).len());
    out
}
