//! Models of the read-write lock.

use super::{ModelMemory, Primitives, check_deaths, check_preempted, spawn, spawn_victim};
use crate::sync::event::Reset;
use crate::sync::owner::Owner;
use crate::sync::timeout::Timeout;

fn write(shared: &Primitives, owner: &Owner) -> bool {
    let lock = shared.rwlock(owner);
    let guard = lock.write(Timeout::Never).unwrap();
    shared.critical_section();
    guard.recovered()
}

/// Loom fails if a writer is in the critical section at the same time.
fn read(shared: &Primitives, owner: &Owner) -> bool {
    let lock = shared.rwlock(owner);
    let guard = lock.read(Timeout::Never).unwrap();
    shared.look();
    guard.recovered()
}

#[test]
fn loom_a_writer_excludes_readers_and_both_get_in() {
    check_preempted(2, || {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let (theirs, others) = (owner.clone(), owner.clone());
        let reader = spawn(&shared, move |shared| read(shared, &theirs));
        let writer = spawn(&shared, move |shared| write(shared, &others));
        assert!(!write(&shared, &owner));
        assert!(!reader.join().unwrap() && !writer.join().unwrap());
    });
}

#[test]
fn loom_a_writer_that_times_out_lets_readers_in_again() {
    check_preempted(2, || {
        let shared = ModelMemory::new(Reset::Manual);
        let owner = shared.owner();
        let lock = shared.rwlock(&owner);
        let (theirs, others) = (owner.clone(), owner.clone());
        let guard = lock.read(Timeout::Never).unwrap();
        let writer = spawn(&shared, move |shared| {
            drop(shared.rwlock(&theirs).write(Timeout::Sleeps(1)));
        });
        drop(guard);
        let reader = spawn(&shared, move |shared| read(shared, &others));
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_writer_lets_readers_in_and_is_reported() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            write(shared, &theirs);
        });
        let mine = heir.clone();
        let reader = spawn(&shared, move |shared| read(shared, &mine));
        let died = victim.join().unwrap();
        let held = shared.sweep(&doomed) == 1;
        let saw_death = reader.join().unwrap();
        assert!(held || !saw_death);
        assert_eq!(read(&shared, &heir), held);
        assert_eq!(write(&shared, &heir), held);
        assert!(!read(&shared, &heir));
        died
    });
}

#[test]
fn loom_a_death_at_any_operation_of_a_reader_lets_the_writer_in() {
    check_deaths(|operations| {
        let shared = ModelMemory::new(Reset::Manual);
        let (doomed, heir) = (shared.owner(), shared.owner());
        let theirs = doomed.clone();
        let victim = spawn_victim(&shared, operations, move |shared| {
            read(shared, &theirs);
        });
        let mine = heir.clone();
        let writer = spawn(&shared, move |shared| write(shared, &mine));
        let died = victim.join().unwrap();
        shared.sweep(&doomed);
        assert!(!writer.join().unwrap());
        assert!(!read(&shared, &heir));
        died
    });
}
