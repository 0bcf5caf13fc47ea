//! The blocks of one parallel loop, in shared memory.
//!
//! Every worker has a share of its own, which is the same part of the array in every loop of that
//! shape. It takes its blocks from the front, a few at a time. A worker with none left takes the
//! second half of what another has, makes that its share, and goes on. At the very end it takes
//! blocks that others have taken and not begun. So a worker finds its data in its caches and on its
//! memory node, and no block waits behind a slow one.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::region::arena::{Arena, Contents, Span};
use crate::region::windows::Windows;

/// The most blocks that one loop has; in longer loops each block has more chunks.
pub(super) const BLOCKS_MAX: usize = 65_536;
/// The most blocks that a worker takes at once.
const BATCH_MAX: usize = 16;

/// The header of a loop's blocks. The shares follow it, then the block words.
///
/// | field     | written by         | read by | guard           | if the writer dies        |
/// |-----------|--------------------|---------|-----------------|---------------------------|
/// | `limit`   | workers, downwards | workers | none            | what it had lowered stays |
/// | shares    | workers (CAS)      | workers | none: hints     | what it took stays free   |
/// | words     | host, workers (CAS)| all     | the word itself | claimed by the dead: torn |
///
/// A block word holds the loop's number (bits 63..24), the claimer (bits 23..2) and a state (bits
/// 1..0). Only the claimer stores DONE, so a block that is claimed by a dead worker stays so.
#[repr(C, align(64))]
struct Header {
    /// No worker claims a block of this number or a higher one.
    limit: AtomicU32,
    _limit: [u32; 15],
}

/// The blocks of one share: the first in bits 31..0 of a word, the end in bits 63..32. Each share
/// has a cache line of its own: other workers read it only when they run out of blocks.
#[repr(C, align(64))]
struct Share {
    /// The blocks that nobody has taken.
    left: AtomicU64,
    /// The blocks that its worker took last; some of them may not have begun.
    batch: AtomicU64,
    _share: [u64; 6],
}

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<Share>() == 64);
const _: () = assert!(BLOCKS_MAX < 1 << 32);

impl Share {
    #[inline]
    fn pack(blocks: &Range<usize>) -> u64 {
        blocks.start as u64 | (blocks.end as u64) << 32
    }

    /// Decodes a word. A stray worker may have written anything there: the result is below `count`.
    #[inline]
    fn unpack(word: u64, count: usize) -> Range<usize> {
        let index = |word: u64| usize::try_from(word).unwrap_or(count).min(count);
        index(word & 0xffff_ffff)..index(word >> 32)
    }

    fn fill(&self, blocks: &Range<usize>) {
        // Relaxed: published with the offer of the loop's tasks, and a hint anyway.
        self.left.store(Share::pack(blocks), Ordering::Relaxed);
        self.batch.store(0, Ordering::Relaxed);
    }

    /// Fills a share that has nothing left; false if another worker did so first.
    fn try_fill(&self, blocks: &Range<usize>, count: usize) -> bool {
        // Relaxed: a hint; the block words decide.
        let seen = self.left.load(Ordering::Relaxed);
        let (next, relaxed) = (Share::pack(blocks), Ordering::Relaxed);
        Share::unpack(seen, count).is_empty()
            && self.left.compare_exchange(seen, next, relaxed, relaxed).is_ok()
    }

    /// The blocks that its worker took last.
    fn batch(&self, count: usize) -> Range<usize> {
        Share::unpack(self.batch.load(Ordering::Relaxed), count)
    }

    /// Splits the blocks that are left by `cut` into those to take and the rest, and returns the
    /// first.
    #[inline]
    fn take(
        &self,
        count: usize,
        cut: impl Fn(Range<usize>) -> (Range<usize>, Range<usize>),
    ) -> Option<Range<usize>> {
        // Relaxed: as above.
        let mut seen = self.left.load(Ordering::Relaxed);
        loop {
            let left = Share::unpack(seen, count);
            if left.is_empty() {
                return None;
            }
            let (taken, rest) = cut(left);
            let (next, relaxed) = (Share::pack(&rest), Ordering::Relaxed);
            match self.left.compare_exchange_weak(seen, next, relaxed, relaxed) {
                Ok(_) => return Some(taken),
                Err(now) => seen = now,
            }
        }
    }

    /// Takes the first blocks: several while many are left, single ones towards the end.
    #[inline]
    fn take_first(&self, count: usize) -> Option<Range<usize>> {
        let taken = self.take(count, |Range { start, end }| {
            let middle = start + ((end - start) / 4).clamp(1, BATCH_MAX);
            (start..middle, middle..end)
        })?;
        // Relaxed: a hint.
        self.batch.store(Share::pack(&taken), Ordering::Relaxed);
        Some(taken)
    }

