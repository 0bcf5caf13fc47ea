//! Tests of object memory in one process.
#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::*;
use crate::atomics::{AtomicU64, Ordering};
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

/// Windows as in a worker: separate mappings of the arena, with the same number.
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
fn an_inconsistent_header_is_refused() {
    let (_lock, memory) = create();
    let (body, body_bytes) = memory.body();
    let offset = body.addr().get() - memory.start().addr().get();
    let (total, (_, _, len_bytes)) = (offset + body_bytes, memory.address());
    let cases = [
        (offset, 0, total),
        (offset, body_bytes, total + 1),
        (offset, len_bytes - offset + 1, len_bytes + 1),
        (offset, usize::MAX - offset + 1, 0),
        // The size is right, but the body is not aligned, or overlaps header or table.
        (offset + 8, body_bytes - 8, total),
        (offset + 64, body_bytes - 64, total),
        (0, total, total),
        (128, total - 128, total),
        (offset - 128, total - offset + 128, total),
    ];
    for (offset, body_bytes, total) in cases {
        let before = [total, offset, body_bytes].map(|word| word as u64);
        let words = [3, 4, 5].map(|word| header_word(&memory, word));
        let whole = words.map(|word| word.load(Ordering::Relaxed));
        words.iter().zip(before).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
        let refused = open(&memory, Kind::Lock, 7);
        assert!(matches!(refused, Err(Error::Layout { .. })), "{before:?}: {refused:?}");
        words.iter().zip(whole).for_each(|(word, value)| word.store(value, Ordering::Relaxed));
    }
    open(&memory, Kind::Lock, 7).unwrap();
}

/// A word of the header or of the table after it.
fn header_word(memory: &Memory, index: usize) -> &AtomicU64 {
    assert!(index < 16, "within header and table");
    // SAFETY: inside, as asserted.
    let place = unsafe { memory.start().cast::<AtomicU64>().add(index) };
    // SAFETY: aligned, an atomic to all, and kept by the memory.
    unsafe { place.as_ref() }
}

