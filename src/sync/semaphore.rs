//! A semaphore whose permits record their holder.
//!
//! A thread that finds no permit waits. A permit is returned when it is dropped, or when its holder
//! dies, so no permit is lost, and none is returned twice. (A plain counter, as of POSIX or Python,
//! can do neither.) If the last holder of a permit died, the next one is informed, because the work
//! that the permit stood for may be half done.
//!
//! A permit may be [forgotten](RawPermit::forget); then it is gone until one is
//! [released](RawSemaphore::release). So a semaphore that begins without permits counts items that
//! some processes produce and others consume. There are never more permits than `permits_max`.
//!
//! | slot of a permit     | state                                                  |
//! |----------------------|--------------------------------------------------------|
//! | 0                    | available                                             |
//! | t                    | held by t                                              |
//! | OWNER_DIED           | available; its last holder died                        |
//! | ABSENT               | forgotten, or not yet released                         |
//! | ABSENT and any other | never written; taken as held                           |
//!
//! 1. Each permit is a slot, and taking one is a single store of the owner's token.
//! 2. Returning, forgetting and releasing a permit are a single store too. If that made a permit
//!    available, sleepers are notified.
//! 3. A sweep marks the slots of the dead and notifies, so that a sleeper finds them.
#![allow(unsafe_code)]

use std::fmt;
#[cfg(not(loom))]
use std::ptr::NonNull;

use super::lock_word::OWNER_DIED;
use super::owner::Owner;
use super::slot_table::{self, SlotPart, SlotPrimitive, SlotTable, SlotTableKind};
use super::timeout::Timeout;
use crate::error::{Error, Result};

/// The most permits of one semaphore.
pub const PERMITS_MAX: u32 = slot_table::SLOTS_MAX;

/// The slot's permit cannot be taken.
const ABSENT: u32 = 1 << 31;

/// What makes a slot table a semaphore. Each slot is one permit.
#[derive(Debug, Clone)]
pub struct SemaphorePart;

impl SlotPart for SemaphorePart {
    const KIND: SlotTableKind = SlotTableKind {
        magic: *b"brigsem2",
        name: "semaphore",
        count: "the number of permits",
        extra: 0,
    };

    fn over(_: &SlotTable) -> SemaphorePart {
        SemaphorePart
    }
}

/// A semaphore as one owner sees it.
pub type RawSemaphore = SlotPrimitive<SemaphorePart>;

impl fmt::Debug for RawSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSemaphore")
            .field("permits_max", &self.permits_max())
            .field("available", &self.available())
            .finish_non_exhaustive()
    }
}

impl RawSemaphore {
    /// Writes a new semaphore at `place`, with `permits` of `permits_max` available, and registers
    /// its words with `owner`'s table: two directory entries.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a number is out of range; [`Error::Full`] if the directory is.
    ///
    /// # Safety
    ///
    /// As [`SlotTable::create`].
    #[cfg(not(loom))]
    pub unsafe fn create(
        place: NonNull<u8>,
        permits: u32,
        permits_max: u32,
        owner: &Owner,
    ) -> Result<RawSemaphore> {
        if permits > permits_max {
            let expected = format!("at most {permits_max}, the most there can be");
            return Err(Error::invalid(SemaphorePart::KIND.count, permits, expected));
        }
        let fill = |index| if index < permits as usize { 0 } else { ABSENT };
        // SAFETY: the contract, which is the same.
        unsafe { SlotTable::create(&SemaphorePart::KIND, place, permits_max, owner, fill) }
            .map(Self::over)
    }

    /// The most permits that there can be.
    #[must_use]
    pub fn permits_max(&self) -> usize {
        self.slot_table.slots().count()
    }

    /// How many permits are available. The number may be outdated at once.
    #[must_use]
    pub fn available(&self) -> usize {
        let slots = self.slot_table.slots();
        (0..slots.count()).filter(|&index| is_available(slots.get(index))).count()
    }

    /// Takes a permit; waits until `timeout` for one. [`Timeout::Never`] always returns one.
    pub fn acquire(&self, timeout: Timeout) -> Option<RawPermit<'_>> {
        self.slot_table.wait_for(timeout, |_| {
            let (slot, seen) =
                self.slot_table.slots().claim(self.slot_table.token(), is_available)?;
            Some(RawPermit { semaphore: self, slot, recovered: seen == OWNER_DIED })
        })
    }

    /// Adds a permit: one that was forgotten, or was absent from the beginning.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there would be more than
    /// [`permits_max`](RawSemaphore::permits_max), including those that are held.
    pub fn release(&self) -> Result<()> {
        let slots = self.slot_table.slots();
        // If another releaser takes a slot first, look at the next one.
        let released = (0..slots.count())
            .any(|index| slots.get(index) == ABSENT && slots.change(index, ABSENT, 0));
        if !released {
            let (most, what) = (self.permits_max(), "the number of permits after a release");
            return Err(Error::invalid(what, most + 1, format!("at most {most}")));
        }
        self.slot_table.notify();
        Ok(())
    }
}

fn is_available(slot: u32) -> bool {
    matches!(slot, 0 | OWNER_DIED)
}

/// A permit, held. Dropping it returns it.
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct RawPermit<'a> {
    semaphore: &'a RawSemaphore,
    slot: usize,
    recovered: bool,
}

