//! Models of the reentrant lock and of `Once`.

use super::{ModelMemory, Primitives, check, check_deaths, spawn, spawn_victim};
use crate::atomics::Ordering;
use crate::sync::event::Reset;
use crate::sync::owner::Owner;
use crate::sync::timeout::Timeout;

fn twice(shared: &Primitives, owner: &Owner) -> bool {
    let lock = shared.reentrant(owner);
    let outer = lock.lock(Timeout::Never).unwrap();
    let _inner = lock.lock(Timeout::Never).unwrap();
    shared.critical_section();
    outer.recovered()
}

#[test]
fn loom_threads_of_one_owner_exclude_each_other_at_any_depth() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let theirs = owner.clone();
        let other = spawn(&shared, move |shared| twice(shared, &theirs));
        twice(&shared, &owner);
        other.join().unwrap();
        assert!(!shared.reentrant(&owner).is_locked());
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_reentrant_lock_frees_it_and_is_reported_once() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            twice(shared, &theirs);
        });
        let mine = heir.clone();
        let waiter = spawn(&shared, move |shared| twice(shared, &mine));
        let died = victim.join().unwrap();
        let held = shared.sweep(&doomed);
        let saw_death = [waiter.join().unwrap(), twice(&shared, &heir)];
        assert_eq!(saw_death.into_iter().filter(|&saw_death| saw_death).count(), held);
        died
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_function_that_runs_once_has_it_run_again() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            shared.once(&theirs).call(|_| shared.value.store(7, Ordering::Relaxed));
        });
        let mine = heir.clone();
        let other = spawn(&shared, move |shared| {
            let once = shared.once(&mine);
            once.call(|_| shared.value.store(7, Ordering::Relaxed));
            assert!(once.is_done());
            assert_eq!(shared.value.load(Ordering::Relaxed), 7);
        });
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
        other.join().unwrap();
        died
    });
}
