//! A condition variable for a [`RobustLock`](super::RobustLock).
//!
//! [`notify`](RawCondvar::notify) of n wakes exactly n waiters, or all if there are fewer. A waiter
//! whose time is over returns whether it was notified before. If it was not, it consumes no
//! notification.
//!
//! Only a death wakes more. The dead process may have changed the condition and not notified, or
//! been notified and not acted on it. So each sweep wakes all waiters, and each tests its condition
//! again: wait in a loop.
//!
//! | slot of a waiter | state                                                |
//! |------------------|------------------------------------------------------|
//! | 0                | free                                                 |
//! | t                | a thread of t waits                                  |
//! | NOTIFIED and t   | a thread of t was notified, and has not left yet     |
//! | OWNER_DIED       | free: its waiter died, notified or not               |
//!
//! 1. A waiter, with the lock held, reads the table's count of sweeps, takes a slot, and only then
//!    unlocks.
//! 2. A notifier sets NOTIFIED in slots, one after the other, then notifies the event count.
//! 3. A waiter sleeps until its slot is NOTIFIED or there was a sweep, then frees its slot.
//!
//! A process that changes the condition locks after the waiter has unlocked, so it sees the slot.
//! If no slot is free, a waiter waits without one: until any notification, by their count in the
//! slot table's state.
#![allow(unsafe_code)]

use std::fmt;

use super::lock::RobustLockGuard;
use super::lock_word::{OWNER_DIED, TOKEN};
use super::slot_table::{FreeAtFirst, SlotPart, SlotPrimitive, SlotTable, SlotTableKind};
use super::timeout::Timeout;
use crate::atomics::Ordering;

/// The slot's waiter was notified.
const NOTIFIED: u32 = 1 << 31;

/// What makes a slot table a condition variable. Each slot is for one waiter.
#[derive(Debug, Clone)]
pub struct CondvarPart;

impl SlotPart for CondvarPart {
    const KIND: SlotTableKind = SlotTableKind {
        magic: *b"brigcnd1",
        name: "condition variable",
        count: "the number of waiters",
        extra: 0,
    };

    fn over(_: &SlotTable) -> CondvarPart {
        CondvarPart
    }
}

impl FreeAtFirst for CondvarPart {}

/// A condition variable as one owner sees it. As many waiters as it was created for are notified
/// one by one; those beyond may wake at any notification.
pub type RawCondvar = SlotPrimitive<CondvarPart>;

impl fmt::Debug for RawCondvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawCondvar").field("waiters", &self.waiters()).finish_non_exhaustive()
    }
}

impl RawCondvar {
    /// How many waiters have not been notified. The number may be outdated at once.
    #[must_use]
    pub fn waiters(&self) -> usize {
        let slots = self.slot_table.slots();
        (0..slots.count()).filter(|&index| is_waiting(slots.get(index))).count()
    }

    /// Wakes `waiters` waiters, or all if there are fewer, and returns how many. Call it after the
    /// condition was changed under the lock.
    ///
    /// Every waiter is found eventually: each call begins its search one slot further on.
    pub fn notify(&self, waiters: usize) -> usize {
        let slots = self.slot_table.slots();
        // AcqRel: Release pairs with the Acquire in `is_over`, for a waiter without a slot.
        let calls = self.slot_table.state().fetch_add(1, Ordering::AcqRel);
        let first = usize::try_from(calls % slots.count() as u64).unwrap_or_default();
        let mut notified = 0;
        for index in (first..slots.count()).chain(0..first) {
            if notified == waiters {
                break;
            }
            let seen = slots.get(index);
            if is_waiting(seen) && slots.change(index, seen, seen | NOTIFIED) {
                notified += 1;
            }
        }
        self.slot_table.notify();
        notified
    }

    /// Waits without a limit while `condition` is true. It is tested with the lock held.
    pub fn wait_while<'a>(
        &self,
        mut guard: RobustLockGuard<'a>,
        mut condition: impl FnMut(&RobustLockGuard<'a>) -> bool,
    ) -> RobustLockGuard<'a> {
        while condition(&guard) {
            guard = self.wait(guard, Timeout::Never).0;
        }
        guard
    }

    /// Unlocks, waits until `timeout` for a notification, and locks again, without a limit. Also
    /// returns whether it was notified in time.
    ///
    /// It may return without a notification if a process died, and the new guard may be
    /// [`recovered`](RobustLockGuard::recovered): test the condition in a loop.
    pub fn wait<'a>(
        &self,
        guard: RobustLockGuard<'a>,
        timeout: Timeout,
    ) -> (RobustLockGuard<'a>, bool) {
        let waiter = Waiter::enlist(&self.slot_table);
        let lock = guard.lock();
        drop(guard);
        let is_over =
            self.slot_table.wait_for(timeout, |_| waiter.is_over().then_some(())).is_some();
        let was_notified = waiter.leave();
        (lock.lock(), is_over || was_notified)
    }
}

fn is_waiting(slot: u32) -> bool {
    slot & TOKEN != 0 && slot & (NOTIFIED | OWNER_DIED) == 0
}

/// One wait, which begins before the lock is released.
struct Waiter<'a> {
    slot_table: &'a SlotTable,
    /// None if no slot was free.
    slot: Option<usize>,
    sweeps: u32,
    notifications: u64,
}

