//! Kills at any instruction in other locks, semaphores, conditions and onces.

use std::time::Duration;

use super::scene::{each_death, play};
use super::stepping::{victim, victim_that_marks};
use crate::common::alone::alone;
use crate::tracer::mark;
use brigade::sync::Timeout;
use brigade::sync::raw::RawReentrantGuard;

#[test]
fn a_sleeper_gets_a_reentrant_lock_whenever_its_holder_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.reentrant(heir), stage.reentrant(doomed));
            lock.register().unwrap();
            let leave = |outer: RawReentrantGuard| {
                drop(theirs.lock(Timeout::Never).unwrap());
                drop(outer);
            };
            let victim = victim(|| theirs.lock(Timeout::Never).unwrap(), leave);
            let sleeper = scene.sleeper(|| drop(lock.lock(Timeout::Never)));
            scene.kill(victim);
            let hung = scene.end(sleeper, true, || ());
            assert!(!lock.is_locked());
            hung
        });
    });
}

#[test]
fn a_reentrant_lock_says_recovered_whenever_its_owner_is_killed_on_the_way_in() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.reentrant(heir), stage.reentrant(doomed));
            lock.register().unwrap();
            scene.kill(victim(
                || (),
                |()| {
                    std::mem::forget((
                        theirs.lock(Timeout::Never).unwrap(),
                        theirs.lock(Timeout::Never).unwrap(),
                    ))
                },
            ));
            let was_held = lock.is_locked();
            assert_eq!(scene.sweep(), usize::from(was_held));
            let guard = lock.lock(Timeout::Now).unwrap();
            assert_eq!((guard.recovered(), lock.depth()), (was_held, 1));
            drop(guard);
            assert!(!lock.is_locked());
        });
    });
}

#[test]
fn a_reader_asleep_gets_in_whenever_the_writer_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.rwlock(heir), stage.attach_rwlock(doomed));
            let victim = victim(|| theirs.write(Timeout::Never).unwrap(), drop);
            let sleeper = scene.sleeper(|| drop(lock.read(Timeout::Never).unwrap()));
            scene.kill(victim);
            scene.end(sleeper, true, || ())
        });
    });
}

#[test]
fn a_writer_asleep_gets_in_whenever_the_reader_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.rwlock(heir), stage.attach_rwlock(doomed));
            let victim = victim(|| theirs.read(Timeout::Never).unwrap(), drop);
            let sleeper =
                scene.sleeper(|| assert!(!lock.write(Timeout::Never).unwrap().recovered()));
            scene.kill(victim);
            scene.end(sleeper, true, || ())
        });
    });
}

#[test]
fn a_read_write_lock_is_free_whenever_a_reader_is_killed_on_the_way_in() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.rwlock(heir), stage.attach_rwlock(doomed));
            scene.kill(victim(|| (), |()| std::mem::forget(theirs.read(Timeout::Never).unwrap())));
            scene.sweep();
            assert!(!lock.write(Timeout::Now).unwrap().recovered());
            let _both = [lock.read(Timeout::Now).unwrap(), lock.read(Timeout::Now).unwrap()];
        });
    });
}

#[test]
fn a_read_write_lock_says_recovered_whenever_a_writer_is_killed_on_the_way_in() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.rwlock(heir), stage.attach_rwlock(doomed));
            scene.kill(victim(|| (), |()| std::mem::forget(theirs.write(Timeout::Never).unwrap())));
            let was_held = lock.has_writer();
            assert_eq!(scene.sweep(), usize::from(was_held));
            assert_eq!(lock.read(Timeout::Now).unwrap().recovered(), was_held);
            assert_eq!(lock.write(Timeout::Now).unwrap().recovered(), was_held);
            assert!(!lock.write(Timeout::Now).unwrap().recovered());
        });
    });
}

#[test]
fn a_writer_that_is_killed_while_it_waits_for_readers_lets_others_in() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let (lock, theirs) = (stage.rwlock(heir), stage.attach_rwlock(doomed));
            let reader = lock.read(Timeout::Never).unwrap();
            let wait =
                |()| assert!(theirs.write(Timeout::after(Duration::from_micros(20))).is_none());
            scene.kill(victim(|| (), wait));
            scene.sweep();
            assert!(lock.read(Timeout::Now).is_some() && lock.write(Timeout::Now).is_none());
            drop(reader);
            assert!(lock.write(Timeout::Now).is_some());
        });
    });
}

