//! Numbers in memory shared by a team, and their products.
//!
//! Every member of a team runs the same program on the same memory. [`TeamSpan`] is a part of that
//! memory as one member sees it, and [`TeamArithmetic`] has the steps that members do together.
//! [`TeamArithmetic::new`] is unsafe and requires that all members take the same steps; everything
//! else here is safe, for these reasons:
//!
//! 1. A step writes only to spans that it receives by value, and a span is not `Copy`. So nothing
//!    else in the program can read a span while a step has it.
//! 2. Before a step writes to such a span it passes a barrier. When the barrier is complete, every
//!    member is inside the step, so no member still reads the span. (The first step needs none,
//!    because nothing has been read yet.)
//! 3. During a step no two members write to the same limbs: one member writes alone, or each writes
//!    to parts whose numbers it took from a counter.
//! 4. A step ends with a barrier. So all members see what was written, and nothing writes to the
//!    span until it is passed to another step.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::slice;

use crate::kernel::team::{PeerDied, SingleThread, Team};

use super::mul::TRANSFORM_LIMBS_MAX;
use super::{
    Backend, SHORTER_LIMBS_MAX, mul, mul_scratch_limbs, mul_team, square, square_scratch_limbs,
    square_team, trim,
};

/// The limbs of the longer factor from which a product is worth the team's barriers.
pub(super) const TEAM_LIMBS_MIN: usize = 4000;

/// The team counter for units of work; products use the first ten.
const UNIT: usize = 10;
const LIMB: usize = 11;

/// A part of the memory shared by a team, as one of its members sees it.
#[derive(Debug)]
pub(crate) struct TeamSpan<'a, E> {
    start: *mut E,
    len: usize,
    memory: PhantomData<&'a mut [E]>,
}

/// Limbs shared by a team.
pub(crate) type LimbSpan<'a> = TeamSpan<'a, u64>;

impl<'a, E> TeamSpan<'a, E> {
    /// The `len` elements from `start` on.
    ///
    /// # Safety
    ///
    /// - They are initialised, and valid for reads and writes for `'a`.
    /// - For `'a` only this team uses them, through spans that each member made once, and through
    ///   the steps of one [`TeamArithmetic`] each.
    pub(crate) unsafe fn new(start: *mut E, len: usize) -> Self {
        Self { start, len, memory: PhantomData }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The span for a step that needs it only for the borrow.
    pub(crate) fn reborrow(&mut self) -> TeamSpan<'_, E> {
        TeamSpan { start: self.start, len: self.len, memory: PhantomData }
    }

    /// Splits off the first `len` elements.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub(crate) fn take(&mut self, len: usize) -> TeamSpan<'a, E> {
        assert!(len <= self.len, "{len} of {} elements", self.len);
        let first = TeamSpan { start: self.start, len, memory: PhantomData };
        self.start = self.start.wrapping_add(len);
        self.len -= len;
        first
    }

    /// The first `len` elements, and the others.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    fn split(mut self, len: usize) -> (TeamSpan<'a, E>, TeamSpan<'a, E>) {
        (self.take(len), self)
    }

    /// The elements.
    pub(crate) fn read(&self) -> &[E] {
        // SAFETY: valid by `new`, or exclusively borrowed; nothing writes to them before a step
        // receives this span by value (see the module).
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements, for the whole lifetime of the span.
    fn into_read(self) -> &'a [E] {
        // SAFETY: as in `read`; the span no longer exists.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }

    /// The elements `start..start + len`, mutable.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    ///
    /// # Safety
    ///
    /// - During the lifetime of the result no member uses these elements otherwise.
    #[expect(clippy::mut_from_ref, reason = "members change parts of a span that each of them has")]
    unsafe fn part_mut(&self, start: usize, len: usize) -> &mut [E] {
        let fits = start.checked_add(len).is_some_and(|end| end <= self.len);
        assert!(fits, "{start} + {len} of {} elements", self.len);
        // SAFETY: inside the span, as asserted; exclusive by this function's contract.
        unsafe { slice::from_raw_parts_mut(self.start.wrapping_add(start), len) }
    }
}

impl<'a> LimbSpan<'a> {
    /// The limbs as bytes.
    pub(crate) fn into_bytes(self) -> TeamSpan<'a, u8> {
        let len = self.len * size_of::<u64>();
        TeamSpan { start: self.start.cast(), len, memory: PhantomData }
    }
}

impl<'a, E> From<&'a mut [E]> for TeamSpan<'a, E> {
    /// Memory that only this thread uses.
    fn from(memory: &'a mut [E]) -> Self {
        TeamSpan { start: memory.as_mut_ptr(), len: memory.len(), memory: PhantomData }
    }
}

