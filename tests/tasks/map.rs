//! Many items through one function.

use crate::common::alone::alone;
use crate::common::time::ThreadId;
use brigade::{Error, Pool, Start, TaskError};
use std::cell::Cell;
use std::time::Duration;

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

#[test]
fn map_over_forty_items_equals_the_serial_result_for_any_chunk_size() {
    alone(|| {
        let pool = pool(2);
        let serial: Vec<u64> = (0..40).map(|n| n * n).collect();
        for chunk in [1, 6, 40, 50] {
            let mapped = pool.options().chunk_size(chunk).map(0..40u64, |n| n * n).unwrap();
            assert_eq!(mapped.collect::<Vec<_>>(), serial, "{chunk}");
        }
        assert_eq!(pool.map(0..40u64, |n| n * n).unwrap().collect::<Vec<_>>(), serial);
        let refused = pool.options().chunk_size(0).map(0..40u64, |n| n * n);
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    });
}

#[test]
fn map_over_a_hundred_thousand_items_is_in_order() {
    alone(|| {
        let pool = pool(2);
        let mapped = pool.map(0..100_000u32, |n| n ^ 0x55).unwrap();
        assert!(mapped.eq((0..100_000).map(|n| n ^ 0x55)));
    });
}

#[test]
fn map_over_nothing_returns_at_once() {
    alone(|| {
        assert_eq!(pool(1).map(std::iter::empty::<u32>(), |n| n).unwrap().len(), 0);
        assert_eq!(pool(1).map([(), (), ()], |()| 1u8).unwrap().sum::<u8>(), 3);
    });
}

#[test]
fn a_shared_value_reaches_every_call() {
    alone(|| {
        let pool = pool(2);
        let words = vec!["a".to_owned(), "b".to_owned()];
        let mapped = pool.with(words).map(0..1000usize, |words, n| words[n % 2].clone()).unwrap();
        assert!(mapped.enumerate().all(|(n, word)| word == ["a", "b"][n % 2]));
    });
}

#[test]
fn the_first_failure_in_order_is_the_result_of_a_map() {
    alone(|| {
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
    });
}

#[test]
fn imap_delivers_what_came_before_a_failure_and_what_comes_after() {
    alone(|| {
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
    });
}

#[test]
fn imap_takes_no_more_than_its_look_ahead_from_an_endless_iterator() {
    alone(|| {
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
    });
}

#[test]
fn imap_unordered_delivers_each_result_once() {
    alone(|| {
        let pool = pool(3);
        let mut all: Vec<u32> =
            pool.imap_unordered(0..500u32, 10, |n| n).unwrap().map(Result::unwrap).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..500));
    });
}

#[test]
fn a_panic_of_the_input_iterator_reaches_the_caller_and_the_pool_goes_on() {
    alone(|| {
        let pool = pool(2);
        for k in [0, 7] {
            let broken = (0..20u32).inspect(move |&n| assert!(n != k, "input"));
            let caught =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.map(broken, |n| n)));
            assert!(caught.is_err());
            assert_eq!(pool.map(0..10u32, |n| n).unwrap().len(), 10);
        }
    });
}

#[test]
fn starmap_spreads_tuples_over_arguments() {
    alone(|| {
        let pool = pool(2);
        let two = pool.starmap((0..100u32).map(|n| (n, n + 1)), |a: u32, b: u32| a * b).unwrap();
        assert!(two.eq((0..100).map(|n| n * (n + 1))));
        let four = |a: u8, b: String, c: f64, d: bool| format!("{a}{b}{c}{d}");
        let texts = pool.starmap([(1, "x".to_owned(), 0.5, true)], four).unwrap();
        assert_eq!(texts.collect::<Vec<_>>(), ["1x0.5true"]);
        let chunked = pool.options().chunk_size(7).starmap([(1u8, 2u8); 40], u8::max).unwrap();
        assert!(chunked.eq([2; 40]));
        assert_eq!(pool.starmap(Vec::<(u8, u8)>::new(), u8::max).unwrap().len(), 0);
    });
}

#[test]
fn a_shared_value_reaches_every_call_of_a_lazy_map() {
    alone(|| {
        let pool = pool(2);
        let multiples = pool.with(3u64).imap(0u64.., 6, |&a, n| a * n).unwrap();
        assert!(multiples.take(50).map(Result::unwrap).eq((0..50).map(|n| 3 * n)));
        let all = pool.options().with(1u64).imap_unordered(0..200u64, 9, |&a, n| a + n).unwrap();
        let mut all: Vec<_> = all.map(Result::unwrap).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(1..201));
    });
}

