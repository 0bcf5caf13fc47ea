//! Partial results of loops: `fold` and `fold_array`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{found_and_left, pool};
use crate::common::alone::alone;
use crate::common::float::{MODES, set_mode};
use crate::common::unique;
use brigade::{Error, Pool, SharedArray, Start, TaskError};

/// The numbers from 0.
fn numbers(len: usize) -> SharedArray<u32> {
    SharedArray::from_fn([len], |[i]| u32::try_from(i).unwrap()).unwrap()
}

#[test]
fn a_fold_has_the_same_bits_for_any_number_of_workers() {
    alone(|| {
        let x = SharedArray::from_fn([100_003], |[i]| 1.0 / (i as f32 + 1.0)).unwrap();
        let mut all = Vec::new();
        for workers in [1, 2, 5] {
            let pool = pool(workers);
            let sum = pool
                .par_chunks(&x, 100)
                .fold(|| 0f32, |sum, x| x.iter().for_each(|x| *sum += x))
                .merge(|a, b| a + b)
                .unwrap();
            let bins = pool
                .par_chunks(&x, 100)
                .with(7usize)
                .fold_array(7, |n, bins: &mut [f32], x| {
                    x.iter().enumerate().for_each(|(i, x)| bins[i % n] += x)
                })
                .merge(|a, b| a + b)
                .unwrap();
            all.push((
                sum.to_bits(),
                bins.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            ));
        }
        assert!(all.iter().all(|bits| *bits == all[0]), "{all:?}");
    });
}

#[test]
fn a_fold_starts_a_group_again_whose_worker_died() {
    alone(|| {
        let pool = pool(2);
        let x = numbers(10_000);
        let mark = std::env::temp_dir().join(unique("fold"));
        let dies_once = |mark: &std::path::PathBuf, x: &[u32]| {
            if x[0] == 5_050 && std::fs::File::create_new(mark).is_ok() {
                std::process::abort();
            }
        };
        let bins = pool.par_chunks(&x, 10).retries(1).with(mark.clone()).fold_array(
            100,
            move |mark, bins: &mut [u64], x| {
                x.iter().for_each(|&x| bins[(x % 100) as usize] += u64::from(x));
                dies_once(mark, x);
            },
        );
        let bins = bins.merge(|a, b| a + b).unwrap();
        std::fs::remove_file(&mark).unwrap();
        for (i, &bin) in (0u64..).zip(bins.as_slice()) {
            assert_eq!(bin, 100 * i + 100 * 4950, "bin {i}");
        }
        let counts = pool.par_chunks(&x, 10).retries(1).with(mark.clone()).fold(
            |_| BTreeMap::new(),
            move |mark, counts: &mut BTreeMap<u32, u32>, x| {
                x.iter().for_each(|x| *counts.entry(x % 3).or_default() += 1);
                dies_once(mark, x);
            },
        );
        let counts = counts.merge(|mut a, b| {
            b.into_iter().for_each(|(key, n)| *a.entry(key).or_default() += n);
            a
        });
        std::fs::remove_file(&mark).unwrap();
        assert_eq!(counts.unwrap(), BTreeMap::from([(0, 3334), (1, 3333), (2, 3333)]));
        let empty = SharedArray::<u32>::zeroed([0]).unwrap();
        let none = pool.par_chunks(&empty, 3).with(5).fold(|n| *n, |_, _, _| ()).merge(|a, _| a);
        assert_eq!(none.unwrap(), 5);
        let none = pool.par_chunks(&empty, 3).fold_array(4, |_: &mut [u8], _| ()).merge(|a, _| a);
        assert_eq!(none.unwrap().as_slice(), [0; 4]);
    });
}

// There were up to 127, because the number of chunks of a group was rounded down.
#[test]
fn there_are_at_most_64_partial_results() {
    alone(|| {
        let pool = pool(2);
        for chunks in [1, 63, 64, 65, 100, 127, 128, 129, 1000] {
            let x = numbers(chunks);
            let groups = pool
                .par_chunks(&x, 1)
                .fold(|| vec![0], |groups: &mut Vec<usize>, x| groups[0] += x.len())
                .merge(|a, b| [a, b].concat())
                .unwrap();
            assert!(groups.len() <= 64 && groups.iter().sum::<usize>() == chunks, "{groups:?}");
            let arrays = pool
                .par_chunks(&x, 1)
                .fold_array(1, |partial: &mut [usize], _| partial[0] = 1)
                .merge(|a, b| a + b);
            assert_eq!(arrays.unwrap().as_slice(), [groups.len()]);
        }
    });
}

