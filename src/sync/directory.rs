//! The list of a region's futex words, for the sweep.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::error::{Error, Result};

/// How a sweep treats a registered word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordKind {
    /// It may hold a token. A dead owner's is replaced by OWNER_DIED, then the sleepers are woken.
    Lock,
    /// The condition of its sleepers is the word itself: they are woken to test it again.
    Wait,
    /// It is an `EventCount`, whose condition is elsewhere: the sweep notifies. A wake-up alone
    /// would miss a waiter that has tested its condition and is about to sleep.
    Count,
}

/// A run of futex words, as one 64-bit directory entry. Zero is a free entry.
///
/// ```text
/// 63                             16 15            2 1  0
/// +--------------------------------+---------------+----+
/// | byte offset of the first word  | words in a run|kind|
/// +--------------------------------+---------------+----+
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WordRun {
    kind: WordKind,
    words: u64,
    offset: u64,
}

const OFFSET_MAX: u64 = (1 << 48) - 1;

/// The most words of one registration.
pub(super) const RUN_WORDS_MAX: usize = (1 << 14) - 1;

impl WordRun {
    fn pack(self) -> u64 {
        let kind = match self.kind {
            WordKind::Lock => 1,
            WordKind::Wait => 2,
            WordKind::Count => 3,
        };
        self.offset << 16 | self.words << 2 | kind
    }

    /// The run of an entry, if it lies within `region_bytes` and is aligned. Entries are in shared
    /// memory, so they may have any value.
    fn unpack(entry: u64, region_bytes: usize) -> Option<WordRun> {
        let kind = match entry & 3 {
            1 => WordKind::Lock,
            2 => WordKind::Wait,
            3 => WordKind::Count,
            _ => return None,
        };
        let run = WordRun { kind, words: entry >> 2 & RUN_WORDS_MAX as u64, offset: entry >> 16 };
        let end = run.offset + run.words * size_of::<AtomicU32>() as u64;
        let is_aligned = run.offset.is_multiple_of(align_of::<AtomicU32>() as u64);
        (is_aligned && end <= region_bytes as u64).then_some(run)
    }
}

/// The directory: entries in shared memory, geometry in private memory.
///
/// | field   | written by               | read by  | guard            | if the writer dies        |
/// |---------|--------------------------|----------|------------------|---------------------------|
/// | `slots` | maker of a lock | sweepers | one CAS an entry | it is there, or it is not |
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    slots: NonNull<[AtomicU64]>,
    region: NonNull<u8>,
    region_bytes: usize,
}

impl Directory {
    /// # Safety
    ///
    /// - `slots` and the `region_bytes` bytes at `region` stay valid while the directory is used;
    /// - `region` is aligned for `AtomicU32`;
    /// - every aligned word of the region that anyone writes concurrently is an atomic to all.
    pub(super) unsafe fn new(
        slots: NonNull<[AtomicU64]>,
        region: NonNull<u8>,
        region_bytes: usize,
    ) -> Directory {
        Directory { slots, region, region_bytes }
    }

    fn slots(&self) -> &[AtomicU64] {
        // SAFETY: valid and atomic for as long as `self` is used, by the contract of `new`.
        unsafe { self.slots.as_ref() }
    }

    /// Registers `words` words from `first` on.
    pub(super) fn register(
        &self,
        kind: WordKind,
        first: NonNull<AtomicU32>,
        words: usize,
    ) -> Result<()> {
        let entry = self.entry(kind, first, words)?;
        for slot in self.slots() {
            // Release pairs with the Acquire in `for_each`: a process that sees the entry sees the
            // words initialised.
            let taken = slot.compare_exchange(0, entry, Ordering::Release, Ordering::Relaxed);
            if taken.is_ok() {
                return Ok(());
            }
        }
        let capacity = format!("{} entries", self.slots.len());
        Err(Error::Full { what: "the directory of lock words", capacity })
    }

