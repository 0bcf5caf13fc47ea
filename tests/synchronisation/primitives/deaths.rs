//! Primitives after a process that uses them was killed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::shared::{
    Barrier, Condvar, Event, Lock, LockError, Once, ReentrantLock, RwLock, Semaphore, SharedList,
    Value,
};
use brigade::{Error, Handle, Process};
use nix::sys::signal::Signal;

use crate::common::alone::{alone, progress, workers};
use crate::common::processes::send;
use crate::common::tasks::{death, forever, raise, with};
use crate::common::time::wait_for;

const LONG: Duration = Duration::from_secs(25);

/// Every death here is by SIGKILL.
fn killed(task: Handle<()>) {
    assert_eq!(death(task).reason, brigade::ExitReason::Signal(9));
}

fn die_with_lock(lock: Lock<[u64; 2]>) {
    let mut guard = lock.lock().unwrap();
    guard[0] += 1;
    raise(Signal::SIGKILL);
    guard[1] += 1;
}

#[test]
fn a_lock_of_a_dead_holder_reports_it_until_it_is_repaired() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = Lock::new([0, 0]).unwrap();
        killed(pool.submit(die_with_lock, lock.clone()).unwrap());
        // Dropped, as by `?`: the next holder gets the same error, in any process.
        let error = Error::from(lock.lock().unwrap_err());
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        let look = |lock: Lock<[u64; 2]>| matches!(lock.lock(), Err(LockError::OwnerDied(_)));
        assert!(pool.submit(look, lock.clone()).unwrap().join().unwrap());
        let Err(LockError::OwnerDied(mut torn)) = lock.lock() else { panic!("not told") };
        assert_eq!(**torn, [1, 0]);
        torn[1] = 1;
        drop(torn.into_guard());
        assert_eq!(*lock.lock().unwrap(), [1, 1]);
    });
}

#[test]
fn a_lock_whose_holder_panics_reports_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = Lock::new([0, 0]).unwrap();
        let panics = |lock: Lock<[u64; 2]>| {
            let mut guard = lock.lock().unwrap();
            guard[0] += 1;
            assert_eq!(guard[0], guard[1], "half-way");
        };
        assert!(pool.submit(panics, lock.clone()).unwrap().join().is_err());
        let guard = lock.lock().or_else(LockError::into_guard).unwrap();
        assert_eq!(*guard, [1, 0]);
        drop(guard);
        assert!(lock.lock().is_ok());
    });
}

#[test]
fn a_waiter_gets_the_lock_of_a_holder_that_is_killed_while_it_waits() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (lock, held) = (Lock::new([0; 2]).unwrap(), Event::new().unwrap());
        let hold = |(lock, held): (Lock<[u64; 2]>, Event)| {
            let _guard = lock.lock().unwrap();
            held.set().unwrap();
            forever();
        };
        let holder = pool.submit(hold, (lock.clone(), held.clone())).unwrap();
        held.wait().unwrap();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| matches!(lock.lock(), Err(LockError::OwnerDied(_))));
            send(workers()[0].pid, Signal::SIGKILL);
            assert!(waiter.join().unwrap());
        });
        killed(holder);
    });
}

#[test]
fn a_read_write_lock_reports_a_dead_writer_and_no_dead_reader() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = RwLock::new(0u64).unwrap();
        let die_reading = |lock: RwLock<u64>| {
            let _guard = lock.read().unwrap();
            raise(Signal::SIGKILL);
        };
        killed(pool.submit(die_reading, lock.clone()).unwrap());
        *lock.write_timeout(LONG).unwrap() = 1;
        let die_writing = |lock: RwLock<u64>| {
            let mut guard = lock.write().unwrap();
            *guard = 2;
            raise(Signal::SIGKILL);
        };
        killed(pool.submit(die_writing, lock.clone()).unwrap());
        for _ in 0..2 {
            assert!(matches!(lock.read(), Err(LockError::OwnerDied(torn)) if **torn == 2));
        }
        // Dropped by a holder that could not repair it: all others get the same error.
        assert!(matches!(lock.write(), Err(LockError::OwnerDied(_))));
        assert!(matches!(lock.read(), Err(LockError::OwnerDied(_))));
        *lock.write().or_else(LockError::into_guard).unwrap() = 3;
        assert_eq!(*lock.read().unwrap(), 3);
        assert_eq!(lock.readers(), 0);
    });
}

