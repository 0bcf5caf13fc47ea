//! Models of the ring.
#![allow(unsafe_code)]

use std::sync::Arc;

use loom::thread;

use super::{Shared, check, check_deaths};
use crate::atomics::mortal::live_for;
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_ring_hands_messages_over_in_order_and_wakes_both_sides() {
    check(|| {
        let shared = Shared::new(Reset::Manual);
        let (producer, consumer) = (shared.owner(), shared.owner());
        let producing = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&producer));
            thread::spawn(move || {
                // The second waits for the room of the first.
                ring.push([1; 5], Timeout::Never).unwrap();
                ring.push([2; 8], Timeout::Never).unwrap();
                drop(shared);
            })
        };
        let ring = shared.ring(&consumer);
        assert_eq!(ring.pop(Timeout::Never).unwrap(), [1; 5]);
        assert_eq!(ring.pop(Timeout::Never).unwrap(), [2; 8]);
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
                ring.push([number; 4], Timeout::Never).unwrap();
                drop(shared);
            })
        });
        let ring = shared.ring(&owner);
        let mut taken = [ring.pop(Timeout::Never).unwrap(), ring.pop(Timeout::Never).unwrap()];
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
                let pushed = ring.push([1; 4], Timeout::Now).is_ok();
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
        let taken = shared.ring(&owner).pop(Timeout::Never).is_ok();
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
                let survived = live_for(operations, || ring.push([1; 8], Timeout::Never).unwrap());
                drop(shared);
                survived.is_none()
            })
        };
        let consumer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&heir));
            thread::spawn(move || {
                let first = ring.pop(Timeout::Never).unwrap();
                drop(shared);
                first
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has dropped its guard.
        unsafe { shared.table().sweep(doomed.token()) };
        shared.ring(&heir).push([2; 8], Timeout::Never).unwrap();
        let first = consumer.join().unwrap();
        if first == [1; 8] {
            assert_eq!(shared.ring(&heir).pop(Timeout::Now).unwrap(), [2; 8]);
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
        shared.ring(&heir).push([1; 8], Timeout::Never).unwrap();
        let victim = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&doomed));
            thread::spawn(move || {
                let survived = live_for(operations, || ring.pop(Timeout::Never).unwrap());
                drop(shared);
                survived.is_none()
            })
        };
        let producer = {
            let (shared, ring) = (Arc::clone(&shared), shared.ring(&heir));
            thread::spawn(move || {
                ring.push([2; 8], Timeout::Never).unwrap();
                drop(shared);
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has dropped its guard.
        unsafe { shared.table().sweep(doomed.token()) };
        let ring = shared.ring(&heir);
        let first = ring.pop(Timeout::Never).unwrap();
        if first == [1; 8] {
            assert!(died);
            assert_eq!(ring.pop(Timeout::Never).unwrap(), [2; 8]);
        } else {
            assert_eq!(first, [2; 8]);
        }
        producer.join().unwrap();
        assert!(ring.is_empty());
        died
    });
}