    /// Removes what [`register`](Directory::register) entered with the same arguments.
    pub(super) fn unregister(&self, kind: WordKind, first: NonNull<AtomicU32>, words: usize) {
        let Ok(entry) = self.entry(kind, first, words) else { return };
        for slot in self.slots() {
            // Relaxed: a sweeper touches the words afterwards only while they are mapped, which the
            // region guarantees.
            let freed = slot.compare_exchange(entry, 0, Ordering::Relaxed, Ordering::Relaxed);
            if freed.is_ok() {
                return;
            }
        }
    }

    fn entry(&self, kind: WordKind, first: NonNull<AtomicU32>, words: usize) -> Result<u64> {
        let offset = first.addr().get().wrapping_sub(self.region.addr().get()) as u64;
        let words_valid = (1..=RUN_WORDS_MAX).contains(&words);
        let run = WordRun { kind, words: words as u64, offset };
        if !words_valid
            || offset > OFFSET_MAX
            || WordRun::unpack(run.pack(), self.region_bytes).is_none()
        {
            let value = format!("{words} words at offset {offset}");
            let expected = format!("aligned, within the {} bytes of the region", self.region_bytes);
            return Err(Error::invalid("a run of lock words", value, expected));
        }
        Ok(run.pack())
    }

    /// Calls `visit` for every registered word. Skips entries that are not within the region. Stops
    /// after as many words as the region has: more would be duplicates, which only a corrupt or
    /// hostile process can enter.
    pub(super) fn for_each(&self, mut visit: impl FnMut(WordKind, &AtomicU32)) {
        let mut left = (self.region_bytes / size_of::<AtomicU32>()) as u64;
        for slot in self.slots() {
            let Some(run) = WordRun::unpack(slot.load(Ordering::Acquire), self.region_bytes) else {
                continue;
            };
            let Some(rest) = left.checked_sub(run.words) else { return };
            left = rest;
            for index in 0..run.words {
                let offset = run.offset + index * size_of::<AtomicU32>() as u64;
                let offset = usize::try_from(offset).expect("checked against region_bytes");
                // SAFETY: `offset + size_of::<AtomicU32>() <= region_bytes`, checked in `unpack`.
                let word = unsafe { self.region.add(offset) }.cast::<AtomicU32>();
                // SAFETY: in the region and aligned, checked in `unpack`; all writers use atomics,
                // by the contract of `new`.
                visit(run.kind, unsafe { word.as_ref() });
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_directory_makes_a_sweep_longer_than_the_region_has_words() {
        let region: Vec<AtomicU32> = (0..64).map(|_| AtomicU32::new(0)).collect();
        let all = WordRun { kind: WordKind::Wait, words: 40, offset: 0 };
        let slots: Vec<AtomicU64> = (0..1000).map(|_| AtomicU64::new(all.pack())).collect();
        let (words, place) = (NonNull::from(slots.as_slice()), NonNull::from(region.as_slice()));
        // SAFETY: both outlive the directory, and are atomics.
        let directory = unsafe { Directory::new(words, place.cast(), 64 * 4) };
        let mut visits = 0;
        directory.for_each(|_, _| visits += 1);
        assert_eq!(visits, 40);
    }

    proptest! {
        #[test]
        fn no_entry_names_a_word_outside_the_region(entry: u64, region_bytes in 0usize..1 << 50) {
            if let Some(run) = WordRun::unpack(entry, region_bytes) {
                prop_assert!(run.offset + run.words * 4 <= region_bytes as u64);
                prop_assert_eq!(run.offset % 4, 0);
            }
        }

        #[test]
        fn a_run_survives_packing(words in 0u64..1 << 14, offset in 0u64..1 << 40) {
            let run = WordRun { kind: WordKind::Wait, words, offset: offset * 4 };
            prop_assert_eq!(WordRun::unpack(run.pack(), 1 << 60), Some(run));
        }
    }
}
