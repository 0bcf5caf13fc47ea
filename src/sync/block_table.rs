//! The blocks of a parallel loop, taken and done.
//!
//! Every worker has a share of its own, which is the same part of the array in every loop of that
//! shape. It takes its blocks from the front, a few at a time. A worker with none left takes the
//! second half of what another has, makes that its share, and goes on. At the very end it takes
//! blocks that others have taken and not begun. So a worker finds its data in its caches and on its
//! memory node, and no block waits behind a slow one.
//!
//! `src/pool/README.md` describes the protocol in steps, and argues that no block is lost.
#![allow(unsafe_code)]

use std::ops::Range;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// The most blocks that one loop has; in longer loops each block has more chunks.
pub(crate) const BLOCKS_MAX: usize = 65_536;
/// The most blocks that a worker takes at once.
const BATCH_MAX: usize = 16;

/// The header of a loop's blocks. The shares follow it, then the block words.
///
/// | field     | written by         | read by | guard           | if the writer dies        |
/// |-----------|--------------------|---------|-----------------|---------------------------|
/// | `limit`   | workers, downwards | workers | none            | what it had lowered stays |
/// | shares    | workers (CAS)      | workers | none: proposals | what it took stays free   |
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

#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 64 && size_of::<Share>() == 64);
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
        // Relaxed: published with the offer of the loop's tasks, and only a proposal.
        self.left.store(Share::pack(blocks), Ordering::Relaxed);
        self.batch.store(0, Ordering::Relaxed);
    }

    /// Fills a share that has nothing left; false if another worker did so first.
    fn try_fill(&self, blocks: &Range<usize>, count: usize) -> bool {
        // Relaxed: a proposal; the block words decide.
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
            match self.left.compare_exchange(seen, next, relaxed, relaxed) {
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
        // Relaxed: a proposal.
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

/// The blocks of share `index` of `shares`.
fn share(index: usize, shares: usize, count: usize) -> Range<usize> {
    count * index / shares..count * (index + 1) / shares
}

/// The bytes that the table of `count` blocks in `shares` shares takes.
pub(crate) fn size_bytes(shares: usize, count: usize) -> usize {
    size_of::<Header>() + shares * size_of::<Share>() + count * size_of::<AtomicU64>()
}

/// The blocks of one loop.
#[derive(Clone, Copy)]
pub(crate) struct BlockTable<'a> {
    limit: &'a AtomicU32,
    shares: &'a [Share],
    words: &'a [AtomicU64],
    /// The number of the loop, of 40 bits.
    number: u64,
}

/// Construction.
impl<'a> BlockTable<'a> {
    /// The table of `count` blocks in `shares` shares of the loop `number` at `start`.
    ///
    /// # Safety
    ///
    /// [`size_bytes`] from `start` on are mapped, writable, initialised, and aligned to 64 bytes.
    /// During `'a` they are accessed as this table only.
    #[cfg(not(loom))]
    pub(crate) unsafe fn at(
        start: *mut u8,
        shares: usize,
        count: usize,
        number: u64,
    ) -> BlockTable<'a> {
        let first_share = start.wrapping_add(size_of::<Header>()).cast::<Share>();
        let first_word = start.wrapping_add(size_bytes(shares, 0)).cast::<AtomicU64>();
        // SAFETY: the bytes begin with a header, by this function's contract.
        let header = unsafe { &*start.cast::<Header>() };
        // SAFETY: the shares follow, by that contract.
        let shares = unsafe { std::slice::from_raw_parts(first_share, shares) };
        // SAFETY: and after them the words.
        let words = unsafe { std::slice::from_raw_parts(first_word, count) };
        BlockTable { limit: &header.limit, shares, words, number: number & ((1 << 40) - 1) }
    }
}

/// The host's side.
impl<'a> BlockTable<'a> {
    /// Makes all blocks free. Call it before the first task of the loop is offered.
    pub(crate) fn reset(&self) {
        self.unlimit();
        for block in self.words {
            // Relaxed: published with the offer of the loop's tasks.
            block.store(word(self.number, 0, FREE), Ordering::Relaxed);
        }
        self.rewind();
    }

    /// Resets the shares, so that the next workers look at all blocks again.
    pub(crate) fn rewind(&self) {
        for (index, part) in self.shares.iter().enumerate() {
            part.fill(&share(index, self.shares.len(), self.words.len()));
        }
    }

    /// The number of needed blocks that are free.
    pub(crate) fn free(&self) -> usize {
        self.in_state(self.needed(), |value| value & 3 == FREE).count()
    }

    /// Whether every needed block is done.
    pub(crate) fn are_done(&self) -> bool {
        self.in_state(self.needed(), |value| value & 3 != DONE).next().is_none()
    }

    /// An error if a block word was not written by a task of this loop, which had `claimers` tasks.
    /// Call it when no worker has a task of the loop.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`].
    pub(crate) fn check(&self, claimers: u32) -> Result<()> {
        let is_wrong = |value: u64| {
            let claimer = value >> 2 & 0x3f_ffff;
            let is_right = match value & 3 {
                FREE => claimer == 0,
                CLAIMED | DONE => (1..=u64::from(claimers)).contains(&claimer),
                _ => false,
            };
            !is_right || value >> 24 != self.number
        };
        match self.in_state(self.words.len(), is_wrong).next() {
            None => Ok(()),
            Some(index) => {
                let value = self.words[index].load(Ordering::Relaxed);
                let found = format!("{value:#x} for block {index}; a worker wrote over it");
                Err(Error::Corrupt { what: "the blocks of a loop", found })
            }
        }
    }

