//! Models of the barrier.

use super::{ModelMemory, check, check_deaths, spawn};
use crate::atomics::{Ordering, mortal::live_for};
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_barrier_shows_what_its_members_wrote_before() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let barrier = shared.barrier(&owner);
        let other = spawn(&shared, move |shared| {
            shared.value.store(7, Ordering::Relaxed);
            barrier.join().unwrap().wait(Timeout::Never).unwrap()
        });
        let is_last = shared.barrier(&owner).join().unwrap().wait(Timeout::Never).unwrap();
        assert_eq!(shared.value.load(Ordering::Relaxed), 7);
        assert_ne!(is_last, other.join().unwrap(), "one of them was the last");
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_wait_breaks_the_barrier_or_comes_after_it() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let (theirs, barrier) = (shared.barrier(&doomed), shared.barrier(&heir));
        let victim = spawn(&shared, move |_| {
            let mut member = theirs.join().unwrap();
            let survived = live_for(operations, || {
                member.wait(Timeout::Never).unwrap();
            });
            if survived.is_none() {
                std::mem::forget(member);
            }
            survived.is_none()
        });
        let waiter = spawn(&shared, move |_| barrier.join().unwrap().wait(Timeout::Never).is_ok());
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
        let passed = waiter.join().unwrap();
        assert!(passed || died);
        died
    });
}