/// Limbs of scratch memory for products of factors of at most these lengths, in either order.
///
/// A shorter product never takes a longer transform, because the cheapest length for the longer
/// product would then serve the shorter one. But it may be computed in larger pieces.
pub(crate) fn scratch_limbs_max(a_limbs: usize, b_limbs: usize) -> usize {
    let piece = SHORTER_LIMBS_MAX;
    if a_limbs + b_limbs > TRANSFORM_LIMBS_MAX {
        return 2 * piece + mul_scratch_limbs(piece, piece).max(square_scratch_limbs(piece));
    }
    let short = a_limbs.min(b_limbs);
    mul_scratch_limbs(a_limbs, b_limbs).max(square_scratch_limbs(short))
}

/// The memory that a computation needs, in limbs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemoryNeeds {
    /// Shared by the team.
    pub(crate) workspace: usize,
    /// Shared by the team, for the result.
    pub(crate) result: usize,
    /// Private to each member, besides the tables of products.
    pub(crate) member: usize,
    /// The longest factors of one product, which determine the tables.
    pub(crate) factors: [usize; 2],
}

/// Scratch memory of products. Only the products read it.
#[derive(Debug)]
pub(crate) struct Scratch<'a>(LimbSpan<'a>);

/// The steps that the members of a team do together.
#[derive(Debug)]
pub(crate) struct TeamArithmetic<'t, T> {
    team: &'t T,
    backend: Backend,
    members_max: usize,
    /// Whether a barrier was passed: then ranks are known, and spans may have been read.
    has_begun: Cell<bool>,
}

impl<'t> TeamArithmetic<'t, SingleThread> {
    /// The steps of a computation by one thread.
    pub(crate) fn single(team: &'t SingleThread) -> Self {
        Self { team, backend: Backend::detect(), members_max: 1, has_begun: Cell::new(false) }
    }
}

impl<'t, T: Team> TeamArithmetic<'t, T> {
    /// The steps of one computation by at most `members_max` members.
    ///
    /// # Safety
    ///
    /// - Each member makes one, and nothing else uses the team at the same time. All take the same
    ///   steps in the same order, with equal operands, in spans over the same memory.
    /// - No member reads a span before the first step.
    /// - The team's counters are at zero.
    pub(crate) unsafe fn new(team: &'t T, backend: Backend, members_max: usize) -> Self {
        Self { team, backend, members_max, has_begun: Cell::new(false) }
    }

    /// The number of members. Known after the first step.
    pub(crate) fn members(&self) -> usize {
        self.team.members()
    }

    /// The greatest number of members, for which memory is divided.
    pub(crate) fn members_max(&self) -> usize {
        self.members_max
    }

    /// Whether this member has rank 0. Known after the first step.
    pub(crate) fn is_first(&self) -> bool {
        self.team.rank() == 0
    }

