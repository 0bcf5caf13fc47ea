//! A sleeper survives whoever is killed at any instruction.
//!
//! Each scene is played twice: with a whole sweep, after which no sleeper hangs, and as its own
//! negative control, with a sweep that lacks the wake-up, after which some do.

use crate::common::alone::alone;
use std::time::Duration;

use super::step::{LONG, SHORT, mark_only, sweep};
use super::stepping::{Child, Stage, victim, victim_that_marks};
use crate::tracer::{KillPoint, for_each_kill_point, mark, some_kill_point};
use brigade::Error;
use brigade::sync::raw::RawReentrantGuard;
use brigade::sync::{Owner, Timeout};

/// What follows a death.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sweep {
    Whole,
    WithoutWakeUp,
}

/// A sleeper, and whose death it must survive.
struct Scene<'a> {
    stage: &'a Stage,
    doomed: &'a Owner,
    sleeper: Child,
}

impl<'a> Scene<'a> {
    /// Begins with a process that sleeps in `sleep`.
    fn new(stage: &'a Stage, doomed: &'a Owner, sleep: impl FnOnce()) -> Scene<'a> {
        let sleeper = Child::fork(|| {
            sleep();
            stage.done();
        });
        sleeper.wait_until_asleep();
        Scene { stage, doomed, sleeper }
    }

    /// Sweeps after the death. `is_due` says whether the sleeper has what it waited for; `remedy`
    /// gives it that otherwise. Returns whether it hung with what it waited for.
    fn end(self, how: Sweep, is_due: bool, remedy: impl FnOnce()) -> bool {
        let mut hung = false;
        if how == Sweep::WithoutWakeUp {
            mark_only(self.stage, self.doomed);
            hung = is_due && !self.stage.is_done_within(SHORT);
        }
        sweep(self.stage, self.doomed);
        if !is_due {
            remedy();
        }
        assert!(self.stage.is_done_within(LONG), "the sleeper hangs");
        self.sleeper.join();
        hung
    }
}

/// Plays a scene at every kill point, and as its negative control until the sleeper hangs.
fn play(scene: impl Fn(&mut KillPoint, Sweep) -> bool) {
    for_each_kill_point(|point| assert!(!scene(point, Sweep::Whole)));
    let hung = some_kill_point(|point| scene(point, Sweep::WithoutWakeUp));
    assert!(hung, "no point before the wake-up was found");
}

#[test]
fn a_sleeper_gets_a_reentrant_lock_whenever_its_holder_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.reentrant(&heir), stage.reentrant(&doomed));
            lock.register().unwrap();
            let leave = |outer: RawReentrantGuard| {
                drop(theirs.lock(Timeout::Never).unwrap());
                drop(outer);
            };
            let victim = victim(|| theirs.lock(Timeout::Never).unwrap(), leave);
            let scene = Scene::new(&stage, &doomed, || drop(lock.lock(Timeout::Never)));
            point.kill(victim);
            let hung = scene.end(how, true, || ());
            assert!(!lock.is_locked());
            hung
        });
    });
}

#[test]
fn a_reentrant_lock_says_recovered_whenever_its_owner_is_killed_on_the_way_in() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.reentrant(&heir), stage.reentrant(&doomed));
            lock.register().unwrap();
            point.kill(victim(
                || (),
                |()| {
                    std::mem::forget((
                        theirs.lock(Timeout::Never).unwrap(),
                        theirs.lock(Timeout::Never).unwrap(),
                    ))
                },
            ));
            let was_held = lock.is_locked();
            assert_eq!(sweep(&stage, &doomed), usize::from(was_held));
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
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.rwlock(&heir), stage.attach_rwlock(&doomed));
            let victim = victim(|| theirs.write(Timeout::Never).unwrap(), drop);
            let scene = Scene::new(&stage, &doomed, || drop(lock.read(Timeout::Never).unwrap()));
            point.kill(victim);
            scene.end(how, true, || ())
        });
    });
}

