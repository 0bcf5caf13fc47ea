//! Numbers in memory that a team shares, and their products.
#![allow(unsafe_code)]

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::team::{PeerDied, Team};

use super::mul::TRANSFORM_LIMBS_MAX;
use super::{
    Backend, SHORTER_LIMBS_MAX, mul, mul_scratch_limbs, mul_team, square, square_scratch_limbs,
    square_team, trim,
};

/// Limbs of the longer factor from which on a product is worth the team's barriers.
pub(super) const TEAM_LIMBS_MIN: usize = 4000;

/// A segment of limbs in memory that a team shares: room for a number, or a number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LimbSpan {
    at: *mut u64,
    limbs: usize,
}

impl LimbSpan {
    /// `limbs` limbs from `at` on.
    ///
    /// # Safety
    ///
    /// - They are valid for reads and writes, aligned and initialised, for as long as the segment
    ///   or a part of it is used, and for the team alone.
    /// - Between two of the team's barriers, what one member writes by means of the segment or a
    ///   part of it, no other reads or writes.
    pub(crate) unsafe fn new(at: *mut u64, limbs: usize) -> LimbSpan {
        LimbSpan { at, limbs }
    }

    /// The part of `limbs` limbs from limb `start` on.
    ///
    /// # Panics
    ///
    /// If it is not inside.
    pub(crate) fn part(self, start: usize, limbs: usize) -> LimbSpan {
        assert!(
            start.checked_add(limbs).is_some_and(|end| end <= self.limbs),
            "{start} + {limbs} of {} limbs",
            self.limbs
        );
        LimbSpan { at: self.at.wrapping_add(start), limbs }
    }

    /// What is left from limb `start` on.
    pub(crate) fn rest(self, start: usize) -> LimbSpan {
        self.part(start, self.limbs.saturating_sub(start))
    }

    /// How many limbs.
    pub(crate) fn limbs(self) -> usize {
        self.limbs
    }

    /// Copies a number to the beginning; returns the part that it fills.
    ///
    /// # Safety
    ///
    /// - No other member uses the part between the last barrier and the next, nor does a slice of
    ///   it that anybody still has.
    pub(crate) unsafe fn store(self, number: &[u64]) -> LimbSpan {
        let part = self.part(0, number.len());
        // SAFETY: `part` checked the length, `new` has the memory's contract, and the number, which
        // is borrowed, is no part of what this writes to, by this function's contract.
        unsafe { part.at.copy_from_nonoverlapping(number.as_ptr(), number.len()) };
        part
    }

    /// Makes all limbs zero.
    ///
    /// # Safety
    ///
    /// - As for [`LimbSpan::store`], with all limbs.
    pub(crate) unsafe fn clear(self) {
        // SAFETY: vouched for in `new`, or checked by `part`; exclusive by this one's contract.
        unsafe { self.at.write_bytes(0, self.limbs) };
    }

    /// Sets limb `index` to a count of limbs.
    ///
    /// # Safety
    ///
    /// - As for [`LimbSpan::store`], with that limb.
    pub(crate) unsafe fn set_word(self, index: usize, limbs: usize) {
        // SAFETY: by this function's contract.
        unsafe { self.part(index, 1).store(&[limbs as u64]) };
    }

    /// The count of limbs in limb `index`.
    ///
    /// # Safety
    ///
    /// - As for [`LimbSpan::limb`].
    pub(crate) unsafe fn word(self, index: usize) -> usize {
        // SAFETY: by this function's contract.
        usize::try_from(unsafe { self.limb(index) }).expect("a count of limbs")
    }

    /// Adds to limb `index`.
    ///
    /// # Safety
    ///
    /// - As long as the team computes, everybody uses that limb by this function or as an atomic.
    pub(crate) unsafe fn count(self, index: usize, more: u64) {
        let at = self.part(index, 1).at;
        // SAFETY: `part` checked the index; the rest was vouched for in `new`, and is this
        // function's contract.
        let count = unsafe { AtomicU64::from_ptr(at) };
        // Relaxed: nothing is concluded from it but how far the work is.
        count.fetch_add(more, Ordering::Relaxed);
    }

    /// The limbs.
    ///
    /// # Safety
    ///
    /// - No member writes to them for `'a`.
    pub(crate) unsafe fn read<'a>(self) -> &'a [u64] {
        // SAFETY: vouched for in `new`, or checked by `part`; unchanged by this one's contract.
        unsafe { slice::from_raw_parts(self.at, self.limbs) }
    }

