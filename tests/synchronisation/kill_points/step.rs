//! A process killed at any instruction harms nobody else.

use crate::common::alone::alone;
use std::time::Duration;

use super::stepping::{Child, Stage, victim};
use crate::tracer::for_each_kill_point;
use brigade::Error;
use brigade::sync::raw::RawMember;
use brigade::sync::{Owner, Ring, Timeout};

/// Far more than a wake-up takes, so that a test fails for a hang only.
pub(crate) const LONG: Duration = Duration::from_secs(10);

/// How long the negative controls wait for a sleeper that nobody wakes.
pub(crate) const SHORT: Duration = Duration::from_millis(15);

pub(crate) fn sweep(stage: &Stage, dead: &Owner) -> usize {
    // SAFETY: the tests kill and reap the process that uses this owner first.
    unsafe { stage.table().sweep(dead.token()) }
}

pub(crate) fn mark_only(stage: &Stage, dead: &Owner) -> usize {
    // SAFETY: the tests kill and reap the process that uses this owner first.
    unsafe { stage.table().mark_dead(dead.token()) }
}

/// A process that sleeps until it gets the lock.
fn lock_sleeper(stage: &Stage, owner: &Owner) -> Child {
    let lock = stage.lock(owner);
    let sleeper = Child::fork(|| {
        let guard = lock.lock();
        drop(guard);
        stage.done();
    });
    while stage.lock_word() >> 31 == 0 {
        std::thread::yield_now();
    }
    sleeper.wait_until_asleep();
    sleeper
}

#[test]
fn a_lock_is_free_and_says_recovered_whenever_its_owner_is_killed_on_the_way_in() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let lock = stage.lock(&doomed);
            point.kill(victim(|| (), |()| std::mem::forget(lock.lock())));
            let was_held = stage.lock_word() != 0;
            assert_eq!(sweep(&stage, &doomed), usize::from(was_held));
            assert_eq!(stage.lock(&heir).try_lock().unwrap().recovered(), was_held);
        });
    });
}

#[test]
fn a_sleeper_gets_the_lock_whenever_its_owner_is_killed_on_the_way_out() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let lock = stage.lock(&doomed);
            let victim = victim(|| lock.lock(), drop);
            let sleeper = lock_sleeper(&stage, &heir);
            point.kill(victim);
            sweep(&stage, &doomed);
            assert!(stage.is_done_within(LONG), "the sleeper hangs");
            sleeper.join();
            assert_eq!(stage.lock_word(), 0);
        });
    });
}

/// The negative control: without its second step, the wake-up, a sweep is not enough.
#[test]
fn a_sweep_without_its_wake_up_leaves_the_sleeper_hanging_at_some_points() {
    alone(|| {
        let mut hung = 0;
        let mut woken = 0;
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let lock = stage.lock(&doomed);
            let victim = victim(|| lock.lock(), drop);
            let sleeper = lock_sleeper(&stage, &heir);
            point.kill(victim);
            let was_released = mark_only(&stage, &doomed) == 0;
            if stage.is_done_within(SHORT) {
                woken += 1;
            } else if was_released {
                hung += 1;
            }
            stage.table().wake_all();
            assert!(stage.is_done_within(LONG), "the wake-up is all that was missing");
            sleeper.join();
        });
        assert!(hung > 0, "no point between the store and the wake-up was found");
        assert!(woken > 0, "the last points are after the wake-up");
    });
}

#[test]
fn a_waiter_that_is_killed_harms_neither_the_holder_nor_the_next() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (holder, doomed, heir) = (stage.owner(), stage.owner(), stage.owner());
            let holding = stage.lock(&holder);
            let guard = holding.lock();
            let sleeper = lock_sleeper(&stage, &heir);
            let lock = stage.lock(&doomed);
            let wait = |()| assert!(lock.lock_timeout(Duration::from_micros(50)).is_err());
            point.kill(victim(|| (), wait));
            assert_eq!(sweep(&stage, &doomed), 0);
            assert!(stage.lock(&doomed).try_lock().is_none(), "it is still held");
            drop(guard);
            assert!(stage.is_done_within(LONG), "the sleeper hangs");
            sleeper.join();
        });
    });
}

