//! A parallel loop over blocks.
//!
//! One task a worker, blocks taken from shared words, nothing left when it ends.
//!
//! 1. The host makes the blocks and offers one task to each worker, as many as there are blocks.
//! 2. A task takes blocks until none is left to look at, and commits.
//! 3. When one task has committed, those that have not started are taken back.
//! 4. When none is left in any worker, the host looks at the blocks. Claimed by a dead task: torn,
//!    or free again if the loop may be repeated. Free: another round of tasks.
//!
//! Step 4 waits for every task to be recalled, committed, or its worker reaped, so nobody can
//! touch an operand, or find anything of the next loop, once the call has returned.

use std::marker::PhantomData;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Death, Error, Result, TaskError};
use crate::kernel::FloatMode;
use crate::object::source::Source;
use crate::pool::blocks::{BLOCKS_MAX, Blocks, HostBlocks};
use crate::pool::core::{Core, Start};
use crate::pool::group::{Group, SharedArgument};
use crate::pool::operand::{self, Chunks, Lent};
use crate::pool::task::{Rules, Value};
use crate::worker::invocation::{CodecError, Invocation, Trampoline};

/// What a loop goes over: `len` elements in chunks of `chunk_len`, the last one perhaps shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) len: usize,
    pub(super) chunk_len: usize,
    /// Chunks that are claimed together, a power of two.
    pub(super) block_chunks: usize,
}

impl Extent {
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for chunks of no elements.
    pub(super) fn new(len: usize, chunk_len: usize) -> Result<Extent> {
        if chunk_len == 0 {
            return Err(Error::invalid("the length of a chunk", 0, "at least 1 element"));
        }
        let chunks = len.div_ceil(chunk_len);
        let block_chunks = chunks.div_ceil(BLOCKS_MAX).max(1).next_power_of_two();
        Ok(Extent { len, chunk_len, block_chunks })
    }

    /// The same with at least `chunks` chunks in a block.
    pub(super) fn with_block_chunks(self, chunks: usize) -> Extent {
        Extent { block_chunks: self.block_chunks.max(chunks.next_power_of_two()), ..self }
    }

    #[inline]
    pub(super) fn chunks(self) -> usize {
        self.len.div_ceil(self.chunk_len)
    }

    pub(super) fn blocks(self) -> usize {
        self.chunks().div_ceil(self.block_chunks)
    }

    /// The chunks of a block.
    #[inline]
    fn block(self, index: usize) -> Range<usize> {
        let start = index * self.block_chunks;
        start..(start + self.block_chunks).min(self.chunks())
    }

    /// The elements of a chunk.
    #[inline]
    fn chunk(self, index: usize) -> Range<usize> {
        let start = index * self.chunk_len;
        start..start.saturating_add(self.chunk_len).min(self.len)
    }

    /// The elements of a block.
    fn elements(self, block: usize) -> Range<usize> {
        let chunks = self.block(block);
        self.chunk(chunks.start).start..self.chunk(chunks.end - 1).end
    }
}

/// What each task of a loop is told, before its shared value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Orders {
    extent: Extent,
    sources: Vec<Source>,
    /// Where the blocks are, and their loop's number.
    blocks: (u64, u64),
    /// Tells this task from the others of its loop.
    claimer: u32,
    /// In how many shares the blocks are.
    shares: usize,
}

/// A worker's way through the blocks of a loop.
pub(super) struct Walk<P: Chunks> {
    orders: Orders,
    blocks: Blocks,
    /// The worker's index: its share is the same in every loop.
    home: usize,
    lent: Vec<Lent>,
    operands: PhantomData<P>,
}