#[test]
fn a_lazy_map_takes_no_more_than_its_look_ahead_whatever_the_chunks() {
    alone(|| {
        let pool = pool(2);
        for (ahead, chunk) in [(1, 1), (5, 3), (6, 2), (3, 10), (7, 7)] {
            for is_ordered in [true, false] {
                let taken = Cell::new(0);
                let items = (0usize..).inspect(|_| taken.set(taken.get() + 1));
                let options = pool.options().chunk_size(chunk);
                let results = if is_ordered {
                    options.imap(items, ahead, |n| n).unwrap()
                } else {
                    options.imap_unordered(items, ahead, |n| n).unwrap()
                };
                for (got, result) in (1..=40).zip(results) {
                    result.unwrap();
                    assert!(
                        taken.get() <= got + ahead,
                        "{got} of {}: {ahead}, {chunk}",
                        taken.get()
                    );
                }
            }
        }
    });
}

#[test]
fn a_look_ahead_or_a_chunk_of_nothing_is_refused() {
    alone(|| {
        let pool = pool(1);
        let invalid =
            |refused: Option<Error>| matches!(refused, Some(Error::InvalidArgument { .. }));
        assert!(invalid(pool.imap(0..3u8, 0, |n| n).err()));
        assert!(invalid(pool.imap_unordered(0..3u8, 0, |n| n).err()));
        let none = pool.options().chunk_size(0);
        assert!(invalid(none.imap(0..3u8, 2, |n| n).err()));
        assert!(invalid(none.starmap([(1u8, 2u8)], u8::max).err()));
        assert!(invalid(none.clone().with(1u8).map(0..3u8, |_, n| n).err()));
        assert!(invalid(none.clone().with(1u8).imap(0..3u8, 2, |_, n| n).err()));
    });
}

#[test]
fn lazy_maps_over_nothing_end_at_once() {
    alone(|| {
        let pool = pool(1);
        let none = std::iter::empty::<u32>;
        assert!(pool.imap(none(), 4, |n| n).unwrap().next().is_none());
        assert!(pool.imap_unordered(none(), 4, |n| n).unwrap().next().is_none());
        assert!(pool.with(1u8).imap(none(), 4, |_, n| n).unwrap().next().is_none());
    });
}

#[test]
fn a_panic_of_the_input_of_a_lazy_map_reaches_the_caller_and_the_pool_goes_on() {
    alone(|| {
        let pool = pool(2);
        for k in [0, 7] {
            for chunk in [1, 4] {
                let broken = (0..20u32).inspect(move |&n| assert!(n != k, "input"));
                let mut results = pool.options().chunk_size(chunk).imap(broken, 8, |n| n).unwrap();
                let mut next =
                    || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| results.next()));
                let first_panic = (0..20).find(|_| next().is_err());
                assert!(first_panic.is_some());
                // The iterator is not used again; items that it returned before are delivered.
                while let Ok(Some(result)) = next() {
                    assert!(result.unwrap() < k);
                }
                drop(results);
                assert_eq!(pool.map(0..10u32, |n| n).unwrap().len(), 10);
            }
        }
    });
}

/// A value whose `Drop` panics in workers.
#[derive(serde::Serialize, serde::Deserialize)]
struct Sore(u32);

impl Drop for Sore {
    fn drop(&mut self) {
        assert!(self.0 == std::process::id(), "dropped in a worker");
    }
}

#[test]
fn a_shared_value_whose_drop_panics_fails_no_call_that_comes_after() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        for n in 0..3 {
            let sore = Sore(std::process::id());
            let sums: Vec<u32> = pool.with(sore).map(0..3, |_, n: u32| n + 1).unwrap().collect();
            assert_eq!(sums, [1, 2, 3], "call {n}");
            let sums: Vec<u32> = pool.with(n).map(0..3, |n, m: u32| n + m).unwrap().collect();
            assert_eq!(sums, [n, n + 1, n + 2]);
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

/// A result that cannot be encoded if it is 3.
#[derive(serde::Deserialize)]
struct Picky(u32);

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 3, "picky");
        serializer.serialize_u32(self.0)
    }
}

fn items_of<R>(outcome: Result<R, Error>) -> std::ops::Range<usize> {
    let Err(Error::Task(error)) = outcome.map(drop) else { panic!("a task has failed") };
    error.items().unwrap_or_else(|| panic!("no items: {error}"))
}

