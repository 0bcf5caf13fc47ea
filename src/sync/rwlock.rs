//! A lock for many readers or one writer.
//!
//! Writers have priority: while one waits, no new reader gets in. When it leaves, readers and other
//! writers have the same chance. The lock is not reentrant: a thread that reads twice may deadlock
//! with a waiting writer.
//!
//! If a writer dies, all later guards are [`recovered`](RawReadGuard::recovered) until the next
//! writer has taken the lock: only a writer can repair the data. If a reader dies, its share comes
//! free, and this is not reported.
//!
//! The first slot is the gate, a [`RobustLock`] for the writers. Each other slot is for one reader.
//!
//! 1. A writer locks the gate, executes a SeqCst fence, and waits until no slot has a token.
//! 2. A reader checks the gate. If it is open, it takes a slot, executes a SeqCst fence, and checks
//!    the gate again. If the gate is locked now, it leaves its slot and notifies.
//! 3. A reader leaves by freeing its slot, a writer by unlocking the gate; both then notify.
//!
//! One of the two fences comes first: either the reader's second check sees the gate locked, or the
//! writer sees the reader's slot. A sweep marks the gate and the slots of the dead and notifies.
#![allow(unsafe_code)]

use std::fmt;

use super::lock::{RobustLock, RobustLockGuard};
use super::lock_word::{OWNER_DIED, TOKEN};
use super::slot_table::{FreeAtFirst, SlotPart, SlotPrimitive, SlotTable, SlotTableKind};
use super::thread;
use super::timeout::Timeout;
use crate::atomics::{Ordering, fence};

/// The index of the gate.
const GATE: usize = 0;

/// What makes a slot table a read-write lock: the gate, in the first slot. Each other slot is for
/// one reader.
#[derive(Debug, Clone)]
pub struct RwLockPart(RobustLock);

impl SlotPart for RwLockPart {
    const KIND: SlotTableKind = SlotTableKind {
        magic: *b"brigrwl1",
        name: "read-write lock",
        count: "the number of readers",
        extra: 1,
    };

    fn over(slot_table: &SlotTable) -> RwLockPart {
        let (word, owner) = (slot_table.slots().word(GATE).cast(), slot_table.owner());
        // SAFETY: a slot of the table, which all users use as a lock's word; registered with the
        // slot table, and valid as long as that is used.
        RwLockPart(unsafe { RobustLock::new(word, owner) })
    }
}

impl FreeAtFirst for RwLockPart {}

/// A read-write lock as one owner sees it.
pub type RawRwLock = SlotPrimitive<RwLockPart>;

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRwLock")
            .field("readers", &self.readers())
            .field("gate", self.gate())
            .finish()
    }
}

impl RawRwLock {
    fn gate(&self) -> &RobustLock {
        &self.part.0
    }

    /// The most concurrent readers. Further readers wait.
    #[must_use]
    pub fn readers_max(&self) -> usize {
        self.slot_table.slots().count() - 1
    }

    /// The number of readers. It may be outdated at once.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.reader_slots().filter(|&index| self.slot_table.slots().get(index) & TOKEN != 0).count()
    }

    /// Whether a writer holds the lock, or waits for readers to leave.
    #[must_use]
    pub fn has_writer(&self) -> bool {
        self.gate().is_locked()
    }

    fn reader_slots(&self) -> std::ops::Range<usize> {
        GATE + 1..self.slot_table.slots().count()
    }

    /// Takes a share; waits until `timeout` while a writer holds the lock or waits for it.
    pub fn read(&self, timeout: Timeout) -> Option<RawReadGuard<'_>> {
        self.slot_table.wait_for(timeout, |_| self.enter())
    }

    /// Step 2.
    fn enter(&self) -> Option<RawReadGuard<'_>> {
        if self.gate().is_locked() {
            return None;
        }
        let (slots, token) = (self.slot_table.slots(), self.slot_table.token());
        // Each thread begins its search at another slot, so that threads share no cache line.
        let first = self.reader_slots().start + thread::number() as usize % self.readers_max();
        let slot = self.claim_slot(first)?;
        // SeqCst: pairs with the fence in `write`; see the head of this file.
        fence(Ordering::SeqCst);
        let gate = self.gate().peek();
        if gate & TOKEN != 0 {
            slots.release(slot, token);
            self.slot_table.notify();
            return None;
        }
        Some(RawReadGuard { lock: self, slot, recovered: gate & OWNER_DIED != 0 })
    }

    /// Claims the first free slot of a reader from `first` on, with wrap-around.
    fn claim_slot(&self, first: usize) -> Option<usize> {
        let slots = self.slot_table.slots();
        (first..slots.count()).chain(GATE + 1..first).find(|&index| {
            let seen = slots.get(index);
            seen & TOKEN == 0 && slots.change(index, seen, self.slot_table.token().bits())
        })
    }

    /// Takes the whole lock (step 1); waits until `timeout` while others hold it. Meanwhile new
    /// readers must wait; they can enter again if the time is over.
    pub fn write(&self, timeout: Timeout) -> Option<RawWriteGuard<'_>> {
        // Checked first, so that an attempt that must fail does not keep readers out.
        if matches!(timeout, Timeout::Now) && !self.is_drained() {
            return None;
        }
        let gate = self.gate().lock_within(timeout)?;
        let guard = RawWriteGuard { gate, reopened: Reopened(&self.slot_table) };
        // SeqCst: pairs with the fence in `enter`; see the head of this file.
        fence(Ordering::SeqCst);
        let drained = self.slot_table.wait_for(timeout, |_| self.is_drained().then_some(()));
        match drained {
            Some(()) => Some(guard),
            None if guard.recovered() => {
                // The data are not repaired, so the next writer must be informed as this one was.
                guard.poison();
                None
            }
            None => None,
        }
    }

    /// Whether there is no reader. Acquire, in `get`: the reads have finished.
    fn is_drained(&self) -> bool {
        self.reader_slots().all(|index| self.slot_table.slots().get(index) & TOKEN == 0)
    }
}