// The user's function ran in the host, and its panic unwound there.
#[test]
fn the_partial_result_of_no_chunks_is_made_in_a_worker() {
    alone(|| {
        let pool = pool(1);
        let empty = numbers(0);
        let made = pool.par_chunks(&empty, 1).fold(std::process::id, |_, _| ()).merge(|a, _| a);
        assert_ne!(made.unwrap(), std::process::id());
        let made = pool.par_chunks(&empty, 1).with(7).fold(|n| n + 1, |_, _, _| ());
        assert_eq!(made.merge(|a, _| a).unwrap(), 8);
        let panics = pool.par_chunks(&empty, 1).fold(|| -> u8 { panic!("nothing") }, |_, _| ());
        match panics.merge(|a, _| a).unwrap_err() {
            Error::Task(TaskError::Panicked { message, .. }) => assert_eq!(message, "nothing"),
            other => panic!("{other}"),
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

/// A file that tells whether a worker of this host has died.
fn mark(host: u32) -> PathBuf {
    std::env::temp_dir().join(format!("brigade-merge-{host}"))
}

// The merging loop used the pool's rules, and named ranges of the result as torn.
#[test]
fn a_merge_of_partial_arrays_survives_as_many_deaths_as_the_loop_allows() {
    alone(|| {
        let pool = pool(2);
        let x = numbers(1000);
        for retries in [1, 0] {
            let chunks = pool.par_chunks(&x, 10).retries(retries).with(std::process::id());
            let sums = chunks.fold_array(1, |&host, partial: &mut [[u32; 2]], x| {
                partial[0] = [partial[0][0] + x.iter().sum::<u32>(), host];
            });
            let sums = sums.merge(|a, b| {
                if std::fs::File::create_new(mark(a[1])).is_ok() {
                    std::process::abort();
                }
                [a[0] + b[0], a[1]]
            });
            std::fs::remove_file(mark(std::process::id())).expect("a worker has died");
            match sums {
                Ok(sums) => assert_eq!((sums[[0]][0], retries), (499_500, 1)),
                Err(error) => assert_eq!((error.death().unwrap().torn.len(), retries), (0, 0)),
            }
        }
    });
}

// The merge kept 128 values on the stack.
#[test]
fn an_element_of_a_partial_array_may_be_large() {
    alone(|| {
        type Large = [[u64; 128]; 128];
        let (pool, x) = (pool(1), numbers(128));
        let sums = pool.par_chunks(&x, 1).fold_array(1, |partial: &mut [Large], x| {
            partial[0][1][2] += u64::from(x[0]);
        });
        let sums = sums.merge(|mut a, b| {
            a[1][2] += b[1][2];
            a
        });
        assert_eq!(sums.unwrap().as_slice()[0][1][2], 127 * 64);
    });
}

#[test]
fn every_function_of_a_fold_begins_in_the_standard_floating_point_mode() {
    alone(|| {
        let here = Pool::builder().start(Start::InProcess).build().unwrap();
        let x = numbers(100);
        for (pool, other) in [&pool(1), &here].into_iter().flat_map(|pool| MODES.map(|m| (pool, m)))
        {
            let chunks = || pool.par_chunks(&x, 1).with(other);
            let found = chunks().fold(
                |&other| (vec![found_and_left(other)], other),
                |&other, found: &mut (Vec<u32>, u32), _| found.0.push(found_and_left(other)),
            );
            let found = found.merge(|(mut a, other), (b, _)| {
                a.push(found_and_left(other));
                ([a, b].concat(), other)
            });
            let (found, _) = found.unwrap();
            assert!(found.iter().all(|&mode| mode == 0), "after {other:#x}: {found:x?}");
            let wrong = chunks().fold_array(1, |&other, partial: &mut [[u32; 2]], _| {
                let is_wrong = u32::from(found_and_left(other) != 0);
                partial[0] = [partial[0][0] + is_wrong, other];
            });
            let wrong = wrong
                .merge(|[a, other], [b, _]| [a + b + u32::from(found_and_left(other) != 0), other]);
            assert_eq!(wrong.unwrap()[[0]][0], 0, "calls for an array, after {other:#x}");
            let made = chunks().scratch(|other| {
                set_mode(other);
                other
            });
            let found = made.map(|&mut other, _| found_and_left(other)).collect().unwrap();
            assert!(found.iter().all(|&mode| mode == 0), "scratch, after {other:#x}: {found:x?}");
        }
    });
}
