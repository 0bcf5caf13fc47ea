//! What a guard of a named lock shows, and to whom.

use std::time::Duration;

use brigade::shared::{Condvar, Lock, LockError, Once, ReentrantLock, RwLock, SharedList, Value};
use brigade::{Error, LockState, RegionInfo};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::hostile::Bytes;
use crate::common::alone::alone_in_turn;
use crate::common::unique;

#[test]
fn what_a_guard_shows_is_its_holders_alone_whoever_writes_over_the_memory() {
    alone_in_turn(|| {
        let name = unique("guard");
        let lock = Lock::create(&name, [1u64; 4]).unwrap();
        let bytes = Bytes::of(&name);
        let mut guard = lock.lock().unwrap();
        bytes.fill_body(0xff);
        assert_eq!(*guard, [1; 4]);
        guard[0] = 2;
        // The word says that the lock is free, so another process gets it, with its own copy of the
        // value.
        bytes.fill_body(0);
        let mut other = lock.try_lock().unwrap().unwrap();
        other[1] = 3;
        assert_eq!((*guard, *other), ([2, 1, 1, 1], [0, 3, 0, 0]));
        drop((guard, other));
        drop(lock);

        let lock = RwLock::create(&name, [1u64; 4]).unwrap();
        let bytes = Bytes::of(&name);
        let reader = lock.read().unwrap();
        bytes.fill_body(0xff);
        assert_eq!(*reader, [1; 4]);
        bytes.fill_body(0);
        let mut writers = [lock.try_write().unwrap().unwrap()];
        bytes.fill_body(0);
        let mut other = lock.try_write().unwrap().unwrap();
        (writers[0][0], other[1]) = (5, 6);
        assert_eq!((*reader, *writers[0], *other), ([1; 4], [5, 0, 0, 0], [0, 6, 0, 0]));
    });
}

#[test]
fn what_a_named_lock_guards_is_written_back_when_it_is_given_up_and_only_if_it_was_changed() {
    alone_in_turn(|| {
        let name = unique("back");
        let lock = Lock::create(&name, [1u64, 2]).unwrap();
        let bytes = Bytes::of(&name);
        let mut guard = lock.lock().unwrap();
        *guard = [0xaa55, 0xbb66];
        assert!(bytes.has(&[1, 2]) && !bytes.has(&[0xaa55, 0xbb66]));
        drop(guard);
        assert!(bytes.has(&[0xaa55, 0xbb66]));
        // A value that is only read does not change, even if the shared bytes do.
        let guard = lock.lock().unwrap();
        assert_eq!(*guard, [0xaa55, 0xbb66]);
        let (at, body) = bytes.body();
        let data = body.windows(2).position(|two| two == [0x55, 0xaa]).unwrap();
        bytes.set(at + data as u64, 0xcc77);
        drop(guard);
        assert_eq!(*lock.lock().unwrap(), [0xcc77, 0xbb66]);
        drop(lock);
        let lock = RwLock::create(&name, [1u64, 2]).unwrap();
        let mut guard = lock.write().unwrap();
        *guard = [3, 4];
        assert!(Bytes::of(&name).has(&[1, 2]));
        drop(guard);
        assert_eq!(*lock.read().unwrap(), [3, 4]);
    });
}

#[test]
fn who_waits_for_a_condition_or_gives_up_shows_others_what_it_changed_before() {
    alone_in_turn(|| {
        let (name, signal) = (unique("told"), unique("changed"));
        let lock = Lock::create(&name, [0u64; 2]).unwrap();
        let changed = Condvar::create(&signal).unwrap();
        let answer = || {
            let guard = lock.lock().unwrap();
            let mut guard = changed.wait_while(guard, |[asked, _]| *asked != 5).unwrap();
            guard[1] = 6;
            drop(guard);
            changed.notify_all().unwrap();
        };
        std::thread::scope(|scope| {
            scope.spawn(answer);
            let mut guard = lock.lock().unwrap();
            guard[0] = 5;
            changed.notify_all().unwrap();
            let guard = changed.wait_while(guard, |[_, answered]| *answered == 0).unwrap();
            assert_eq!(*guard, [5, 6]);
        });
        let half_way = std::thread::scope(|scope| {
            let panics = || {
                let mut guard = lock.lock().unwrap();
                guard[0] = 7;
                panic!("half-way");
            };
            scope.spawn(panics).join()
        });
        assert!(half_way.is_err());
        let Err(LockError::OwnerDied(mut torn)) = lock.lock() else { panic!("not told") };
        assert_eq!(**torn, [7, 6]);
        torn[1] = 8;
        drop(torn);
        let Err(LockError::OwnerDied(torn)) = lock.lock() else { panic!("not reported again") };
        assert_eq!(*torn.into_guard(), [7, 8]);
    });
}

