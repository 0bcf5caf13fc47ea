//! A condition variable for a [`RobustLock`].
//!
//! Waiters may wake without reason, so they wait in a loop over their condition. Each notification
//! wakes all: one that were woken alone might die on its way and take the wake-up with it.
//!
//! The condition is guarded by the lock, so who changes it holds the lock after the waiter gave it
//! up, hence after the waiter announced itself: the notifier sees that. A notifier that dies
//! between the change and the notification is made up for by the sweep, see `EventCount`.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use super::directory::WordKind;
use super::eventcount::EventCount;
use super::lock::LockGuard;
use super::owner::OwnerTable;
use super::patience::{Patience, Watch};
use crate::error::{Error, Result};

/// A condition variable in shared memory: four bytes, zero at first.
///
/// | field | written by             | read by  | guard            | if the writer dies           |
/// |-------|------------------------|----------|------------------|------------------------------|
/// | word  | waiters and notifiers  | the same | compare-and-swap | sweeps notify in its place   |
#[repr(transparent)]
#[derive(Debug)]
pub struct CondvarWord(EventCount);

#[cfg(not(loom))]
const _: () = assert!(size_of::<CondvarWord>() == 4);

impl CondvarWord {
    /// One on which nobody waits.
    #[must_use]
    pub fn new() -> CondvarWord {
        CondvarWord(EventCount::new())
    }
}

impl Default for CondvarWord {
    fn default() -> CondvarWord {
        CondvarWord::new()
    }
}

/// A condition variable as one process sees it.
#[derive(Clone)]
pub struct Condvar {
    word: NonNull<CondvarWord>,
    watch: Watch,
}

// SAFETY: the word is an atomic, valid wherever the handle goes by the contract of `new`.
unsafe impl Send for Condvar {}
// SAFETY: as for `Send`.
unsafe impl Sync for Condvar {}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("watch", &self.watch).finish_non_exhaustive()
    }
}

impl Condvar {
    /// A handle on the condition variable at `word`.
    ///
    /// # Safety
    ///
    /// - `word` points to an initialised [`CondvarWord`] that stays valid while the handle or a
    ///   clone of it exists.
    #[must_use]
    pub unsafe fn new(word: NonNull<CondvarWord>, watch: Watch) -> Condvar {
        Condvar { word, watch }
    }

    /// Enters the word into a table's directory, so that sweeps notify for the dead.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if the directory is; [`Error::InvalidArgument`] if the word is not in the
    /// table's region.
    pub fn register(&self, table: &OwnerTable) -> Result<()> {
        table.register(WordKind::Count, self.word.cast(), 1)
    }

    /// Takes the word out of the directory, before its memory serves something else.
    pub fn unregister(&self, table: &OwnerTable) {
        table.unregister(WordKind::Count, self.word.cast(), 1);
    }

    fn count(&self) -> &EventCount {
        // SAFETY: valid while `self` exists, by the contract of `new`.
        unsafe { &self.word.as_ref().0 }
    }

    /// Wakes all who wait. Call it after the condition was changed under the lock.
    pub fn notify_all(&self) {
        self.count().notify();
    }

    /// Gives the lock up, waits for a notification, and takes the lock again.
    ///
    /// It may return without a notification, and the new guard may say
    /// [`recovered`](LockGuard::recovered): test the condition in a loop, or use
    /// [`wait_while`](Condvar::wait_while).
    pub fn wait<'a>(&self, guard: LockGuard<'a>) -> LockGuard<'a> {
        let (lock, seen) = (guard.lock(), self.count().announce());
        drop(guard);
        if let Some(sleep) = Patience::Endless.next_sleep(self.watch) {
            self.count().sleep(seen, sleep);
        }
        lock.lock()
    }

    /// Waits while `condition` is true; it is tested with the lock held.
    pub fn wait_while<'a>(
        &self,
        mut guard: LockGuard<'a>,
        mut condition: impl FnMut(&LockGuard<'a>) -> bool,
    ) -> LockGuard<'a> {
        while condition(&guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait_while`](Condvar::wait_while), but waits for notifications at most for `timeout`,
    /// by CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if the condition was true all the time; the lock is given up then.
    pub fn wait_while_timeout<'a>(
        &self,
        mut guard: LockGuard<'a>,
        timeout: Duration,
        mut condition: impl FnMut(&LockGuard<'a>) -> bool,
    ) -> Result<LockGuard<'a>> {
        let mut patience = Patience::lasting(timeout);
        let timed_out = || Error::TimedOut { what: "the condition", after: timeout };
        while condition(&guard) {
            let (lock, seen) = (guard.lock(), self.count().announce());
            drop(guard);
            let sleep = patience.next_sleep(self.watch).ok_or_else(timed_out)?;
            self.count().sleep(seen, sleep);
            guard = lock.lock();
        }
        Ok(guard)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::atomics::{AtomicU32, Ordering};
    use crate::sync::arena::Arena;

    fn condvar(arena: &Arena) -> Condvar {
        // SAFETY: zero bytes are a condition variable, and the place lives as long as the arena.
        unsafe { Condvar::new(arena.place().cast(), Watch::Supervisor) }
    }

    #[test]
    fn a_waiter_goes_on_when_its_condition_has_changed() {
        let arena = Arena::new();
        let (owner, turn) = (arena.owner(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for me in 0..2 {
                let (lock, changed, turn) = (arena.lock(&owner), condvar(&arena), &turn);
                scope.spawn(move || {
                    for _ in 0..1000 {
                        let guard = lock.lock();
                        let is_theirs = |_: &LockGuard| turn.load(Ordering::Relaxed) % 2 != me;
                        let guard = changed.wait_while(guard, is_theirs);
                        turn.fetch_add(1, Ordering::Relaxed);
                        drop(guard);
                        changed.notify_all();
                    }
                });
            }
        });
        assert_eq!(turn.load(Ordering::Relaxed), 2000);
    }

    #[test]
    fn a_wait_for_a_condition_that_does_not_change_times_out_and_leaves_the_lock_free() {
        let arena = Arena::new();
        let lock = arena.lock(&arena.owner());
        let timeout = Duration::from_millis(1);
        let outcome = condvar(&arena).wait_while_timeout(lock.lock(), timeout, |_| true);
        assert!(matches!(outcome, Err(Error::TimedOut { what: "the condition", .. })));
        assert!(lock.try_lock().is_some());
    }
}