impl<P: Chunks> Walk<P> {
    /// Attaches to the loop that `orders` describes.
    pub(super) fn new(
        invocation: &Invocation<'_>,
        orders: Orders,
    ) -> std::result::Result<Walk<P>, CodecError> {
        let attach = move || -> Result<Walk<P>> {
            let ((offset, number), count) = (orders.blocks, orders.extent.blocks());
            let blocks = Blocks::attach(invocation.windows, offset, orders.shares, count, number)?;
            let lent = operand::lend::<P>(
                &invocation.cache.resolver,
                invocation.windows,
                &orders.sources,
            )?;
            let home = invocation.cache.worker;
            Ok(Walk { orders, blocks, home, lent, operands: PhantomData })
        };
        attach().map_err(|error| CodecError::Argument(error.to_string()))
    }

    /// Claims blocks one after the other and calls `each` with its number and its chunks, until
    /// nothing is left, or `each` returns false: then nobody takes another block.
    #[allow(unsafe_code)]
    pub(super) fn run(
        &self,
        mut each: impl FnMut(usize, &mut dyn Iterator<Item = P::Item<'_>>) -> bool,
    ) {
        /// Stops the loop when a panic passes through: the call fails anyway.
        struct StopOnPanic<'a>(&'a Blocks);
        impl Drop for StopOnPanic<'_> {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let Orders { extent, claimer, .. } = self.orders;
        let guard = StopOnPanic(&self.blocks);
        while let Some(taken) = self.blocks.take(self.home) {
            for block in taken {
                if !self.blocks.try_claim(block, claimer) {
                    continue;
                }
                let mut chunks = extent.block(block).map(|chunk| {
                    // Who has which chunk before this one depends on time.
                    FloatMode::reset();
                    // SAFETY: the block, and so the chunk, was claimed by this task alone, and
                    // the host's borrows of the operands last until the loop has ended.
                    unsafe { P::item(&self.lent, chunk, extent.chunk(chunk)) }
                });
                let goes_on = each(block, &mut chunks);
                self.blocks.set_done(block, claimer);
                if !goes_on {
                    return;
                }
            }
        }
        std::mem::forget(guard);
    }
}

/// A loop that is to be run.
pub(super) struct Plan<'a> {
    pub(super) core: &'a Core,
    pub(super) extent: Extent,
    pub(super) sources: Vec<Source>,
    /// Whether an operand is written, so that a death may leave it torn.
    pub(super) writes: bool,
    pub(super) rules: Rules,
    pub(super) name: &'static str,
}

