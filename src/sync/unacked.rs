//! Counts the messages that each process has popped and not acknowledged.
//!
//! Each process that takes messages has a word. It holds how many messages the process has not
//! acknowledged, and the number of the last message that was counted:
//!
//! ```text
//! 63                              24 23                0
//! +---------------------------------+------------------+
//! | number of the last message      | unacknowledged   |
//! +---------------------------------+------------------+
//! ```
//!
//! 1. Under the pop lock, a consumer that is about to take message n stores the index of its word
//!    in `last`, and then sets its word to `(n, count + 1)` by one compare-and-swap.
//! 2. It commits the removal: n messages are popped.
//!
//! If it dies between the two, its word counts a message that was not popped. The next consumer,
//! under the same lock, checks the word of index `last` and undoes such a count before it takes a
//! message itself. So a number above the number of popped messages always means that the last
//! message was not taken. The unfinished messages are those in the ring plus the sum of these
//! words. The ring is read first: a message that is being taken is then counted twice rather than
//! not at all.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::eventcount::EventCount;
use super::owner::{Owner, OwnerTable};
use super::ring::Ring;
use super::slots::{Holder, Slots};
use super::timeout::Timeout;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// The most processes that can take messages of one queue at once.
const CONSUMERS: usize = if cfg!(loom) { 2 } else { 256 };

const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const NUMBER_MASK: u64 = u64::MAX >> COUNT_BITS;

/// The words, placed before a ring.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | `joined` | see `EventCount` | callers of `join` | compare-and-swap | sweeps wake them |
/// | `last` | consumers | consumers | pop lock | index of the word to repair |
/// | `lost` | counters of losses | callers of `join` | an add | a loss is not reported |
/// | `holders` | see `Slots` | all | compare-and-swap | a sweep makes it OWNER_DIED |
/// | `counts` | holder, consumers, counters of losses | all | compare-and-swap | see the file |
#[repr(C, align(128))]
#[derive(Debug)]
pub(crate) struct UnackedWords {
    joined: EventCount,
    last: AtomicU32,
    lost: AtomicU64,
    holders: [AtomicU32; CONSUMERS],
    counts: [AtomicU64; CONSUMERS],
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<UnackedWords>() == 3200);
    assert!(size_of::<UnackedWords>().is_multiple_of(Ring::ALIGN));
};

/// The number of directory entries for them.
pub(crate) const UNACKED_ENTRIES: u32 = 2;

/// The words as one process sees them.
#[derive(Debug)]
pub(crate) struct Unacked {
    words: NonNull<UnackedWords>,
    holders: Slots,
}

// SAFETY: the words are atomics, valid wherever this goes by the contract of `new`.
unsafe impl Send for Unacked {}
// SAFETY: as for `Send`.
unsafe impl Sync for Unacked {}

fn pack(number: u64, count: u64) -> u64 {
    (number & NUMBER_MASK) << COUNT_BITS | count.min(COUNT_MASK)
}

/// The count of a word when `popped` messages have been popped, without messages that were not.
fn settled(word: u64, popped: u64) -> u64 {
    let ahead = (word >> COUNT_BITS).wrapping_sub(popped) & NUMBER_MASK;
    let count = word & COUNT_MASK;
    if ahead > NUMBER_MASK / 2 { count } else { count.saturating_sub(ahead) }
}

impl Unacked {
    /// # Safety
    ///
    /// - `words` are valid as long as this is used; they are zero at first, and are written only by
    ///   atomics.
    pub(crate) unsafe fn new(words: NonNull<UnackedWords>) -> Unacked {
        // SAFETY: valid, by the contract.
        let holders = NonNull::from(unsafe { &words.as_ref().holders });
        // SAFETY: valid as long as this is used, and atomics, by the contract.
        let holders = unsafe { Slots::new(holders) };
        Unacked { words, holders }
    }

    fn words(&self) -> &UnackedWords {
        // SAFETY: valid and all atomics, by the contract of `new`.
        unsafe { self.words.as_ref() }
    }

    /// Registers the futex words in the directory. Called once, by the creator.
    pub(crate) fn register(&self, table: &OwnerTable) -> Result<()> {
        self.words().joined.register(table.directory())?;
        self.holders.register(table)
    }

    /// Notified when a message is acknowledged or lost.
    pub(crate) fn joined(&self) -> &EventCount {
        &self.words().joined
    }

    /// Claims a word for the process of `owner`, when `popped` messages have been popped.
    pub(crate) fn claim(&self, owner: &Owner, popped: u64) -> Result<usize> {
        let capacity = || format!("{CONSUMERS} processes");
        let Some(index) = self.holders.claim_any(owner.token()) else {
            return Err(Error::Full { what: "the list of consumers", capacity: capacity() });
        };
        self.count_lost(index, popped);
        Ok(index)
    }

    /// Releases a word. The messages that it still counts are lost.
    pub(crate) fn release(&self, index: usize, owner: &Owner, popped: u64) {
        self.count_lost(index, popped);
        self.holders.release(index, owner.token());
        self.joined().notify();
    }

