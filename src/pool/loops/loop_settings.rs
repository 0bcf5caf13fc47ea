//! How a loop is divided and run, apart from its types.

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::driver::progress::ProgressFn;
use crate::pool::loops::operand::{Cut, HostOperand, WireOperand};
use crate::pool::loops::parallel_loop::ParallelLoop;
use crate::pool::loops::partition::Partition;
use crate::pool::loops::units::common_units;
use crate::pool::record::outcome::EncodedResult;
use crate::pool::record::task::TaskOptions;
use crate::worker::invocation::{self, Encode, Trampoline};

/// How a loop is divided, and its options.
pub(super) struct LoopSettings<'p> {
    pub(super) pool: &'p Pool,
    pub(super) cut: Cut,
    pub(super) chunk_len: usize,
    pub(super) task_options: TaskOptions,
    pub(super) progress: Option<ProgressFn>,
}

impl LoopSettings<'_> {
    /// Runs the loop over `operands` by `trampoline`, in blocks as `mode` says. `encode` writes
    /// the value that the calls get. Returns the results of its tasks and the number of chunks.
    pub(super) fn run(
        &self,
        operands: Vec<HostOperand>,
        encode: Encode<'_>,
        trampoline: Trampoline,
        name: &'static str,
        mode: Mode,
    ) -> Result<(Vec<EncodedResult>, Partition)> {
        let partition = self.partition(&operands, mode)?;
        if let Some(ratio) = operands
            .iter()
            .map(|operand| operand.layout.every)
            .find(|&ratio| ratio > 1 && !self.chunk_len.is_multiple_of(ratio))
        {
            let found = format!("{} with `Subsampled` by {ratio}", self.chunk_len);
            let rule = "a multiple of the ratio";
            return Err(Error::invalid("the number of rows of a chunk", found, rule));
        }
        let core = &*self.pool.core;
        core.check(self.task_options)?;
        let is_written = operands.iter().any(|operand| operand.is_written && !operand.is_new);
        let (task_options, may_end_early) = (self.task_options, mode.may_end_early);
        let progress = self.progress.as_ref();
        let parallel_loop = ParallelLoop {
            core,
            partition,
            is_written,
            may_end_early,
            task_options,
            progress,
            name,
        };
        let wire = |HostOperand { source, is_written, layout, extra, .. }| {
            (source, is_written, layout, extra)
        };
        let operands: Vec<WireOperand> = operands.into_iter().map(wire).collect();
        let results = parallel_loop.run(trampoline, &mut |out| {
            invocation::encode_onto(out, &operands)?;
            encode(out)
        })?;
        Ok((results, partition))
    }

    /// The chunks and blocks of the loop.
    pub(super) fn partition(&self, operands: &[HostOperand], mode: Mode) -> Result<Partition> {
        let units = common_units(self.cut, operands)?;
        Ok(Partition::new(units, self.chunk_len)?.with_blocks_max(mode.blocks_max))
    }
}

/// How a loop is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// The most blocks that there may be.
    pub(super) blocks_max: usize,
    /// A call may find that later chunks need not be done.
    pub(super) may_end_early: bool,
}

impl Mode {
    pub(super) const ANY: Mode = Mode { blocks_max: usize::MAX, may_end_early: false };
    pub(super) const FIRST: Mode = Mode { blocks_max: usize::MAX, may_end_early: true };

    /// At most `blocks_max` blocks; the results of a block's chunks are kept together.
    pub(super) const fn grouped(blocks_max: usize) -> Mode {
        Mode { blocks_max, may_end_early: false }
    }
}
