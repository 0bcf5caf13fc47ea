//! Models of the barrier.
#![allow(unsafe_code)]

use std::sync::Arc;

use loom::thread;

use super::{Shared, check, check_deaths};
use crate::atomics::{Ordering, mortal::live_for};
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_barrier_shows_what_its_members_wrote_before() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let owner = shared.owner();
        let other = {
            let (shared, barrier) = (Arc::clone(&shared), shared.barrier(&owner));
            thread::spawn(move || {
                shared.value.store(7, Ordering::Relaxed);
                let is_last = barrier.join().unwrap().wait(Timeout::Never).unwrap();
                drop(shared);
                is_last
            })
        };
        let is_last = shared.barrier(&owner).join().unwrap().wait(Timeout::Never).unwrap();
        assert_eq!(shared.value.load(Ordering::Relaxed), 7);
        assert_ne!(is_last, other.join().unwrap(), "one of them was the last");
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
                    member.wait(Timeout::Never).unwrap();
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
                let outcome = barrier.join().unwrap().wait(Timeout::Never);
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
