//! How handles travel, and what they reject.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use brigade::shared::{
    Barrier, Condvar, Event, Lock, LockError, RwLock, Semaphore, SharedList, Value,
};
use brigade::{Error, Pool, Start};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::common::alone::alone;
use crate::common::tasks::with;

/// The changes of each of three processes, in `values_of_every_size_lose_no_change`.
const TURNS: u16 = 3000;
/// The value of a byte after all of them.
const TURNED: u8 = (3 * TURNS).to_le_bytes()[0];

static KEPT: OnceLock<Value<u64>> = OnceLock::new();

fn keep(value: Value<u64>) -> Result<(), String> {
    KEPT.set(value).map_err(|_| "kept twice".to_owned())
}

#[test]
fn a_handle_travels_as_an_argument_an_item_a_given_value_and_to_an_initializer() {
    alone(|| {
        for start in [Start::ForkServer, Start::InProcess] {
            let value = Value::new(0u64).unwrap();
            let builder = with(2).start(start);
            let builder = match start {
                Start::InProcess => builder,
                _ => builder.initializer(keep, value.clone()),
            };
            let pool = builder.build().unwrap();
            let add = |(value, n): (Value<u64>, u64)| value.fetch_add(n).is_ok();
            assert!(pool.submit(add, (value.clone(), 1)).unwrap().join().unwrap());
            let items = (0..10).map(|_| (value.clone(), 10));
            assert!(pool.map(items, add).unwrap().all(|added| added));
            let given = |value: &Value<u64>, n: u64| value.fetch_add(n).is_ok();
            assert!(pool.with(value.clone()).map(0..10, given).unwrap().all(|added| added));
            assert_eq!(value.get().unwrap(), 146);
            if !matches!(start, Start::InProcess) {
                let kept = |n: u64| KEPT.get().unwrap().fetch_add(n).is_ok();
                assert!(pool.submit(kept, 1000).unwrap().join().unwrap());
                assert_eq!(value.get().unwrap(), 1146);
            }
        }
    });
}

fn work((lock, n): (Lock<u64>, u64)) {
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..n).for_each(|_| *lock.lock().unwrap() += 1));
        }
    });
}

#[test]
fn many_threads_of_many_processes_use_one_handle() {
    alone(|| {
        let pool = with(3).build().unwrap();
        let lock = Lock::new(0).unwrap();
        let tasks = [(); 3].map(|()| pool.submit(work, (lock.clone(), 500)).unwrap());
        work((lock.clone(), 500));
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(*lock.lock().unwrap(), 12 * 500);
    });
}

#[test]
fn readers_of_all_processes_share_and_see_whole_what_writers_wrote() {
    alone(|| {
        let pool = with(3).build().unwrap();
        let lock = RwLock::new([0u64; 4]).unwrap();
        let write = |lock: RwLock<[u64; 4]>| {
            for _ in 0..500 {
                lock.write().unwrap().iter_mut().for_each(|n| *n += 1);
                let seen = *lock.read().unwrap();
                assert!(seen.iter().all(|&n| n == seen[0]));
            }
        };
        let tasks = [(); 3].map(|()| pool.submit(write, lock.clone()).unwrap());
        write(lock.clone());
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(*lock.read().unwrap(), [2000; 4]);
    });
}

#[test]
fn values_of_every_size_lose_no_change() {
    fn add<const N: usize>(value: Value<[u8; N]>) {
        for _ in 0..TURNS {
            value.update(|old| old.map(|byte| byte.wrapping_add(1))).unwrap();
        }
    }
    fn check<const N: usize>(pool: &Pool)
    where
        [u8; N]: bytemuck::Pod,
    {
        let value = Value::new([0u8; N]).unwrap();
        let tasks = [(); 2].map(|()| pool.submit(add::<N>, value.clone()).unwrap());
        add(value.clone());
        tasks.into_iter().for_each(|task| task.join().unwrap());
        assert_eq!(value.get().unwrap(), [TURNED; N]);
        assert_eq!(value.swap([1; N]).unwrap(), [TURNED; N]);
        assert_eq!(value.compare_exchange([1; N], [2; N]).unwrap(), Ok([1; N]));
        let other = value.compare_exchange([1; N], [3; N]).unwrap();
        assert_eq!(other, if N == 0 { Ok([1; N]) } else { Err([2; N]) });
        value.set([7; N]).unwrap();
        assert_eq!(value.get().unwrap(), [7; N]);
    }
    alone(|| {
        let pool = with(2).build().unwrap();
        check::<0>(&pool);
        check::<1>(&pool);
        check::<3>(&pool);
        check::<8>(&pool);
        check::<9>(&pool);
        check::<1000>(&pool);
    });
}