#[test]
fn the_error_of_a_call_over_items_has_the_position_of_the_item() {
    alone(|| {
        let pool = pool(2);
        let in_process = Pool::builder().start(Start::InProcess).build().unwrap();
        let panics = |n: u32| assert!(n != 4321, "item {n}");
        for pool in [&pool, &in_process] {
            // Exact, whatever the size of the batch.
            assert_eq!(items_of(pool.map(0..10_000u32, panics)), 4321..4322);
            assert_eq!(items_of(pool.with(7u8).map(4320..4330u32, |_, n| assert!(n < 4325))), 5..6);
            let pairs = (0..10u32).map(|n| (n, n));
            assert_eq!(items_of(pool.starmap(pairs, |a: u32, b: u32| assert!(a + b < 12))), 6..7);
            let chunked = pool.options().chunk_size(4).map(0..8u32, Picky);
            assert_eq!(items_of(chunked), 0..4, "the function had returned");
            let mut results = pool.imap(4319..4323u32, 3, panics).unwrap();
            assert_eq!(items_of(results.by_ref().find(Result::is_err).unwrap()), 2..3);
            let error =
                pool.submit(|()| -> () { panic!("no item") }, ()).unwrap().join().unwrap_err();
            assert!(matches!(error, Error::Task(error) if error.items().is_none()));
        }
        let dies = |n: u32| if n == 25 { std::process::abort() } else { n };
        assert_eq!(items_of(pool.options().chunk_size(10).map(0..40, dies)), 20..30);
        let error = pool.options().chunk_size(1).map(0..40, dies).map(drop).unwrap_err();
        assert!(error.to_string().contains(", at item 25"), "{error}");
        let late = pool.options().chunk_size(2).timeout(std::time::Duration::from_millis(100));
        let hangs = |n: u32| {
            if n == 3 {
                std::thread::park()
            }
        };
        let error = late.map(0..8, hangs).map(drop).unwrap_err();
        assert!(error.to_string().ends_with(", at one of the items 2 to 3"), "{error}");
    });
}

#[test]
fn map_results_keeps_the_results_of_all_items_that_did_not_fail() {
    alone(|| {
        let pool = pool(2);
        let mixed = |n: usize| match n {
            3 => panic!("three"),
            50 => std::process::abort(),
            n => n * n,
        };
        let results = pool.map_results(0..100usize, mixed).unwrap();
        assert_eq!(results.len(), 100);
        for (n, result) in results.iter().enumerate() {
            match (n, result) {
                (3, Err(error @ TaskError::Panicked { .. })) => {
                    assert_eq!(error.items(), Some(3..4))
                }
                (50, Err(TaskError::Died(death))) => assert_eq!(death.items, Some(50..51)),
                (n, result) => assert_eq!(result, &Ok(n * n)),
            }
        }
        let results = pool.options().chunk_size(10).map_results(0..100usize, mixed).unwrap();
        assert_eq!(results.len(), 100);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.is_err(), n / 10 == 0 || n / 10 == 5, "{n}");
            assert!(result.is_err() || *result == Ok(n * n));
        }
        let halves = pool.with(2usize).map_results([4, 0, 6], |&by, n| by / n * n).unwrap();
        assert!(matches!(&halves[..], [Ok(0), Err(TaskError::Panicked { .. }), Ok(0)]));
        assert_eq!(pool.map_results(std::iter::empty::<usize>(), mixed).unwrap(), []);
        pool.terminate().unwrap();
        assert!(matches!(pool.map_results([1], mixed), Err(Error::Closed { .. })));
    });
}

#[test]
fn map_results_of_a_pool_that_ends_meanwhile_is_an_error() {
    alone(|| {
        for end in [Pool::terminate, Pool::kill] {
            let brief = Duration::from_millis(10);
            let pool = Pool::builder().workers(2).grace(brief).build().unwrap();
            let caller = ThreadId::current();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    caller.wait_until_blocked();
                    end(&pool).unwrap();
                });
                let results = pool.map_results(0..4, |_: i32| std::thread::park());
                assert!(matches!(results, Err(Error::Closed { .. })), "{results:?}");
            });
        }
    });
}

#[test]
fn indexed_results_have_the_positions_of_their_items() {
    alone(|| {
        let pool = pool(3);
        let panics = |n: usize| if n == 107 { panic!("seven") } else { n };
        for chunk in [1, 3] {
            let options = pool.options().chunk_size(chunk);
            let in_order = options.imap(100..130usize, 9, panics).unwrap().indexed();
            let as_done = options.imap_unordered(100..130usize, 9, panics).unwrap().indexed();
            let mut seen = [[0; 30]; 2];
            for (call, results) in [in_order, as_done].into_iter().enumerate() {
                for (at, result) in results {
                    assert!(seen[call][at] == 0, "item {at} twice");
                    match result {
                        Ok(n) => seen[call][at] = usize::from(n == 100 + at),
                        Err(error) => {
                            assert_eq!(at, 7 / chunk * chunk, "the first of its chunk");
                            assert_eq!(items_of(Err::<(), _>(error)), 7..8);
                            seen[call][at..at + chunk].fill(1);
                        }
                    }
                }
            }
            assert_eq!(seen, [[1; 30]; 2]);
        }
    });
}