#[test]
fn a_reentrant_lock_and_permits_of_a_dead_holder_come_free_and_say_so() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (lock, semaphore) = (ReentrantLock::new().unwrap(), Semaphore::bounded(2).unwrap());
        let die = |(lock, semaphore): (ReentrantLock, Semaphore)| {
            let _locked = (lock.lock().unwrap(), lock.lock().unwrap());
            let _permits = (semaphore.acquire().unwrap(), semaphore.acquire().unwrap());
            raise(Signal::SIGKILL);
        };
        killed(pool.submit(die, (lock.clone(), semaphore.clone())).unwrap());
        assert!(lock.lock_timeout(LONG).unwrap().recovered());
        assert!(!lock.lock().unwrap().recovered());
        let permits = [semaphore.acquire().unwrap(), semaphore.acquire_timeout(LONG).unwrap()];
        assert!(permits.iter().all(|permit| permit.recovered()));
        drop(permits);
        assert!(!semaphore.acquire().unwrap().recovered());
    });
}

fn wait_for_ever((lock, changed): (Lock<u32>, Condvar)) {
    let _guard = changed.wait_while(lock.lock().unwrap(), |n| *n == 0);
}

#[test]
fn a_sleeper_killed_in_a_condition_hangs_no_other_and_takes_no_notification() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (lock, changed) = (Lock::new(0).unwrap(), Condvar::new().unwrap());
        for _ in 0..5 {
            *lock.lock().unwrap() = 0;
            let tasks = [(); 2]
                .map(|()| pool.submit(wait_for_ever, (lock.clone(), changed.clone())).unwrap());
            wait_for(|| changed.waiters() == 2);
            send(workers()[0].pid, Signal::SIGKILL);
            *lock.lock().unwrap() = 1;
            // Either of the two gets this.
            changed.notify_one().unwrap();
            let dead = tasks.into_iter().filter_map(|task| task.join().err()).count();
            assert_eq!(dead, 1);
            assert_eq!(changed.waiters(), 0);
            wait_for(|| workers().len() == 2);
        }
    });
}

#[test]
fn a_change_whose_writer_is_killed_before_it_notifies_is_seen() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (lock, changed) = (Lock::new(0).unwrap(), Condvar::new().unwrap());
        let change = |(lock, _changed): (Lock<u32>, Condvar)| {
            *lock.lock().unwrap() = 1;
            raise(Signal::SIGKILL);
        };
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_for_ever((lock.clone(), changed.clone())));
            wait_for(|| changed.waiters() == 1);
            killed(pool.submit(change, (lock.clone(), changed.clone())).unwrap());
            waiter.join().unwrap();
        });
    });
}

