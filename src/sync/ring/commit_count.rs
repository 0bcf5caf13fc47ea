//! A message count that changes atomically with a position.
//!
//! A side of the ring commits by one store, of `tail` or `head`. If the message count were stored
//! separately, a process that died between the two stores would leave it wrong permanently. So the
//! new count is written before the commit, such that the commit itself selects it:
//!
//! | `before` equals the position | the count is |
//! |---|---|
//! | no | `new` |
//! | yes | `old` |
//!
//! 1. `old = new`
//! 2. `before = position`
//! 3. `new = old + n`
//! 4. The position is stored.
//!
//! Up to step 3 the count keeps its value, wherever the writer dies; step 4 makes it `new`. All
//! four steps run under the side's lock. A reader without the lock loads the words in the opposite
//! order, and loads them again if the position changed meanwhile.

use crate::atomics::{AtomicU64, Ordering};

/// The words, zero at first.
///
/// | field    | written by            | read by | guard           | if the writer dies        |
/// |----------|-----------------------|---------|-----------------|---------------------------|
/// | `before` | holder of side's lock | all     | order of stores | see the table of the file |
/// | `old`    | holder of side's lock | all     | order of stores | the same                  |
/// | `new`    | holder of side's lock | all     | order of stores | the same                  |
#[repr(C)]
#[derive(Debug)]
pub(super) struct CommitCount {
    before: AtomicU64,
    old: AtomicU64,
    new: AtomicU64,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<CommitCount>() == 24);

/// How often a reader without the lock retries.
const READS_MAX: u32 = if cfg!(loom) { 1 } else { 100 };

impl CommitCount {
    pub(super) fn new() -> CommitCount {
        CommitCount { before: AtomicU64::new(0), old: AtomicU64::new(0), new: AtomicU64::new(0) }
    }

    /// The count at `position`, for a caller that holds the lock.
    #[inline]
    pub(super) fn count(&self, position: u64) -> u64 {
        // Relaxed: written under the lock, which the caller holds.
        let word =
            if self.before.load(Ordering::Relaxed) == position { &self.old } else { &self.new };
        word.load(Ordering::Relaxed)
    }

    /// Steps 1 to 3: the count becomes `count` when `position` is replaced by another. The caller
    /// holds the lock.
    #[inline]
    pub(super) fn prepare(&self, position: u64, count: u64) {
        let old = self.count(position);
        // Release, each: no reader sees, and no death leaves, a later store without the earlier
        // ones. Pairs with the Acquire in `read`.
        self.old.store(old, Ordering::Release);
        self.before.store(position, Ordering::Release);
        self.new.store(count, Ordering::Release);
    }

    /// The count at `position`, for a caller without the lock. If both change all the time, the
    /// result is an earlier count.
    pub(super) fn read(&self, position: &AtomicU64) -> u64 {
        let mut lowest = 0;
        for _ in 0..READS_MAX {
            // Acquire, each: keeps the order of the loads. Pairs with the Releases in `prepare`.
            let at = position.load(Ordering::Acquire);
            let new = self.new.load(Ordering::Acquire);
            let is_before = self.before.load(Ordering::Acquire) == at;
            let old = self.old.load(Ordering::Acquire);
            lowest = old.min(new);
            if position.load(Ordering::Relaxed) == at {
                return if is_before { old } else { new };
            }
        }
        lowest
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_count_belongs_to_its_position_whichever_store_was_the_last(
            steps in proptest::collection::vec((1u64..100, 1u64..9, 0u32..5), 1..30),
        ) {
            let (counter, position) = (CommitCount::new(), AtomicU64::new(0));
            let mut count = 0;
            for (bytes, messages, stores) in steps {
                let at = position.load(Ordering::Relaxed);
                let old = counter.count(at);
                // The stores of `prepare` and the commit, up to a death.
                let all: [(&AtomicU64, u64); 4] = [
                    (&counter.old, old),
                    (&counter.before, at),
                    (&counter.new, old + messages),
                    (&position, at + bytes),
                ];
                for (word, value) in all.into_iter().take(stores as usize) {
                    word.store(value, Ordering::Relaxed);
                }
                count += if stores == 4 { messages } else { 0 };
                prop_assert_eq!(counter.count(position.load(Ordering::Relaxed)), count);
                prop_assert_eq!(counter.read(&position), count);
            }
        }
    }

    #[test]
    fn a_reader_without_the_lock_never_sees_more_than_was_committed() {
        const ROUNDS: u64 = 200_000;
        let (counter, position, committed) =
            (CommitCount::new(), AtomicU64::new(8), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    let at = position.load(Ordering::Relaxed);
                    counter.prepare(at, round);
                    committed.store(round, Ordering::SeqCst);
                    position.store(at + 8, Ordering::Release);
                }
            });
            let mut last = 0;
            while last < ROUNDS {
                let count = counter.read(&position);
                assert!(count <= committed.load(Ordering::SeqCst));
                last = last.max(count);
            }
        });
        assert_eq!(counter.count(position.load(Ordering::Relaxed)), ROUNDS);
    }
}