    /// Takes the second half; if one block is left, that one.
    fn take_half(&self, count: usize) -> Option<Range<usize>> {
        self.take(count, |Range { start, end }| {
            let middle = start + (end - start) / 2;
            (middle..end, start..middle)
        })
    }
}

const FREE: u64 = 0;
const CLAIMED: u64 = 1;
const DONE: u64 = 2;

#[inline]
fn word(number: u64, claimer: u32, state: u64) -> u64 {
    number << 24 | u64::from(claimer & 0x3f_ffff) << 2 | state
}

fn size_bytes(shares: usize, count: usize) -> usize {
    size_of::<Header>() + shares * size_of::<Share>() + count * size_of::<AtomicU64>()
}

/// The blocks of share `index` of `shares`.
fn share(index: usize, shares: usize, count: usize) -> Range<usize> {
    count * index / shares..count * (index + 1) / shares
}

/// The blocks as the host sees them.
#[derive(Debug)]
pub(super) struct HostBlocks {
    span: Span,
    shares: usize,
    count: usize,
    number: u64,
}

impl HostBlocks {
    /// `count` free blocks of the loop `number`, in `shares` shares, at least one.
    pub(super) fn new(
        arena: &Arc<Arena>,
        count: usize,
        shares: usize,
        number: u64,
    ) -> Result<HostBlocks> {
        let number = number & ((1 << 40) - 1);
        let span = arena.reserve(size_bytes(shares, count), Contents::Stale)?;
        let blocks = HostBlocks { span, shares, count, number };
        let view = blocks.view();
        blocks.unlimit();
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
        let HostBlocks { shares, count, number, .. } = *self;
        Blocks { start: self.span.as_ptr(), shares, count, number }
    }

    /// The number of shares.
    pub(super) fn shares(&self) -> usize {
        self.shares
    }

    /// Resets the shares, so that the next workers look at all blocks again.
    pub(super) fn rewind(&self) {
        for index in 0..self.shares {
            self.view().share(index).fill(&share(index, self.shares, self.count));
        }
    }

    /// The number of needed blocks that are free.
    pub(super) fn free(&self) -> usize {
        self.in_state(self.needed(), |value| value & 3 == FREE).count()
    }

    /// Whether every needed block is done.
    pub(super) fn are_done(&self) -> bool {
        self.in_state(self.needed(), |value| value & 3 != DONE).next().is_none()
    }

    /// An error if a block word was not written by a task of this loop, which had `claimers` tasks.
    /// Call it when no worker has a task of the loop.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub(super) fn check(&self, claimers: u32) -> Result<()> {
        let is_wrong = |value: u64| {
            let claimer = value >> 2 & 0x3f_ffff;
            let is_right = match value & 3 {
                FREE => claimer == 0,
                CLAIMED | DONE => (1..=u64::from(claimers)).contains(&claimer),
                _ => false,
            };
            !is_right || value >> 24 != self.number
        };
        match self.in_state(self.count, is_wrong).next() {
            None => Ok(()),
            Some(index) => {
                let value = self.view().word(index).load(Ordering::Relaxed);
                let found = format!("{value:#x} for block {index}; a worker wrote over it");
                Err(Error::Corrupt { what: "the blocks of a loop", found })
            }
        }
    }

    /// Stops workers from claiming blocks numbered `limit` and higher.
    pub(super) fn limit(&self, limit: usize) {
        self.view().limit(limit);
    }

    /// Removes the limit. Call it when no worker has a task of the loop.
    pub(super) fn unlimit(&self) {
        // Relaxed: published with the offer of the loop's tasks.
        self.view().header().limit.store(u32::MAX, Ordering::Relaxed);
    }

    /// The number of needed blocks: those below the limit.
    pub(super) fn needed(&self) -> usize {
        self.view().needed().min(self.count)
    }

    /// The blocks that `claimer` claimed and did not complete.
    pub(super) fn torn(&self, claimer: u32) -> Vec<usize> {
        let claimed = word(self.number, claimer, CLAIMED);
        self.in_state(self.count, |value| value == claimed).collect()
    }

    /// The blocks that `claimer` completed.
    pub(super) fn done_by(&self, claimer: u32) -> Vec<usize> {
        let done = word(self.number, claimer, DONE);
        self.in_state(self.count, |value| value == done).collect()
    }

    /// The blocks that are done.
    pub(super) fn done(&self) -> impl Iterator<Item = usize> {
        self.in_state(self.count, |value| value & 3 == DONE)
    }

    /// Makes blocks free again whose claimer is known to be dead.
    pub(super) fn set_free(&self, blocks: &[usize]) {
        for &index in blocks {
            self.view().word(index).store(word(self.number, 0, FREE), Ordering::Release);
        }
    }

    /// The blocks below `count` whose word passes `test`.
    fn in_state(&self, count: usize, test: impl Fn(u64) -> bool) -> impl Iterator<Item = usize> {
        let view = self.view();
        // Acquire: pairs with the Release of `Blocks::set_done`.
        (0..count).filter(move |&index| test(view.word(index).load(Ordering::Acquire)))
    }
}