#[test]
fn a_memory_that_arrives_twice_is_attached_once() {
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
fn the_span_is_freed_with_the_last_handle() {
    let (lock, memory) = create();
    let (_, offset, _) = memory.address();
    let copy = memory.clone();
    drop((lock, memory));
    let (other_lock, other) = create();
    assert_ne!(other.address().1, offset);
    drop(copy);
    drop((other_lock, other));
}

mod named {
    use std::fs;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    use super::*;
    use crate::region::Dtype;
    use crate::region::name::Name;
    use crate::region::named_region::NamedRegion;
    use crate::shape::Shape;

    fn unique(label: &str) -> String {
        format!("brigade-test-control-{}-{label}", std::process::id())
    }

    fn make(memory: &Memory) -> Result<RobustLock> {
        let lock = lock_in(memory);
        lock.register()?;
        Ok(lock)
    }

    fn open_lock(name: &str, tag: u64) -> Result<(RobustLock, Memory)> {
        Memory::open_named(name, Kind::Lock, tag, |memory| Ok(lock_in(memory)))
    }

    fn file(name: &str) -> fs::File {
        fs::File::options().read(true).write(true).open(format!("/dev/shm/{name}")).unwrap()
    }

    #[test]
    fn a_named_lock_excludes_and_goes_with_its_last_handle() {
        let name = unique("lock");
        let (lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        assert_eq!(memory.name(), Some(name.as_str()));
        let taken = Memory::create_named(&name, &SPEC, make).map(drop);
        assert!(matches!(taken, Err(Error::NameTaken { .. })), "{taken:?}");
        let (other, other_memory) = open_lock(&name, 7).unwrap();
        assert!(other_memory.is_same(&memory), "one attachment in a process");
        let guard = lock.lock();
        assert!(other.try_lock().is_none());
        drop(guard);
        drop((lock, memory));
        assert!(other.try_lock().is_some());
        drop((other, other_memory));
        assert!(matches!(open_lock(&name, 7).map(drop), Err(Error::NotFound { .. })));
    }

    #[test]
    fn a_process_that_returns_has_its_token_again_and_a_new_one_in_a_new_memory_of_the_name() {
        let name = unique("back");
        let (lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        memory.keep().unwrap();
        let token = memory.owner().token();
        drop((lock, memory));
        for _ in 0..3 {
            let (lock, memory) = open_lock(&name, 7).unwrap();
            assert_eq!(memory.owner().token(), token);
            assert!(memory.has_process(std::process::id()));
            drop(lock.lock());
        }
        let (lock, memory) = open_lock(&name, 7).unwrap();
        // A forgotten guard's lock is free when its token is used again.
        std::mem::forget(lock.lock());
        drop((lock, memory));
        let (lock, memory) = open_lock(&name, 7).unwrap();
        assert_eq!(memory.owner().token(), token);
        assert!(lock.lock().recovered());
        // As if another memory were in the same place, in which the token has another owner.
        header_word(&memory, 6).fetch_add(1, Ordering::Relaxed);
        drop((lock, memory));
        let (lock, memory) = open_lock(&name, 7).unwrap();
        assert_ne!(memory.owner().token(), token);
        memory.unlink().unwrap();
        drop((lock, memory));
    }

    #[test]
    fn a_name_with_other_contents_is_an_error_that_has_the_name() {
        let name = unique("else");
        let (lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        let queue = Memory::open_named(&name, Kind::Queue, 7, |_| Ok(())).unwrap_err();
        assert_eq!(queue.to_string(), format!("{name}: found a lock, but expected a queue"));
        assert!(matches!(open_lock(&name, 8).map(drop), Err(Error::Layout { .. })));
        drop((lock, memory));
        for (dtype, len) in [(Dtype::F64, 100), (Dtype::U8, 8192), (Dtype::U8, 3), (Dtype::U8, 0)] {
            let (shape, bytes) = (Shape::from(len), len * dtype.size_bytes());
            let array = NamedRegion::create(Name::new(&name).unwrap(), dtype, &shape, bytes);
            let refused = open_lock(&name, 7).map(drop);
            assert!(matches!(refused, Err(Error::Layout { .. })), "{dtype} {len}: {refused:?}");
            let is_of_bytes = dtype == Dtype::U8;
            assert!(is_of_bytes || refused.unwrap_err().to_string().contains("an array of"));
            drop(array);
        }
    }

    #[test]
    fn one_process_makes_the_object_and_the_others_open_it() {
        let name = unique("either");
        let either = || {
            let attach = |memory: &Memory| Ok((lock_in(memory), false));
            let make = |memory: &Memory| Ok((make(memory)?, true));
            Memory::create_or_open_named(&name, &SPEC, make, attach).unwrap()
        };
        for _ in 0..50 {
            let all_at_once = std::sync::Barrier::new(4);
            let made = std::thread::scope(|scope| {
                let one = || {
                    all_at_once.wait();
                    either()
                };
                let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(made.iter().filter(|((_, is_made), _)| *is_made).count(), 1);
            assert!(made.iter().all(|(_, memory)| memory.is_same(&made[0].1)));
        }
    }

    #[test]
    fn a_memory_of_another_pid_or_time_namespace_is_refused_and_can_be_seen() {
        let name = unique("namespace");
        let (_lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        // The table's second word, after both headers: pids in its lower half, time in its upper.
        let place = 4096 + 64 + 8;
        let mut word = [0; 8];
        file(&name).read_exact_at(&mut word, place).unwrap();
        for (pids, half) in [(true, 0..4), (false, 4..8)] {
            let mut other = word;
            other[half].copy_from_slice(&77u32.to_le_bytes());
            file(&name).write_all_at(&other, place).unwrap();
            let backing = NamedRegion::attach(Name::new(&name).unwrap()).unwrap().0;
            let refused = Memory::open(Backing::Named(backing), Kind::Lock, 7).map(drop);
            match refused.unwrap_err() {
                Error::PidNamespace { theirs: 77, .. } if pids => {}
                Error::TimeNamespace { theirs: 77, .. } if !pids => {}
                other => panic!("{other:?}"),
            }
            // Its process is unknown; its kind is known.
            let info = RegionInfo::of(&name).unwrap();
            assert!(matches!(info.kind(), RegionKind::Primitive { name: "lock", .. }), "{info:?}");
            assert_eq!(info.participants(), []);
        }
        drop(memory);
    }

    #[test]
    fn users_and_holder_of_a_named_lock_are_visible_from_outside() {
        let name = unique("seen");
        let (lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        let own = std::process::id();
        let info = RegionInfo::of(&name).unwrap();
        assert_eq!(
            *info.kind(),
            RegionKind::Primitive { name: "lock", body_bytes: 64, messages: None }
        );
        assert_eq!(info.participants(), [Participant { pid: own, lives: true }]);
        assert_eq!(info.locks(), []);
        let guard = lock.lock();
        assert_eq!(RegionInfo::of(&name).unwrap().locks(), [LockState::Held { pid: own }]);
        drop(guard);
        drop(memory);
    }

    #[test]
    fn an_examined_region_is_removed_only_while_it_has_the_name() {
        let name = unique("looked-at");
        let (_lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        let info = RegionInfo::of(&name).unwrap();
        assert!(!info.remove_unheld().unwrap() && RegionInfo::of(&name).is_ok());
        memory.unlink().unwrap();
        let (_other_lock, other) = Memory::create_named(&name, &SPEC, make).unwrap();
        assert!(matches!(info.remove(), Err(Error::NotFound { .. })));
        assert!(file(&name).metadata().is_ok(), "it is another's by now");
        drop(other);
    }

    #[test]
    fn a_file_that_this_crate_did_not_make_is_foreign_and_not_dead() {
        let name = unique("foreign");
        let path = format!("/dev/shm/{name}");
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.unwrap().write_all_at(&[7; 100], 0).unwrap();
        let info = RegionInfo::of(&name).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!((info.state(), info.kind()), (RegionState::Foreign, &RegionKind::Raw));
    }

    #[test]
    fn regions_are_listed_by_name() {
        let names = ["c", "a", "b"].map(unique);
        let made = names.each_ref().map(|name| Memory::create_named(name, &SPEC, make).unwrap());
        let listed = regions().unwrap();
        let ours = |region: &&RegionInfo| names.iter().any(|name| region.name() == name);
        let listed: Vec<&str> = listed.iter().filter(ours).map(RegionInfo::name).collect();
        assert_eq!(listed, [&names[1], &names[2], &names[0]]);
        drop(made);
    }

    #[test]
    fn a_nameless_memory_has_no_name_to_remove() {
        let (_lock, memory) = create();
        assert_eq!(memory.name(), None);
        assert!(memory.unlink().is_err() && memory.keep().is_err());
        let name = unique("unlink");
        let (_lock, memory) = Memory::create_named(&name, &SPEC, make).unwrap();
        memory.unlink().unwrap();
        assert!(matches!(memory.unlink(), Err(Error::NotFound { .. })));
    }
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn overwritten_headers_are_errors_or_lie_inside(
            changes in proptest::collection::vec((0usize..16, any::<u64>(), 0u32..64), 1..4),
        ) {
            let (lock, memory) = create();
            let (body, _) = memory.body();
            let (_, _, len_bytes) = memory.address();
            for (word, value, shift) in changes {
                header_word(&memory, word).store(value >> shift, Ordering::Relaxed);
            }
            if let Ok(other) = open(&memory, Kind::Lock, 7) {
                let (theirs, body_bytes) = other.body();
                let end = theirs.addr().get() + body_bytes;
                let first = other.start().addr().get();
                prop_assert!(theirs.addr().get() > first && end <= first + len_bytes);
                prop_assert!(theirs.addr().get().is_multiple_of(128));
            }
            prop_assert_eq!(memory.body().0, body);
            drop(lock);
        }
    }
}
