//! Loom models of lock, event, ring, barrier and the death sweep.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::thread;

use super::barrier::{Barrier, BarrierHeader};
use super::event::{Event, EventWord, Reset};
use super::lock::{LockWord, RobustLock};
use super::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use super::patience::{Patience, Watch};
use super::ring::{LockKind, Ring, RingHeader};
use crate::atomics::{AtomicU32, AtomicU64, Ordering, mortal::live_for};
use crate::sys::identity::Identity;

/// Everything that the processes of a model share.
struct Shared {
    header: TableHeader,
    owners: [OwnerEntry; 4],
    slots: [AtomicU64; 8],
    lock: LockWord,
    event: EventWord,
    value: AtomicU32,
    guarded: UnsafeCell<u32>,
    ring: RingHeader,
    data: [AtomicU64; DATA_WORDS],
    barrier: BarrierHeader,
    members: [AtomicU32; 2],
}

/// Room for one message of up to eight bytes.
const DATA_WORDS: usize = 2;

// SAFETY: atomics, and a cell that loom watches.
unsafe impl Sync for Shared {}
// SAFETY: as for `Sync`.
unsafe impl Send for Shared {}

impl Shared {
    fn new(reset: Reset) -> Arc<Shared> {
        let shared = Arc::new(Shared {
            header: TableHeader::new(4, 8, 0),
            owners: std::array::from_fn(|_| OwnerEntry::free()),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            lock: LockWord::new(),
            event: EventWord::new(reset),
            value: AtomicU32::new(0),
            guarded: UnsafeCell::new(0),
            ring: RingHeader::new(8 * DATA_WORDS as u64, LockKind::Robust),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            barrier: BarrierHeader::new(2),
            members: std::array::from_fn(|_| AtomicU32::new(0)),
        });
        let owner = shared.owner();
        shared.lock(&owner).register().unwrap();
        shared.event().register(owner.table()).unwrap();
        shared.ring(&owner).register(&owner).unwrap();
        shared.barrier(&owner).register().unwrap();
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

    fn ring(&self, owner: &Owner) -> Ring {
        let data = (NonNull::from(&self.data[0]), DATA_WORDS);
        // SAFETY: the model keeps header and data until its end.
        unsafe { Ring::robust(NonNull::from(&self.ring), data, owner) }
    }

    fn barrier(&self, owner: &Owner) -> Barrier {
        let members = NonNull::from(&self.members[..]);
        // SAFETY: the model keeps header and members until its end.
        unsafe { Barrier::from_parts(NonNull::from(&self.barrier), members, owner) }
    }

    /// Two at once would make loom fail.
    fn critical_section(&self) {
        // SAFETY: that nobody else is here is what the model checks.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    check_preempted(3, model);
}

/// Checks all schedules in which threads are preempted at most `preemptions` times.
fn check_preempted(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// Checks `model` for a victim that dies at its operation 0, 1, 2, ... until it always survives.
/// The model is told the operation, and returns whether the victim died.
fn check_deaths(model: impl Fn(usize) -> bool + Send + Sync + Clone + 'static) {
    for operations in 0.. {
        let someone_died = Arc::new(AtomicBool::new(false));
        let (seen, model) = (Arc::clone(&someone_died), model.clone());
        check_preempted(2, move || {
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
        for thread in threads {
            thread.join().unwrap();
        }
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
fn loom_a_waiter_that_gives_up_passes_the_wake_up_on() {
    check_preempted(2, || {
        let shared = Shared::new(Reset::Manual);
        let owners = [shared.owner(), shared.owner(), shared.owner()];
        let holder = shared.lock(&owners[2]);
        let guard = holder.lock();
        let impatient = {
            let lock = shared.lock(&owners[0]);
            thread::spawn(move || drop(lock.lock_within(Patience::Sleeps(1))))
        };
        let patient = {
            let lock = shared.lock(&owners[1]);
            thread::spawn(move || drop(lock.lock()))
        };
        drop(guard);
        // Takes the lock from under a waiter that was woken, and then sees none in the word.
        drop(holder.lock());
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
fn loom_an_auto_event_goes_from_waiter_to_waiter() {
    check(|| {
        let shared = Shared::new(Reset::Auto);
        let waiters = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.event().wait();
                shared.critical_section();
                shared.event().set();
            })
        });
        shared.event().set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(shared.event().try_wait());
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

#[test]
fn loom_a_ring_hands_messages_over_in_order_and_wakes_both_sides() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let (producer, consumer) = (shared.owner(), shared.owner());
        let producing = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&producer));
            thread::spawn(move || {
                // The second waits for the room of the first.
                ring.push([1; 5]).unwrap();
                ring.push([2; 8]).unwrap();
                drop(shared);
            })
        };
        let ring = shared.ring(&consumer);
        assert_eq!(ring.pop().unwrap(), [1; 5]);
        assert_eq!(ring.pop().unwrap(), [2; 8]);
        producing.join().unwrap();
    });
}

#[test]
fn loom_two_producers_lose_no_message() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let owner = shared.owner();
        let producers = [1u8, 2].map(|number| {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&owner));
            thread::spawn(move || {
                ring.push([number; 4]).unwrap();
                drop(shared);
            })
        });
        let ring = shared.ring(&owner);
        let mut taken = [ring.pop().unwrap(), ring.pop().unwrap()];
        taken.sort();
        assert_eq!(taken, [[1; 4], [2; 4]]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn loom_a_message_pushed_before_the_closing_is_taken() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let owner = shared.owner();
        let producer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&owner));
            thread::spawn(move || {
                let pushed = ring.try_push([1; 4]).is_ok();
                drop(shared);
                pushed
            })
        };
        let closer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&owner));
            thread::spawn(move || {
                ring.close().unwrap();
                drop(shared);
            })
        };
        let taken = shared.ring(&owner).pop().is_ok();
        assert_eq!(producer.join().unwrap(), taken);
        closer.join().unwrap();
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_push_leaves_a_message_or_none() {
    check_deaths(|operations| {
        let shared = Shared::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let victim = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&doomed));
            thread::spawn(move || {
                let survived = live_for(operations, || ring.push([1; 8]).unwrap());
                drop(shared);
                survived.is_none()
            })
        };
        let consumer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&heir));
            thread::spawn(move || {
                let first = ring.pop().unwrap();
                drop(shared);
                first
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has dropped its guard.
        unsafe { shared.table().sweep(doomed.token()) };
        shared.ring(&heir).push([2; 8]).unwrap();
        let first = consumer.join().unwrap();
        if first == [1; 8] {
            assert_eq!(shared.ring(&heir).try_pop().unwrap(), [2; 8]);
        } else {
            assert!(died);
            assert_eq!(first, [2; 8]);
            assert!(shared.ring(&heir).is_empty());
        }
        died
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_pop_takes_one_message_or_none() {
    check_deaths(|operations| {
        let shared = Shared::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        shared.ring(&heir).push([1; 8]).unwrap();
        let victim = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&doomed));
            thread::spawn(move || {
                let survived = live_for(operations, || ring.pop().unwrap());
                drop(shared);
                survived.is_none()
            })
        };
        let producer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&heir));
            thread::spawn(move || {
                ring.push([2; 8]).unwrap();
                drop(shared);
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has dropped its guard.
        unsafe { shared.table().sweep(doomed.token()) };
        let ring = shared.ring(&heir);
        let first = ring.pop().unwrap();
        if first == [1; 8] {
            assert!(died);
            assert_eq!(ring.pop().unwrap(), [2; 8]);
        } else {
            assert_eq!(first, [2; 8]);
        }
        producer.join().unwrap();
        assert!(ring.is_empty());
        died
    });
}