/// A share of the lock, for reading. Dropping it releases the share.
#[must_use = "the lock is given up at once if the guard is not kept"]
#[derive(Debug)]
pub struct RawReadGuard<'a> {
    lock: &'a RawRwLock,
    slot: usize,
    recovered: bool,
}

impl RawReadGuard<'_> {
    /// Whether the last writer died while it held the lock, so that the guarded data may be half
    /// written. It is reported to every reader until the next writer has the lock.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for RawReadGuard<'_> {
    fn drop(&mut self) {
        self.lock.slot_table.slots().release(self.slot, self.lock.slot_table.token());
        self.lock.slot_table.notify();
    }
}

/// The whole lock, for writing. Dropping it unlocks.
#[must_use = "the lock is given up at once if the guard is not kept"]
#[derive(Debug)]
pub struct RawWriteGuard<'a> {
    // Dropped in this order: first the gate is unlocked, then readers are notified.
    gate: RobustLockGuard<'a>,
    reopened: Reopened<'a>,
}

/// Notifies when it is dropped.
struct Reopened<'a>(&'a SlotTable);

impl fmt::Debug for Reopened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reopened")
    }
}

impl Drop for Reopened<'_> {
    fn drop(&mut self) {
        self.0.notify();
    }
}

impl RawWriteGuard<'_> {
    /// Whether the last writer died while it held the lock, so that the guarded data may be half
    /// written. It is reported to the first writer after it.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.gate.recovered()
    }

    /// Unlocks as if the owner had died: this is reported to all readers until a writer has the
    /// lock.
    pub fn poison(self) {
        let RawWriteGuard { gate, reopened } = self;
        gate.poison();
        drop(reopened);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::super::slot_table;
    use super::*;
    use crate::atomics::AtomicU32;
    use crate::error::Error;
    use crate::sync::owner::Owner;
    use crate::sync::test_memory::TestMemory;

    fn with_lock(readers_max: u32, test: impl FnOnce(&TestMemory, &RawRwLock)) {
        let memory = TestMemory::new();
        // SAFETY: the place is in the memory, aligned and large enough for a few readers.
        let lock = unsafe { RawRwLock::create(memory.place(), readers_max, &memory.owner()) };
        test(&memory, &lock.unwrap());
    }

    fn attach(memory: &TestMemory, readers_max: u32, owner: &Owner) -> RawRwLock {
        let room = RawRwLock::size_bytes(readers_max);
        // SAFETY: the place is in the memory, and has that much room.
        unsafe { RawRwLock::attach(memory.place(), room, owner) }.unwrap()
    }

    #[test]
    fn readers_share_and_a_writer_does_not() {
        with_lock(4, |_, lock| {
            let readers = [lock.read(Timeout::Never).unwrap(), lock.read(Timeout::Never).unwrap()];
            assert_eq!((lock.readers(), lock.has_writer()), (2, false));
            assert!(lock.write(Timeout::Now).is_none());
            let timeout = Duration::from_millis(1);
            assert!(lock.write(Timeout::after(timeout)).is_none());
            assert!(
                lock.read(Timeout::Now).is_some(),
                "the writer that gave up lets readers in again"
            );
            drop(readers);
            let writer = lock.write(Timeout::Now).unwrap();
            assert!(lock.read(Timeout::Now).is_none() && lock.write(Timeout::Now).is_none());
            assert!(lock.read(Timeout::after(timeout)).is_none());
            drop(writer);
            assert!(lock.read(Timeout::Now).is_some());
        });
    }

    #[test]
    fn a_reader_too_many_waits_for_another_to_leave() {
        with_lock(1, |_, lock| {
            let reader = lock.read(Timeout::Never).unwrap();
            assert!(lock.read(Timeout::Now).is_none());
            std::thread::scope(|scope| {
                let second = scope.spawn(|| lock.read(Timeout::Never).unwrap().recovered());
                drop(reader);
                assert!(!second.join().unwrap());
            });
        });
    }

    #[test]
    fn any_thread_finds_every_share_that_is_free() {
        with_lock(4, |_, lock| {
            // Each thread begins its search at another slot.
            for _ in 0..4 {
                let held =
                    || std::iter::from_fn(|| lock.read(Timeout::Now)).collect::<Vec<_>>().len();
                std::thread::scope(|scope| assert_eq!(scope.spawn(held).join().unwrap(), 4));
            }
        });
    }

    #[test]
    fn a_writer_that_waits_keeps_new_readers_out() {
        with_lock(4, |_, lock| {
            let reader = lock.read(Timeout::Never).unwrap();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| drop(lock.write(Timeout::Never).unwrap()));
                while !lock.has_writer() {
                    std::thread::yield_now();
                }
                assert!(lock.read(Timeout::Now).is_none());
                drop(reader);
                writer.join().unwrap();
            });
        });
    }

    #[test]
    fn readers_see_whole_what_writers_write() {
        with_lock(8, |_, lock| {
            let (left, right) = (AtomicU32::new(0), AtomicU32::new(0));
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            let _guard = lock.write(Timeout::Never).unwrap();
                            let next = left.load(Ordering::Relaxed) + 1;
                            left.store(next, Ordering::Relaxed);
                            right.store(next, Ordering::Relaxed);
                        }
                    });
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            let _guard = lock.read(Timeout::Never).unwrap();
                            let seen = right.load(Ordering::Relaxed);
                            assert_eq!(left.load(Ordering::Relaxed), seen);
                        }
                    });
                }
            });
            assert_eq!(left.load(Ordering::Relaxed), 4000);
        });
    }

    #[test]
    fn the_share_of_a_dead_reader_comes_free_without_a_report() {
        with_lock(2, |memory, lock| {
            let dead = memory.dead_owner();
            let theirs = attach(memory, 2, &dead);
            std::mem::forget(theirs.read(Timeout::Never).unwrap());
            assert!(!lock.write(Timeout::Never).unwrap().recovered());
        });
    }

    #[test]
    fn a_dead_writer_is_reported_to_all_readers_and_one_writer() {
        with_lock(2, |memory, lock| {
            let dead = memory.dead_owner();
            let theirs = attach(memory, 2, &dead);
            std::mem::forget(theirs.write(Timeout::Never).unwrap());
            assert!(
                lock.read(Timeout::Never).unwrap().recovered()
                    && lock.read(Timeout::Never).unwrap().recovered()
            );
            lock.write(Timeout::Never).unwrap().poison();
            assert!(lock.read(Timeout::Never).unwrap().recovered(), "given up is not repaired");
            assert!(lock.write(Timeout::Never).unwrap().recovered());
            assert!(
                !lock.read(Timeout::Never).unwrap().recovered()
                    && !lock.write(Timeout::Never).unwrap().recovered()
            );
        });
    }

    #[test]
    fn a_writer_that_got_the_report_and_timed_out_leaves_it_to_the_next() {
        with_lock(2, |_, lock| {
            lock.write(Timeout::Never).unwrap().poison();
            let reader = lock.read(Timeout::Never).unwrap();
            assert!(reader.recovered());
            assert!(lock.write(Timeout::Now).is_none());
            assert!(lock.read(Timeout::Never).unwrap().recovered());
            drop(reader);
            assert!(lock.write(Timeout::Never).unwrap().recovered());
        });
    }

    #[test]
    fn numbers_of_readers_out_of_range_are_refused() {
        let memory = TestMemory::new();
        for readers in [0, slot_table::SLOTS_MAX, u32::MAX] {
            // SAFETY: refused before anything is written.
            let refused = unsafe { RawRwLock::create(memory.place(), readers, &memory.owner()) };
            assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
        }
    }
}
