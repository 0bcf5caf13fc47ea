//! Object memory with invalid contents.

use brigade::shared::{
    Barrier, Condvar, Event, Lock, Once, ReentrantLock, RwLock, Semaphore, SharedList, Value,
};
use brigade::sync::Reset;
use brigade::{Error, Pool, Result};

use super::hostile::{BODY_BYTES, BODY_OFFSET, Bytes, START};
use crate::common::alone::alone_in_turn;
use crate::common::names::Removed;
use crate::common::unique;

const KIND: u64 = START + 12;
const TAG: u64 = START + 16;
const TOTAL: u64 = START + 24;
const TABLE: u64 = START + 64;

/// How a primitive is made and kept, and how it is opened.
type Maker = (fn(&str) -> Result<()>, fn(&str) -> Result<()>);

const MAKERS: [Maker; 12] = [
    (|name| Lock::create(name, [5u64; 2])?.keep(), |name| Lock::<[u64; 2]>::open(name).map(drop)),
    (|name| RwLock::create(name, 5u32)?.keep(), |name| RwLock::<u32>::open(name).map(drop)),
    (|name| ReentrantLock::create(name)?.keep(), |name| ReentrantLock::open(name).map(drop)),
    (|name| Semaphore::create(name, 2, 1024)?.keep(), |name| Semaphore::open(name).map(drop)),
    (|name| Semaphore::create(name, 2, 2)?.keep(), |name| Semaphore::open(name).map(drop)),
    (|name| Condvar::create(name)?.keep(), |name| Condvar::open(name).map(drop)),
    (|name| Event::create(name, Reset::Auto)?.keep(), |name| Event::open(name).map(drop)),
    (|name| Barrier::create(name, 3)?.keep(), |name| Barrier::open(name).map(drop)),
    (|name| Once::create(name)?.keep(), |name| Once::open(name).map(drop)),
    (|name| Value::create(name, 5u16)?.keep(), |name| Value::<u16>::open(name).map(drop)),
    (|name| Value::create(name, [5u64; 9])?.keep(), |name| Value::<[u64; 9]>::open(name).map(drop)),
    (
        |name| SharedList::<String>::create(name, 4, 64)?.keep(),
        |name| SharedList::<String>::open(name).map(drop),
    ),
];

/// Invalid values for words before the body, each set separately.
fn corruptions(bytes: &Bytes) -> Vec<Vec<(u64, u64)>> {
    let word = |at| bytes.word(at);
    let (body, body_bytes) = (word(BODY_OFFSET), word(BODY_BYTES));
    let (kind, owners) = (word(KIND - 4), word(TABLE + 16));
    let other_kind = if kind >> 32 == 25 { 24 } else { 25 };
    vec![
        vec![(0, u64::MAX)],
        vec![(START, word(START) + 1)],
        // Version, then kind.
        vec![(START + 8, kind + 1)],
        vec![(START + 8, (kind & 0xffff_ffff) | 99 << 32)],
        vec![(START + 8, (kind & 0xffff_ffff) | other_kind << 32)],
        vec![(TAG, word(TAG) ^ 1)],
        vec![(TOTAL, word(TOTAL) + 128)],
        vec![(TOTAL, word(TOTAL) - 1)],
        vec![(TOTAL, u64::MAX)],
        vec![(BODY_OFFSET, 0)],
        vec![(BODY_OFFSET, u64::MAX - 127)],
        // Consistent, but not aligned; over the table; past the end; or not of the stated length.
        vec![(BODY_OFFSET, body + 64), (TOTAL, body + body_bytes + 64)],
        vec![(BODY_OFFSET, 128), (TOTAL, 128 + body_bytes)],
        vec![(BODY_OFFSET, body + 128), (TOTAL, body + body_bytes + 128)],
        vec![(BODY_BYTES, 0), (TOTAL, body)],
        vec![(BODY_BYTES, body_bytes - 1), (TOTAL, body + body_bytes - 1)],
        vec![(BODY_BYTES, u64::MAX)],
        // The table: its kind, and the numbers of its owners and entries.
        vec![(TABLE, word(TABLE) + 1)],
        vec![(TABLE + 16, owners & !0xffff_ffff)],
        vec![(TABLE + 16, owners | 0xffff_ffff)],
        vec![(TABLE + 16, owners & 0xffff_ffff)],
        vec![(TABLE + 16, owners | 0xffff_ffff << 32)],
    ]
}

#[test]
fn a_memory_of_another_kind_type_version_or_size_is_refused_and_left_as_it_is() {
    alone_in_turn(|| {
        for (number, (make, open)) in MAKERS.into_iter().enumerate() {
            let name = unique("spoilt");
            let _removed = Removed(name.clone());
            make(&name).unwrap();
            let bytes = Bytes::of(&name);
            for words in corruptions(&bytes) {
                let before: Vec<_> = words.iter().map(|&(at, _)| (at, bytes.word(at))).collect();
                words.iter().for_each(|&(at, word)| bytes.set(at, word));
                let refused = open(&name);
                assert!(
                    matches!(refused, Err(Error::Layout { .. })),
                    "{number} {words:?} {refused:?}"
                );
                let text = refused.unwrap_err().to_string();
                assert!(text.contains(&name), "{number} {words:?} {text}");
                before.iter().for_each(|&(at, word)| bytes.set(at, word));
                open(&name).unwrap();
            }
            let size_bytes = bytes.0.metadata().unwrap().len();
            for size_bytes in [size_bytes - 1, START, 100, 0] {
                bytes.0.set_len(size_bytes).unwrap();
                let refused = open(&name);
                assert!(matches!(refused, Err(Error::Layout { .. })), "{number}: {refused:?}");
            }
        }
    });
}