#[test]
fn a_writer_asleep_gets_in_whenever_the_reader_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.rwlock(&heir), stage.attach_rwlock(&doomed));
            let victim = victim(|| theirs.read(Timeout::Never).unwrap(), drop);
            let scene = Scene::new(&stage, &doomed, || {
                assert!(!lock.write(Timeout::Never).unwrap().recovered())
            });
            point.kill(victim);
            scene.end(how, true, || ())
        });
    });
}

#[test]
fn a_read_write_lock_is_free_whenever_a_reader_is_killed_on_the_way_in() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.rwlock(&heir), stage.attach_rwlock(&doomed));
            point.kill(victim(|| (), |()| std::mem::forget(theirs.read(Timeout::Never).unwrap())));
            sweep(&stage, &doomed);
            assert!(!lock.write(Timeout::Now).unwrap().recovered());
            let _both = [lock.read(Timeout::Now).unwrap(), lock.read(Timeout::Now).unwrap()];
        });
    });
}

#[test]
fn a_read_write_lock_tells_all_whenever_a_writer_is_killed_on_the_way_in() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.rwlock(&heir), stage.attach_rwlock(&doomed));
            point.kill(victim(|| (), |()| std::mem::forget(theirs.write(Timeout::Never).unwrap())));
            let was_held = lock.has_writer();
            assert_eq!(sweep(&stage, &doomed), usize::from(was_held));
            assert_eq!(lock.read(Timeout::Now).unwrap().recovered(), was_held);
            assert_eq!(lock.write(Timeout::Now).unwrap().recovered(), was_held);
            assert!(!lock.write(Timeout::Now).unwrap().recovered());
        });
    });
}

#[test]
fn a_writer_that_is_killed_while_it_waits_for_readers_lets_others_in() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (lock, theirs) = (stage.rwlock(&heir), stage.attach_rwlock(&doomed));
            let reader = lock.read(Timeout::Never).unwrap();
            let wait =
                |()| assert!(theirs.write(Timeout::after(Duration::from_micros(20))).is_none());
            point.kill(victim(|| (), wait));
            sweep(&stage, &doomed);
            assert!(lock.read(Timeout::Now).is_some() && lock.write(Timeout::Now).is_none());
            drop(reader);
            assert!(lock.write(Timeout::Now).is_some());
        });
    });
}

#[test]
fn a_permit_comes_free_whenever_its_holder_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let semaphore = stage.semaphore(&heir, 1);
            let theirs = stage.attach_semaphore(&doomed);
            let victim = victim(|| theirs.acquire(Timeout::Never).unwrap(), drop);
            let scene =
                Scene::new(&stage, &doomed, || drop(semaphore.acquire(Timeout::Never).unwrap()));
            point.kill(victim);
            let hung = scene.end(how, true, || ());
            assert_eq!(semaphore.available(), 1);
            hung
        });
    });
}

#[test]
fn a_released_permit_is_there_once_or_not_at_all_whenever_its_releaser_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let semaphore = stage.semaphore(&heir, 1);
            semaphore.acquire(Timeout::Never).unwrap().forget();
            let theirs = stage.attach_semaphore(&doomed);
            let scene =
                Scene::new(&stage, &doomed, || semaphore.acquire(Timeout::Never).unwrap().forget());
            point.kill(victim(|| (), |()| theirs.release().unwrap()));
            let was_released = semaphore.available() == 1 || stage.is_done_within(Duration::ZERO);
            let hung = scene.end(how, was_released, || semaphore.release().unwrap());
            assert_eq!(semaphore.available(), 0);
            hung
        });
    });
}

#[test]
fn a_permit_is_forgotten_or_comes_back_whenever_its_holder_is_killed() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let semaphore = stage.semaphore(&heir, 1);
            let theirs = stage.attach_semaphore(&doomed);
            point
                .kill(victim(|| theirs.acquire(Timeout::Never).unwrap(), |permit| permit.forget()));
            let came_back = sweep(&stage, &doomed) == 1;
            assert_eq!(semaphore.available(), usize::from(came_back));
            assert_eq!(semaphore.release().is_err(), came_back);
            assert_eq!(semaphore.acquire(Timeout::Never).unwrap().recovered(), came_back);
        });
    });
}

