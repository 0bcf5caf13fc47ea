//! Models of the lock, the event, and sweeps of their owners.

use super::{ModelMemory, check, check_deaths, check_preempted, spawn, spawn_victim};
use crate::atomics::Ordering;
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_lock_excludes_and_wakes_its_waiters() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let threads = [0, 1].map(|_| {
            let owner = shared.owner();
            spawn(&shared, move |shared| {
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
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let (theirs, lock) = (shared.lock(&doomed), shared.lock(&heir));
        let victim = spawn_victim(&shared, operations, move |shared| {
            let _guard = theirs.lock();
            shared.critical_section();
        });
        let waiter = spawn(&shared, move |shared| {
            let guard = lock.lock();
            shared.critical_section();
            guard.recovered()
        });
        let died = victim.join().unwrap();
        let held = shared.sweep(&doomed);
        assert!(held == 0 || died);
        let by_waiter = waiter.join().unwrap();
        let by_next = shared.lock(&heir).lock().recovered();
        assert_eq!(usize::from(by_waiter) + usize::from(by_next), held);
        died
    });
}

#[test]
fn loom_a_waiter_that_times_out_passes_the_wake_up_on() {
    check_preempted(2, || {
        let shared = ModelMemory::new(Reset::Manual);
        let owners = [shared.owner(), shared.owner(), shared.owner()];
        let holder = shared.lock(&owners[2]);
        let guard = holder.lock();
        let (first, second) = (shared.lock(&owners[0]), shared.lock(&owners[1]));
        let impatient = spawn(&shared, move |_| drop(first.lock_within(Timeout::Sleeps(1))));
        let patient = spawn(&shared, move |_| drop(second.lock()));
        drop(guard);
        // Takes the lock before a waiter that was woken, and then sees no WAITERS in the word.
        drop(holder.lock());
        impatient.join().unwrap();
        patient.join().unwrap();
    });
}

#[test]
fn loom_an_event_releases_its_waiter_and_shows_what_was_written_before() {
    for reset in [Reset::Auto, Reset::Manual] {
        check(move || {
            let shared = ModelMemory::new(reset);
            let waiter = spawn(&shared, |shared| {
                shared.event().wait(Timeout::Never);
                assert_eq!(shared.value.load(Ordering::Relaxed), 7);
            });
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
        let shared = ModelMemory::new(Reset::Manual);
        let waiter = spawn(&shared, |shared| shared.event().wait(Timeout::Never));
        shared.event().set();
        shared.event().reset();
        // Whether or not the waiter came in time, it must be released now.
        shared.event().set();
        waiter.join().unwrap();
    });
}

#[test]
fn loom_an_auto_event_goes_from_waiter_to_waiter() {
    check(|| {
        let shared = ModelMemory::new(Reset::Auto);
        let waiters = [0, 1].map(|_| {
            spawn(&shared, |shared| {
                shared.event().wait(Timeout::Never);
                shared.critical_section();
                shared.event().set();
            })
        });
        shared.event().set();
        for waiter in waiters {
            waiter.join().unwrap();
        }
        assert!(shared.event().wait(Timeout::Now));
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_setter_loses_no_wake_up() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Auto);
        let doomed = shared.owner();
        let victim = spawn_victim(&shared, operations, |shared| shared.event().set());
        let waiter = spawn(&shared, |shared| shared.event().wait(Timeout::Never));
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
        let released = !died || shared.event().is_set();
        if !released {
            // The victim died before its store, or the waiter has consumed it already.
            shared.event().set();
        }
        waiter.join().unwrap();
        died
    });
}