/// A process that sleeps until the event is set.
fn event_sleeper(stage: &Stage) -> Child {
    let sleeper = Child::fork(|| {
        assert!(stage.event().wait(Timeout::Never));
        stage.done();
    });
    sleeper.wait_until_asleep();
    sleeper
}

#[test]
fn a_waiter_of_an_event_is_released_whenever_its_setter_is_killed_after_setting_it() {
    alone(|| {
        for auto in [false, true] {
            for_each_kill_point(|point| {
                let stage = if auto { Stage::new().with_auto_event() } else { Stage::new() };
                let doomed = stage.owner();
                let event = stage.event();
                let sleeper = event_sleeper(&stage);
                let victim = victim(|| (), |()| event.set());
                point.kill(victim);
                // A manual event tells whether the setter came that far.
                let was_set = !auto && event.is_set();
                sweep(&stage, &doomed);
                if !was_set && !stage.is_done_within(Duration::ZERO) {
                    event.set();
                }
                assert!(stage.is_done_within(LONG), "the waiter hangs");
                sleeper.join();
            });
        }
    });
}

#[test]
fn a_waiter_of_an_event_that_is_killed_takes_the_event_or_leaves_it() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new().with_auto_event();
            let doomed = stage.owner();
            let event = stage.event();
            event.set();
            point.kill(victim(|| (), |()| assert!(event.wait(Timeout::Never))));
            sweep(&stage, &doomed);
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
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 100);
            let theirs = stage.attach_ring(&doomed);
            let sleeper = Child::fork(|| {
                let message = ring.pop(Timeout::Never).unwrap();
                assert!(message == b"from the victim" || message == b"from the living");
                stage.done();
            });
            sleeper.wait_until_asleep();
            point.kill(victim(|| (), |()| theirs.push("from the victim", Timeout::Never).unwrap()));
            let was_committed = !ring.is_empty() || stage.is_done_within(Duration::ZERO);
            sweep(&stage, &doomed);
            if !was_committed {
                ring.push("from the living", Timeout::Now).unwrap();
            }
            assert!(stage.is_done_within(LONG), "the consumer hangs");
            sleeper.join();
            assert!(
                matches!(ring.pop(Timeout::Now), Err(Error::Empty { .. })),
                "one message, not two"
            );
        });
    });
}

/// The negative control of the test above.
#[test]
fn a_ring_swept_without_the_wake_up_leaves_its_consumer_hanging_at_some_points() {
    alone(|| {
        let mut hung = 0;
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 100);
            let theirs = stage.attach_ring(&doomed);
            let sleeper = Child::fork(|| {
                ring.pop(Timeout::Never).unwrap();
                stage.done();
            });
            sleeper.wait_until_asleep();
            point.kill(victim(|| (), |()| theirs.push("from the victim", Timeout::Never).unwrap()));
            let was_committed = !ring.is_empty();
            mark_only(&stage, &doomed);
            if was_committed && !stage.is_done_within(SHORT) {
                hung += 1;
            }
            sweep(&stage, &doomed);
            if !was_committed && !stage.is_done_within(Duration::ZERO) {
                ring.push("from the living", Timeout::Now).unwrap();
            }
            assert!(stage.is_done_within(LONG), "the wake-up is all that was missing");
            sleeper.join();
        });
        assert!(hung > 0, "no point between the commit and the wake-up was found");
    });
}

