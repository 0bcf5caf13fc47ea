//! Many items through one function.

use brigade::{Error, Pool, Start, TaskError};
use std::cell::Cell;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

#[test]
fn map_over_forty_items_equals_the_serial_result_for_any_chunk_size() {
    let pool = pool(2);
    let serial: Vec<u64> = (0..40).map(|n| n * n).collect();
    for chunk in [1, 6, 40, 50] {
        let mapped = pool.options().chunk_size(chunk).map(0..40u64, |n| n * n).unwrap();
        assert_eq!(mapped.collect::<Vec<_>>(), serial, "{chunk}");
    }
    assert_eq!(pool.map(0..40u64, |n| n * n).unwrap().collect::<Vec<_>>(), serial);
    let refused = pool.options().chunk_size(0).map(0..40u64, |n| n * n);
    assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
}

#[test]
fn map_over_a_hundred_thousand_items_is_in_order() {
    let pool = pool(2);
    let mapped = pool.map(0..100_000u32, |n| n ^ 0x55).unwrap();
    assert!(mapped.eq((0..100_000).map(|n| n ^ 0x55)));
}

#[test]
fn map_over_nothing_returns_at_once() {
    assert_eq!(pool(1).map(std::iter::empty::<u32>(), |n| n).unwrap().len(), 0);
    assert_eq!(pool(1).map([(), (), ()], |()| 1u8).unwrap().sum::<u8>(), 3);
}

#[test]
fn a_shared_value_reaches_every_call() {
    let pool = pool(2);
    let words = vec!["a".to_owned(), "b".to_owned()];
    let mapped = pool.with(words).map(0..1000usize, |words, n| words[n % 2].clone()).unwrap();
    assert!(mapped.enumerate().all(|(n, word)| word == ["a", "b"][n % 2]));
}

#[test]
fn the_first_failure_in_order_is_the_result_of_a_map() {
    let pool = pool(2);
    let failing = |n: u32| {
        assert!(n < 20, "item {n}");
        n
    };
    for pool in [&pool, &Pool::builder().start(Start::InProcess).build().unwrap()] {
        let error = pool.options().chunk_size(1).map(0..30u32, failing).unwrap_err();
        match error {
            Error::Task(TaskError::Panicked { message, .. }) => assert_eq!(message, "item 20"),
            other => panic!("{other}"),
        }
        assert_eq!(pool.map(0..10u32, failing).unwrap().len(), 10);
    }
}

#[test]
fn imap_delivers_what_came_before_a_failure_and_what_comes_after() {
    let pool = pool(2);
    let results: Vec<_> = pool
        .imap(0..6u32, 3, |n| {
            assert!(n != 2, "two");
            n
        })
        .unwrap()
        .map(Result::ok)
        .collect();
    assert_eq!(results, [Some(0), Some(1), None, Some(3), Some(4), Some(5)]);
}

#[test]
fn imap_takes_no_more_than_its_look_ahead_from_an_endless_iterator() {
    let pool = pool(2);
    let taken = Cell::new(0);
    let mut results =
        pool.imap((0u64..).inspect(|_| taken.set(taken.get() + 1)), 5, |n| n + 1).unwrap();
    for n in 1..=20u64 {
        assert_eq!(results.next().unwrap().unwrap(), n);
        assert!(taken.get() <= n + 5, "{} taken, {n} delivered", taken.get());
    }
    drop(results);
    assert_eq!(pool.map(0..3u8, |n| n).unwrap().len(), 3);
}

#[test]
fn imap_unordered_delivers_each_result_once() {
    let pool = pool(3);
    let mut all: Vec<u32> =
        pool.imap_unordered(0..500u32, 10, |n| n).unwrap().map(Result::unwrap).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..500));
}

#[test]
fn a_panic_of_the_input_iterator_reaches_the_caller_and_the_pool_goes_on() {
    let pool = pool(2);
    for k in [0, 7] {
        let broken = (0..20u32).inspect(move |&n| assert!(n != k, "input"));
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(broken, |n| n)));
        assert!(caught.is_err());
        assert_eq!(pool.map(0..10u32, |n| n).unwrap().len(), 10);
    }
}
