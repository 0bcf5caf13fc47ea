//! How many messages each process has taken and not done.
//!
//! A word for each process that takes messages says how many of them it has not dealt with, and
//! which message the word counts up to:
//!
//! ```text
//! 63                              24 23                0
//! +---------------------------------+------------------+
//! | number of the last message      | taken, not done  |
//! +---------------------------------+------------------+
//! ```
//!
//! 1. Under the pop lock, a consumer that is about to take message n sets its word to
//!    `(n, taken + 1)`, by one compare-and-swap.
//! 2. It commits the removal: n messages are popped.
//!
//! If it dies between the two, its word counts up to a message that was not popped. The next
//! consumer, under the same lock, looks at the word that was changed last (`last`) and takes such a
//! count back, before it takes a message itself; so a number beyond what is popped always means
//! that. What is unfinished is what is in the ring, and the sum of these words: the ring is read
//! first, so that a message on its way is counted twice rather than not at all.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::{EventCount, Holder, Owner, OwnerTable, Slots};

/// Processes that can take messages of one queue at once.
pub(super) const CONSUMERS: usize = 256;

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_MASK: u64 = u64::MAX >> COUNT_BITS;

/// The words, in front of a ring.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `joined` | see `EventCount` | who joins | compare-and-swap | sweeps wake who joins |
/// | `last` | consumers | consumers | pop lock | it names the word to repair |
/// | `lost` | who buries | who joins | an add | a loss is not reported |
/// | `holders` | see `Slots` | all | compare-and-swap | a sweep makes it OWNER_DIED |
/// | `taken` | its holder, consumers, who buries | all | compare-and-swap | see the file |
#[repr(C, align(128))]
#[derive(Debug)]
pub(super) struct Words {
    joined: EventCount,
    last: AtomicU32,
    lost: AtomicU64,
    holders: [AtomicU32; CONSUMERS],
    taken: [AtomicU64; CONSUMERS],
}

const _: () = assert!(size_of::<Words>() == 3200);
const _: () = assert!(size_of::<Words>().is_multiple_of(crate::sync::Ring::ALIGN));

/// Runs of futex words among them.
pub(super) const ENTRIES: u32 = 2;

/// The words as one process sees them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    words: NonNull<Words>,
    holders: Slots,
}

// SAFETY: the words are atomics, valid wherever this goes by the contract of `new`.
unsafe impl Send for Taken {}
// SAFETY: as for `Send`.
unsafe impl Sync for Taken {}

fn pack(number: u64, count: u64) -> u64 {
    (number & NUMBER_MASK) << COUNT_BITS | count.min(COUNT_MASK)
}

/// What a word counts when `popped` messages have been popped: without those that were not.
fn settled(word: u64, popped: u64) -> u64 {
    let ahead = (word >> COUNT_BITS).wrapping_sub(popped) & NUMBER_MASK;
    let count = word & COUNT_MASK;
    if ahead > NUMBER_MASK / 2 { count } else { count.saturating_sub(ahead) }
}

impl Taken {
    /// # Safety
    ///
    /// - `place` is aligned for [`Words`] and valid for them as long as this is used; they are zero
    ///   at first, and written by atomics only.
    pub(super) unsafe fn new(place: NonNull<u8>) -> Taken {
        let words = place.cast::<Words>();
        // SAFETY: valid, by the contract.
        let holders = NonNull::from(unsafe { &words.as_ref().holders });
        // SAFETY: valid as long as this is used, and atomics, by the contract.
        let holders = unsafe { Slots::new(holders) };
        Taken { words, holders }
    }

    fn words(&self) -> &Words {
        // SAFETY: valid and all atomics, by the contract of `new`.
        unsafe { self.words.as_ref() }
    }

    /// Enters the futex words into the directory. Once, by the creator.
    pub(super) fn register(&self, table: &OwnerTable) -> Result<()> {
        self.words().joined.register(table)?;
        self.holders.register(table)
    }

    pub(super) fn joined(&self) -> &EventCount {
        &self.words().joined
    }

    /// Claims a word for the process of `owner`; `popped` messages have been popped.
    pub(super) fn claim(&self, owner: &Owner, popped: u64) -> Result<usize> {
        let capacity = || format!("{CONSUMERS} processes");
        let Some(index) = self.holders.claim_any(owner.token()) else {
            return Err(Error::Full { what: "the list of consumers", capacity: capacity() });
        };
        self.lose(index, popped);
        Ok(index)
    }