#[test]
fn a_list_does_what_a_vector_does() {
    alone(|| {
        let list = SharedList::new(6, 20).unwrap();
        let mut model: Vec<String> = Vec::new();
        let mut random = 1u64;
        for step in 0..3000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_041);
            let at = usize::try_from((random >> 40) % 8).unwrap();
            let item = format!("{step}");
            let is_full = model.len() == 6;
            match (random >> 60) % 7 {
                0 if is_full => assert!(matches!(list.push(&item), Err(Error::Full { .. }))),
                0 => {
                    list.push(&item).unwrap();
                    model.push(item);
                }
                1 if at > model.len() => assert!(list.insert(at, &item).is_err()),
                1 if is_full => assert!(matches!(list.insert(at, &item), Err(Error::Full { .. }))),
                1 => {
                    list.insert(at, &item).unwrap();
                    model.insert(at, item);
                }
                2 if at >= model.len() => assert!(list.remove(at).is_err()),
                2 => assert_eq!(list.remove(at).unwrap(), model.remove(at)),
                3 if at >= model.len() => assert!(list.set(at, &item).is_err()),
                3 => {
                    list.set(at, &item).unwrap();
                    model[at] = item;
                }
                4 => assert_eq!(list.pop().unwrap(), model.pop()),
                5 => assert_eq!(list.get(at).unwrap(), model.get(at).cloned()),
                _ if at >= model.len() => assert!(list.update(at, |old| old).is_err()),
                _ => match list.update(at, |old| old + "!") {
                    Ok(()) => model[at].push('!'),
                    Err(error) => {
                        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
                        list.set(at, &item).unwrap();
                        model[at] = item;
                    }
                },
            }
            assert_eq!((list.to_vec().unwrap(), list.len()), (model.clone(), model.len()));
        }
        list.clear().unwrap();
        assert!(list.is_empty() && list.extend(&vec![String::new(); 7]).is_err());
        assert!(list.is_empty(), "all or none");
        let refused = list.push(&"x".repeat(20));
        assert!(matches!(refused, Err(Error::TooLarge { size_bytes: 21, limit_bytes: 20, .. })));
        assert_eq!(list.get(0).unwrap(), None);
    });
}

/// A number that can always be encoded, but decoded only if it is even.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Even(#[serde(deserialize_with = "even")] u8);

fn even<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number: u8 = serde::Deserialize::deserialize(deserializer)?;
    let is_even = number.is_multiple_of(2);
    is_even.then_some(number).ok_or_else(|| serde::de::Error::custom("odd"))
}

#[test]
fn an_item_that_cannot_be_encoded_or_decoded_is_a_codec_error_and_no_other_is_lost() {
    alone(|| {
        let events = SharedList::new(2, 100).unwrap();
        let refused = events.push(&Event::new().unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Codec { action: "encoded", .. }), "{refused:?}");
        assert!(events.is_empty());

        let list = SharedList::new(5, 10).unwrap();
        list.extend(&[Even(2), Even(3), Even(4), Even(5)]).unwrap();
        let is_refused = |error: Option<Error>| {
            assert!(matches!(error, Some(Error::Codec { action: "decoded", .. })), "{error:?}");
        };
        is_refused(list.get(1).err());
        is_refused(list.update(1, |even| even).err());
        is_refused(list.to_vec().err());
        assert_eq!(list.len(), 4, "looking takes nothing");
        is_refused(list.pop().err());
        is_refused(list.remove(1).err());
        assert_eq!(list.to_vec().unwrap(), [Even(2), Even(4)]);
    });
}