#[test]
fn a_sleeper_killed_in_a_barrier_and_a_member_killed_before_it_break_it_for_all() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let wait: fn(Barrier) = |barrier| drop(barrier.wait());
        let die: fn(Barrier) = |barrier| {
            let _member = barrier.join().unwrap();
            raise(Signal::SIGKILL);
        };
        for is_asleep in [true, false] {
            let barrier = Barrier::new(3).unwrap();
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| barrier.join().unwrap().wait());
                let task = if is_asleep {
                    pool.submit_fn(wait, barrier.clone())
                } else {
                    pool.submit_fn(die, barrier.clone())
                };
                if is_asleep {
                    wait_for(|| barrier.waiting() == 2);
                    send(workers()[0].pid, Signal::SIGKILL);
                }
                killed(task.unwrap());
                assert!(matches!(waiter.join().unwrap(), Err(Error::Broken { .. })));
            });
            assert!(matches!(barrier.wait(), Err(Error::Broken { .. })));
            barrier.reset().unwrap();
            std::thread::scope(|scope| {
                let others = [(); 2].map(|()| scope.spawn(|| barrier.wait().unwrap()));
                let leaders = usize::from(barrier.wait().unwrap());
                let leaders = others
                    .into_iter()
                    .fold(leaders, |leaders, other| leaders + usize::from(other.join().unwrap()));
                assert_eq!(leaders, 1);
            });
            wait_for(|| workers().len() == 1);
        }
    });
}

#[test]
fn a_function_whose_process_dies_in_it_is_run_by_a_waiter() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (once, begun) = (Once::new().unwrap(), Event::new().unwrap());
        let die = |(once, begun): (Once, Event)| {
            once.call(|_| {
                begun.set().unwrap();
                forever();
            })
            .unwrap();
        };
        let task = pool.submit(die, (once.clone(), begun.clone())).unwrap();
        begun.wait().unwrap();
        let was_told = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| once.call(|told| was_told.store(told, Ordering::Relaxed)).unwrap());
            send(workers()[0].pid, Signal::SIGKILL);
        });
        assert!(was_told.load(Ordering::Relaxed) && once.is_done());
        killed(task);
    });
}

/// Changes both for ever: the three words of the value, and the items of the list, stay equal.
fn change_for_ever((value, list, begun): (Value<[u64; 3]>, SharedList<u64>, Event)) {
    for n in 1.. {
        value.update(|[old, ..]| [old + n; 3]).unwrap();
        list.extend(&[n, n]).unwrap();
        list.insert(1, &n).unwrap();
        list.set(0, &n).unwrap();
        list.remove(2).unwrap();
        list.pop().unwrap();
        list.clear().unwrap();
        begun.set().unwrap();
    }
}

#[test]
fn a_value_and_a_list_are_whole_whenever_their_writer_is_killed() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let value = Value::new([0; 3]).unwrap();
        let list = SharedList::new(8, 10).unwrap();
        for _ in 0..30 {
            progress();
            let begun = Event::new().unwrap();
            let arguments = (value.clone(), list.clone(), begun.clone());
            let task = pool.submit(change_for_ever, arguments).unwrap();
            begun.wait().unwrap();
            send(workers()[0].pid, Signal::SIGKILL);
            assert!(task.join().unwrap_err().death().is_some());
            let [a, b, c] = value.get().unwrap();
            assert!(a == b && b == c, "{a} {b} {c}");
            let items = list.to_vec().unwrap();
            // Between two calls the list may have an old item next to new ones.
            assert!(items.len() <= 3 && items.windows(2).all(|two| two[0] == two[1]), "{items:?}");
            list.clear().unwrap();
            wait_for(|| workers().len() == 1);
        }
    });
}

#[test]
fn one_off_processes_use_handles_and_die_with_them_as_workers_do() {
    alone(|| {
        let lock = Lock::new([0, 0]).unwrap();
        let add = |lock: Lock<[u64; 2]>| {
            (0..500).for_each(|_| lock.lock().unwrap()[0] += 1);
        };
        let both = [(); 2].map(|()| Process::spawn(add, lock.clone()).unwrap());
        both.into_iter().for_each(|process| process.join().unwrap());
        assert_eq!(*lock.lock().unwrap(), [1000, 0]);
        let dies = Process::spawn(die_with_lock, lock.clone()).unwrap();
        assert_eq!(dies.wait().unwrap(), brigade::ExitReason::Signal(9));
        assert!(matches!(lock.lock(), Err(LockError::OwnerDied(torn)) if **torn == [1001, 0]));
    });
}
