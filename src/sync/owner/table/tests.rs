//! Tests of the owner table.
#![allow(unsafe_code)]

use super::*;
use crate::sync::lock_word::OWNER_DIED;
use crate::sync::test_memory::{OWNERS, TestMemory};
use crate::sync::{Owner, Watch};

#[test]
fn tokens_are_never_used_twice() {
    let memory = TestMemory::new();
    let first = memory.owner().token();
    assert_eq!(memory.owner().token().bits(), first.bits() + 1, "though its entry was freed");
}

#[test]
fn running_out_of_tokens_is_an_error() {
    let memory = TestMemory::new();
    memory.table().header().last_token.store(TOKEN - 1, Ordering::Relaxed);
    let last = Owner::claim(&memory.table(), Watch::Supervisor).unwrap();
    assert_eq!(last.token().bits(), TOKEN);
    for _ in 0..2 {
        let refused = Owner::claim(&memory.table(), Watch::Supervisor);
        assert!(matches!(refused, Err(Error::Broken { what: "the owner table", .. })));
    }
}

#[test]
fn a_full_table_is_an_error_and_a_dead_owner_makes_room() {
    let memory = TestMemory::new();
    let mut owners: Vec<Owner> = (1..OWNERS).map(|_| memory.owner()).collect();
    let _dead = memory.dead_owner();
    owners.push(memory.owner());
    let refused = Owner::claim(&memory.table(), Watch::Waiters);
    assert!(matches!(refused, Err(Error::Full { what: "the owner table", .. })));
}

#[test]
fn the_last_clone_of_an_owner_releases_forgotten_locks() {
    let memory = TestMemory::new();
    let owner = memory.owner();
    std::mem::forget(memory.lock(&owner.clone()).lock());
    assert_eq!(memory.word(), owner.token().bits());
    // The forgotten guard borrowed from a lock that was dropped with its clone of the owner.
    let token = owner.token();
    drop(owner);
    assert_eq!(memory.word(), OWNER_DIED);
    assert!(!memory.table().lives(token));
}

#[test]
fn an_attached_table_is_the_same_table() {
    let memory = TestMemory::new();
    let owner = memory.owner();
    let attached = memory.attach().unwrap();
    assert!(attached.lives(owner.token()));
    assert!(!attached.lives(Token::from_bits(TOKEN).unwrap()));
}

#[test]
fn attaching_to_other_bytes_is_a_layout_error() {
    let memory = TestMemory::new();
    let table = memory.table();
    let header = table.header();
    header.magic.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(memory.attach(), Err(Error::Layout { .. })));
    header.magic.store(MAGIC, Ordering::Relaxed);
    for (owners, entries) in [(0, 1), (u32::MAX, u32::MAX), (COUNT_MAX, 1), (1, COUNT_MAX)] {
        header.owners.store(owners, Ordering::Relaxed);
        header.entries.store(entries, Ordering::Relaxed);
        assert!(matches!(memory.attach(), Err(Error::Layout { .. })), "{owners} {entries}");
    }
}

#[test]
fn attaching_from_another_pid_namespace_is_refused() {
    let memory = TestMemory::new();
    memory.table().header().namespaces.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(memory.attach(), Err(Error::PidNamespace { .. })));
}

// Start times differ between time namespaces, so every holder there seemed dead.
#[test]
fn attaching_from_another_time_namespace_is_refused() {
    let memory = TestMemory::new();
    memory.table().header().namespaces.fetch_add(1 << 32, Ordering::Relaxed);
    assert!(matches!(memory.attach(), Err(Error::TimeNamespace { .. })));
}

#[test]
fn a_sweep_of_garbage_in_the_directory_touches_nothing() {
    let memory = TestMemory::new();
    let owner = memory.owner();
    memory.overwrite_directory(u64::MAX);
    // SAFETY: this owner takes no lock.
    assert_eq!(unsafe { memory.table().sweep(owner.token()) }, 0);
}

/// An overwritten table with many entries once made a sweep repeat its work for each of them.
#[test]
fn several_dead_owners_are_swept_together() {
    let memory = TestMemory::new();
    let (table, dead) = (memory.table(), [memory.dead_owner(), memory.dead_owner()]);
    std::mem::forget(memory.lock(&dead[1]).lock());
    let living = memory.owner();
    let sweeps = table.sweeps();
    assert_eq!(table.sweep_dead(), 2);
    assert_eq!(table.sweeps(), sweeps + 1);
    assert_eq!(memory.word(), OWNER_DIED);
    assert!(table.lives(living.token()) && !dead.iter().any(|dead| table.lives(dead.token())));
}
