//! Tests of the lock.

use super::*;
use crate::sync::test_memory::TestMemory;

#[test]
fn a_free_lock_is_taken_and_released() {
    let memory = TestMemory::new();
    let lock = memory.lock(&memory.owner());
    assert!(!lock.lock().recovered());
    assert!(lock.try_lock().is_some());
    assert_eq!(memory.word(), 0);
}

#[test]
fn a_held_lock_is_refused_and_times_out() {
    let memory = TestMemory::new();
    let (holder, other) = (memory.lock(&memory.owner()), memory.lock(&memory.owner()));
    let guard = holder.lock();
    assert!(other.try_lock().is_none());
    let refused = other.lock_timeout(Duration::from_millis(1));
    assert!(matches!(refused, Err(Error::TimedOut { what: "the lock", .. })));
    drop(guard);
    assert_eq!(memory.word(), 0, "the WAITERS of the waiter that gave up is gone");
    assert!(!other.try_lock().unwrap().recovered());
    assert!(other.lock_timeout(Duration::MAX).is_ok());
}

#[test]
fn threads_exclude_each_other() {
    const ROUNDS: u64 = 20_000;
    let memory = TestMemory::new();
    let owner = memory.owner();
    let count = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let lock = memory.lock(&owner);
            let count = &count;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let _guard = lock.lock();
                    // Not a fetch_add: with two holders, counts would be lost.
                    count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(u64::from(count.load(Ordering::Relaxed)), 4 * ROUNDS);
}

#[test]
fn a_lock_whose_owner_is_gone_without_a_sweep_is_recovered_by_its_waiter() {
    let memory = TestMemory::new();
    let dead = memory.dead_owner();
    std::mem::forget(memory.lock(&dead).lock());
    let guard = memory.lock(&memory.owner()).lock_timeout(Duration::from_secs(60)).map(drop);
    assert!(guard.is_ok(), "the waiter swept after its first slice");
}

#[test]
fn an_unknown_token_is_treated_as_a_dead_owner() {
    let memory = TestMemory::new();
    memory.overwrite(12345);
    let lock = memory.lock(&memory.owner());
    assert!(lock.lock_timeout(Duration::from_secs(60)).unwrap().recovered());
}

#[test]
fn unlocking_an_overwritten_word_leaves_it_alone() {
    let memory = TestMemory::new();
    let lock = memory.lock(&memory.owner());
    let guard = lock.lock();
    memory.overwrite(12345);
    drop(guard);
    assert_eq!(memory.word(), 12345);
}

#[test]
fn a_poisoned_lock_wakes_the_next_locker_and_is_recovered() {
    let memory = TestMemory::new();
    let (one, other) = (memory.lock(&memory.owner()), memory.lock(&memory.owner()));
    std::thread::scope(|scope| {
        let guard = one.lock();
        let next = scope.spawn(|| other.lock().recovered());
        while memory.word() & WAITERS == 0 {
            std::thread::yield_now();
        }
        assert!(one.is_locked());
        guard.poison();
        assert!(next.join().unwrap());
    });
    assert!(!one.is_locked());
    assert!(!one.lock().recovered());
}

#[test]
fn recovery_is_reported_once() {
    let memory = TestMemory::new();
    let (dead, owner) = (memory.owner(), memory.owner());
    std::mem::forget(memory.lock(&dead).lock());
    // SAFETY: the forgotten guard is never used again.
    assert_eq!(unsafe { memory.table().sweep(dead.token()) }, 1);
    let lock = memory.lock(&owner);
    assert!(lock.try_lock().unwrap().recovered());
    assert!(!lock.try_lock().unwrap().recovered());
}