    /// The limbs, to be changed.
    ///
    /// # Safety
    ///
    /// - No other member uses them for `'a`, and this one only by the slice.
    pub(super) unsafe fn write<'a>(self) -> &'a mut [u64] {
        // SAFETY: vouched for in `new`, or checked by `part`; exclusive by this one's contract.
        unsafe { slice::from_raw_parts_mut(self.at, self.limbs) }
    }

    /// Limb `index`.
    ///
    /// # Safety
    ///
    /// - No other member writes to that limb between the last barrier and the next.
    pub(super) unsafe fn limb(self, index: usize) -> u64 {
        // SAFETY: `part` checked the index; the rest was vouched for in `new`, and is this
        // function's contract.
        unsafe { self.part(index, 1).at.read() }
    }

    /// A number without the zero limbs at its end.
    ///
    /// # Safety
    ///
    /// - No member writes to it between the last barrier and the next.
    unsafe fn trimmed(self) -> LimbSpan {
        // SAFETY: the slice is gone when this returns; the rest is this function's contract.
        let limbs = trim(unsafe { self.read() }).len();
        LimbSpan { limbs, ..self }
    }
}

/// Limbs of scratch memory for products of factors of at most these lengths, in either order.
///
/// A shorter product never takes a longer transform, as the cheapest length for it would have
/// been the cheapest for the longer one; but it may be made by larger pieces.
pub(crate) fn scratch_limbs_max(a_limbs: usize, b_limbs: usize) -> usize {
    let piece = SHORTER_LIMBS_MAX;
    if a_limbs + b_limbs > TRANSFORM_LIMBS_MAX {
        return 2 * piece + mul_scratch_limbs(piece, piece).max(square_scratch_limbs(piece));
    }
    let short = a_limbs.min(b_limbs);
    mul_scratch_limbs(a_limbs, b_limbs).max(square_scratch_limbs(short))
}

/// Where a team multiplies: the scratch memory of its products.
pub(crate) struct TeamArithmetic<'a, C> {
    pub(crate) team: &'a C,
    pub(crate) scratch: LimbSpan,
    pub(crate) backend: Backend,
}