#[test]
fn loom_a_barrier_shows_what_its_members_wrote_before() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let owner = shared.owner();
        let other = {
            let (shared, barrier) = (Arc::clone(&shared), shared.barrier(&owner));
            thread::spawn(move || {
                shared.value.store(7, Ordering::Relaxed);
                let is_last = barrier.join().unwrap().wait().unwrap();
                drop(shared);
                is_last
            })
        };
        let is_last = shared.barrier(&owner).join().unwrap().wait().unwrap();
        assert_eq!(shared.value.load(Ordering::Relaxed), 7);
        assert!(is_last ^ other.join().unwrap());
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_wait_breaks_the_barrier_or_comes_after_it() {
    check_deaths(|operations| {
        let shared = Shared::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let victim = {
            let (shared, barrier) = (Arc::clone(&shared), shared.barrier(&doomed));
            thread::spawn(move || {
                let mut member = barrier.join().unwrap();
                let survived = live_for(operations, || {
                    member.wait().unwrap();
                });
                if survived.is_none() {
                    std::mem::forget(member);
                }
                drop(shared);
                survived.is_none()
            })
        };
        let waiter = {
            let (shared, barrier) = (Arc::clone(&shared), shared.barrier(&heir));
            thread::spawn(move || {
                let outcome = barrier.join().unwrap().wait();
                drop(shared);
                outcome.is_ok()
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has left the barrier.
        unsafe { shared.table().sweep(doomed.token()) };
        let passed = waiter.join().unwrap();
        assert!(passed || died);
        died
    });
}
