//! Sorts, compared with the standard library's.
#![expect(clippy::cast_possible_truncation, reason = "any bits will do")]

use std::cmp::Ordering;
use std::sync::atomic::{self, AtomicBool};
use std::time::{Duration, Instant};

use crate::common::alone::alone;
use brigade::{Error, Pool, SharedArray, SortKey};

/// One bucket, the first length with several, and odd ones.
pub(super) const LENGTHS: [usize; 7] = [0, 1, 2, 1001, 32_767, 32_768, 100_003];

pub(super) fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().unwrap()
}

/// Pseudorandom words (SplitMix64, Steele et al., 2014).
pub(super) fn words(n: usize) -> Vec<u64> {
    let mix = |i: u64| {
        let x = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    };
    (1..=n as u64).map(mix).collect()
}

/// Words in orders that are hard for some sorting algorithm.
fn shapes(n: usize) -> Vec<Vec<u64>> {
    let random = words(n);
    let ascending: Vec<u64> = (0..n as u64).map(|i| i << 20).collect();
    let mut nearly = ascending.clone();
    if n > 2 {
        nearly.swap(1, n - 2);
    }
    vec![
        vec![7 << 40; n],
        random.iter().map(|w| (w % 5) << 30).collect(),
        ascending.iter().rev().copied().collect(),
        random.iter().map(|w| w >> (w % 64)).collect(),
        ascending,
        nearly,
        random,
    ]
}

/// What the oracle orders by.
pub(super) trait Key: SortKey {
    fn of(word: u64) -> Self;

    /// NumPy's order.
    fn rank_cmp(&self, other: &Self) -> Ordering;

    /// The order of `sort`; equal for the same bits alone.
    fn total(&self, other: &Self) -> Ordering {
        self.rank_cmp(other)
    }
}

macro_rules! integer {
    ($($type:ty)*) => {$(
        impl Key for $type {
            fn of(word: u64) -> Self {
                (word >> 20) as Self
            }

            fn rank_cmp(&self, other: &Self) -> Ordering {
                self.cmp(other)
            }
        }
    )*};
}
integer!(u8 u16 u64 i8 i32 i64);

macro_rules! float {
    ($($type:ty, $bits:ty;)*) => {$(
        impl Key for $type {
            fn of(word: u64) -> Self {
                match word % 64 {
                    1 => Self::NAN,
                    2 => -Self::NAN,
                    3 => 0.0,
                    4 => -0.0,
                    _ => Self::from_bits((word >> 16) as $bits),
                }
            }

            fn rank_cmp(&self, other: &Self) -> Ordering {
                let nan_last = || self.is_nan().cmp(&other.is_nan());
                self.partial_cmp(other).unwrap_or_else(nan_last)
            }

            fn total(&self, other: &Self) -> Ordering {
                let group = |x: &Self| (x.is_nan(), x.is_nan() && x.is_sign_negative());
                group(self).cmp(&group(other)).then(self.total_cmp(other))
            }
        }
    )*};
}
float!(f32, u32; f64, u64;);

pub(super) fn assert_same<T: Key>(found: &[T], expected: &[T], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let place = found.iter().zip(expected).position(|(a, b)| a.total(b).is_ne());
    assert_eq!(place, None, "{what}");
}

/// The oracle's answers for some keys.
struct Expected<T> {
    keys: Vec<T>,
    sorted: Vec<T>,
    order: Vec<u64>,
}

fn expected<T: Key>(words: &[u64]) -> Expected<T> {
    let keys: Vec<T> = words.iter().map(|&word| T::of(word)).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable_by(T::total);
    let mut order: Vec<u64> = (0..keys.len() as u64).collect();
    order.sort_by(|&a, &b| keys[a as usize].rank_cmp(&keys[b as usize]));
    Expected { keys, sorted, order }
}

fn assert_sorts<T: Key>(pool: &Pool, words: &[u64]) {
    let Expected { keys, sorted, order } = expected::<T>(words);
    let what = format!("{} of {}", keys.len(), std::any::type_name::<T>());
    let array = SharedArray::from_slice(&keys).unwrap();
    assert_eq!(pool.argsort(&array).unwrap().as_slice(), order, "argsort {what}");

    let mut found = array;
    let mut values =
        SharedArray::from_fn([keys.len()], |[i]| [i as u16, (i >> 16) as u16, 7]).unwrap();
    pool.sort_by_key(&mut found, &mut values).unwrap();
    let by_key: Vec<T> = order.iter().map(|&i| keys[i as usize]).collect();
    assert_same(found.as_slice(), &by_key, &format!("keys {what}"));
    let value = |&i: &u64| [i as u16, (i >> 16) as u16, 7];
    assert!(values.as_slice().iter().copied().eq(order.iter().map(value)), "values {what}");

    let mut found = SharedArray::from_slice(&keys).unwrap();
    pool.sort(&mut found).unwrap();
    assert_same(found.as_slice(), &sorted, &what);
}

