//! Tests of the owner table.
#![allow(unsafe_code)]

use super::*;
use crate::sync::arena::{Arena, OWNERS};
use crate::sync::lock_word::OWNER_DIED;
use crate::sync::{Owner, Watch};

#[test]
fn tokens_are_never_used_twice() {
    let arena = Arena::new();
    let first = arena.owner().token();
    assert_eq!(arena.owner().token().bits(), first.bits() + 1, "though its entry was freed");
}

#[test]
fn running_out_of_tokens_is_an_error() {
    let arena = Arena::new();
    arena.table().header().last_token.store(TOKEN - 1, Ordering::Relaxed);
    let last = Owner::claim(&arena.table(), Watch::Supervisor).unwrap();
    assert_eq!(last.token().bits(), TOKEN);
    for _ in 0..2 {
        let refused = Owner::claim(&arena.table(), Watch::Supervisor);
        assert!(matches!(refused, Err(Error::Broken { what: "the owner table", .. })));
    }
}

#[test]
fn a_full_table_is_an_error_and_a_dead_owner_makes_room() {
    let arena = Arena::new();
    let mut owners: Vec<Owner> = (1..OWNERS).map(|_| arena.owner()).collect();
    let _dead = arena.dead_owner();
    owners.push(arena.owner());
    let refused = Owner::claim(&arena.table(), Watch::Waiters);
    assert!(matches!(refused, Err(Error::Full { what: "the owner table", .. })));
}

#[test]
fn the_last_clone_of_an_owner_gives_up_what_was_forgotten() {
    let arena = Arena::new();
    let owner = arena.owner();
    std::mem::forget(arena.lock(&owner.clone()).lock());
    assert_eq!(arena.word(), owner.token().bits());
    // The forgotten guard borrowed from a lock that was dropped with its clone of the owner.
    let token = owner.token();
    drop(owner);
    assert_eq!(arena.word(), OWNER_DIED);
    assert!(!arena.table().lives(token));
}

#[test]
fn an_attached_table_is_the_same_table() {
    let arena = Arena::new();
    let owner = arena.owner();
    let attached = arena.attach().unwrap();
    assert!(attached.lives(owner.token()));
    assert!(!attached.lives(Token::from_bits(TOKEN).unwrap()));
}

#[test]
fn attaching_to_other_bytes_is_a_layout_error() {
    let arena = Arena::new();
    let table = arena.table();
    let header = table.header();
    header.magic.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(arena.attach(), Err(Error::Layout { .. })));
    header.magic.store(MAGIC, Ordering::Relaxed);
    for (owners, entries) in [(0, 1), (u32::MAX, u32::MAX), (COUNT_MAX, 1), (1, COUNT_MAX)] {
        header.owners.store(owners, Ordering::Relaxed);
        header.entries.store(entries, Ordering::Relaxed);
        assert!(matches!(arena.attach(), Err(Error::Layout { .. })), "{owners} {entries}");
    }
}

#[test]
fn attaching_from_another_pid_namespace_is_refused() {
    let arena = Arena::new();
    arena.table().header().namespaces.fetch_add(1, Ordering::Relaxed);
    assert!(matches!(arena.attach(), Err(Error::PidNamespace { .. })));
}

// Start times differ between time namespaces, so every holder there seemed dead.
#[test]
fn attaching_from_another_time_namespace_is_refused() {
    let arena = Arena::new();
    arena.table().header().namespaces.fetch_add(1 << 32, Ordering::Relaxed);
    assert!(matches!(arena.attach(), Err(Error::TimeNamespace { .. })));
}

#[test]
fn a_sweep_of_garbage_in_the_directory_touches_nothing() {
    let arena = Arena::new();
    let owner = arena.owner();
    arena.overwrite_directory(u64::MAX);
    // SAFETY: this owner takes no lock.
    assert_eq!(unsafe { arena.table().sweep(owner.token()) }, 0);
}

/// An overwritten table with many entries once made a sweep repeat its work for each of them.
#[test]
fn several_dead_owners_are_swept_together() {
    let arena = Arena::new();
    let (table, dead) = (arena.table(), [arena.dead_owner(), arena.dead_owner()]);
    std::mem::forget(arena.lock(&dead[1]).lock());
    let living = arena.owner();
    let sweeps = table.sweeps();
    assert_eq!(table.sweep_dead(), 2);
    assert_eq!(table.sweeps(), sweeps + 1);
    assert_eq!(arena.word(), OWNER_DIED);
    assert!(table.lives(living.token()) && !dead.iter().any(|dead| table.lives(dead.token())));
}