    /// Waits for all members.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    fn barrier(&self) -> Result<(), PeerDied> {
        self.has_begun.set(true);
        self.team.barrier()
    }

    /// One member runs `work` on `out`; returns the contents of `out` after that.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    pub(crate) fn once<'r>(
        &self,
        out: LimbSpan<'r>,
        work: impl FnOnce(&mut [u64]),
    ) -> Result<&'r [u64], PeerDied> {
        self.barrier()?;
        if self.team.rank() == 0 {
            // SAFETY: no member reads the span after the barrier, and only one has rank 0.
            work(unsafe { out.part_mut(0, out.len) });
        }
        self.barrier()?;
        Ok(out.into_read())
    }

    /// Makes numbers 0 to `count - 1`, each by the member that takes it, in `buffer`; returns them
    /// in order. `work` is called for different numbers in each member.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If `buffer` has fewer limbs than all numbers together plus two for each.
    pub(crate) fn map<'r>(
        &self,
        count: usize,
        buffer: LimbSpan<'r>,
        mut work: impl FnMut(usize) -> Vec<u64>,
    ) -> Result<Vec<&'r [u64]>, PeerDied> {
        let (table, numbers) = buffer.split(2 * count);
        self.each(count, |i| {
            let number = work(i);
            let start = self.team.take(LIMB, number.len());
            // SAFETY: the counter gave this place to this member alone, and no member reads it
            // before the step is over.
            unsafe { numbers.part_mut(start, number.len()) }.copy_from_slice(&number);
            // SAFETY: as above; the entry is that of number `i`, which is this member's.
            let entry = unsafe { table.part_mut(2 * i, 2) };
            entry.copy_from_slice(&[start as u64, number.len() as u64]);
        })?;
        let (table, numbers) = (table.into_read(), numbers.into_read());
        let word = |limb: u64| usize::try_from(limb).expect("a count of limbs");
        let find = |entry: &[u64]| &numbers[word(entry[0])..][..word(entry[1])];
        Ok(table.chunks_exact(2).map(find).collect())
    }

    /// Changes the parts of `out`, of `len` elements each. The member that takes a part changes it,
    /// and has its own share of `memory` meanwhile. This must not be the first step.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If this is the first step.
    pub(crate) fn for_each_part<E>(
        &self,
        out: TeamSpan<'_, E>,
        len: usize,
        memory: LimbSpan<'_>,
        mut work: impl FnMut(usize, &mut [E], &mut [u64]),
    ) -> Result<(), PeerDied> {
        assert!(self.has_begun.get(), "ranks are not known yet");
        let share = memory.len / self.members();
        self.each(out.len.div_ceil(len), |i| {
            // SAFETY: each rank has a share of its own, and no member reads during this step.
            let own = unsafe { memory.part_mut(self.team.rank() * share, share) };
            // SAFETY: the parts do not overlap, each is taken by one member, and no member reads
            // during this step.
            work(i, unsafe { out.part_mut(i * len, len.min(out.len - i * len)) }, own);
        })
    }

    /// Calls `work` for each of `count` units that this member takes. A barrier precedes it unless
    /// this is the first step, and another follows.
    fn each(&self, count: usize, mut work: impl FnMut(usize)) -> Result<(), PeerDied> {
        if self.has_begun.get() {
            self.barrier()?;
        }
        loop {
            let unit = self.team.take(UNIT, 1);
            if unit >= count {
                break;
            }
            work(unit);
        }
        self.barrier()?;
        // The next step that takes units begins with a barrier.
        if self.team.rank() == 0 {
            self.team.reset(UNIT);
            self.team.reset(LIMB);
        }
        Ok(())
    }

    /// Scratch memory in `span`.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    pub(crate) fn scratch<'r>(&self, span: LimbSpan<'r>) -> Result<Scratch<'r>, PeerDied> {
        // From here on no member reads it. Before the first step, none has.
        if self.has_begun.get() {
            self.barrier()?;
        }
        Ok(Scratch(span))
    }

    /// `x y`, with all its limbs, at the beginning of `buffer`: computed by the whole team or, if
    /// it is short, by one member.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If `buffer` or the scratch memory is too small.
    pub(crate) fn multiply<'r>(
        &self,
        mut buffer: LimbSpan<'r>,
        x: &[u64],
        y: &[u64],
        scratch: &mut Scratch<'_>,
    ) -> Result<&'r [u64], PeerDied> {
        let out = buffer.take(x.len() + y.len());
        let scratch = scratch.0.reborrow().take(mul_scratch_limbs(x.len(), y.len()));
        if x.len().max(y.len()) < TEAM_LIMBS_MIN {
            // SAFETY: `once` calls this in one member, and nothing else uses the scratch memory
            // then.
            let scratch = || unsafe { scratch.part_mut(0, scratch.len) };
            return self.once(out, |out| mul(out, x, y, scratch()));
        }
        self.has_begun.set(true);
        // SAFETY: `take` checked both lengths; spans do not overlap; `x` and `y` do not change
        // while they are borrowed; all members take the same steps (`new`). `out` is written only
        // after a barrier, and only products read the scratch memory.
        unsafe { mul_team(self.team, self.backend, out.start, x, y, scratch.start)? };
        Ok(out.into_read())
    }

    /// `x^2` without zero limbs at the end: as [`TeamArithmetic::multiply`].
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If `buffer` or the scratch memory is too small.
    pub(crate) fn square<'r>(
        &self,
        mut buffer: LimbSpan<'r>,
        x: &[u64],
        scratch: &mut Scratch<'_>,
    ) -> Result<&'r [u64], PeerDied> {
        let out = buffer.take(2 * x.len());
        let scratch = scratch.0.reborrow().take(square_scratch_limbs(x.len()));
        if x.len() < TEAM_LIMBS_MIN {
            // SAFETY: as in `multiply`.
            let scratch = || unsafe { scratch.part_mut(0, scratch.len) };
            return self.once(out, |out| square(out, x, scratch())).map(trim);
        }
        self.has_begun.set(true);
        // SAFETY: as in `multiply`.
        unsafe { square_team(self.team, self.backend, out.start, x, scratch.start)? };
        Ok(trim(out.into_read()))
    }

    /// The product of `numbers` without zero limbs at the end: at the beginning of `to`, or a
    /// single number in its place.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If there is no number, if `to` or `other` has fewer limbs than all numbers, or if the
    /// scratch memory is too small.
    pub(crate) fn multiply_all<'r>(
        &self,
        numbers: &[&'r [u64]],
        mut to: LimbSpan<'r>,
        other: LimbSpan<'_>,
        scratch: &mut Scratch<'_>,
    ) -> Result<&'r [u64], PeerDied> {
        if let [number] = *numbers {
            return Ok(trim(number));
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        // Both halves are computed in `other`; `to` holds intermediate products.
        let left_limbs = left.iter().map(|number| number.len()).sum();
        let (x_room, y_room) = other.split(left_limbs);
        let (x_other, y_other) = to.reborrow().split(left_limbs);
        let x = self.multiply_all(left, x_room, x_other, scratch)?;
        let y = self.multiply_all(right, y_room, y_other, scratch)?;
        self.multiply(to, x, y, scratch).map(trim)
    }
}
