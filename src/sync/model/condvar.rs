//! Models of the condition variable.

use super::{ModelMemory, check_deaths, check_preempted, spawn, spawn_victim};
use crate::atomics::Ordering;
use crate::sync::event::Reset;
use crate::sync::timeout::Timeout;

#[test]
fn loom_a_waiter_sees_the_condition_changed() {
    check_preempted(2, || {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let theirs = owner.clone();
        let waiter = spawn(&shared, move |shared| {
            let lock = shared.lock(&theirs);
            let is_unset = |_: &_| shared.value.load(Ordering::Relaxed) == 0;
            drop(shared.condvar(&theirs).wait_while(lock.lock(), is_unset));
        });
        let lock = shared.lock(&owner);
        let guard = lock.lock();
        shared.value.store(1, Ordering::Relaxed);
        drop(guard);
        shared.condvar(&owner).notify(1);
        waiter.join().unwrap();
        assert_eq!(shared.condvar(&owner).waiters(), 0);
    });
}

#[test]
fn loom_one_notification_wakes_one_waiter_and_a_timeout_consumes_none() {
    check_preempted(2, || {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let theirs = owner.clone();
        let impatient = spawn(&shared, move |shared| {
            let lock = shared.lock(&theirs);
            shared.condvar(&theirs).wait(lock.lock(), Timeout::Sleeps(1)).1
        });
        let (lock, condvar) = (shared.lock(&owner), shared.condvar(&owner));
        let guard = lock.lock();
        let notified = condvar.notify(1);
        drop(guard);
        assert_eq!(impatient.join().unwrap(), notified == 1);
        assert_eq!((condvar.waiters(), condvar.notify(1)), (0, 0));
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_notifier_leaves_no_waiter_asleep() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let mine = heir.clone();
        let waiter = spawn(&shared, move |shared| {
            let lock = shared.lock(&mine);
            let is_unset = |_: &_| shared.value.load(Ordering::Relaxed) == 0;
            drop(shared.condvar(&mine).wait_while(lock.lock(), is_unset));
        });
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            let lock = shared.lock(&theirs);
            let guard = lock.lock();
            shared.value.store(1, Ordering::Relaxed);
            drop(guard);
            shared.condvar(&theirs).notify(1);
        });
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
        if shared.value.load(Ordering::Relaxed) == 0 {
            let lock = shared.lock(&heir);
            let guard = lock.lock();
            shared.value.store(1, Ordering::Relaxed);
            drop(guard);
            shared.condvar(&heir).notify(1);
        }
        waiter.join().unwrap();
        died
    });
}