#[test]
fn a_message_is_taken_or_still_there_whenever_its_consumer_is_killed() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 24);
            let theirs = stage.attach_ring(&doomed);
            ring.push([1; 24], Timeout::Never).unwrap();
            let sleeper = Child::fork(|| {
                ring.push([2; 24], Timeout::Never).unwrap();
                stage.done();
            });
            sleeper.wait_until_asleep();
            let take = |mut message: Vec<u8>| {
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            point.kill(victim(|| Vec::with_capacity(64), take));
            sweep(&stage, &doomed);
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
        // Every instruction of a single push has its test above.
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 100);
            let theirs = stage.attach_ring(&doomed);
            point.kill(victim(
                || (),
                |()| theirs.push_batch(&["a", "bc", "def"], Timeout::Never).unwrap(),
            ));
            sweep(&stage, &doomed);
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
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.bounded_ring(&heir, 3);
            let theirs = stage.attach_ring(&doomed);
            ring.push_batch(&["a", "b"], Timeout::Never).unwrap();
            let both = |mut message: Vec<u8>| {
                theirs.push("c", Timeout::Never).unwrap();
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            point.kill(victim(|| Vec::with_capacity(64), both));
            sweep(&stage, &doomed);
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
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.bounded_ring(&heir, 1);
            let theirs = stage.attach_ring(&doomed);
            ring.push("first", Timeout::Never).unwrap();
            let sleeper = Child::fork(|| {
                ring.push("second", Timeout::Never).unwrap();
                stage.done();
            });
            sleeper.wait_until_asleep();
            let take = |mut message: Vec<u8>| {
                theirs.pop_into(&mut message, Timeout::Never).unwrap();
                std::mem::forget(message);
            };
            point.kill(victim(|| Vec::with_capacity(64), take));
            sweep(&stage, &doomed);
            if ring.pop(LONG).unwrap() == b"first" {
                assert_eq!(ring.pop(LONG).unwrap(), b"second");
            }
            assert!(stage.is_done_within(LONG), "the producer hangs");
            sleeper.join();
            assert!(ring.is_empty());
        });
    });
}

/// A process that sleeps until there is something in the ring, or it is closed.
fn poll_sleeper(stage: &Stage, ring: &Ring) -> Child {
    let sleeper = Child::fork(|| {
        assert!(ring.poll(LONG));
        stage.done();
    });
    sleeper.wait_until_asleep();
    sleeper
}

#[test]
fn who_waits_for_a_ring_hears_of_its_closing_whenever_the_closer_is_killed_after_it() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 100);
            let theirs = stage.attach_ring(&doomed);
            let sleeper = poll_sleeper(&stage, &ring);
            point.kill(victim(|| (), |()| theirs.close().unwrap()));
            sweep(&stage, &doomed);
            ring.push("or a message", Timeout::Now).map_or_else(
                |refused| assert!(matches!(refused.error, Error::Closed { .. })),
                |()| assert!(!ring.is_closed()),
            );
            assert!(stage.is_done_within(LONG), "the waiter hangs");
            sleeper.join();
        });
    });
}

/// The negative control of the test above.
#[test]
fn a_closing_swept_without_the_wake_up_leaves_a_waiter_hanging_at_some_points() {
    alone(|| {
        let mut hung = 0;
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let ring = stage.ring(&heir, 100);
            let theirs = stage.attach_ring(&doomed);
            let sleeper = poll_sleeper(&stage, &ring);
            point.kill(victim(|| (), |()| theirs.close().unwrap()));
            mark_only(&stage, &doomed);
            if ring.is_closed() && !stage.is_done_within(SHORT) {
                hung += 1;
            }
            sweep(&stage, &doomed);
            if !ring.is_closed() {
                ring.close().unwrap();
            }
            assert!(stage.is_done_within(LONG), "the wake-up is all that was missing");
            sleeper.join();
        });
        assert!(hung > 0, "no point between the closing and the wake-up was found");
    });
}

#[test]
fn a_barrier_breaks_or_completes_whenever_a_member_is_killed() {
    alone(|| {
        let (mut completed, mut broken) = (0, 0);
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let barrier = stage.barrier(&heir, 2);
            let theirs = stage.attach_barrier(&doomed);
            let sleeper = Child::fork(|| {
                match barrier.join().unwrap().wait(Timeout::Never) {
                    Ok(_) => stage.add(1),
                    Err(error) => assert!(matches!(error, Error::Broken { .. })),
                }
                stage.done();
            });
            sleeper.wait_until_asleep();
            let come = |mut member: RawMember| {
                member.wait(Timeout::Never).unwrap();
                std::mem::forget(member);
            };
            point.kill(victim(|| theirs.join().unwrap(), come));
            sweep(&stage, &doomed);
            assert!(stage.is_done_within(LONG), "the other member hangs");
            sleeper.join();
            assert!(barrier.is_broken(), "one of its members is dead");
            if stage.sum() == 1 { completed += 1 } else { broken += 1 }
        });
        assert!(completed > 0 && broken > 0, "{completed} completed, {broken} broken");
    });
}