impl Waiter<'_> {
    fn enlist(slot_table: &SlotTable) -> Waiter<'_> {
        let sweeps = slot_table.table().sweeps();
        let notifications = slot_table.state().load(Ordering::Relaxed);
        let slot = slot_table.slots().claim(slot_table.token(), |seen| seen & TOKEN == 0);
        Waiter { slot_table, slot: slot.map(|(index, _)| index), sweeps, notifications }
    }

    fn is_over(&self) -> bool {
        let is_notified = match self.slot {
            Some(index) => self.slot_table.slots().get(index) != self.slot_table.token().bits(),
            // Acquire pairs with the Release in `notify`.
            None => self.slot_table.state().load(Ordering::Acquire) != self.notifications,
        };
        is_notified || self.slot_table.table().sweeps() != self.sweeps
    }

    /// Frees the slot. Returns whether it was notified.
    fn leave(self) -> bool {
        let Some(index) = self.slot else { return false };
        let (slots, token) = (self.slot_table.slots(), self.slot_table.token().bits());
        if slots.change(index, token, 0) {
            return false;
        }
        // A slot with another value was overwritten, and is left.
        slots.change(index, NOTIFIED | token, 0);
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::atomics::AtomicU32;
    use crate::sync::owner::Owner;
    use crate::sync::test_memory::TestMemory;

    fn condvar(memory: &TestMemory, waiters: u32, owner: &Owner) -> RawCondvar {
        // SAFETY: the place is in the memory, aligned and large enough for a few waiters.
        unsafe { RawCondvar::create(memory.place(), waiters, owner) }.unwrap()
    }

    #[test]
    fn a_waiter_continues_when_its_condition_has_changed() {
        // One slot for two waiters: one of them may wait without a slot.
        let memory = TestMemory::new();
        let (owner, turn) = (memory.owner(), AtomicU32::new(0));
        let changed = condvar(&memory, 1, &owner);
        std::thread::scope(|scope| {
            for me in 0..3 {
                let (lock, changed, turn) = (memory.lock(&owner), &changed, &turn);
                scope.spawn(move || {
                    for _ in 0..500 {
                        let guard = lock.lock();
                        let is_theirs =
                            |_: &RobustLockGuard| turn.load(Ordering::Relaxed) % 3 != me;
                        let guard = changed.wait_while(guard, is_theirs);
                        turn.fetch_add(1, Ordering::Relaxed);
                        drop(guard);
                        changed.notify(usize::MAX);
                    }
                });
            }
        });
        assert_eq!((turn.load(Ordering::Relaxed), changed.waiters()), (1500, 0));
    }

    #[test]
    fn a_notification_of_n_wakes_n_and_leaves_the_others_asleep() {
        let memory = TestMemory::new();
        let (owner, woken) = (memory.owner(), AtomicU32::new(0));
        let changed = condvar(&memory, 8, &owner);
        assert_eq!(changed.notify(3), 0, "a notification is not kept");
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (lock, changed, woken) = (memory.lock(&owner), &changed, &woken);
                scope.spawn(move || {
                    let _guard = changed.wait(lock.lock(), Timeout::Never);
                    woken.fetch_add(1, Ordering::Relaxed);
                });
            }
            let wait_for = |waiters, awake| {
                while changed.waiters() != waiters || woken.load(Ordering::Relaxed) != awake {
                    std::thread::yield_now();
                }
            };
            wait_for(6, 0);
            changed.notify(1);
            wait_for(5, 1);
            assert_eq!(changed.notify(3), 3);
            wait_for(2, 4);
            assert_eq!(changed.notify(9), 2);
        });
        assert_eq!(woken.load(Ordering::Relaxed), 6);
    }

    #[test]
    fn a_wait_that_times_out_leaves_no_waiter_and_takes_no_notification() {
        let memory = TestMemory::new();
        let owner = memory.owner();
        let (lock, changed) = (memory.lock(&owner), condvar(&memory, 2, &owner));
        for timeout in [Duration::ZERO, Duration::from_millis(1)] {
            let (_guard, was_notified) = changed.wait(lock.lock(), Timeout::after(timeout));
            assert!(!was_notified);
            assert_eq!((changed.waiters(), changed.notify(1)), (0, 0));
        }
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn every_waiter_is_notified_eventually() {
        let memory = TestMemory::new();
        let owner = memory.owner();
        let (lock, changed) = (memory.lock(&owner), condvar(&memory, 4, &owner));
        let is_done = AtomicU32::new(0);
        std::thread::scope(|scope| {
            let patient = scope.spawn(|| drop(changed.wait(lock.lock(), Timeout::Never)));
            while changed.waiters() == 0 {
                std::thread::yield_now();
            }
            // Waits again at once, always in one of the slots that are searched first.
            let eager = scope.spawn(|| {
                while is_done.load(Ordering::Relaxed) == 0 {
                    drop(changed.wait(lock.lock(), Timeout::after(Duration::from_micros(50))));
                }
            });
            while !patient.is_finished() {
                changed.notify(1);
            }
            is_done.store(1, Ordering::Relaxed);
            eager.join().unwrap();
        });
    }

    #[test]
    fn a_sweep_wakes_all_waiters() {
        let memory = TestMemory::new();
        let (owner, dead) = (memory.owner(), memory.owner());
        let (lock, changed) = (memory.lock(&owner), condvar(&memory, 1, &owner));
        std::thread::scope(|scope| {
            let waiters =
                [0, 1].map(|_| scope.spawn(|| drop(changed.wait(lock.lock(), Timeout::Never))));
            while changed.waiters() == 0 {
                std::thread::yield_now();
            }
            while waiters.iter().any(|waiter| !waiter.is_finished()) {
                // SAFETY: this owner never holds a lock.
                unsafe { memory.table().sweep(dead.token()) };
            }
        });
    }
}