impl Plan<'_> {
    /// Runs the loop to its end. Every task is told the orders and `shared`.
    ///
    /// # Errors
    ///
    /// The first failure of a task: a panic, or a death with the torn ranges of all.
    pub(super) fn run<W: Serialize>(
        &self,
        trampoline: Trampoline,
        shared: &W,
    ) -> Result<Vec<Value>> {
        let count = self.extent.blocks();
        let mut parts = Vec::new();
        if count == 0 {
            return Ok(parts);
        }
        // In a forked child the arena is not mapped, and the blocks would be a fault.
        self.core.check_ours()?;
        let argument = SharedArgument::new(shared)?;
        let shares = self.members(count);
        let blocks = HostBlocks::new(&self.core.arena, count, shares, self.core.next_call())?;
        let mut claimer = 0;
        let mut repeats_left = self.rules.retries;
        let mut failure: Option<Error> = None;
        loop {
            let (free, repeats) = (blocks.free(), repeats_left);
            let first = claimer;
            let hurry = || blocks.stop();
            let mut group = Group::new(self.core, &argument, &hurry);
            for _ in 0..self.members(free) {
                claimer += 1;
                let orders = self.orders(&blocks, claimer);
                let rules = Rules { retries: 0, borrows: true, ..self.rules };
                match group.submit(trampoline, self.name, rules, &orders) {
                    Ok(()) => {}
                    // Those that were submitted can do the whole loop.
                    Err(_) if !group.is_empty() => break,
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                }
            }
            let outcomes = group.settle(|_, _| {});
            for (claimer, outcome) in (first + 1..).zip(outcomes) {
                match outcome.map_err(|error| *error) {
                    Ok(value) => parts.push(value),
                    Err(Error::Task(TaskError::Cancelled)) => {}
                    Err(error) => {
                        self.note(&blocks, claimer, error, &mut repeats_left, &mut failure);
                    }
                }
            }
            if failure.is_none() {
                blocks.check(claimer)?;
            }
            let left = blocks.free();
            if blocks.is_stopped() || left == 0 {
                break;
            }
            if left == free && repeats_left == repeats {
                // A round without progress, and no repeat to answer for it: every task was
                // cancelled or died before its first block, and would again.
                return Err(failure.unwrap_or(Error::Task(TaskError::Cancelled)));
            }
            if matches!(&failure, Some(error) if error.death().is_none()) {
                break;
            }
            blocks.rewind();
        }
        match failure {
            Some(error) => Err(error),
            None => ended(&blocks).map(|()| parts),
        }
    }

    /// How many tasks do `blocks` blocks: where they are run one after the other, one.
    fn members(&self, blocks: usize) -> usize {
        match self.core.config.start {
            Start::ForkServer => self.core.workers().min(blocks),
            Start::InProcess => 1,
        }
    }

    /// What the task `claimer` is told.
    fn orders(&self, blocks: &HostBlocks, claimer: u32) -> Orders {
        Orders {
            extent: self.extent,
            sources: self.sources.clone(),
            blocks: (blocks.offset(), blocks.number()),
            claimer,
            shares: blocks.shares(),
        }
    }

    /// Notes that the task `claimer` failed, and what that means for its blocks.
    fn note(
        &self,
        blocks: &HostBlocks,
        claimer: u32,
        error: Error,
        repeats_left: &mut u32,
        failure: &mut Option<Error>,
    ) {
        let has_died =
            matches!(&error, Error::Task(TaskError::Died(_) | TaskError::TimedOut { .. }));
        if has_died && *repeats_left > 0 {
            *repeats_left -= 1;
            // What it had done may have been part of its lost result.
            blocks.set_free(&blocks.torn(claimer));
            blocks.set_free(&blocks.done_by(claimer));
            return;
        }
        let torn = blocks.torn(claimer).into_iter().filter(|_| self.writes);
        let torn = torn.map(|block| self.extent.elements(block));
        match (failure.as_mut(), error) {
            (None, Error::Task(TaskError::Died(mut death))) => {
                death.torn = merge(torn.collect());
                *failure = Some(Error::Task(TaskError::Died(death)));
            }
            (Some(Error::Task(TaskError::Died(first))), _) => {
                let all = first.torn.iter().cloned().chain(torn).collect();
                let first: &mut Death = first;
                first.torn = merge(all);
            }
            (Some(_), _) => {}
            (None, error) => *failure = Some(error),
        }
    }
}

/// An error if a worker was sent away from a block that it had claimed, and nothing else was said.
fn ended(blocks: &HostBlocks) -> Result<()> {
    if blocks.is_stopped() || blocks.are_done() {
        return Ok(());
    }
    Err(Error::Task(TaskError::Cancelled))
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_and_chunks_cover_each_element_once(
            len in 0usize..5000, chunk_len in 1usize..300, block_chunks in 1usize..9,
        ) {
            let extent = Extent::new(len, chunk_len).unwrap().with_block_chunks(block_chunks);
            let mut next = 0;
            for block in 0..extent.blocks() {
                prop_assert_eq!(extent.elements(block).start, next);
                for chunk in extent.block(block) {
                    let range = extent.chunk(chunk);
                    prop_assert_eq!(range.start, next);
                    prop_assert!(range.end > range.start);
                    next = range.end;
                }
                prop_assert_eq!(extent.elements(block).end, next);
            }
            prop_assert_eq!(next, len);
        }
    }

    #[test]
    fn a_loop_never_has_more_blocks_than_fit() {
        let extent = Extent::new(usize::MAX, 1).unwrap();
        assert!(extent.blocks() <= BLOCKS_MAX, "{extent:?}");
        assert!(Extent::new(5, 0).is_err());
    }

    #[test]
    fn touching_ranges_are_merged() {
        assert_eq!(merge(vec![4..6, 0..2, 2..3, 5..9]), [0..3, 4..9]);
    }
}
