//! The behaviour that users of other languages' primitives expect.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use brigade::Error;
use brigade::shared::{Barrier, Condvar, Event, Lock, LockError, ReentrantLock, Semaphore, Value};

use crate::common::alone::alone;
use crate::common::tasks::with;
use crate::common::time::wait_for;

const LONG: Duration = Duration::from_secs(25);
const SHORT: Duration = Duration::from_millis(5);

fn hold((lock, held, go): (Lock<u32>, Event, Event)) {
    let mut guard = lock.lock().unwrap();
    held.set().unwrap();
    go.wait().unwrap();
    *guard += 1;
}

#[test]
fn a_lock_that_another_process_holds_refuses_a_try_and_is_locked() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = Lock::new(6).unwrap();
        let (held, go) = (Event::new().unwrap(), Event::new().unwrap());
        let arguments = (lock.clone(), held.clone(), go.clone());
        let holder = pool.submit(hold, arguments).unwrap();
        held.wait().unwrap();
        assert!(lock.is_locked() && lock.try_lock().unwrap().is_none());
        let refused = lock.lock_timeout(SHORT).unwrap_err();
        assert!(matches!(refused, LockError::Failed(Error::TimedOut { .. })), "{refused}");
        go.set().unwrap();
        assert_eq!(*lock.lock_timeout(LONG).unwrap(), 7);
        assert!(!lock.is_locked());
        holder.join().unwrap();
    });
}

#[test]
fn a_recursive_lock_is_freed_after_n_releases_only_and_a_non_owner_cannot_release_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = ReentrantLock::new().unwrap();
        let task = |lock: ReentrantLock| {
            let released = lock.release().map_err(|error| error.to_string());
            (released, lock.try_lock().is_ok_and(|guard| guard.is_some()))
        };
        let elsewhere = || pool.submit(task, lock.clone()).unwrap().join().unwrap();
        (0..3).for_each(|_| std::mem::forget(lock.lock().unwrap()));
        for depth in [3, 2, 1] {
            assert_eq!(lock.depth(), depth);
            let (released, taken) = elsewhere();
            assert!(released.unwrap_err().contains("held by another") && !taken);
            lock.release().unwrap();
        }
        assert!(lock.release().unwrap_err().to_string().contains("free"));
        let (released, taken) = elsewhere();
        assert!(released.is_err() && taken);
    });
}

#[test]
fn the_third_try_of_a_semaphore_of_two_fails_and_a_release_past_the_max_is_an_error() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let semaphore = Semaphore::bounded(2).unwrap();
        let held = [semaphore.acquire().unwrap(), semaphore.acquire().unwrap()];
        let elsewhere = |semaphore: Semaphore| {
            (semaphore.try_acquire().unwrap().is_some(), semaphore.release().is_err())
        };
        let ask = || pool.submit(elsewhere, semaphore.clone()).unwrap().join().unwrap();
        assert_eq!(ask(), (false, true));
        assert!(matches!(semaphore.acquire_timeout(SHORT), Err(Error::TimedOut { .. })));
        drop(held);
        assert_eq!(ask(), (true, true));
        assert_eq!(semaphore.available(), 2);
    });
}

fn produce((ready, n): (Semaphore, u32)) {
    (0..n).for_each(|_| ready.release().unwrap());
}

#[test]
fn a_semaphore_counts_what_other_processes_release() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let ready = Semaphore::new(0).unwrap();
        let tasks = [300, 200].map(|n| pool.submit(produce, (ready.clone(), n)).unwrap());
        (0..500).for_each(|_| ready.acquire_timeout(LONG).unwrap().forget());
        assert_eq!(ready.available(), 0);
        tasks.into_iter().for_each(|task| task.join().unwrap());
        let full = Semaphore::with_max(1, 2).unwrap();
        full.release().unwrap();
        assert!(matches!(full.release(), Err(Error::InvalidArgument { .. })));
    });
}

/// Sleeps until it is notified, and counts that.
fn sleep((lock, changed, woken): (Lock<u32>, Condvar, Value<u32>)) {
    drop(changed.wait(lock.lock().unwrap()).unwrap());
    woken.fetch_add(1).unwrap();
}

