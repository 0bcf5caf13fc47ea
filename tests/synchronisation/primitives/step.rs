//! Workers killed after their k-th machine instruction in an operation.

use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use brigade::shared::{
    Barrier, Condvar, Event, Lock, LockError, Once, ReentrantLock, RwLock, Semaphore, SharedList,
    Value,
};

use crate::common::alone::alone;
use crate::common::skipped;
use crate::common::tasks::{forever, with};
use crate::common::time::wait_for;
use crate::tracer::{Tracer, for_each_kill_point, mark, wait_until_traced};

/// The primitives of the stage, which a victim and its sleeper share.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Stage {
    pid: Value<u32>,
    go: Event,
    lock: Lock<[u64; 2]>,
    reentrant: ReentrantLock,
    shelf: RwLock<[u64; 2]>,
    semaphore: Semaphore,
    changed: Condvar,
    event: Event,
    barrier: Barrier,
    once: Once,
    wide: Value<[u64; 3]>,
    list: SharedList<u64>,
}

impl Stage {
    fn new() -> brigade::Result<Stage> {
        Ok(Stage {
            pid: Value::new(0)?,
            go: Event::new()?,
            lock: Lock::new([0; 2])?,
            reentrant: ReentrantLock::new()?,
            shelf: RwLock::new([0; 2])?,
            semaphore: Semaphore::bounded(1)?,
            changed: Condvar::new()?,
            event: Event::new()?,
            barrier: Barrier::new(2)?,
            once: Once::new()?,
            wide: Value::new([0; 3])?,
            list: SharedList::new(4, 10)?,
        })
    }
}

/// What a task does before the operation under test.
fn begin(stage: &Stage) {
    stage.pid.set(std::process::id()).unwrap();
    wait_until_traced();
    mark();
}

/// What it does after that: it never returns.
fn end() {
    mark();
    forever();
}

/// For points all over the section of `victim`: a sleeper sleeps in `sleep` (or finishes), the
/// victim is killed at the point, and the sleeper must finish, or the watchdog ends the test.
fn play<R: Send>(
    victim: fn(Stage),
    sleep: impl Fn(&Stage) -> R + Sync,
    remedy: impl Fn(&Stage),
    check: impl Fn(&Stage, R),
) {
    let pool = with(1).build().unwrap();
    if !Tracer::may_seize(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap()) {
        return skipped("this process may not trace others");
    }
    for_each_kill_point(|point| {
        let stage = Stage::new().unwrap();
        std::thread::scope(|scope: &Scope<'_, '_>| {
            let sleeper: ScopedJoinHandle<'_, R> = scope.spawn(|| sleep(&stage));
            let task = pool.submit_fn(victim, stage.clone()).unwrap();
            wait_for(|| stage.pid.get().unwrap() != 0);
            let tracer = Tracer::seize(stage.pid.get().unwrap());
            stage.go.set().unwrap();
            point.kill(tracer);
            assert!(task.join().unwrap_err().death().is_some());
            remedy(&stage);
            check(&stage, sleeper.join().unwrap());
        });
    });
}

#[test]
fn a_lock_passes_on_whenever_its_holder_is_killed() {
    alone(|| {
        let victim = |stage: Stage| {
            begin(&stage);
            let mut guard = stage.lock.lock().unwrap();
            guard[0] += 1;
            guard[1] += 1;
            drop(guard);
            end();
        };
        let sleep = |stage: &Stage| {
            stage.event.wait().unwrap();
            match stage.lock.lock() {
                Ok(guard) => (*guard, false),
                Err(LockError::OwnerDied(torn)) => (*torn.into_guard(), true),
                Err(LockError::Failed(error)) => panic!("{error}"),
            }
        };
        let check = |_: &Stage, (seen, is_torn): ([u64; 2], bool)| {
            assert!(is_torn || seen[0] == seen[1], "{seen:?} without a word");
        };
        play(victim, sleep, |stage| stage.event.set().unwrap(), check);
    });
}