#[test]
fn a_permit_comes_free_whenever_its_holder_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let semaphore = stage.semaphore(heir, 1);
            let theirs = stage.attach_semaphore(doomed);
            let victim = victim(|| theirs.acquire(Timeout::Never).unwrap(), drop);
            let sleeper = scene.sleeper(|| drop(semaphore.acquire(Timeout::Never).unwrap()));
            scene.kill(victim);
            let hung = scene.end(sleeper, true, || ());
            assert_eq!(semaphore.available(), 1);
            hung
        });
    });
}

#[test]
fn a_released_permit_is_there_once_or_not_at_all_whenever_its_releaser_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let semaphore = stage.semaphore(heir, 1);
            semaphore.acquire(Timeout::Never).unwrap().forget();
            let theirs = stage.attach_semaphore(doomed);
            let sleeper = scene.sleeper(|| semaphore.acquire(Timeout::Never).unwrap().forget());
            scene.kill(victim(|| (), |()| theirs.release().unwrap()));
            let was_released = semaphore.available() == 1 || stage.is_done_within(Duration::ZERO);
            let hung = scene.end(sleeper, was_released, || semaphore.release().unwrap());
            assert_eq!(semaphore.available(), 0);
            hung
        });
    });
}

#[test]
fn a_permit_is_forgotten_or_comes_back_whenever_its_holder_is_killed() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let semaphore = stage.semaphore(heir, 1);
            let theirs = stage.attach_semaphore(doomed);
            scene
                .kill(victim(|| theirs.acquire(Timeout::Never).unwrap(), |permit| permit.forget()));
            let came_back = scene.sweep() == 1;
            assert_eq!(semaphore.available(), usize::from(came_back));
            assert_eq!(semaphore.release().is_err(), came_back);
            assert_eq!(semaphore.acquire(Timeout::Never).unwrap().recovered(), came_back);
        });
    });
}

#[test]
fn a_waiter_goes_on_whenever_the_process_that_changes_its_condition_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let condvar = stage.condvar(heir);
            let changed = stage.attach_condvar(doomed);
            let (lock, theirs) = (stage.lock(heir), stage.lock(doomed));
            let sleeper = scene.sleeper(|| {
                drop(condvar.wait_while(lock.lock(), |_| stage.sum() == 0));
            });
            let change = |()| {
                let guard = theirs.lock();
                stage.add(1);
                drop(guard);
                changed.notify(1);
            };
            scene.kill(victim(|| (), change));
            let is_due = stage.sum() == 1;
            scene.end(sleeper, is_due, || {
                stage.add(1);
                condvar.notify(1);
            })
        });
    });
}

#[test]
fn a_waiter_that_is_killed_takes_no_notification_with_it() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let condvar = stage.condvar(heir);
            let theirs = stage.attach_condvar(doomed);
            // So that the next call checks the second slot first, which is the victim's.
            condvar.notify(1);
            let (lock, their_lock) = (stage.lock(heir), stage.lock(doomed));
            let wait = |()| {
                drop(theirs.wait(their_lock.lock(), Timeout::after(Duration::from_micros(20))))
            };
            let victim = victim(|| (), wait);
            let sleeper = scene.sleeper(|| {
                drop(condvar.wait_while(lock.lock(), |_| stage.sum() == 0));
            });
            scene.kill(victim);
            stage.add(1);
            // If the dead waiter still has its slot, it is the one that is notified.
            condvar.notify(1);
            scene.end(sleeper, true, || ())
        });
    });
}

#[test]
fn a_waiter_for_a_function_that_runs_once_runs_it_if_its_process_is_killed() {
    alone(|| {
        play(|scene, stage, doomed, heir| {
            let (once, theirs) = (stage.once(heir), stage.once(doomed));
            once.register().unwrap();
            let victim = victim_that_marks(|| {
                theirs.call(|_| {
                    mark();
                    stage.add(1);
                });
            });
            let sleeper = scene.sleeper(|| once.call(|_| stage.add(10)));
            scene.kill(victim);
            let was_done = once.is_done();
            let hung = scene.end(sleeper, true, || ());
            assert!(once.is_done() && (stage.sum() == 1) == was_done, "{}", stage.sum());
            hung
        });
    });
}

#[test]
fn a_function_that_must_run_once_is_run_again_whenever_its_process_is_killed_in_it() {
    alone(|| {
        each_death(|scene, stage, doomed, heir| {
            let once = stage.once(heir);
            once.register().unwrap();
            let theirs = stage.once(doomed);
            scene.kill(victim(|| (), |()| theirs.call(|_| stage.add(1))));
            scene.sweep();
            let (was_done, sum) = (once.is_done(), stage.sum());
            let mut told = None;
            once.call(|begun_before| told = Some(begun_before));
            match told {
                None => assert!(was_done && sum == 1),
                Some(begun_before) => assert!(!was_done && (begun_before || sum == 0)),
            }
        });
    });
}