#[test]
fn a_notification_of_1_n_or_all_wakes_exactly_that_many_sleepers() {
    alone(|| {
        let pool = with(3).build().unwrap();
        let (lock, changed) = (Lock::new(0).unwrap(), Condvar::new().unwrap());
        let woken = Value::new(0).unwrap();
        let arguments = || (lock.clone(), changed.clone(), woken.clone());
        assert_eq!(changed.notify(5).unwrap(), 0, "it is not kept");
        std::thread::scope(|scope| {
            let tasks = [(); 3].map(|()| pool.submit(sleep, arguments()).unwrap());
            let threads = [(); 3].map(|()| scope.spawn(|| sleep(arguments())));
            let is_so = |waiters, awake| {
                wait_for(|| changed.waiters() == waiters && woken.get().unwrap() == awake);
            };
            is_so(6, 0);
            changed.notify_one().unwrap();
            is_so(5, 1);
            assert_eq!(changed.notify(3).unwrap(), 3);
            is_so(2, 4);
            // With the lock held, as Python requires.
            let guard = lock.lock().unwrap();
            changed.notify_all().unwrap();
            drop(guard);
            is_so(0, 6);
            tasks.into_iter().for_each(|task| task.join().unwrap());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    });
}

#[test]
fn timeouts_leave_the_counts_of_a_condition_clean() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (lock, changed) = (Lock::new(0).unwrap(), Condvar::new().unwrap());
        let wait = |(lock, changed): (Lock<u32>, Condvar)| {
            let (_guard, in_time) = changed.wait_timeout(lock.lock().unwrap(), SHORT).unwrap();
            in_time
        };
        for notify in [false, true] {
            let tasks = [(); 2].map(|()| pool.submit(wait, (lock.clone(), changed.clone())));
            let tasks = tasks.map(|task| task.unwrap());
            let notified = if notify { changed.notify(1).unwrap() } else { 0 };
            let in_time = tasks.map(|task| usize::from(task.join().unwrap()));
            assert_eq!(in_time.iter().sum::<usize>(), notified);
            assert_eq!((changed.waiters(), changed.notify(9).unwrap()), (0, 0));
        }
    });
}

#[test]
fn wait_for_is_true_only_if_its_predicate_held_and_false_after_its_time() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (lock, changed) = (Lock::new(0).unwrap(), Condvar::new().unwrap());
        let start = Instant::now();
        let (guard, held) = changed.wait_for(lock.lock().unwrap(), SHORT, |n| *n > 9).unwrap();
        assert!(!held && start.elapsed() >= SHORT);
        let count = |(lock, changed): (Lock<u32>, Condvar)| {
            for _ in 0..20 {
                *lock.lock().unwrap() += 1;
                changed.notify_one().unwrap();
            }
        };
        let task = pool.submit(count, (lock.clone(), changed.clone())).unwrap();
        let (guard, held) = changed.wait_for(guard, LONG, |n| *n > 9).unwrap();
        assert!(held && *guard > 9);
        drop(guard);
        task.join().unwrap();
    });
}

#[test]
fn an_event_set_before_or_after_the_wait_releases_it_and_a_cleared_one_does_not() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let event = Event::new().unwrap();
        event.set().unwrap();
        let wait = |(event, timeout): (Event, Duration)| event.wait_timeout(timeout).is_ok();
        let elsewhere = |timeout| pool.submit(wait, (event.clone(), timeout)).unwrap();
        assert!(elsewhere(Duration::ZERO).join().unwrap(), "set before");
        assert!(event.reset().unwrap() && !event.is_set());
        let waiting = elsewhere(LONG);
        event.set().unwrap();
        assert!(waiting.join().unwrap(), "set after");
        event.reset().unwrap();
        assert!(!elsewhere(SHORT).join().unwrap(), "cleared");
        let auto = Event::auto_reset().unwrap();
        auto.set().unwrap();
        assert!(auto.try_wait().unwrap() && !auto.try_wait().unwrap());
    });
}

const PARTIES: u32 = 5;
const ROUNDS: u32 = 1000;

