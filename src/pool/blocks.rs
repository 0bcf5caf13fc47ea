//! The blocks of one parallel loop, in shared memory.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::region::arena::{Arena, Contents, Span};
use crate::region::windows::Windows;

/// Blocks that one loop has at most; longer loops have more chunks in each.
pub(super) const BLOCKS_MAX: usize = 65_536;
/// Blocks that a worker looks at together at most.
const TAKE_MAX: u64 = 16;

/// What stands in front of a loop's block words.
///
/// | field     | written by         | read by | guard           | if the writer dies        |
/// |-----------|--------------------|---------|-----------------|---------------------------|
/// | `hint`    | workers, by adding | workers | none: a hint    | what it skipped stays free|
/// | `stopped` | workers, to 1      | workers | none            | as if it had not stopped  |
/// | words     | host, workers (CAS)| all     | the word itself | claimed by the dead: torn |
///
/// A block word holds the loop's number (bits 63..24), the claimer (bits 23..2) and a state (bits
/// 1..0). Only the claimer stores DONE, so a block that is claimed by a dead worker stays so.
#[repr(C, align(64))]
struct Header {
    hint: AtomicU64,
    _hint: [u64; 7],
    stopped: AtomicU32,
    _stopped: [u32; 15],
}

const _: () = assert!(size_of::<Header>() == 128);

const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const DONE: u64 = 2;

fn word(number: u64, claimer: u32, state: u64) -> u64 {
    number << 24 | u64::from(claimer & 0x3f_ffff) << 2 | state
}

fn size_bytes(count: usize) -> usize {
    size_of::<Header>() + count * size_of::<AtomicU64>()
}

/// The blocks as the host has them.
#[derive(Debug)]
pub(super) struct HostBlocks {
    span: Span,
    count: usize,
    number: u64,
}

impl HostBlocks {
    /// `count` free blocks of the loop `number`.
    pub(super) fn new(arena: &Arc<Arena>, count: usize, number: u64) -> Result<HostBlocks> {
        let number = number & ((1 << 40) - 1);
        let span = arena.reserve(size_bytes(count), Contents::Stale)?;
        let blocks = HostBlocks { span, count, number };
        let view = blocks.view();
        view.header().stopped.store(0, Ordering::Relaxed);
        for index in 0..count {
            // Relaxed: published with the offer of the loop's tasks.
            view.word(index).store(word(number, 0, FREE), Ordering::Relaxed);
        }
        blocks.rewind();
        Ok(blocks)
    }

    /// Where the blocks are, for workers.
    pub(super) fn offset(&self) -> u64 {
        self.span.offset()
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    fn view(&self) -> Blocks {
        Blocks { start: self.span.as_ptr(), count: self.count, number: self.number }
    }

    /// Has the next workers look from the first block on.
    pub(super) fn rewind(&self) {
        self.view().header().hint.store(0, Ordering::Relaxed);
    }

    /// How many blocks are free.
    pub(super) fn free(&self) -> usize {
        self.in_state(|value| value & 3 == FREE).count()
    }

    /// Whether every block is done.
    pub(super) fn are_done(&self) -> bool {
        self.in_state(|value| value & 3 != DONE).next().is_none()
    }

    /// Whether a worker has stopped the loop.
    pub(super) fn is_stopped(&self) -> bool {
        self.view().header().stopped.load(Ordering::Acquire) == 1
    }

    /// Blocks that `claimer` had claimed and not done.
    pub(super) fn torn(&self, claimer: u32) -> Vec<usize> {
        let claimed = word(self.number, claimer, CLAIMED);
        self.in_state(|value| value == claimed).collect()
    }

    /// Blocks that `claimer` had done.
    pub(super) fn done_by(&self, claimer: u32) -> Vec<usize> {
        let done = word(self.number, claimer, DONE);
        self.in_state(|value| value == done).collect()
    }

    /// Makes blocks free again whose claimer is known to be dead.
    pub(super) fn set_free(&self, blocks: &[usize]) {
        for &index in blocks {
            self.view().word(index).store(word(self.number, 0, FREE), Ordering::Release);
        }
    }

    fn in_state(&self, test: impl Fn(u64) -> bool) -> impl Iterator<Item = usize> {
        let view = self.view();
        // Acquire: pairs with the Release of `Blocks::set_done`.
        (0..self.count).filter(move |&index| test(view.word(index).load(Ordering::Acquire)))
    }
}

/// The blocks as a worker sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    start: *mut u8,
    count: usize,
    number: u64,
}

impl Blocks {
    /// Finds the blocks of loop `number` in the arena.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if they are not inside it, or not aligned.
    pub(super) fn attach(
        windows: &Windows,
        offset: u64,
        count: usize,
        number: u64,
    ) -> Result<Blocks> {
        let found = || Error::Corrupt {
            what: "the blocks of a loop",
            found: format!("{count} blocks at {offset}"),
        };
        if count > BLOCKS_MAX || !offset.is_multiple_of(64) {
            return Err(found());
        }
        let start = windows.write(offset, size_bytes(count))?;
        Ok(Blocks { start, count, number })
    }

    fn header(&self) -> &Header {
        // SAFETY: the span begins with a header: it is large enough and aligned, by `HostBlocks`
        // or checked by `attach`; the host keeps it until no task of the loop is left.
        unsafe { &*self.start.cast::<Header>() }
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "block {index} of {}", self.count);
        let words = self.start.wrapping_add(size_of::<Header>()).cast::<AtomicU64>();
        let word = words.wrapping_add(index);
        // SAFETY: `index` is below the count that the span was sized for, as for the header.
        unsafe { &*word }
    }

    /// Has all workers take no more blocks.
    pub(super) fn stop(&self) {
        self.header().stopped.store(1, Ordering::Release);
    }

    /// A few blocks to look at, guided: many at the beginning, single ones towards the end.
    /// `None`: there is nothing left to look at.
    pub(super) fn take(&self, members: usize) -> Option<Range<usize>> {
        let header = self.header();
        // Relaxed: a hint; the block words decide.
        let seen = header.hint.load(Ordering::Relaxed);
        let count = self.count as u64;
        if seen >= count || header.stopped.load(Ordering::Relaxed) == 1 {
            return None;
        }
        let share = (count - seen) / (4 * members.max(1) as u64);
        let start = header.hint.fetch_add(share.clamp(1, TAKE_MAX), Ordering::Relaxed);
        if start >= count {
            return None;
        }
        let end = (start + share.clamp(1, TAKE_MAX)).min(count);
        let index = |word| usize::try_from(word).unwrap_or(usize::MAX);
        Some(index(start)..index(end))
    }

    /// Claims a block; false if somebody has it.
    pub(super) fn try_claim(&self, index: usize, claimer: u32) -> bool {
        let (free, claimed) = (word(self.number, 0, FREE), word(self.number, claimer, CLAIMED));
        self.word(index)
            .compare_exchange(free, claimed, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Says that a claimed block is complete.
    pub(super) fn set_done(&self, index: usize, claimer: u32) {
        // Release: pairs with the Acquire of `HostBlocks::in_state`.
        self.word(index).store(word(self.number, claimer, DONE), Ordering::Release);
    }
}
