//! A lock for many readers or one writer.
//!
//! Writers come first: while one waits, no new reader gets in. When it leaves, readers and other
//! writers have the same chance. It is not reentrant: a thread that reads twice may wait for a
//! writer that waits for it.
//!
//! If a writer dies, all who come are told, by [`recovered`](RawReadGuard::recovered), until the
//! next writer has taken the lock: only a writer can repair. If a reader dies, its share comes
//! free, and nobody needs to know.
//!
//! The first slot of the row is the gate, a [`RobustLock`] of the writers; each of the others is
//! one reader's.
//!
//! 1. A writer locks the gate, then a SeqCst fence, then waits until no slot has a token.
//! 2. A reader looks at the gate; if it is open, takes a slot, then a SeqCst fence, then looks
//!    again. If the gate is locked now, it leaves its slot and notifies.
//! 3. A reader leaves by freeing its slot, a writer by unlocking the gate; both then notify.
//!
//! Of the two fences one comes first: either the reader's second look sees the gate locked, or
//! the writer sees the reader's slot. A sweep marks gate and slots of the dead and notifies.
#![allow(unsafe_code)]

use std::fmt;
#[cfg(not(loom))]
use std::ptr::NonNull;

use super::lock::{LockGuard, RobustLock};
use super::lock_word::{OWNER_DIED, TOKEN};
use super::owner::Owner;
use super::row::{Kind, Row};
use super::thread;
use super::timeout::Timeout;
use crate::atomics::{Ordering, fence};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;

const KIND: Kind =
    Kind { magic: *b"brigrwl1", name: "read-write lock", count: "the number of readers", extra: 1 };

/// The slot that is the gate.
const GATE: usize = 0;

/// A read-write lock as one owner sees it.
#[derive(Clone)]
pub struct RawRwLock {
    row: Row,
    gate: RobustLock,
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRwLock")
            .field("readers", &self.readers())
            .field("gate", &self.gate)
            .finish()
    }
}

impl RawRwLock {
    /// The size of a lock for so many readers at once, in bytes.
    #[must_use]
    pub const fn size_bytes(readers_max: u32) -> usize {
        Row::size_bytes(readers_max.saturating_add(KIND.extra))
    }

    /// Writes a new lock for `readers_max` readers at `place` and registers its words
    /// with `owner`'s table: two directory
    /// entries.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a number is out of range; [`Error::Full`] if the directory is.
    ///
    /// # Safety
    ///
    /// As [`Row::create`].
    #[cfg(not(loom))]
    pub unsafe fn create(place: NonNull<u8>, readers_max: u32, owner: &Owner) -> Result<RawRwLock> {
        // SAFETY: the contract, which is the same.
        Ok(RawRwLock::over(unsafe { Row::create(&KIND, place, readers_max, owner, |_| 0) }?))
    }

    /// Uses the lock that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is none, or if it does not fit into `place_bytes`.
    ///
    /// # Safety
    ///
    /// As [`Row::attach`].
    #[cfg(not(loom))]
    pub unsafe fn attach(
        place: NonNull<u8>,
        place_bytes: usize,
        owner: &Owner,
    ) -> Result<RawRwLock> {
        // SAFETY: the contract, which is the same.
        Ok(RawRwLock::over(unsafe { Row::attach(&KIND, place, place_bytes, owner) }?))
    }

    pub(super) fn over(row: Row) -> RawRwLock {
        // SAFETY: a slot of the row, a word that is a lock's if all use it as one; registered
        // with the row, and valid as long as the row is used.
        let gate = unsafe { RobustLock::new(row.slots().word(GATE).cast(), row.owner()) };
        RawRwLock { row, gate }
    }

    /// How many readers there can be at once. More wait.
    #[must_use]
    pub fn readers_max(&self) -> usize {
        self.row.slots().count() - 1
    }