#[test]
fn what_a_forked_child_changes_in_its_copy_of_a_guard_stays_with_it() {
    alone_in_turn(|| {
        let name = unique("forked");
        let lock = Lock::create(&name, [1u64; 2]).unwrap();
        let mut guard = lock.lock().unwrap();
        // SAFETY: the child changes its own memory, makes no call, and ends by `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                *guard = [2; 2];
                drop(guard);
                // SAFETY: ends the child.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert!(lock.try_lock().unwrap().is_none() && Bytes::of(&name).has(&[1, 1]));
        drop(guard);
        assert_eq!(*lock.lock().unwrap(), [1; 2]);
    });
}

#[test]
fn a_forked_child_cannot_wait_with_the_lock_of_its_parent_for_a_condition_of_its_own() {
    alone_in_turn(|| {
        let named = Lock::create(&unique("waits"), [1u64; 2]).unwrap();
        for lock in [named, Lock::new([1; 2]).unwrap()] {
            let guard = lock.lock().unwrap();
            let wait = |guard| {
                let waited = Condvar::new().unwrap().wait_timeout(guard, Duration::ZERO);
                matches!(waited, Err(LockError::Failed(Error::Closed { .. })))
            };
            // SAFETY: this process has no other thread that could hold a lock now, and the child
            // ends by `_exit`.
            match unsafe { fork() }.unwrap() {
                ForkResult::Child => {
                    let code = i32::from(!wait(guard));
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(code) }
                }
                ForkResult::Parent { child } => {
                    assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
                }
            }
            assert!(lock.try_lock().unwrap().is_none());
            drop(guard);
            assert_eq!(*lock.lock().unwrap(), [1; 2]);
        }
    });
}

#[test]
fn a_forked_child_that_opens_a_name_takes_part_as_a_process_of_its_own() {
    alone_in_turn(|| {
        let name = unique("own");
        let lock = Lock::create(&name, [1u64; 2]).unwrap();
        let guard = lock.lock().unwrap();
        let open = || {
            let theirs = Lock::<[u64; 2]>::open(&name)?;
            let is_refused = theirs.try_lock()?.is_none();
            let participants = RegionInfo::of(&name)?.participants().len();
            Ok::<_, Error>(is_refused && participants == 2)
        };
        // SAFETY: this process has no other thread that could hold a lock now, and the child ends
        // by `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = i32::from(!matches!(open(), Ok(true)));
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        drop(guard);
        assert_eq!(*lock.lock().unwrap(), [1; 2]);
    });
}

#[test]
fn the_locks_inside_of_a_value_a_list_and_a_once_are_known_while_they_are_held() {
    alone_in_turn(|| {
        let name = unique("inside");
        let check = || {
            let held = LockState::Held { pid: std::process::id() };
            assert_eq!(RegionInfo::of(&name).unwrap().locks(), [held]);
        };
        let value = Value::create(&name, [0u64; 2]).unwrap();
        value.update(|old| (check(), old).1).unwrap();
        drop(value);
        let list = SharedList::create(&name, 2, 10).unwrap();
        list.push(&5u64).unwrap();
        list.update(0, |old| (check(), old).1).unwrap();
        drop(list);
        let once = Once::create(&name).unwrap();
        once.call(|_| check()).unwrap();
        drop(once);
        let lock = ReentrantLock::create(&name).unwrap();
        let guard = lock.lock().unwrap();
        check();
        drop(guard);
        assert_eq!(RegionInfo::of(&name).unwrap().locks(), []);
    });
}
