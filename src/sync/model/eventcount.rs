//! Models of the event count by itself.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::{check, check_deaths};
use crate::atomics::mortal::live_for;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sync::eventcount::EventCount;
use crate::sync::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use crate::sync::timeout::{Timeout, Watch};
use crate::sys::identity::Identity;

/// A condition that is not in the event count, and a table for sweeps.
struct Condition {
    header: TableHeader,
    owners: [OwnerEntry; 1],
    slots: [AtomicU64; 1],
    count: EventCount,
    is_true: AtomicU32,
}

// SAFETY: all atomics.
unsafe impl Sync for Condition {}
// SAFETY: as for `Sync`.
unsafe impl Send for Condition {}

impl Condition {
    fn new() -> Arc<Condition> {
        let condition = Arc::new(Condition {
            header: TableHeader::new(1, 1, 0),
            owners: [OwnerEntry::free()],
            slots: [AtomicU64::new(0)],
            count: EventCount::new(),
            is_true: AtomicU32::new(0),
        });
        condition.count.register(&condition.table()).unwrap();
        condition
    }

    fn table(&self) -> OwnerTable {
        let region = NonNull::from(self).cast::<u8>();
        let (owners, slots) = (NonNull::from(&self.owners[..]), NonNull::from(&self.slots[..]));
        let header = NonNull::from(&self.header);
        // SAFETY: all parts lie in `self`, which the model keeps until its end.
        unsafe { OwnerTable::from_parts(header, owners, slots, region, size_of::<Self>()) }
    }

    fn owner(&self) -> Owner {
        let nobody = Identity { pid: 0, start_ticks: 0 };
        Owner::claim_as(&self.table(), Watch::Supervisor, nobody).unwrap()
    }

    /// Makes the condition true, then notifies.
    fn commit(&self) {
        // Relaxed: the fences of the event count must suffice.
        self.is_true.store(1, Ordering::Relaxed);
        self.count.notify();
    }

    /// A thread that sleeps until the condition is true. If it misses that, loom finds a deadlock.
    fn sleeper(self: &Arc<Self>) -> JoinHandle<()> {
        let condition = Arc::clone(self);
        thread::spawn(move || {
            let test = |_| (condition.is_true.load(Ordering::Relaxed) == 1).then_some(());
            condition.count.wait_for(Timeout::Never, Watch::Supervisor, test).unwrap();
        })
    }
}

#[test]
fn loom_every_sleeper_sees_the_condition_that_was_committed_before_the_notification() {
    check(|| {
        let condition = Condition::new();
        let sleepers = [condition.sleeper(), condition.sleeper()];
        condition.commit();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn loom_a_sweep_wakes_the_sleeper_of_a_notifier_that_dies_at_any_operation() {
    check_deaths(|operations| {
        let condition = Condition::new();
        let doomed = condition.owner();
        let sleeper = condition.sleeper();
        let victim = {
            let condition = Arc::clone(&condition);
            thread::spawn(move || live_for(operations, || condition.commit()).is_none())
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has finished.
        unsafe { condition.table().sweep(doomed.token()) };
        if condition.is_true.load(Ordering::Relaxed) == 0 {
            // It died before it made the condition true: another process does.
            condition.commit();
        }
        sleeper.join().unwrap();
        died
    });
}