#[test]
fn who_waits_for_any_lock_or_permit_gets_it_whenever_its_holder_is_killed() {
    alone(|| {
        let victim = |stage: Stage| {
            let held = (stage.reentrant.lock().unwrap(), stage.shelf.write().unwrap());
            let permit = stage.semaphore.acquire().unwrap();
            begin(&stage);
            drop(permit);
            drop(held);
            end();
        };
        let sleep = |stage: &Stage| {
            stage.go.wait().unwrap();
            drop(stage.reentrant.lock().unwrap());
            drop(stage.semaphore.acquire().unwrap());
            drop(stage.shelf.read().or_else(LockError::into_guard).unwrap());
        };
        play(
            victim,
            sleep,
            |_| (),
            |stage, ()| {
                assert_eq!((stage.semaphore.available(), stage.shelf.has_writer()), (1, false));
            },
        );
    });
}

#[test]
fn a_condition_an_event_and_a_function_have_no_sleeper_hang_whoever_is_killed() {
    alone(|| {
        let victim = |stage: Stage| {
            begin(&stage);
            stage.lock.lock().unwrap()[0] = 1;
            stage.changed.notify_one().unwrap();
            stage.once.call(|_| stage.wide.set([1; 3]).unwrap()).unwrap();
            stage.event.set().unwrap();
            end();
        };
        let sleep = |stage: &Stage| {
            let guard = stage.lock.lock().or_else(LockError::into_guard).unwrap();
            let unset = |seen: &mut [u64; 2]| seen[0] == 0;
            drop(stage.changed.wait_while(guard, unset).or_else(LockError::into_guard).unwrap());
            stage.once.call(|_| stage.wide.set([2; 3]).unwrap()).unwrap();
            stage.event.wait().unwrap();
        };
        let remedy = |stage: &Stage| {
            let mut guard = stage.lock.lock().or_else(LockError::into_guard).unwrap();
            if guard[0] == 0 {
                guard[0] = 1;
                stage.changed.notify_one().unwrap();
            }
            if !stage.event.is_set() {
                stage.event.set().unwrap();
            }
        };
        play(victim, sleep, remedy, |stage, ()| {
            let [a, b, c] = stage.wide.get().unwrap();
            assert!(stage.once.is_done() && a == b && b == c && a != 0);
        });
    });
}

#[test]
fn a_barrier_breaks_or_passes_whenever_a_member_is_killed() {
    alone(|| {
        let victim = |stage: Stage| {
            let mut member = stage.barrier.join().unwrap();
            begin(&stage);
            member.wait().unwrap();
            end();
        };
        let sleep = |stage: &Stage| stage.barrier.wait_timeout(Duration::from_secs(25));
        play(
            victim,
            sleep,
            |_| (),
            |stage, outcome| {
                let is_told = matches!(outcome, Err(brigade::Error::Broken { .. }));
                assert!(is_told || outcome.is_ok(), "{outcome:?}");
                assert!(stage.barrier.is_broken());
                stage.barrier.reset().unwrap();
                assert!(!stage.barrier.is_broken());
            },
        );
    });
}

#[test]
fn a_value_and_a_list_are_whole_and_free_whenever_their_writer_is_killed() {
    alone(|| {
        let victim = |stage: Stage| {
            stage.list.extend(&[1, 2]).unwrap();
            begin(&stage);
            stage.wide.update(|[a, ..]| [a + 1; 3]).unwrap();
            stage.list.insert(1, &3).unwrap();
            stage.list.set(0, &4).unwrap();
            stage.list.remove(2).unwrap();
            end();
        };
        let sleep = |stage: &Stage| {
            stage.go.wait().unwrap();
            (stage.wide.get().unwrap(), stage.list.to_vec().unwrap())
        };
        let check = |stage: &Stage, (wide, list): ([u64; 3], Vec<u64>)| {
            let states: [&[u64]; 4] = [&[1, 2], &[1, 3, 2], &[4, 3, 2], &[4, 3]];
            for list in [list, stage.list.to_vec().unwrap()] {
                assert!(states.contains(&&list[..]), "{list:?}");
            }
            for [a, b, c] in [wide, stage.wide.get().unwrap()] {
                assert!(a == b && b == c && a <= 1);
            }
        };
        play(victim, sleep, |_| (), check);
    });
}
