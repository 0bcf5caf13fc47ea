//! Claims about control memory in one process.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::*;
use crate::error::{Error, Result};
use crate::region::arena::Arena;
use crate::region::windows::Windows;
use crate::sync::{LockWord, RobustLock};

const SPEC: Spec = Spec { kind: Kind::Lock, tag: 7, entries: 1, body_bytes: 64 };

fn lock_in(memory: &Memory) -> RobustLock {
    let (body, _) = memory.body();
    // SAFETY: the body is aligned and zero, a free lock; the tests drop the lock first.
    unsafe { RobustLock::new(body.cast::<LockWord>(), memory.owner()) }
}

fn create() -> (RobustLock, Memory) {
    let make = |memory: &Memory| {
        let lock = lock_in(memory);
        lock.register()?;
        Ok(lock)
    };
    Memory::create(&SPEC, make).unwrap()
}

/// Windows as a worker has them: their own mappings of the arena, under the same number.
fn windows() -> Windows {
    let arena = Arena::host().unwrap();
    let fd: BorrowedFd<'_> = arena.fd();
    Windows::attach(fd.try_clone_to_owned().unwrap(), arena.id(), arena.size_bytes()).unwrap()
}

/// The same bytes through other windows, as another process would open them.
fn open(memory: &Memory, kind: Kind, tag: u64) -> Result<Memory> {
    let (_, offset, len_bytes) = memory.address();
    Memory::open(Backing::Lent { windows: windows(), offset, len_bytes }, kind, tag)
}

#[test]
fn a_lock_excludes_through_another_attachment_of_the_same_bytes() {
    let (lock, memory) = create();
    let other = open(&memory, Kind::Lock, 7).unwrap();
    let (body, body_bytes) = other.body();
    assert_ne!(body, memory.body().0, "it has windows of its own");
    assert_eq!(body_bytes, 64);
    let guard = lock.lock();
    let theirs = lock_in(&other);
    assert!(theirs.try_lock().is_none());
    drop(guard);
    assert!(theirs.lock_timeout(Duration::ZERO).is_ok());
}

#[test]
fn another_kind_or_type_is_refused_and_so_are_other_bytes() {
    let (_lock, memory) = create();
    let refused = [
        open(&memory, Kind::Queue, 7),
        open(&memory, Kind::Lock, 8),
        Memory::open(
            Backing::Lent { windows: windows(), offset: memory.address().1 + 128, len_bytes: 256 },
            Kind::Lock,
            7,
        ),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Layout { .. }), "{error}");
    }
    let (_, offset, _) = memory.address();
    let outside = Backing::Lent { windows: windows(), offset: u64::MAX - 100, len_bytes: 256 };
    assert!(Memory::open(outside, Kind::Lock, 7).is_err());
    let short = Backing::Lent { windows: windows(), offset, len_bytes: 32 };
    assert!(Memory::open(short, Kind::Lock, 7).is_err());
}

#[test]
fn what_arrives_twice_is_attached_once() {
    let (_lock, memory) = create();
    let (_, offset, len_bytes) = memory.address();
    let windows = Windows::of_host(&Arena::host().unwrap());
    let again = Memory::attach(&windows, offset, len_bytes, Kind::Lock, 7).unwrap();
    assert!(again.is_same(&memory), "the host's own");
    assert!(Memory::attach(&windows, offset, len_bytes, Kind::Event, 7).is_err());
}

#[test]
fn a_process_is_in_the_table_from_its_first_handle_to_its_last() {
    let (lock, memory) = create();
    let own = std::process::id();
    assert!(memory.has_process(own) && !memory.has_process(1));
    assert_eq!(memory.sweep_process(own), 0, "it lives");
    let other = memory.clone();
    let token = memory.owner().token();
    drop((lock, memory));
    assert!(other.has_process(own));
    assert_eq!(other.owner().token(), token);
}

#[test]
fn the_span_goes_back_when_the_last_handle_goes() {
    let (lock, memory) = create();
    let (_, offset, _) = memory.address();
    let copy = memory.clone();
    drop((lock, memory));
    let (other_lock, other) = create();
    assert_ne!(other.address().1, offset);
    drop(copy);
    drop((other_lock, other));
}

mod hostile {
    use super::*;
    use crate::atomics::{AtomicU64, Ordering};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overwritten_headers_are_errors_or_lie_inside(
            changes in proptest::collection::vec((0usize..16, any::<u64>(), 0u32..64), 1..4),
        ) {
            let (lock, memory) = create();
            let (body, _) = memory.body();
            let (_, _, len_bytes) = memory.address();
            let start = memory.start();
            for (word, value, shift) in changes {
                // SAFETY: within header and table, all atomics.
                let place = unsafe { start.cast::<AtomicU64>().add(word) };
                // SAFETY: as above.
                unsafe { place.as_ref() }.store(value >> shift, Ordering::Relaxed);
            }
            if let Ok(other) = open(&memory, Kind::Lock, 7) {
                let (theirs, body_bytes) = other.body();
                let end = theirs.addr().get() + body_bytes;
                let first = other.start().addr().get();
                prop_assert!(theirs.addr().get() > first && end <= first + len_bytes);
            }
            prop_assert_eq!(memory.body().0, body);
            drop(lock);
        }
    }
}