/// The blocks as a worker sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blocks {
    start: *mut u8,
    shares: usize,
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
        shares: usize,
        count: usize,
        number: u64,
    ) -> Result<Blocks> {
        let found = || Error::Corrupt {
            what: "the blocks of a loop",
            found: format!("{count} blocks in {shares} shares at {offset}"),
        };
        if count > BLOCKS_MAX || !(1..=count).contains(&shares) || !offset.is_multiple_of(64) {
            return Err(found());
        }
        let start = windows.write(offset, size_bytes(shares, count))?;
        Ok(Blocks { start, shares, count, number })
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the span begins with a header: it is large enough and aligned, by `HostBlocks`
        // or checked by `attach`; the host keeps it until no task of the loop is left.
        unsafe { &*self.start.cast::<Header>() }
    }

    #[inline]
    fn share(&self, index: usize) -> &Share {
        assert!(index < self.shares, "share {index} of {}", self.shares);
        let shares = self.start.wrapping_add(size_of::<Header>()).cast::<Share>();
        let share = shares.wrapping_add(index);
        // SAFETY: `index` is below the number of shares that the span was sized for, as for the
        // header.
        unsafe { &*share }
    }

    #[inline]
    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.count, "block {index} of {}", self.count);
        let words = self.start.wrapping_add(size_bytes(self.shares, 0)).cast::<AtomicU64>();
        let word = words.wrapping_add(index);
        // SAFETY: `index` is below the count that the span was sized for, as for the header.
        unsafe { &*word }
    }

    /// Stops workers from claiming blocks numbered `limit` and higher.
    pub(super) fn limit(&self, limit: usize) {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        // Relaxed: it saves work; the results decide, and they are published by commits.
        self.header().limit.fetch_min(limit, Ordering::Relaxed);
    }

    /// The limit: blocks below it are to be claimed.
    #[inline]
    pub(super) fn needed(&self) -> usize {
        // Relaxed: as in `limit`.
        self.header().limit.load(Ordering::Relaxed) as usize
    }

    /// A few blocks to look at, from the share of worker `home` or, if that is empty, from another.
    /// `None` if there is nothing left to look at.
    #[inline]
    pub(super) fn take(&self, home: usize) -> Option<Range<usize>> {
        if self.needed() == 0 {
            return None;
        }
        let home = home % self.shares;
        self.share(home).take_first(self.count).or_else(|| self.take_from_others(home))
    }

    fn take_from_others(&self, home: usize) -> Option<Range<usize>> {
        let others = || (home + 1..self.shares).chain(0..home);
        let half = others().find_map(|index| self.share(index).take_half(self.count));
        let Some(Range { start, end }) = half else {
            return others().find_map(|index| self.first_free(self.share(index).batch(self.count)));
        };
        // Two workers have the same share if there are fewer blocks than workers.
        if self.share(home).try_fill(&(start + 1..end), self.count) {
            return Some(start..start + 1);
        }
        Some(start..end)
    }

    /// A block of a batch that its worker has not begun.
    fn first_free(&self, mut batch: Range<usize>) -> Option<Range<usize>> {
        let free = word(self.number, 0, FREE);
        // Blocks beyond the limit stay free. They must not be found again and again.
        batch.end = batch.end.min(self.needed());
        // From the back, which its worker reaches last. Relaxed: `try_claim` checks again.
        let found = batch.rfind(|&index| self.word(index).load(Ordering::Relaxed) == free)?;
        Some(found..found + 1)
    }

    /// Claims a block; false if it is already claimed.
    #[inline]
    pub(super) fn try_claim(&self, index: usize, claimer: u32) -> bool {
        let (free, claimed) = (word(self.number, 0, FREE), word(self.number, claimer, CLAIMED));
        self.word(index)
            .compare_exchange(free, claimed, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Marks a claimed block as complete.
    #[inline]
    pub(super) fn set_done(&self, index: usize, claimer: u32) {
        // Release: pairs with the Acquire of `HostBlocks::in_state`.
        self.word(index).store(word(self.number, claimer, DONE), Ordering::Release);
    }
}

#[cfg(test)]
#[path = "blocks_tests.rs"]
mod tests;