    /// How many readers there are. That may change before the caller has looked at the answer.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.reader_slots().filter(|&index| self.row.slots().get(index) & TOKEN != 0).count()
    }

    /// Whether a writer holds the lock, or waits for readers to leave.
    #[must_use]
    pub fn has_writer(&self) -> bool {
        self.gate.is_locked()
    }

    fn reader_slots(&self) -> std::ops::Range<usize> {
        GATE + 1..self.row.slots().count()
    }

    /// Takes a share, waiting until `timeout` while a writer holds the lock or waits for it.
    pub fn read(&self, timeout: Timeout) -> Option<RawReadGuard<'_>> {
        self.row.wait_for(timeout, |_| self.enter())
    }

    /// Step 2.
    fn enter(&self) -> Option<RawReadGuard<'_>> {
        if self.gate.is_locked() {
            return None;
        }
        let (slots, token) = (self.row.slots(), self.row.token());
        // Threads begin their search at places of their own, so that they share no cache line.
        let first = self.reader_slots().start + thread::number() as usize % self.readers_max();
        let slot = self.claim_slot(first)?;
        // SeqCst: pairs with the fence in `write`, see the head of this file.
        fence(Ordering::SeqCst);
        let gate = self.gate.peek();
        if gate & TOKEN != 0 {
            slots.release(slot, token);
            self.row.notify();
            return None;
        }
        Some(RawReadGuard { lock: self, slot, recovered: gate & OWNER_DIED != 0 })
    }

    /// Claims a reader's slot: the first from `first` on, around.
    fn claim_slot(&self, first: usize) -> Option<usize> {
        let slots = self.row.slots();
        (first..slots.count()).chain(GATE + 1..first).find(|&index| {
            let seen = slots.get(index);
            seen & TOKEN == 0 && slots.change(index, seen, self.row.token().bits())
        })
    }

    /// Takes the whole lock (step 1), waiting until `timeout` while others hold it. New readers are
    /// kept out meanwhile, and get in again if the time is over.
    pub fn write(&self, timeout: Timeout) -> Option<RawWriteGuard<'_>> {
        // Checked first, so that an attempt that must fail does not turn readers away.
        if matches!(timeout, Timeout::Now) && !self.is_drained() {
            return None;
        }
        let gate = self.gate.lock_within(timeout)?;
        let guard = RawWriteGuard { gate, reopened: Reopened(&self.row) };
        // SeqCst: pairs with the fence in `enter`, see the head of this file.
        fence(Ordering::SeqCst);
        let drained = self.row.wait_for(timeout, |_| self.is_drained().then_some(()));
        match drained {
            Some(()) => Some(guard),
            None if guard.recovered() => {
                // The next must be told what this one was told, and has not repaired.
                guard.poison();
                None
            }
            None => None,
        }
    }

    /// Whether there is no reader. Acquire, in `get`: what readers did is over.
    fn is_drained(&self) -> bool {
        self.reader_slots().all(|index| self.row.slots().get(index) & TOKEN == 0)
    }
}

/// A share of the lock, for reading. Dropping it gives the share back.
#[must_use = "the lock is given up at once if the guard is not kept"]
#[derive(Debug)]
pub struct RawReadGuard<'a> {
    lock: &'a RawRwLock,
    slot: usize,
    recovered: bool,
}

impl RawReadGuard<'_> {
    /// Whether the last writer died while it held the lock, so that what it guards may be half
    /// written. Said to every reader until the next writer comes.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }
}

impl Drop for RawReadGuard<'_> {
    fn drop(&mut self) {
        self.lock.row.slots().release(self.slot, self.lock.row.token());
        self.lock.row.notify();
    }
}

/// The whole lock, for writing. Dropping it unlocks.
#[must_use = "the lock is given up at once if the guard is not kept"]
#[derive(Debug)]
pub struct RawWriteGuard<'a> {
    // Dropped in this order: first the gate is unlocked, then readers are told.
    gate: LockGuard<'a>,
    reopened: Reopened<'a>,
}

/// Notifies when it is dropped.
struct Reopened<'a>(&'a Row);

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
    /// Whether the last writer died while it held the lock, so that what it guards may be half
    /// written. Said to the first writer after it.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.gate.recovered()
    }

    /// Unlocks as if the owner had died: all who come are told that until another writer does.
    pub fn poison(self) {
        let RawWriteGuard { gate, reopened } = self;
        gate.poison();
        drop(reopened);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::super::row;
    use super::*;
    use crate::atomics::AtomicU32;
    use crate::error::Error;
    use crate::sync::arena::Arena;

    fn with_lock(readers_max: u32, test: impl FnOnce(&Arena, &RawRwLock)) {
        let arena = Arena::new();
        // SAFETY: the place is the arena's, aligned and large enough for a few readers.
        let lock = unsafe { RawRwLock::create(arena.place(), readers_max, &arena.owner()) };
        test(&arena, &lock.unwrap());
    }

    fn attach(arena: &Arena, readers_max: u32, owner: &Owner) -> RawRwLock {
        let room = RawRwLock::size_bytes(readers_max);
        // SAFETY: the place is the arena's, and has that much room.
        unsafe { RawRwLock::attach(arena.place(), room, owner) }.unwrap()
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
            // Threads begin their search at places of their own.
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
    fn the_share_of_a_dead_reader_comes_free_and_nobody_is_told() {
        with_lock(2, |arena, lock| {
            let dead = arena.dead_owner();
            let theirs = attach(arena, 2, &dead);
            std::mem::forget(theirs.read(Timeout::Never).unwrap());
            assert!(!lock.write(Timeout::Never).unwrap().recovered());
        });
    }

    #[test]
    fn after_a_dead_writer_all_readers_are_told_and_one_writer() {
        with_lock(2, |arena, lock| {
            let dead = arena.dead_owner();
            let theirs = attach(arena, 2, &dead);
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
    fn a_writer_that_was_told_and_gave_up_waiting_leaves_word() {
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
        let arena = Arena::new();
        for readers in [0, row::SLOTS_MAX, u32::MAX] {
            // SAFETY: refused before anything is written.
            let refused = unsafe { RawRwLock::create(arena.place(), readers, &arena.owner()) };
            assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
        }
    }
}
