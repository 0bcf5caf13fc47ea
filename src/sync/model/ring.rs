//! Models of the ring.

use super::{ModelMemory, check, check_deaths, spawn, spawn_victim};
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_ring_hands_messages_over_in_order_and_wakes_both_sides() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let (producer, consumer) = (shared.owner(), shared.owner());
        let ring = shared.ring(&producer);
        let producing = spawn(&shared, move |_| {
            // The second waits for the space of the first.
            ring.push([1; 5], Timeout::Never).unwrap();
            ring.push([2; 8], Timeout::Never).unwrap();
        });
        let ring = shared.ring(&consumer);
        assert_eq!(ring.pop(Timeout::Never).unwrap(), [1; 5]);
        assert_eq!(ring.pop(Timeout::Never).unwrap(), [2; 8]);
        producing.join().unwrap();
    });
}

#[test]
fn loom_two_producers_lose_no_message() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let producers = [1u8, 2].map(|number| {
            let ring = shared.ring(&owner);
            spawn(&shared, move |_| ring.push([number; 4], Timeout::Never).unwrap())
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
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let (pushing, closing) = (shared.ring(&owner), shared.ring(&owner));
        let producer = spawn(&shared, move |_| pushing.push([1; 4], Timeout::Now).is_ok());
        let closer = spawn(&shared, move |_| closing.close().unwrap());
        let taken = shared.ring(&owner).pop(Timeout::Never).is_ok();
        assert_eq!(producer.join().unwrap(), taken);
        closer.join().unwrap();
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_push_leaves_a_message_or_none() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let (theirs, ring) = (shared.ring(&doomed), shared.ring(&heir));
        let victim = spawn_victim(&shared, operations, move |_| {
            theirs.push([1; 8], Timeout::Never).unwrap();
        });
        let consumer = spawn(&shared, move |_| ring.pop(Timeout::Never).unwrap());
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
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
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        shared.ring(&heir).push([1; 8], Timeout::Never).unwrap();
        let (theirs, ring) = (shared.ring(&doomed), shared.ring(&heir));
        let victim = spawn_victim(&shared, operations, move |_| {
            theirs.pop(Timeout::Never).unwrap();
        });
        let producer = spawn(&shared, move |_| ring.push([2; 8], Timeout::Never).unwrap());
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
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