    /// Removes the limit. Call it when no worker has a task of the loop.
    pub(crate) fn unlimit(&self) {
        // Relaxed: published with the offer of the loop's tasks.
        self.limit.store(u32::MAX, Ordering::Relaxed);
    }

    /// The blocks that `claimer` claimed and did not complete.
    pub(crate) fn torn(&self, claimer: u32) -> Vec<usize> {
        let claimed = word(self.number, claimer, CLAIMED);
        self.in_state(self.words.len(), |value| value == claimed).collect()
    }

    /// The blocks that `claimer` completed.
    pub(crate) fn done_by(&self, claimer: u32) -> Vec<usize> {
        let done = word(self.number, claimer, DONE);
        self.in_state(self.words.len(), |value| value == done).collect()
    }

    /// The blocks that are done.
    pub(crate) fn done(&self) -> impl Iterator<Item = usize> + use<'a> {
        self.in_state(self.words.len(), |value| value & 3 == DONE)
    }

    /// Makes blocks free again whose claimer is known to be dead.
    pub(crate) fn set_free(&self, blocks: &[usize]) {
        for &index in blocks {
            self.words[index].store(word(self.number, 0, FREE), Ordering::Release);
        }
    }

    /// The blocks below `count` whose word passes `test`.
    fn in_state<F: Fn(u64) -> bool>(
        &self,
        count: usize,
        test: F,
    ) -> impl Iterator<Item = usize> + use<'a, F> {
        let words = &self.words[..count.min(self.words.len())];
        // Acquire: pairs with the Release of `set_done`.
        (0..words.len()).filter(move |&index| test(words[index].load(Ordering::Acquire)))
    }
}

/// The worker's side.
impl BlockTable<'_> {
    /// Stops workers from claiming blocks numbered `limit` and higher. The host does so, too.
    pub(crate) fn limit(&self, limit: usize) {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        // Relaxed: it saves work; the results decide, and they are published by commits.
        self.limit.fetch_min(limit, Ordering::Relaxed);
    }

    /// The number of needed blocks: those below the limit.
    #[inline]
    pub(crate) fn needed(&self) -> usize {
        // Relaxed: as in `limit`.
        (self.limit.load(Ordering::Relaxed) as usize).min(self.words.len())
    }

    /// A few blocks to look at, from the share of worker `home` or, if that is empty, from another.
    /// `None` if there is nothing left to look at.
    #[inline]
    pub(crate) fn take(&self, home: usize) -> Option<Range<usize>> {
        if self.needed() == 0 {
            return None;
        }
        let home = home % self.shares.len();
        self.shares[home].take_first(self.words.len()).or_else(|| self.take_from_others(home))
    }

    fn take_from_others(&self, home: usize) -> Option<Range<usize>> {
        let count = self.words.len();
        let others = || (home + 1..self.shares.len()).chain(0..home);
        let half = others().find_map(|index| self.shares[index].take_half(count));
        let Some(Range { start, end }) = half else {
            return others().find_map(|index| self.first_free(self.shares[index].batch(count)));
        };
        // Two workers have the same share if there are fewer blocks than workers.
        if self.shares[home].try_fill(&(start + 1..end), count) {
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
        let found = batch.rfind(|&index| self.words[index].load(Ordering::Relaxed) == free)?;
        Some(found..found + 1)
    }

    /// Claims a block; false if it is already claimed.
    #[inline]
    pub(crate) fn try_claim(&self, index: usize, claimer: u32) -> bool {
        let (free, claimed) = (word(self.number, 0, FREE), word(self.number, claimer, CLAIMED));
        // Acquire: pairs with the Release of `set_free`.
        self.words[index]
            .compare_exchange(free, claimed, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    /// Marks a claimed block as complete.
    #[inline]
    pub(crate) fn set_done(&self, index: usize, claimer: u32) {
        // Release: pairs with the Acquire of `in_state`.
        self.words[index].store(word(self.number, claimer, DONE), Ordering::Release);
    }
}

/// The words of a table on the heap, for tests and models.
#[cfg(test)]
struct TableWords {
    limit: AtomicU32,
    shares: Vec<Share>,
    words: Vec<AtomicU64>,
    number: u64,
}

#[cfg(test)]
impl TableWords {
    fn new(count: usize, shares: usize, number: u64) -> TableWords {
        let share = |_| Share { left: AtomicU64::new(0), batch: AtomicU64::new(0), _share: [0; 6] };
        let words = TableWords {
            limit: AtomicU32::new(0),
            shares: (0..shares).map(share).collect(),
            words: (0..count).map(|_| AtomicU64::new(0)).collect(),
            number,
        };
        words.table().reset();
        words
    }

    fn table(&self) -> BlockTable<'_> {
        let TableWords { limit, shares, words, number } = self;
        BlockTable { limit, shares, words, number: *number }
    }
}

#[cfg(all(test, loom))]
#[path = "block_table_loom.rs"]
mod loom_tests;

#[cfg(all(test, not(loom)))]
#[path = "block_table_tests.rs"]
mod tests;
