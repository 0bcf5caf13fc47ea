//! Kills at any instruction in a lock, event, ring or barrier.

use std::time::Duration;

use super::scene::{LONG, Scene, each_death, play};
use super::stepping::{Child, Stage, victim};
use crate::common::alone::alone;
use brigade::Error;
use brigade::sync::raw::RawMember;
use brigade::sync::{Owner, Timeout};

/// A process that sleeps until it gets the lock.
fn lock_sleeper(scene: &Scene<'_>, stage: &Stage, owner: &Owner) -> Child {
    let sleeper = scene.sleeper(|| drop(stage.lock(owner).lock()));
    while stage.lock_word() >> 31 == 0 {
        sleeper.wait_until_asleep();
    }
    sleeper
}

#[test]
fn a_lock_is_free_and_says_recovered_whenever_its_owner_is_killed_on_the_way_in() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let lock = stage.lock(doomed);
            scene.kill(victim(|| (), |()| std::mem::forget(lock.lock())));
            let was_held = stage.lock_word() != 0;
            assert_eq!(scene.sweep(), usize::from(was_held));
            assert_eq!(stage.lock(heir).try_lock().unwrap().recovered(), was_held);
        });
    });
}

#[test]
fn a_sleeper_gets_the_lock_whenever_its_owner_is_killed_on_the_way_out() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let lock = stage.lock(doomed);
            let victim = victim(|| lock.lock(), drop);
            let sleeper = lock_sleeper(scene, stage, heir);
            scene.kill(victim);
            let hung = scene.end(sleeper, true, || ());
            assert_eq!(stage.lock_word(), 0);
            hung
        });
    });
}

#[test]
fn a_waiter_that_is_killed_harms_neither_the_holder_nor_the_next() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let holder = stage.owner();
            let holding = stage.lock(&holder);
            let guard = holding.lock();
            let sleeper = lock_sleeper(scene, stage, heir);
            let lock = stage.lock(doomed);
            let wait = |()| assert!(lock.lock_timeout(Duration::from_micros(50)).is_err());
            scene.kill(victim(|| (), wait));
            assert_eq!(scene.sweep(), 0);
            assert!(stage.lock(doomed).try_lock().is_none(), "it is still held");
            drop(guard);
            assert!(stage.is_done_within(LONG), "the sleeper hangs");
            sleeper.join();
        });
    });
}

#[test]
fn a_waiter_of_an_event_is_woken_by_the_sweep_where_its_setter_did_not() {
    alone(|| {
        play(|scene, stage, _, _| {
            let event = stage.event();
            let sleeper = scene.sleeper(|| assert!(event.wait(Timeout::Never)));
            scene.kill(victim(|| (), |()| event.set()));
            let was_set = event.is_set();
            scene.end(sleeper, was_set, || event.set())
        });
    });
}

#[test]
fn a_waiter_of_an_event_that_resets_itself_is_released_whenever_its_setter_is_killed() {
    alone(|| {
        each_death(|scene, stage, _, _| {
            stage.use_auto_event();
            let event = stage.event();
            let sleeper = scene.sleeper(|| assert!(event.wait(Timeout::Never)));
            scene.kill(victim(|| (), |()| event.set()));
            scene.end(sleeper, false, || {
                if !stage.is_done_within(Duration::ZERO) {
                    event.set();
                }
            });
        });
    });
}

#[test]
fn a_waiter_of_an_event_that_is_killed_takes_the_event_or_leaves_it() {
    alone(|| {
        each_death(|scene, stage, _, _| {
            stage.use_auto_event();
            let event = stage.event();
            event.set();
            scene.kill(victim(|| (), |()| assert!(event.wait(Timeout::Never))));
            scene.sweep();
            let _taken_or_left = event.wait(Timeout::Now);
            assert!(!event.wait(Timeout::Now), "one set is never two");
            event.set();
            assert!(event.wait(Timeout::Now));
        });
    });
}

#[test]
fn a_consumer_gets_a_message_whenever_the_producer_is_killed_after_committing_it() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (ring, theirs) = (stage.ring(heir, 100), stage.attach_ring(doomed));
            let sleeper = scene.sleeper(|| {
                let message = ring.pop(Timeout::Never).unwrap();
                assert!(message == b"from the victim" || message == b"from the living");
            });
            scene.kill(victim(|| (), |()| theirs.push("from the victim", Timeout::Never).unwrap()));
            let is_committed = !ring.is_empty() || stage.is_done_within(Duration::ZERO);
            let push = || ring.push("from the living", Timeout::Now).unwrap();
            let hung = scene.end(sleeper, is_committed, push);
            let second = ring.pop(Timeout::Now);
            assert!(matches!(second, Err(Error::Empty { .. })), "one message, not two");
            hung
        });
    });
}

#[test]
fn a_message_is_taken_or_still_there_whenever_its_consumer_is_killed() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let ring = stage.ring(heir, 24);
            let theirs = stage.attach_ring(doomed);
            ring.push([1; 24], Timeout::Never).unwrap();
            let sleeper = scene.sleeper(|| {
                ring.push([2; 24], Timeout::Never).unwrap();
            });
            let take = |mut message: Vec<u8>| {
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            scene.kill(victim(|| Vec::with_capacity(64), take));
            scene.sweep();
            let mut first = ring.pop(LONG).unwrap();
            if first == [1; 24] {
                first = ring.pop(LONG).unwrap();
            }
            assert_eq!(first, [2; 24]);
            assert!(stage.is_done_within(LONG), "the producer hangs");
            sleeper.join();
            assert!(matches!(ring.pop(Timeout::Now), Err(Error::Empty { .. })));
        });
    });
}