impl<C: Team> TeamArithmetic<'_, C> {
    /// `a b` at the beginning of `room`, by the whole team or, if it is small, one of it; returns
    /// the part that the product fills. All members call this, one product after another.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If the room or the scratch memory is too small.
    ///
    /// # Safety
    ///
    /// - `a` and `b` were written before the last barrier; room and scratch memory overlap
    ///   neither each other nor them. All members call with the same.
    pub(crate) unsafe fn multiply(
        &self,
        room: LimbSpan,
        a: LimbSpan,
        b: LimbSpan,
    ) -> Result<LimbSpan, PeerDied> {
        // SAFETY: nobody writes to the factors meanwhile, by this function's contract.
        let x = unsafe { a.read() };
        // SAFETY: as above.
        let y = unsafe { b.read() };
        // SAFETY: by this function's contract.
        let product = unsafe { self.multiply_limbs(room, x, y)? };
        // SAFETY: the product ended with a barrier, and the next call comes after this one.
        Ok(unsafe { product.trimmed() })
    }

    /// [`TeamArithmetic::multiply`] of limbs that each member may have a copy of; the product with
    /// all its limbs, zeros included.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If the room or the scratch memory is too small.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`].
    pub(super) unsafe fn multiply_limbs(
        &self,
        room: LimbSpan,
        x: &[u64],
        y: &[u64],
    ) -> Result<LimbSpan, PeerDied> {
        let out = room.part(0, x.len() + y.len());
        let scratch = self.scratch.part(0, mul_scratch_limbs(x.len(), y.len()));
        if x.len().max(y.len()) >= TEAM_LIMBS_MIN {
            // SAFETY: `part` checked both lengths; the rest is this function's contract.
            unsafe { mul_team(self.team, self.backend, out.at, x, y, scratch.at)? };
        } else {
            // SAFETY: by this function's contract.
            unsafe { self.alone(out, scratch, |out, scratch| mul(out, x, y, scratch))? };
        }
        Ok(out)
    }

    /// `a^2` at the beginning of `room`: as [`TeamArithmetic::multiply`].
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If the room or the scratch memory is too small.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`].
    pub(crate) unsafe fn square(&self, room: LimbSpan, a: LimbSpan) -> Result<LimbSpan, PeerDied> {
        // SAFETY: nobody writes to it meanwhile, by this function's contract.
        let x = unsafe { a.read() };
        // SAFETY: by this function's contract.
        unsafe { self.square_limbs(room, x) }
    }

    /// [`TeamArithmetic::square`] of limbs that each member may have a copy of.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If the room or the scratch memory is too small.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`].
    pub(super) unsafe fn square_limbs(
        &self,
        room: LimbSpan,
        x: &[u64],
    ) -> Result<LimbSpan, PeerDied> {
        let out = room.part(0, 2 * x.len());
        let scratch = self.scratch.part(0, square_scratch_limbs(x.len()));
        if x.len() >= TEAM_LIMBS_MIN {
            // SAFETY: `part` checked both lengths; the rest is this function's contract.
            unsafe { square_team(self.team, self.backend, out.at, x, scratch.at)? };
        } else {
            // SAFETY: by this function's contract.
            unsafe { self.alone(out, scratch, |out, scratch| square(out, x, scratch))? };
        }
        // SAFETY: the square ended with a barrier, and the next call comes after this one.
        Ok(unsafe { out.trimmed() })
    }

    /// Has one member do `work`, and all wait for it.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    pub(super) fn once(&self, work: impl FnOnce()) -> Result<(), PeerDied> {
        if self.team.rank() == 0 {
            work();
        }
        self.team.barrier()
    }

    /// Has one member multiply, and all wait for it.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`].
    unsafe fn alone(
        &self,
        out: LimbSpan,
        scratch: LimbSpan,
        work: impl FnOnce(&mut [u64], &mut [u64]),
    ) -> Result<(), PeerDied> {
        self.once(|| {
            // SAFETY: only one member does this, and the others wait for it.
            let out = unsafe { out.write() };
            // SAFETY: as above.
            let scratch = unsafe { scratch.write() };
            work(out, scratch);
        })
    }

    /// The product of `numbers`, neighbours first, at the beginning of the first of `rooms`; a
    /// single number is left where it is.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If there is no number, if the rooms have not the limbs of all numbers and one more for
    /// each, or if the scratch memory is too small.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`], with both rooms, which do not overlap.
    pub(crate) unsafe fn multiply_all(
        &self,
        rooms: [LimbSpan; 2],
        mut numbers: Vec<LimbSpan>,
    ) -> Result<LimbSpan, PeerDied> {
        let rounds = numbers.len().next_power_of_two().trailing_zeros() as usize;
        for round in (0..rounds).rev() {
            let mut room = rooms[round % 2];
            let mut products = Vec::new();
            for pair in numbers.chunks(2) {
                let (limbs, product) = match *pair {
                    [x, y] => {
                        // SAFETY: the operands are others or in the other room; the rest is
                        // this function's contract.
                        (x.limbs + y.limbs, unsafe { self.multiply(room, x, y)? })
                    }
                    // It moves along, since the next round writes where it is.
                    _ => {
                        // SAFETY: as above.
                        (pair[0].limbs, unsafe { self.copy(room, pair[0])? })
                    }
                };
                products.push(product);
                room = room.rest(limbs);
            }
            numbers = products;
        }
        Ok(numbers[0])
    }

    /// A copy of a number at the beginning of `room`.
    ///
    /// # Errors
    ///
    /// [`PeerDied`] if a member died.
    ///
    /// # Panics
    ///
    /// If the room is too small.
    ///
    /// # Safety
    ///
    /// - As for [`TeamArithmetic::multiply`].
    pub(crate) unsafe fn copy(
        &self,
        room: LimbSpan,
        number: LimbSpan,
    ) -> Result<LimbSpan, PeerDied> {
        let out = room.part(0, number.limbs);
        // SAFETY: nobody writes to the number meanwhile, by this function's contract.
        let limbs = unsafe { number.read() };
        self.once(|| {
            // SAFETY: one member does this, and the others wait for it; the number lies elsewhere,
            // by this function's contract.
            unsafe { out.store(limbs) };
        })?;
        Ok(out)
    }
}

/// The product of `factors` by one process, in a balanced tree; `scratch` grows as needed.
pub(crate) fn product_of_all(factors: &[&[u64]], scratch: &mut Vec<u64>) -> Vec<u64> {
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

/// `a b` by one process, without zero limbs at the end.
pub(crate) fn product_of(a: &[u64], b: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(mul_scratch_limbs(a.len(), b.len()).max(scratch.len()), 0);
    let mut out = vec![0; a.len() + b.len()];
    mul(&mut out, a, b, scratch);
    out.truncate(trim(&out).len());
    out
}

/// `a^2` by one process, without zero limbs at the end.
pub(crate) fn square_of(a: &[u64], scratch: &mut Vec<u64>) -> Vec<u64> {
    scratch.resize(square_scratch_limbs(a.len()).max(scratch.len()), 0);
    let mut out = vec![0; 2 * a.len()];
    square(&mut out, a, scratch);
    out.truncate(trim(&out).len());
    out
}
