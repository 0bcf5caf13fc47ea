//! Workers that die in the middle of computations on arrays.

use super::{pool, tenths};
use crate::common::alone::alone;
use crate::common::unique;
use brigade::{Error, Pool, SharedArray};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Names a file that the first worker to die creates.
const MARK: &str = "BRIGADE_TEST_ARRAYS_MARK";

fn dies_once(is_victim: bool) {
    if is_victim && std::fs::File::create_new(std::env::var(MARK).unwrap()).is_ok() {
        std::process::abort();
    }
}

#[test]
fn a_death_within_a_function_is_made_up_for_by_a_retry() {
    alone(|| {
        let x = SharedArray::from_fn([200_003], |[i]| u32::try_from(i).unwrap()).unwrap();
        for retries in [0, 1] {
            let mark = std::env::temp_dir().join(unique("arrays"));
            let builder = Pool::builder().workers(2).retries(retries);
            let pool = builder.env(MARK, mark.to_str().unwrap()).build().unwrap();
            let mut out = SharedArray::<u64>::zeroed([200_003]).unwrap();
            let mapped = pool.map_into(&x, &mut out, |x| {
                dies_once(x == 100_000);
                u64::from(x) + 1
            });
            std::fs::remove_file(&mark).unwrap();
            let found = pool.scan(&x, 0, |a, b| {
                dies_once(b == 150_000);
                a.max(b)
            });
            std::fs::remove_file(&mark).unwrap();
            if retries == 0 {
                let torn = |error: Error| error.death().unwrap().torn.clone();
                let torn_by_map = torn(mapped.unwrap_err());
                assert!(torn_by_map.iter().any(|torn| torn.contains(&100_000)), "{torn_by_map:?}");
                // The array that is torn is the result, which nobody gets.
                assert_eq!(torn(found.unwrap_err()), []);
                continue;
            }
            mapped.unwrap();
            assert!(out.as_slice().iter().copied().eq(1..=200_003));
            assert_eq!(found.unwrap(), x);
        }
    });
}

#[test]
fn a_worker_that_is_killed_at_any_time_changes_no_result() {
    alone(|| {
        let x = tenths(2_000_003);
        let expected = {
            let pool = pool(1);
            (pool.sum(&x).unwrap(), pool.cumsum(&x).unwrap(), pool.permutation(900_001, 3).unwrap())
        };
        let key = |[i]: [usize; 1]| u16::try_from(i % 300).unwrap();
        let keys = SharedArray::from_fn([2_000_003], key).unwrap();
        let groups = |pool: &Pool| {
            let sparse = pool.group_by(&keys, &x).unwrap();
            (sparse.sums, pool.group_by_dense(&keys, &x, 300).unwrap().means)
        };
        let expected_groups = groups(&pool(1));
        for _ in 0..4 {
            let pool = Pool::builder().workers(2).retries(1).build().unwrap();
            let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL));
                assert_eq!(pool.sum(&x).unwrap(), expected.0);
                assert_eq!(pool.cumsum(&x).unwrap(), expected.1);
                assert_eq!(pool.permutation(900_001, 3).unwrap(), expected.2);
            });
        }
        for _ in 0..4 {
            let pool = Pool::builder().workers(2).retries(1).build().unwrap();
            let pid = pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL));
                assert_eq!(groups(&pool), expected_groups);
            });
        }
    });
}