#[test]
fn a_waiter_goes_on_whenever_who_changes_its_condition_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let condvar = stage.condvar(&heir);
            let changed = stage.attach_condvar(&doomed);
            let (lock, theirs) = (stage.lock(&heir), stage.lock(&doomed));
            let scene = Scene::new(&stage, &doomed, || {
                drop(condvar.wait_while(lock.lock(), |_| stage.sum() == 0));
            });
            let change = |()| {
                let guard = theirs.lock();
                stage.add(1);
                drop(guard);
                changed.notify(1);
            };
            point.kill(victim(|| (), change));
            let is_due = stage.sum() == 1;
            scene.end(how, is_due, || {
                stage.add(1);
                condvar.notify(1);
            })
        });
    });
}

#[test]
fn a_waiter_that_is_killed_takes_no_notification_with_it() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let condvar = stage.condvar(&heir);
            let theirs = stage.attach_condvar(&doomed);
            // So that the next call looks at the second slot first, which is the victim's.
            condvar.notify(1);
            let (lock, their_lock) = (stage.lock(&heir), stage.lock(&doomed));
            let wait = |()| {
                drop(theirs.wait(their_lock.lock(), Timeout::after(Duration::from_micros(20))))
            };
            let victim = victim(|| (), wait);
            let scene = Scene::new(&stage, &doomed, || {
                drop(condvar.wait_while(lock.lock(), |_| stage.sum() == 0));
            });
            point.kill(victim);
            stage.add(1);
            // If the dead waiter still has its slot, it is the one that is notified.
            condvar.notify(1);
            scene.end(how, true, || ())
        });
    });
}

#[test]
fn whoever_waits_for_a_function_to_be_run_runs_it_if_its_process_is_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (once, theirs) = (stage.once(&heir), stage.once(&doomed));
            once.register().unwrap();
            let victim = victim_that_marks(|| {
                theirs.call(|_| {
                    mark();
                    stage.add(1);
                });
            });
            let scene = Scene::new(&stage, &doomed, || once.call(|_| stage.add(10)));
            point.kill(victim);
            let was_done = once.is_done();
            let hung = scene.end(how, true, || ());
            assert!(once.is_done() && (stage.sum() == 1) == was_done, "{}", stage.sum());
            hung
        });
    });
}

#[test]
fn a_function_that_must_run_once_is_run_again_whenever_its_process_is_killed_in_it() {
    alone(|| {
        for_each_kill_point(|point| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let once = stage.once(&heir);
            once.register().unwrap();
            let theirs = stage.once(&doomed);
            point.kill(victim(|| (), |()| theirs.call(|_| stage.add(1))));
            sweep(&stage, &doomed);
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

#[test]
fn a_waiter_of_an_event_is_woken_by_the_sweep_where_its_setter_did_not() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let doomed = stage.owner();
            let event = stage.event();
            let scene = Scene::new(&stage, &doomed, || assert!(event.wait(Timeout::Never)));
            point.kill(victim(|| (), |()| event.set()));
            let was_set = event.is_set();
            scene.end(how, was_set, || event.set())
        });
    });
}

#[test]
fn a_member_asleep_is_told_by_the_sweep_that_another_was_killed() {
    alone(|| {
        play(|point, how| {
            let stage = Stage::new();
            let (doomed, heir) = (stage.owner(), stage.owner());
            let (barrier, theirs) = (stage.barrier(&heir, 2), stage.attach_barrier(&doomed));
            let victim =
                victim(|| theirs.join().unwrap(), |mut member| drop(member.wait(Timeout::Never)));
            let scene = Scene::new(&stage, &doomed, || {
                let outcome = barrier.join().unwrap().wait(Timeout::Never);
                assert!(matches!(outcome, Ok(_) | Err(Error::Broken { .. })));
            });
            point.kill(victim);
            scene.end(how, true, || ())
        });
    });
}