#[test]
fn a_handle_of_one_type_is_not_taken_for_another() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let lock = Lock::new(1u64).unwrap();
        let text = postcard::to_allocvec(&lock).unwrap_err().to_string();
        assert!(!text.is_empty(), "outside of a task's codec");
        let as_it_is = |lock: Lock<u64>| *lock.lock().unwrap();
        assert_eq!(pool.submit(as_it_is, lock.clone()).unwrap().join().unwrap(), 1);
    });
}

#[test]
fn arguments_out_of_range_are_refused() {
    alone(|| {
        let is_refused = |error: Option<Error>| {
            assert!(matches!(error, Some(Error::InvalidArgument { .. })), "{error:?}");
        };
        for parties in [0, 16_384, u32::MAX] {
            is_refused(Barrier::new(parties).err());
            is_refused(Semaphore::bounded(parties).err());
            is_refused(Semaphore::with_max(0, parties).err());
        }
        is_refused(Semaphore::new(20_000).err());
        is_refused(Semaphore::with_max(3, 2).err());
        is_refused(SharedList::<u8>::new(0, 1).err());
        is_refused(SharedList::<u8>::new(1, 0).err());
        is_refused(SharedList::<u8>::new(usize::MAX, 1).err());
        is_refused(SharedList::<u8>::new(1, usize::MAX).err());
        assert_eq!(Semaphore::new(16_383).unwrap().available(), 16_383);
        let twice = Semaphore::new(600).unwrap();
        (0..600).for_each(|_| twice.release().unwrap());
        is_refused(twice.release().err());
    });
}

/// Takes a lock while it is dropped.
struct Late<'a>(&'a Lock<u32>);

impl Drop for Late<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[test]
fn a_guard_that_is_taken_in_a_panic_and_dropped_in_it_reports_nothing() {
    alone(|| {
        let lock = Lock::new(0).unwrap();
        let panics = || {
            let _late = Late(&lock);
            panic!("on purpose");
        };
        assert!(std::thread::scope(|scope| scope.spawn(panics).join()).is_err());
        assert_eq!(*lock.lock().unwrap(), 1);
    });
}

#[test]
fn guards_are_inert_in_a_child_forked_by_hand() {
    alone(|| {
        let (lock, semaphore) = (Lock::new(0).unwrap(), Semaphore::bounded(1).unwrap());
        let barrier = Barrier::new(2).unwrap();
        std::thread::scope(|scope| {
            let panics = || {
                let _guard = lock.lock().unwrap();
                panic!("on purpose");
            };
            assert!(scope.spawn(panics).join().is_err());
        });
        let Err(LockError::OwnerDied(torn)) = lock.lock() else { panic!("not told") };
        let (permit, mut member) = (semaphore.acquire().unwrap(), barrier.join().unwrap());
        // SAFETY: the child makes no call except those under test, and ends by `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let is_closed = matches!(member.wait(), Err(Error::Closed { .. }));
                drop(member);
                drop(torn);
                permit.forget();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!is_closed)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert!(lock.is_locked() && semaphore.try_acquire().unwrap().is_none());
        drop((torn.into_guard(), permit, member));
        assert_eq!((*lock.lock().unwrap(), semaphore.available()), (0, 1));
    });
}

#[test]
fn a_handle_is_inert_in_a_child_forked_by_hand() {
    alone(|| {
        let (lock, value) = (Lock::new(0).unwrap(), Value::new(0).unwrap());
        let (event, barrier) = (Event::new().unwrap(), Barrier::new(2).unwrap());
        let changed = Condvar::new().unwrap();
        let guard = lock.lock().unwrap();
        // SAFETY: the child makes no call except those under test, and ends by `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let closed = [
                    lock.try_lock().map(drop).map_err(Error::from),
                    value.set(1),
                    event.set(),
                    barrier.wait().map(drop),
                    changed.notify_one(),
                ];
                let is_inert = |outcome| matches!(outcome, &Err(Error::Closed { .. }));
                let code = i32::from(!closed.iter().all(is_inert) || lock.is_locked());
                drop(guard);
                drop((lock, value, event, barrier, changed));
                // SAFETY: ends the child.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0)));
            }
        }
        assert!(lock.is_locked() && lock.try_lock().unwrap().is_none());
        drop(guard);
        assert!(lock.try_lock().unwrap().is_some() && !event.is_set());
    });
}