/// Two builds of a program may give one name to types of different sizes.
#[test]
fn a_type_of_the_same_name_and_another_size_is_refused() {
    alone_in_turn(|| {
        let (small, large) = (unique("small"), unique("large"));
        let _removed = [Removed(small.clone()), Removed(large.clone())];
        Lock::create(&small, [5u64; 2]).and_then(|lock| lock.keep()).unwrap();
        Lock::create(&large, [5u64; 9]).and_then(|lock| lock.keep()).unwrap();
        let (small_bytes, large_bytes) = (Bytes::of(&small), Bytes::of(&large));
        let (small_tag, large_tag) = (small_bytes.word(TAG), large_bytes.word(TAG));
        small_bytes.set(TAG, large_tag);
        large_bytes.set(TAG, small_tag);
        let refused =
            [Lock::<[u64; 2]>::open(&large).map(drop), Lock::<[u64; 9]>::open(&small).map(drop)];
        for refused in refused {
            assert!(matches!(refused, Err(Error::Layout { .. })), "{refused:?}");
        }
    });
}

#[test]
fn numbers_of_slots_and_limits_that_cannot_be_are_a_layout_error() {
    alone_in_turn(|| {
        let name = unique("numbers");
        // A word of the body, and values that are invalid for it.
        let attempts: [(usize, u64, &[u64]); 6] = [
            (1, 0, &[0, 1]),
            (1, 8, &[0, 1, 1 << 14, u64::MAX]),
            (3, 8, &[0, 1 << 14, u64::MAX]),
            (7, 8, &[0, 4, u64::MAX]),
            (5, 8, &[0, 1 << 14]),
            (11, 8, &[0, 4, 64 << 32, 5 | 64 << 32, u64::MAX, 1 << 31 | 1 << 63]),
        ];
        for (maker, at, words) in attempts {
            let (make, open) = MAKERS[maker];
            let _removed = Removed(name.clone());
            make(&name).unwrap();
            let bytes = Bytes::of(&name);
            let at = bytes.body().0 + at;
            let before = bytes.word(at);
            for &word in words {
                bytes.set(at, word);
                let refused = open(&name);
                assert!(
                    matches!(refused, Err(Error::Layout { .. })),
                    "{maker} {word:#x} {refused:?}"
                );
                assert!(refused.unwrap_err().to_string().contains(&name));
            }
            bytes.set(at, before);
            open(&name).unwrap();
        }
    });
}

#[test]
fn a_list_that_was_written_over_is_corrupt_and_no_longer_than_it_can_be() {
    alone_in_turn(|| {
        let name = unique("list");
        let list = SharedList::<String>::create(&name, 4, 64).unwrap();
        list.extend(&["one".to_owned(), "two".to_owned()]).unwrap();
        let bytes = Bytes::of(&name);
        let body = bytes.body().0;
        // The state, the valid order, the length of the contents of the first cell.
        let words = [(64, 5), (64, u64::MAX), (128, 5), (128, 1 << 31), (256, 65), (256, u64::MAX)];
        for (at, word) in words {
            let before = bytes.word(body + at);
            bytes.set(body + at, word);
            assert!(list.len() <= 4, "{}", list.len());
            let outcomes =
                [list.to_vec().map(drop), list.get(0).map(drop), list.update(0, |old| old)];
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Corrupt { .. }))));
            bytes.set(body + at, before);
        }
        assert_eq!(list.to_vec().unwrap(), ["one", "two"]);
    });
}

#[test]
fn a_value_whose_index_was_written_over_is_one_of_its_copies() {
    alone_in_turn(|| {
        let name = unique("index");
        let value = Value::create(&name, [1u64; 2]).unwrap();
        value.set([2; 2]).unwrap();
        let bytes = Bytes::of(&name);
        let body = bytes.body().0;
        let both = [[1; 2], [2; 2]];
        for index in [0, 1, 2, 7, u32::MAX] {
            // The lock is free, and the index follows it.
            bytes.set(body, u64::from(index) << 32);
            assert!(both.contains(&value.get().unwrap()), "{index}");
        }
        value.set([3; 2]).unwrap();
        assert_eq!(value.get().unwrap(), [3; 2]);
    });
}

#[test]
fn a_task_whose_lock_has_lost_its_name_says_which() {
    alone_in_turn(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let name = unique("unlinked");
        let lock = Lock::create(&name, 5u64).unwrap();
        let look = |lock: Lock<u64>| *lock.lock().unwrap();
        assert_eq!(pool.submit(look, lock.clone()).unwrap().join().unwrap(), 5);
        lock.unlink().unwrap();
        let error = pool.submit(look, lock.clone()).unwrap().join().unwrap_err();
        assert!(error.to_string().contains(&name), "{error}");
    });
}
