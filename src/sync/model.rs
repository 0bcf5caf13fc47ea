//! Loom models of the lock, the event and the death sweep.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread;

use super::event::{Event, EventWord, Reset};
use super::lock::{LockWord, RobustLock};
use super::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use super::patience::Watch;
use crate::atomics::{AtomicU32, AtomicU64, Ordering, mortal::live_for};
use crate::sys::identity::Identity;

/// Everything that the processes of a model share.
struct Shared {
    header: TableHeader,
    owners: [OwnerEntry; 3],
    slots: [AtomicU64; 4],
    lock: LockWord,
    event: EventWord,
    value: AtomicU32,
    guarded: UnsafeCell<u32>,
}

// SAFETY: atomics, and a cell that loom watches.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    fn new(reset: Reset) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            header: TableHeader::new(3, 4, 0),
            owners: std::array::from_fn(|_| OwnerEntry::free()),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            lock: LockWord::new(),
            event: EventWord::new(reset),
            value: AtomicU32::new(0),
            guarded: UnsafeCell::new(0),
        });
        let owner = shared.owner();
        shared.lock(&owner).register().unwrap();
        shared.event().register(owner.table()).unwrap();
        shared
    }

    fn table(&self) -> OwnerTable {
        let region = NonNull::from(self).cast::<u8>();
        let (owners, slots) = (NonNull::from(&self.owners[..]), NonNull::from(&self.slots[..]));
        // SAFETY: all parts lie in `self`, which the model keeps until its end.
        unsafe {
            let header = NonNull::from(&self.header);
            OwnerTable::from_parts(header, owners, slots, region, size_of::<Shared>())
        }
    }

    fn owner(&self) -> Owner {
        let nobody = Identity { pid: 0, start_ticks: 0 };
        Owner::claim_as(&self.table(), Watch::Supervisor, nobody).unwrap()
    }

    fn lock(&self, owner: &Owner) -> RobustLock {
        // SAFETY: the model keeps the words until its end.
        unsafe { RobustLock::new(NonNull::from(&self.lock), owner) }
    }

    fn event(&self) -> Event {
        // SAFETY: the model keeps the words until its end.
        unsafe { Event::new(NonNull::from(&self.event), Watch::Supervisor) }
    }

    /// Two at once would make loom fail.
    fn critical_section(&self) {
        // SAFETY: that nobody else is here is what the model checks.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Checks `model` for a victim that dies at its operation 0, 1, 2, ... until it always survives.
/// The model is told the operation, and returns whether the victim died.
fn check_deaths(model: impl Fn(usize) -> bool + Send + Sync + Clone + 'static) {
    for operations in 0.. {
        let someone_died = Arc::new(AtomicBool::new(false));
        let (seen, model) = (Arc::clone(&someone_died), model.clone());
        check(move || {
            seen.fetch_or(model(operations), StdOrdering::Relaxed);
        });
        if !someone_died.load(StdOrdering::Relaxed) {
            assert!(operations > 1, "the victim was never alive");
            return;
        }
    }
}

#[test]
fn loom_a_lock_excludes_and_wakes_whoever_waits() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let threads = [0, 1].map(|_| {
            let (shared, owner) = (Arc::clone(&shared), shared.owner());
            thread::spawn(move || {
                let lock = shared.lock(&owner);
                let _guard = lock.lock();
                shared.critical_section();
            })
        });
        threads.map(|thread| thread.join().unwrap());
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_lock_frees_it_and_is_reported_once() {
    check_deaths(|operations| {
        let shared = Shared::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let victim = {
            let (shared, lock) = (Arc::clone(&shared), shared.lock(&doomed));
            thread::spawn(move || {
                let survived = live_for(operations, || {
                    let _guard = lock.lock();
                    shared.critical_section();
                });
                survived.is_none()
            })
        };
        let waiter = {
            let (shared, lock) = (Arc::clone(&shared), shared.lock(&heir));
            thread::spawn(move || {
                let guard = lock.lock();
                shared.critical_section();
                guard.recovered()
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has dropped its guard.
        let held = unsafe { shared.table().sweep(doomed.token()) };
        assert!(held == 0 || died);
        let by_waiter = waiter.join().unwrap();
        let by_next = shared.lock(&heir).lock().recovered();
        assert_eq!(usize::from(by_waiter) + usize::from(by_next), held);
        died
    });
}

#[test]
fn loom_a_waiter_that_gives_up_takes_no_wake_up_with_it() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let owners = [shared.owner(), shared.owner()];
        let impatient = {
            let lock = shared.lock(&owners[0]);
            thread::spawn(move || drop(lock.try_lock()))
        };
        let patient = {
            let lock = shared.lock(&owners[1]);
            thread::spawn(move || drop(lock.lock()))
        };
        drop(shared.lock(&owners[0]).lock());
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn loom_an_event_releases_its_waiter_and_shows_what_was_written_before() {
    for reset in [Reset::Auto, Reset::Manual] {
        check(move || {
            let shared = Shared::new(reset);
            let waiter = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.event().wait();
                    assert_eq!(shared.value.load(Ordering::Relaxed), 7);
                })
            };
            shared.value.store(7, Ordering::Relaxed);
            shared.event().set();
            waiter.join().unwrap();
            assert_eq!(shared.event().is_set(), reset == Reset::Manual);
        });
    }
}

#[test]
fn loom_a_pulse_of_a_manual_event_releases_no_later_than_the_next() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.event().wait())
        };
        shared.event().set();
        shared.event().reset();
        // Whether or not the waiter had come in time, it is not lost now.
        shared.event().set();
        waiter.join().unwrap();
    });
}

#[test]
fn loom_two_waiters_of_an_auto_event_share_two_sets() {
    check(|| {
        let shared = Shared::new(Reset::Auto);
        let waiters = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.event().wait())
        });
        shared.event().set();
        let [first, second] = waiters;
        // One of them has taken it or will; the other needs a set of its own, but two sets may
        // have fallen together, so the third is what makes it certain.
        while !shared.event().is_set() {
            shared.event().set();
        }
        first.join().unwrap();
        while !shared.event().is_set() {
            shared.event().set();
        }
        second.join().unwrap();
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_setter_loses_no_wake_up() {
    check_deaths(|operations| {
        let shared = Shared::new(Reset::Auto);
        let doomed = shared.owner();
        let victim = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || live_for(operations, || shared.event().set()).is_none())
        };
        let waiter = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.event().wait())
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead or done, and holds no lock.
        unsafe { shared.table().sweep(doomed.token()) };
        let released = !died || shared.event().is_set();
        if !released {
            // It died before its store, or the waiter has been released by it already.
            shared.event().set();
        }
        waiter.join().unwrap();
        died
    });
}
