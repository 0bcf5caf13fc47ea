//! A worker's part in a loop: claims and runs blocks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::FloatMode;
use crate::pool::loops::blocks;
use crate::pool::loops::operand::ClaimedChunk;
use crate::pool::loops::partition::Partition;
use crate::sync::block_table::BlockTable;
use crate::worker::invocation::{CodecError, Invocation};

/// What each task of a loop gets; its operands and its shared value follow.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct LoopTask {
    pub(super) partition: Partition,
    /// Where the blocks are in the arena, in bytes.
    pub(super) blocks_offset: u64,
    /// The number of the loop.
    pub(super) number: u64,
    /// The number of shares.
    pub(super) shares: usize,
    /// The number of this task in its loop, from 1.
    pub(super) claimer: u32,
}

/// The chunks of a block that this task has claimed. Each starts in the standard floating-point
/// mode, because which chunks a worker ran before depends on timing.
pub(super) struct ClaimedChunks {
    partition: Partition,
    block: usize,
    left: Range<usize>,
}

impl Iterator for ClaimedChunks {
    type Item = ClaimedChunk;

    #[inline]
    fn next(&mut self) -> Option<ClaimedChunk> {
        let index = self.left.next()?;
        FloatMode::reset();
        Some(ClaimedChunk { index, block: self.block, range: self.partition.chunk(index) })
    }
}

/// A worker's part in a loop.
pub(super) struct LoopWorker<'a> {
    task: LoopTask,
    blocks: BlockTable<'a>,
    /// The worker's index: its share is the same in every loop.
    home: usize,
}

impl<'a> LoopWorker<'a> {
    /// Attaches to the blocks of the loop that `task` is part of.
    pub(super) fn new(
        invocation: &Invocation<'a>,
        task: LoopTask,
    ) -> std::result::Result<LoopWorker<'a>, CodecError> {
        let LoopTask { partition, blocks_offset, number, shares, .. } = task;
        let count = partition.blocks();
        let blocks = blocks::attach(invocation.windows, blocks_offset, shares, count, number);
        let blocks = blocks.map_err(|error| CodecError::Argument(error.to_string()))?;
        Ok(LoopWorker { task, blocks, home: invocation.cache.worker })
    }

    /// Claims one block after the other until none is left, and calls `each` with its number and
    /// its chunks. If `each` returns a number, no worker claims a block of that number or higher
    /// from then on.
    pub(super) fn run(&self, each: &mut dyn FnMut(usize, ClaimedChunks) -> Option<usize>) {
        /// Stops the loop when a panic unwinds through this function: the call fails in any case.
        struct StopOnPanic<'a>(&'a BlockTable<'a>);
        impl Drop for StopOnPanic<'_> {
            fn drop(&mut self) {
                self.0.limit(0);
            }
        }
        let LoopTask { partition, claimer, .. } = self.task;
        let guard = StopOnPanic(&self.blocks);
        while let Some(taken) = self.blocks.take(self.home) {
            for block in taken {
                if block >= self.blocks.needed() || !self.blocks.try_claim(block, claimer) {
                    continue;
                }
                let left = partition.block(block);
                if let Some(limit) = each(block, ClaimedChunks { partition, block, left }) {
                    self.blocks.limit(limit);
                }
                self.blocks.set_done(block, claimer);
            }
        }
        std::mem::forget(guard);
    }
}