    /// Takes the oldest message of `ring` and counts it for `index`.
    ///
    /// # Errors
    ///
    /// As for [`Ring::read`]; [`Error::Corrupt`] if the counts cannot be those of a queue;
    /// [`Error::Full`] if the word cannot count one more. Then the message stays.
    pub(crate) fn take(
        &self,
        index: usize,
        ring: &Ring,
        buffer: &mut Vec<u8>,
        timeout: Timeout,
    ) -> Result<()> {
        let message = ring.read(timeout)?;
        buffer.resize(message.length(), 0);
        message.read_at(0, buffer);
        self.record(index, message.number())?;
        message.consume();
        Ok(())
    }

    /// The number of messages in `ring`, or taken and not acknowledged.
    pub(crate) fn unfinished(&self, ring: &Ring) -> u64 {
        // Popped before pushed, and both before the counts: the result may be too high, never too
        // low.
        let popped = ring.popped();
        let queued = ring.pushed().wrapping_sub(popped);
        let counts = self.words().counts.iter();
        let unacked = counts.map(|word| word.load(Ordering::Acquire) & COUNT_MASK).sum();
        queued.saturating_add(unacked)
    }

    /// Counts one message for `index`, before it is popped. Requires the pop lock, and that
    /// `popped` messages have been popped.
    fn record(&self, index: usize, popped: u64) -> Result<()> {
        let Some(number) = popped.checked_add(1) else {
            let found = format!("{popped} messages popped");
            return Err(Error::Corrupt { what: "the joinable queue", found });
        };
        // Relaxed: written under the lock, which the caller holds.
        let last = self.words().last.load(Ordering::Relaxed) as usize;
        if let Some(word) = self.words().counts.get(last) {
            change(word, |word| {
                let is_ahead = settled(word, popped) != word & COUNT_MASK;
                is_ahead.then(|| pack(popped, settled(word, popped)))
            });
        }
        // Release: no word may be ahead before its index is here. The index is small.
        let index_word = u32::try_from(index).unwrap_or(u32::MAX);
        self.words().last.store(index_word, Ordering::Release);
        let counted = change(&self.words().counts[index], |word| {
            let count = word & COUNT_MASK;
            (count < COUNT_MASK).then(|| pack(number, count + 1))
        });
        if counted.is_some() {
            return Ok(());
        }
        let capacity = format!("{COUNT_MASK} messages that one process has not acknowledged");
        Err(Error::Full { what: "the joinable queue", capacity })
    }

    /// Acknowledges one message: of `index`, or else of any process that has one. False if none
    /// has.
    pub(crate) fn acknowledge(&self, index: Option<usize>) -> bool {
        let acknowledge = |word: &AtomicU64| {
            change(word, |word| (word & COUNT_MASK != 0).then(|| word - 1)).is_some()
        };
        let all = &self.words().counts;
        let was_taken = index.and_then(|index| all.get(index)).is_some_and(acknowledge)
            || all.iter().any(acknowledge);
        self.joined().notify();
        was_taken
    }

    /// The number of messages that have been lost so far.
    pub(crate) fn lost(&self) -> u64 {
        // Relaxed: an independent number.
        self.words().lost.load(Ordering::Relaxed)
    }

    /// Counts the messages of dead processes as lost. `popped` is called before each word is read.
    #[cfg(not(loom))]
    pub(crate) fn count_lost_of_dead(&self, owner: &Owner, popped: impl Fn() -> u64) {
        let table = owner.table();
        let is_dead = |index| match self.holders.holder(index) {
            Holder::Claimed(token) => !table.lives(token),
            Holder::Nobody | Holder::Dead => false,
        };
        if (0..CONSUMERS).any(is_dead) {
            table.sweep_dead();
        }
        self.count_lost_of_swept(owner, popped);
    }

    /// As [`count_lost_of_dead`](Unacked::count_lost_of_dead), for owners that were already swept.
    pub(super) fn count_lost_of_swept(&self, owner: &Owner, popped: impl Fn() -> u64) {
        for index in 0..CONSUMERS {
            // Claimed meanwhile, so that no other process begins to count in it.
            if self.holders.holder(index) == Holder::Dead
                && self.holders.claim_dead(index, owner.token())
            {
                self.count_lost(index, popped());
                self.holders.release(index, owner.token());
            }
        }
    }

    fn count_lost(&self, index: usize, popped: u64) {
        let word = &self.words().counts[index];
        let before = change(word, |word| (word & COUNT_MASK != 0).then_some(word & !COUNT_MASK));
        let lost = before.map_or(0, |word| settled(word, popped));
        if lost > 0 {
            // Relaxed: an independent number.
            self.words().lost.fetch_add(lost, Ordering::Relaxed);
        }
    }
}

/// Replaces a word by the result of `next`, if there is one; returns the replaced value.
fn change(word: &AtomicU64, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let mut seen = word.load(Ordering::Acquire);
    loop {
        let wanted = next(seen)?;
        // AcqRel: Release pairs with the Acquire in `unfinished`: a process that sees a message
        // popped sees it counted.
        match word.compare_exchange(seen, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(seen),
            Err(now) => seen = now,
        }
    }
}

#[cfg(all(test, loom))]
impl UnackedWords {
    pub(super) fn new() -> UnackedWords {
        UnackedWords {
            joined: EventCount::new(),
            last: AtomicU32::new(0),
            lost: AtomicU64::new(0),
            holders: std::array::from_fn(|_| AtomicU32::new(0)),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

#[cfg(all(test, not(loom)))]
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
