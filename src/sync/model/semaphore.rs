//! Models of the semaphore.

use super::{ModelMemory, check, check_deaths, spawn, spawn_victim};
use crate::sync::event::Reset;
use crate::sync::lock_word::OWNER_DIED;
use crate::sync::timeout::Timeout;

#[test]
fn loom_two_permits_serve_three_holders() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let theirs = owner.clone();
        let other = spawn(&shared, move |shared| {
            drop(shared.semaphore(&theirs).acquire(Timeout::Never).unwrap());
        });
        let semaphore = shared.semaphore(&owner);
        let both = (
            semaphore.acquire(Timeout::Never).unwrap(),
            semaphore.acquire(Timeout::Never).unwrap(),
        );
        drop(both);
        other.join().unwrap();
        assert_eq!(semaphore.available(), 2);
    });
}

#[test]
fn loom_a_released_permit_reaches_a_waiter() {
    check(|| {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let semaphore = shared.semaphore(&owner);
        semaphore.acquire(Timeout::Never).unwrap().forget();
        semaphore.acquire(Timeout::Never).unwrap().forget();
        let theirs = owner.clone();
        let other = spawn(&shared, move |shared| {
            shared.semaphore(&theirs).acquire(Timeout::Never).unwrap().forget()
        });
        semaphore.release().unwrap();
        other.join().unwrap();
        assert_eq!(semaphore.available(), 0);
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_holder_gives_its_permit_back() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        // One of the two permits is never released.
        std::mem::forget(shared.semaphore(&heir).acquire(Timeout::Never).unwrap());
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            drop(shared.semaphore(&theirs).acquire(Timeout::Never).unwrap());
        });
        let mine = heir.clone();
        let waiter = spawn(&shared, move |shared| {
            shared.semaphore(&mine).acquire(Timeout::Never).unwrap().recovered()
        });
        let died = victim.join().unwrap();
        let held = shared.sweep(&doomed);
        let saw_death = waiter.join().unwrap();
        assert!(held == 1 || !saw_death);
        let left = shared.table_slots[1].peek() == OWNER_DIED;
        assert_eq!(usize::from(saw_death) + usize::from(left), held);
        assert_eq!(shared.semaphore(&heir).available(), 1);
        died
    });
}