    /// Gives a word up; what it still counts is lost.
    pub(super) fn release(&self, index: usize, owner: &Owner, popped: u64) {
        self.lose(index, popped);
        self.holders.release(index, owner.token());
        self.joined().notify();
    }

    /// Counts one message for `index`, before it is popped. Under the pop lock, with `popped`
    /// messages popped so far.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if the counts are none that a queue comes to, [`Error::Full`] if as many
    /// messages are not done as the word can count. Nothing is counted then.
    pub(super) fn begin(&self, index: usize, popped: u64) -> Result<()> {
        let Some(number) = popped.checked_add(1) else {
            let found = format!("{popped} messages popped");
            return Err(Error::Corrupt { what: "the joinable queue", found });
        };
        // Relaxed: written under the lock that the caller holds.
        let last = self.words().last.load(Ordering::Relaxed) as usize;
        if let Some(word) = self.words().taken.get(last) {
            change(word, |word| {
                let is_ahead = settled(word, popped) != word & COUNT_MASK;
                is_ahead.then(|| pack(popped, settled(word, popped)))
            });
        }
        // Release: a word that is ahead is never without its name here. An index is small.
        let index_word = u32::try_from(index).unwrap_or(u32::MAX);
        self.words().last.store(index_word, Ordering::Release);
        let counted = change(&self.words().taken[index], |word| {
            let count = word & COUNT_MASK;
            (count < COUNT_MASK).then(|| pack(number, count + 1))
        });
        if counted.is_some() {
            return Ok(());
        }
        let capacity = format!("{COUNT_MASK} messages taken and not done by one process");
        Err(Error::Full { what: "the joinable queue", capacity })
    }

    /// Declares one message done: of `index`, or of whoever has one. False if nobody has.
    pub(super) fn finish(&self, index: Option<usize>) -> bool {
        let finish = |word: &AtomicU64| {
            change(word, |word| (word & COUNT_MASK != 0).then(|| word - 1)).is_some()
        };
        let all = &self.words().taken;
        index.and_then(|index| all.get(index)).is_some_and(finish) || all.iter().any(finish)
    }

    /// How many messages are taken and not done. To be asked after the ring was.
    pub(super) fn count(&self) -> u64 {
        self.words().taken.iter().map(|word| word.load(Ordering::Acquire) & COUNT_MASK).sum()
    }

    /// How many messages have been lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.words().lost.load(Ordering::Relaxed)
    }

    /// Looks for processes that died with messages taken and not done, which are lost. `popped` is
    /// asked before each word is read.
    pub(super) fn bury(&self, owner: &Owner, popped: impl Fn() -> u64) {
        let table = owner.table();
        let is_dead = |index| match self.holders.holder(index) {
            Holder::Claimed(token) => !table.lives(token),
            Holder::Nobody | Holder::Dead => false,
        };
        if (0..CONSUMERS).any(is_dead) {
            table.sweep_dead();
        }
        for index in 0..CONSUMERS {
            // Claimed meanwhile, so that no other process begins to count in it.
            if self.holders.holder(index) == Holder::Dead
                && self.holders.claim_dead(index, owner.token())
            {
                self.lose(index, popped());
                self.holders.release(index, owner.token());
            }
        }
    }

    fn lose(&self, index: usize, popped: u64) {
        let word = &self.words().taken[index];
        let before = change(word, |word| (word & COUNT_MASK != 0).then_some(word & !COUNT_MASK));
        let lost = before.map_or(0, |word| settled(word, popped));
        if lost > 0 {
            // Relaxed: a number for a message.
            self.words().lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// Replaces a word by what `next` makes of it, if anything; returns what it replaced.
fn change(word: &AtomicU64, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let wanted = next(seen)?;
        // AcqRel: Release pairs with the Acquire in `count`, so that who sees a message popped
        // sees it counted.
        match word.compare_exchange(seen, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(seen),
            Err(now) => seen = now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_runs_ahead_of_what_is_popped_is_taken_back() {
        assert_eq!(settled(pack(5, 2), 5), 2);
        assert_eq!(settled(pack(6, 3), 5), 2, "one was not popped");
        assert_eq!(settled(pack(9, 4), 5), 0, "a batch of four was not");
        assert_eq!(settled(pack(5, 2), 900), 2, "others have popped since");
        assert_eq!(settled(pack(NUMBER_MASK, 1), NUMBER_MASK + 1), 1, "the number wraps");
        assert_eq!(settled(pack(NUMBER_MASK + 1, 2), NUMBER_MASK), 1);
    }
}