/// Goes through all rounds, sees no member a round behind, and counts how often it was the leader.
fn walk((barrier, arrivals): (Barrier, Value<u32>)) -> u32 {
    let mut leader = 0;
    let mut member = barrier.join().unwrap();
    for round in 1..=ROUNDS {
        arrivals.fetch_add(1).unwrap();
        leader += u32::from(member.wait().unwrap());
        assert!(arrivals.get().unwrap() >= PARTIES * round);
    }
    leader
}

#[test]
fn a_barrier_of_5_goes_1000_rounds_in_lock_step_with_one_leader_each() {
    alone(|| {
        let pool = with(3).build().unwrap();
        let (barrier, arrivals) = (Barrier::new(PARTIES).unwrap(), Value::new(0).unwrap());
        let arguments = || (barrier.clone(), arrivals.clone());
        let led = std::thread::scope(|scope| {
            let tasks = [(); 3].map(|()| pool.submit(walk, arguments()).unwrap());
            let threads = [(); 2].map(|()| scope.spawn(|| walk(arguments())));
            let led = tasks.map(|task| task.join().unwrap()).into_iter();
            led.chain(threads.map(|thread| thread.join().unwrap())).sum::<u32>()
        });
        assert_eq!((led, arrivals.get().unwrap()), (ROUNDS, PARTIES * ROUNDS));
    });
}

#[test]
fn abort_reset_and_timeout_break_a_barrier_for_all_waiters_until_it_is_reset() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let barrier = Barrier::new(4).unwrap();
        let wait = |barrier: Barrier| match barrier.wait() {
            Ok(_) => "passed".to_owned(),
            Err(Error::Broken { .. }) => "broken".to_owned(),
            Err(error) => error.to_string(),
        };
        let break_it: [fn(&Barrier); 3] = [
            |barrier| barrier.abort().unwrap(),
            |barrier| barrier.reset().unwrap(),
            |barrier| {
                let outcome = barrier.wait_timeout(SHORT);
                assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
            },
        ];
        for break_it in break_it {
            let waiters = [(); 2].map(|()| pool.submit(wait, barrier.clone()).unwrap());
            wait_for(|| barrier.waiting() == 2);
            break_it(&barrier);
            waiters.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), "broken"));
            barrier.reset().unwrap();
            assert!(!barrier.is_broken());
        }
        let waiters = [(); 2].map(|()| pool.submit(wait, barrier.clone()).unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| barrier.wait().unwrap());
            barrier.wait().unwrap();
        });
        waiters.into_iter().for_each(|task| assert_eq!(task.join().unwrap(), "passed"));
    });
}

#[test]
fn timeouts_of_nothing_and_of_more_than_the_clock_can_say_are_kept() {
    alone(|| {
        let ages = [Duration::MAX, Duration::from_secs(i64::MAX.unsigned_abs()), Duration::MAX / 2];
        let lock = Lock::new(0).unwrap();
        let (event, semaphore) = (Event::new().unwrap(), Semaphore::new(0).unwrap());
        let changed = Condvar::new().unwrap();
        let guard = lock.lock().unwrap();
        assert!(lock.lock_timeout(Duration::ZERO).is_err());
        assert!(event.wait_timeout(Duration::ZERO).is_err());
        assert!(semaphore.acquire_timeout(Duration::ZERO).is_err());
        let (guard, held) = changed.wait_for(guard, Duration::ZERO, |_| false).unwrap();
        assert!(!held);
        drop(guard);
        let done = AtomicU32::new(0);
        for age in ages {
            std::thread::scope(|scope| {
                let guard = lock.lock().unwrap();
                scope.spawn(|| drop(lock.lock_timeout(age).unwrap()));
                scope.spawn(|| event.wait_timeout(age).unwrap());
                scope.spawn(|| semaphore.acquire_timeout(age).unwrap().forget());
                scope.spawn(|| {
                    let is_done = |_: &mut u32| done.load(Ordering::Relaxed) != 0;
                    let (_guard, held) =
                        changed.wait_for(lock.lock().unwrap(), age, is_done).unwrap();
                    assert!(held);
                });
                drop(guard);
                wait_for(|| changed.waiters() == 1);
                event.set().unwrap();
                semaphore.release().unwrap();
                done.store(1, Ordering::Relaxed);
                changed.notify_all().unwrap();
            });
            event.reset().unwrap();
            done.store(0, Ordering::Relaxed);
        }
    });
}