impl RawPermit<'_> {
    /// Whether its last holder died while it held it. Reported once.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Consumes the permit: it is not returned, even if its holder dies, until a permit is
    /// [released](RawSemaphore::release).
    pub fn forget(self) {
        let slot_table = &self.semaphore.slot_table;
        // A slot without this token was overwritten, and is left.
        slot_table.slots().change(self.slot, slot_table.token().bits(), ABSENT);
        std::mem::forget(self);
    }
}

impl Drop for RawPermit<'_> {
    fn drop(&mut self) {
        let slot_table = &self.semaphore.slot_table;
        slot_table.slots().release(self.slot, slot_table.token());
        slot_table.notify();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::atomics::{AtomicU32, Ordering};
    use crate::sync::test_memory::TestMemory;

    fn with_semaphore(permits: u32, test: impl FnOnce(&TestMemory, &RawSemaphore)) {
        let memory = TestMemory::new();
        // SAFETY: the place is in the memory, aligned and large enough for a few permits.
        let semaphore =
            unsafe { RawSemaphore::create(memory.place(), permits, permits, &memory.owner()) };
        test(&memory, &semaphore.unwrap());
    }

    #[test]
    fn there_are_as_many_permits_as_requested() {
        with_semaphore(3, |_, semaphore| {
            let held: Vec<RawPermit> =
                std::iter::from_fn(|| semaphore.acquire(Timeout::Now)).collect();
            assert_eq!((held.len(), semaphore.available()), (3, 0));
            assert!(semaphore.acquire(Timeout::after(Duration::from_millis(1))).is_none());
            drop(held);
            assert_eq!(semaphore.available(), 3);
        });
    }

    #[test]
    fn no_more_threads_than_permits_are_inside() {
        with_semaphore(2, |_, semaphore| {
            let inside = AtomicU32::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            let permit = semaphore.acquire(Timeout::Never).unwrap();
                            assert!(inside.fetch_add(1, Ordering::Relaxed) < 2);
                            std::thread::yield_now();
                            inside.fetch_sub(1, Ordering::Relaxed);
                            drop(permit);
                        }
                    });
                }
            });
            assert_eq!(semaphore.available(), 2);
        });
    }

    #[test]
    fn a_waiter_gets_the_permit_of_a_dead_holder_which_is_reported_once() {
        with_semaphore(1, |memory, semaphore| {
            let dead = memory.dead_owner();
            let room = RawSemaphore::size_bytes(1);
            // SAFETY: the place is in the memory, and has that much room.
            let theirs = unsafe { RawSemaphore::attach(memory.place(), room, &dead) }.unwrap();
            std::mem::forget(theirs.acquire(Timeout::Never).unwrap());
            assert!(semaphore.acquire(Timeout::Never).unwrap().recovered());
            assert!(!semaphore.acquire(Timeout::Never).unwrap().recovered());
        });
    }

    #[test]
    fn numbers_of_permits_out_of_range_and_other_bytes_are_refused() {
        with_semaphore(2, |memory, semaphore| {
            let owner = memory.owner();
            for permits in [0, PERMITS_MAX + 1] {
                // SAFETY: refused before anything is written.
                let refused =
                    unsafe { RawSemaphore::create(memory.place(), permits, permits, &owner) };
                assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
            }
            assert_eq!(semaphore.permits_max(), 2);
            for room in [8, RawSemaphore::size_bytes(2) - 1] {
                // SAFETY: the place is in the memory, and has that much room.
                let refused = unsafe { RawSemaphore::attach(memory.place(), room, &owner) };
                assert!(matches!(refused, Err(Error::Layout { .. })));
            }
        });
    }

    #[test]
    fn a_forgotten_permit_is_gone_until_one_is_released() {
        with_semaphore(2, |_, semaphore| {
            semaphore.acquire(Timeout::Never).unwrap().forget();
            assert_eq!(semaphore.available(), 1);
            let held = semaphore.acquire(Timeout::Never).unwrap();
            assert!(semaphore.acquire(Timeout::Now).is_none());
            semaphore.release().unwrap();
            assert_eq!(semaphore.available(), 1);
            let refused = semaphore.release().unwrap_err();
            let text = refused.to_string();
            assert_eq!(text, "the number of permits after a release is 3, but must be at most 2");
            drop(held);
            assert!(semaphore.release().is_err(), "nor may one be given back twice");
        });
    }

    #[test]
    fn a_semaphore_that_begins_empty_counts_what_is_released() {
        let memory = TestMemory::new();
        // SAFETY: the place is in the memory, aligned and large enough for three permits.
        let semaphore =
            unsafe { RawSemaphore::create(memory.place(), 0, 3, &memory.owner()) }.unwrap();
        assert!(semaphore.acquire(Timeout::Now).is_none());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..500 {
                    while semaphore.release().is_err() {
                        std::thread::yield_now();
                    }
                }
            });
            (0..500).for_each(|_| semaphore.acquire(Timeout::Never).unwrap().forget());
        });
        assert_eq!(semaphore.available(), 0);
    }

    #[test]
    fn more_permits_than_the_most_are_refused() {
        let memory = TestMemory::new();
        // SAFETY: refused before anything is written.
        let refused = unsafe { RawSemaphore::create(memory.place(), 3, 2, &memory.owner()) };
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    }
}