#[test]
fn a_batch_is_pushed_whole_or_not_at_all_by_a_producer_that_is_killed() {
    alone(|| {
        // The tests above step through every instruction of a single push.
        each_death(|scene, stage, doomed, heir| {
            let ring = stage.ring(heir, 100);
            let theirs = stage.attach_ring(doomed);
            scene.kill(victim(
                || (),
                |()| theirs.push_batch(&["a", "bc", "def"], Timeout::Never).unwrap(),
            ));
            scene.sweep();
            ring.push("next", Timeout::Now).unwrap();
            let first = ring.pop(Timeout::Now).unwrap();
            if first != b"next" {
                assert_eq!(first, b"a");
                for expected in ["bc", "def", "next"] {
                    assert_eq!(ring.pop(Timeout::Now).unwrap(), expected.as_bytes());
                }
            }
            assert!(ring.is_empty());
        });
    });
}

#[test]
fn the_number_of_messages_is_exact_wherever_a_producer_or_a_consumer_is_killed() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let ring = stage.bounded_ring(heir, 3);
            let theirs = stage.attach_ring(doomed);
            ring.push_batch(&["a", "b"], Timeout::Never).unwrap();
            let both = |mut message: Vec<u8>| {
                theirs.push("c", Timeout::Never).unwrap();
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            scene.kill(victim(|| Vec::with_capacity(64), both));
            scene.sweep();
            let told = ring.len();
            let mut held = 0;
            while ring.pop(Timeout::Now).is_ok() {
                held += 1;
            }
            assert_eq!((told, ring.len()), (held, 0));
            let pushed = ring.push_batch(&["x"; 9], Timeout::Now).unwrap_err().pushed;
            assert_eq!(pushed, 3, "it takes three, as ever");
        });
    });
}

#[test]
fn a_producer_goes_on_whenever_the_consumer_that_makes_room_is_killed_after_it() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let ring = stage.bounded_ring(heir, 1);
            let theirs = stage.attach_ring(doomed);
            ring.push("first", Timeout::Never).unwrap();
            let sleeper = scene.sleeper(|| {
                ring.push("second", Timeout::Never).unwrap();
            });
            let take = |mut message: Vec<u8>| {
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            scene.kill(victim(|| Vec::with_capacity(64), take));
            scene.sweep();
            if ring.pop(LONG).unwrap() == b"first" {
                assert_eq!(ring.pop(LONG).unwrap(), b"second");
            }
            assert!(stage.is_done_within(LONG), "the producer hangs");
            sleeper.join();
            assert!(ring.is_empty());
        });
    });
}

#[test]
fn a_waiter_of_a_ring_wakes_up_whenever_its_closer_is_killed_after_closing_it() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (ring, theirs) = (stage.ring(heir, 100), stage.attach_ring(doomed));
            let sleeper = scene.sleeper(|| assert!(ring.poll(LONG)));
            scene.kill(victim(|| (), |()| theirs.close().unwrap()));
            let is_closed = ring.is_closed();
            let push = || ring.push("or a message", Timeout::Now);
            let hung = scene.end(sleeper, is_closed, || push().unwrap());
            let refused = push().err().map(|refused| refused.error);
            assert_eq!(matches!(refused, Some(Error::Closed { .. })), is_closed);
            hung
        });
    });
}

#[test]
fn a_barrier_breaks_or_completes_whenever_a_member_is_killed() {
    alone(|| {
        let (mut completed, mut broken) = (0, 0);
        each_death(|scene, stage, doomed, heir| {
            let barrier = stage.barrier(heir, 2);
            let theirs = stage.attach_barrier(doomed);
            let sleeper = scene.sleeper(|| match barrier.join().unwrap().wait(Timeout::Never) {
                Ok(_) => stage.add(1),
                Err(error) => assert!(matches!(error, Error::Broken { .. })),
            });
            let come = |mut member: RawMember| {
                member.wait(Timeout::Never).unwrap();
                std::mem::forget(member);
            };
            scene.kill(victim(|| theirs.join().unwrap(), come));
            scene.sweep();
            assert!(stage.is_done_within(LONG), "the other member hangs");
            sleeper.join();
            assert!(barrier.is_broken(), "one of its members is dead");
            if stage.sum() == 1 { completed += 1 } else { broken += 1 }
        });
        assert!(completed > 0 && broken > 0, "{completed} completed, {broken} broken");
    });
}

#[test]
fn a_sleeping_member_is_woken_by_the_sweep_when_another_was_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (barrier, theirs) = (stage.barrier(heir, 2), stage.attach_barrier(doomed));
            let victim =
                victim(|| theirs.join().unwrap(), |mut member| drop(member.wait(Timeout::Never)));
            let sleeper = scene.sleeper(|| {
                let outcome = barrier.join().unwrap().wait(Timeout::Never);
                assert!(matches!(outcome, Ok(_) | Err(Error::Broken { .. })));
            });
            scene.kill(victim);
            scene.end(sleeper, true, || ())
        });
    });
}