#[test]
fn sorts_equal_the_standard_librarys_for_any_number_of_workers() {
    alone(|| {
        for workers in [1, 2, 3] {
            let pool = pool(workers);
            for n in LENGTHS {
                let random = words(n);
                assert_sorts::<u64>(&pool, &random);
                assert_sorts::<f64>(&pool, &random);
                assert_sorts::<f32>(&pool, &random);
                assert_sorts::<i32>(&pool, &random);
                assert_sorts::<u16>(&pool, &random);
                assert_sorts::<i8>(&pool, &random);
            }
        }
    });
}

#[test]
fn keys_of_every_shape_are_sorted() {
    alone(|| {
        let pool = pool(2);
        for words in shapes(60_001) {
            assert_sorts::<u64>(&pool, &words);
            assert_sorts::<f64>(&pool, &words);
            assert_sorts::<u8>(&pool, &words);
        }
        // More keys of 2 bytes than one counting chunk has.
        let Expected { keys, sorted, .. } = expected::<u16>(&words(600_001));
        let mut found = SharedArray::from_slice(&keys).unwrap();
        pool.sort(&mut found).unwrap();
        assert_same(found.as_slice(), &sorted, "three chunks");
    });
}

#[test]
fn arrays_that_do_not_fit_are_refused() {
    alone(|| {
        let pool = pool(1);
        let mut a = SharedArray::<f64>::zeroed([3, 4]).unwrap();
        let mut b = SharedArray::<f64>::zeroed([3]).unwrap();
        let mut c = SharedArray::<u8>::zeroed([4]).unwrap();
        for error in [
            pool.sort(&mut a).unwrap_err(),
            pool.argsort(&a).unwrap_err(),
            pool.sort_by_key(&mut a, &mut c).unwrap_err(),
            pool.sort_by_key(&mut c, &mut a).unwrap_err(),
        ] {
            assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
            assert!(error.to_string().contains("one dimension"), "{error}");
        }
        let error = pool.sort_by_key(&mut b, &mut c).unwrap_err();
        assert!(matches!(error, Error::ShapeMismatch { .. }), "{error}");
    });
}

/// The process ids of all workers, asked until each has answered.
fn worker_pids(pool: &Pool) -> Vec<u32> {
    let mut pids = Vec::new();
    while pids.len() < pool.workers() {
        let ask = |_| pool.submit(|()| std::process::id(), ()).unwrap();
        let asked: Vec<_> = (0..pool.workers()).map(ask).collect();
        pids.extend(asked.into_iter().map(|handle| handle.join().unwrap()));
        pids.sort_unstable();
        pids.dedup();
    }
    pids
}

/// Calls `call` while another thread kills a worker after `delay`, unless the call is over.
fn with_a_worker_killed<R>(pool: &Pool, delay: Duration, call: impl FnOnce() -> R) -> R {
    let victim = nix::unistd::Pid::from_raw(worker_pids(pool)[0].cast_signed());
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while begun.elapsed() < delay {
                std::thread::yield_now();
            }
            if !is_over.load(atomic::Ordering::Acquire) {
                nix::sys::signal::kill(victim, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
        });
        let result = call();
        is_over.store(true, atomic::Ordering::Release);
        result
    })
}

#[test]
fn a_death_in_any_pass_is_repaired_or_leaves_all_elements() {
    alone(|| {
        let Expected { keys, sorted, order } = expected::<u64>(&words(1_000_003));
        let by_key = |found: &SharedArray<u64>, values: &SharedArray<u64>| {
            let pairs = found.as_slice().iter().zip(values.as_slice());
            pairs.into_iter().all(|(key, &i)| *key == keys[i as usize])
        };
        for retries in [0, 1] {
            let pool = Pool::builder().workers(2).retries(retries).build().unwrap();
            let mut found = SharedArray::from_slice(&keys).unwrap();
            let begun = Instant::now();
            pool.sort(&mut found).unwrap();
            let whole = begun.elapsed();
            for step in 0..16 {
                let delay = whole * step / 16;
                let mut found = SharedArray::from_slice(&keys).unwrap();
                let done = with_a_worker_killed(&pool, delay, || pool.sort(&mut found));
                if let Err(error) = &done {
                    assert_eq!(retries, 0, "{error}");
                    assert!(error.death().expect("a death").torn.is_empty());
                    found.as_mut_slice().sort_unstable();
                }
                assert_same(found.as_slice(), &sorted, "after a death");

                let mut found = SharedArray::from_slice(&keys).unwrap();
                let mut values = SharedArray::from_fn([keys.len()], |[i]| i as u64).unwrap();
                let call = || pool.sort_by_key(&mut found, &mut values);
                let done = with_a_worker_killed(&pool, 2 * delay, call);
                assert!(by_key(&found, &values), "pairs are kept together");
                if done.is_err() {
                    assert_eq!(retries, 0, "{done:?}");
                    values.as_mut_slice().sort_unstable();
                    assert!(values.as_slice().iter().copied().eq(0..keys.len() as u64));
                } else {
                    assert!(values.as_slice() == order);
                }
            }
        }
    });
}
