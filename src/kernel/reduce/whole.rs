//! Reductions of a slice: lanes, blocks, a tree of blocks.
//!
//! The length determines the order of additions. Element `i` of a block of `LANES * ROWS` joins
//! lane `i % LANES`; lanes are merged by halving, `k` with `k + LANES / 2` and so on; the partial
//! results of blocks are merged pairwise, like the carries of a binary counter (Higham, "The
//! accuracy of floating point summation", SIAM J. Sci. Comput. 14, 1993, section 2: error bound
//! log2 n). So the error of a sum of doubles is at most `ROWS + 5 + log2(blocks)` roundings of the
//! sum of magnitudes.

use super::fold::{All, Any, Fold};
use crate::kernel::number::{Addend, Mask, Number};
use crate::kernel::vectorized::vectorized;

/// Elements that are joined side by side: eight registers of four doubles.
pub(super) const LANES: usize = 32;

/// Partial results of a growing number of blocks, merged pairwise.
///
/// Bit `k` of `count` is set if there is a pending partial result of `2^k` blocks.
pub(super) struct Pairwise<A> {
    waiting: [A; usize::BITS as usize],
    depth: usize,
    count: usize,
}

impl<A: Copy> Pairwise<A> {
    #[inline(always)]
    pub(super) fn new(empty: A) -> Pairwise<A> {
        Pairwise { waiting: [empty; usize::BITS as usize], depth: 0, count: 0 }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, mut partial: A, merge: impl Fn(A, A) -> A) {
        for _ in 0..self.count.trailing_ones() {
            self.depth -= 1;
            partial = merge(self.waiting[self.depth], partial);
        }
        self.waiting[self.depth] = partial;
        self.depth += 1;
        self.count += 1;
    }

    /// Merges the pending results, from the shortest to the longest.
    #[inline(always)]
    pub(super) fn finish(&self, empty: A, merge: impl Fn(A, A) -> A) -> A {
        let waiting = &self.waiting[..self.depth];
        waiting
            .iter()
            .rev()
            .copied()
            .reduce(|later, earlier| merge(earlier, later))
            .unwrap_or(empty)
    }
}

/// Widens the lanes and merges them by halving.
#[inline(always)]
pub(super) fn merge_lanes<L: Copy, A: Copy>(
    lanes: [L; LANES],
    widen: impl Fn(L) -> A,
    merge: impl Fn(A, A) -> A,
) -> A {
    let mut wide = lanes.map(widen);
    let mut width = LANES / 2;
    while width > 0 {
        for k in 0..width {
            wide[k] = merge(wide[k], wide[k + width]);
        }
        width /= 2;
    }
    wide[0]
}

/// The partial result of one block, of at most `LANES * F::ROWS` elements.
#[inline(always)]
fn block<T: Number, F: Fold<T>>(elements: &[T], param: F::Param) -> F::Partial {
    let mut lanes = [F::START; LANES];
    let (rows, rest) = elements.as_chunks::<LANES>();
    for row in rows {
        for k in 0..LANES {
            lanes[k] = F::join(lanes[k], F::lift(row[k], param));
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(rest) {
        *lane = F::join(*lane, F::lift(x, param));
    }
    merge_lanes(lanes, F::widen, F::merge)
}

/// Shorter slices are merged one element after the other.
const SHORT: usize = 16;

/// The partial result of a slice; `partial` without the choice of an instruction set.
#[inline(always)]
pub(super) fn reduce<T: Number, F: Fold<T>>(chunk: &[T], param: F::Param) -> F::Partial {
    if chunk.len() < SHORT {
        let lifted = chunk.iter().map(|&x| F::widen(F::lift(x, param)));
        return lifted.fold(F::EMPTY, F::merge);
    }
    if chunk.len() <= LANES * F::ROWS {
        return block::<T, F>(chunk, param);
    }
    // The two sides of the tree's top, in turn: a processor fetches two streams faster than one.
    let size = LANES * F::ROWS;
    let left = chunk.len().div_ceil(size).next_power_of_two() / 2 * size;
    let (left, right) = chunk.split_at(left);
    let (mut left_blocks, mut right_blocks) = (Pairwise::new(F::EMPTY), Pairwise::new(F::EMPTY));
    let mut right = right.chunks(size);
    for elements in left.chunks(size) {
        left_blocks.push(block::<T, F>(elements, param), F::merge);
        if let Some(elements) = right.next() {
            right_blocks.push(block::<T, F>(elements, param), F::merge);
        }
    }
    let left = left_blocks.finish(F::EMPTY, F::merge);
    F::merge(left, right_blocks.finish(F::EMPTY, F::merge))
}

vectorized! {
    /// The partial result of a chunk.
    pub(crate) fn partial<T: Number, F: Fold<T>>(
        _fold: F,
        chunk: &[T],
        param: F::Param,
    ) -> F::Partial {
        reduce::<T, F>(chunk, param)
    }
}

vectorized! {
    /// `sum(a * b)`; partial results are merged by [`Addend::plus`].
    ///
    /// NumPy's `dot` of integers wraps in their own type; it equals the low bits of this one.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub(crate) fn dot<T: Number>(a: &[T], b: &[T]) -> T::Total {
        assert_eq!(a.len(), b.len(), "operands of a dot product have one length");
        let size = LANES * T::SUM_ROWS;
        let mut blocks = Pairwise::new(T::Total::ZERO);
        for (a, b) in a.chunks(size).zip(b.chunks(size)) {
            let mut lanes = [T::ProductLane::ZERO; LANES];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
            for (a, b) in a.iter().zip(b) {
                for k in 0..LANES {
                    lanes[k] = lanes[k].plus(a[k].product_lane(b[k]));
                }
            }
            for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
                *lane = lane.plus(a.product_lane(b));
            }
            let block = merge_lanes(lanes, Addend::total, Addend::plus);
            blocks.push(block, Addend::plus);
        }
        blocks.finish(T::Total::ZERO, Addend::plus)
    }
}

/// Elements between two checks whether the answer is known.
const LOOK: usize = 1 << 13;

/// Whether any element is not zero. Ends at the first block that has one.
pub(crate) fn any<T: Number>(chunk: &[T]) -> bool {
    chunk.chunks(LOOK).any(|block| partial(Any, block, ()) != T::Bits::NONE)
}

/// Whether no element is zero. Ends at the first block that has a zero.
pub(crate) fn all<T: Number>(chunk: &[T]) -> bool {
    chunk.chunks(LOOK).all(|block| partial(All, block, ()) == T::Bits::EVERY)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests;
