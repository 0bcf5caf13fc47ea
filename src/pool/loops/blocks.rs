//! The memory of a parallel loop's blocks.
#![allow(unsafe_code)]

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::region::arena::{Arena, Contents, Span};
use crate::region::windows::Windows;
use crate::sync::block_table::{self, BLOCKS_MAX, BlockTable};

/// The blocks of a loop, in memory of the host.
#[derive(Debug)]
pub(super) struct HostBlocks {
    span: Span,
    pub(super) shares: usize,
    count: usize,
    pub(super) number: u64,
}

impl HostBlocks {
    /// `count` free blocks of the loop `number`, in `shares` shares, at least one.
    pub(super) fn new(
        arena: &Arc<Arena>,
        count: usize,
        shares: usize,
        number: u64,
    ) -> Result<HostBlocks> {
        let span = arena.reserve(block_table::size_bytes(shares, count), Contents::Stale)?;
        let blocks = HostBlocks { span, shares, count, number };
        blocks.table().reset();
        Ok(blocks)
    }

    /// Where the blocks are, for workers.
    pub(super) fn offset(&self) -> u64 {
        self.span.offset()
    }

    pub(super) fn table(&self) -> BlockTable<'_> {
        // SAFETY: the span has that size, is aligned to a cache line, is initialised as all of an
        // arena, and is used for these blocks only until it is dropped.
        unsafe { BlockTable::at(self.span.as_ptr(), self.shares, self.count, self.number) }
    }
}

/// Finds the blocks of loop `number` in the arena, in a worker.
///
/// # Errors
///
/// [`Error::Corrupt`] if they are not inside it, or not aligned.
pub(super) fn attach(
    windows: &Windows,
    offset: u64,
    shares: usize,
    count: usize,
    number: u64,
) -> Result<BlockTable<'_>> {
    if count > BLOCKS_MAX || !(1..=count).contains(&shares) || !offset.is_multiple_of(64) {
        let found = format!("{count} blocks in {shares} shares at {offset}");
        return Err(Error::Corrupt { what: "the blocks of a loop", found });
    }
    let start = windows.write(offset, block_table::size_bytes(shares, count))?;
    // SAFETY: `write` checked the bounds, and the alignment was checked above. The host keeps the
    // memory for these blocks until no task of the loop is left.
    Ok(unsafe { BlockTable::at(start, shares, count, number) })
}
