//! Models of two sweeps of one owner.
#![allow(unsafe_code)]

use super::{ModelMemory, check_preempted, spawn};
use crate::sync::event::Reset;
use crate::sync::lock_word::Token;
use crate::sync::owner::OwnerTable;

#[test]
fn loom_two_sweepers_of_a_dead_owner_free_its_lock_once_and_wake_its_waiter() {
    // SAFETY: the models sweep an owner that is used no more.
    check_preempted(2, || two_sweepers(|table, dead| unsafe { table.sweep(dead) }));
}

// The negative control: a lock that is free again does not wake who sleeps on it.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_a_sweep_without_wake_ups_leaves_a_waiter_asleep() {
    // SAFETY: as above.
    check_preempted(2, || two_sweepers(|table, dead| unsafe { table.mark_dead(dead) }));
}

/// An owner dies with a lock for which another waits, and two threads sweep it.
fn two_sweepers(sweep: fn(&OwnerTable, Token) -> usize) {
    let shared = ModelMemory::new(Reset::Manual);
    let (doomed, heir) = (shared.owner(), shared.owner());
    std::mem::forget(shared.lock(&doomed).lock());
    // A model that ends in a deadlock must not run the destructors of its owners.
    std::mem::forget([doomed.clone(), heir.clone()]);
    let lock = shared.lock(&heir);
    let waiter = spawn(&shared, move |_| lock.lock().recovered());
    let dead = doomed.token();
    let other = spawn(&shared, move |shared| sweep(&shared.table(), dead));
    let held = sweep(&shared.table(), dead) + other.join().unwrap();
    assert_eq!(held, 1, "one of the sweeps takes the lock");
    assert!(waiter.join().unwrap(), "the waiter learns of the death");
}

#[test]
fn loom_a_sweep_that_comes_late_leaves_the_next_claim_of_the_entry() {
    check_preempted(3, || {
        let shared = ModelMemory::with_table(1, 1, ());
        let doomed = shared.owner();
        let dead = doomed.token();
        let late = spawn(&shared, move |shared| {
            // SAFETY: the owner is used no more.
            unsafe { shared.table().sweep(dead) }
        });
        shared.sweep(&doomed);
        let next = shared.owner();
        late.join().unwrap();
        assert_eq!(shared.owners[0].claimant(), Some((0, next.token())));
    });
}
