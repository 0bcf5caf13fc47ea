//! Arrays of tasks and packed vectors, which cross by value.

use std::collections::BTreeMap;

use crate::common::alone::{alone, progress};
use brigade::{Error, Packed, Pool, Process, Queue, SharedArray, Start, TaskError};
use serde::{Deserialize, Serialize};

fn pools() -> [Pool; 2] {
    let builder = || Pool::builder().workers(2);
    [builder().build().unwrap(), builder().start(Start::InProcess).build().unwrap()]
}

fn counting(shape: [usize; 2]) -> SharedArray<u64> {
    SharedArray::from_fn(shape, |[i, j]| (i * shape[1] + j) as u64).unwrap()
}

fn check(array: &SharedArray<u64>, shape: [usize; 2]) {
    assert_eq!(array.shape().dims(), shape);
    assert!(array.as_slice().iter().zip(0..).all(|(&x, n)| x == n), "{shape:?}");
}

/// Sizes without elements, in the payload, around the limit for that, and of several MiB.
const SHAPES: [[usize; 2]; 7] =
    [[0, 3], [1, 1], [3, 5], [1, 4096], [1, 4097], [64, 65], [1000, 999]];

#[derive(Debug, Serialize, Deserialize)]
struct Report {
    name: String,
    array: SharedArray<u64>,
    more: BTreeMap<u8, Vec<SharedArray<u64>>>,
}

#[test]
fn an_array_that_a_task_has_made_arrives_wherever_a_result_holds_it() {
    alone(|| {
        for pool in pools() {
            for shape in SHAPES {
                check(&pool.submit(counting, shape).unwrap().join().unwrap(), shape);
                let perhaps = |shape: [usize; 2]| -> Result<SharedArray<u64>, String> {
                    if shape[0] > 0 { Ok(counting(shape)) } else { Err("empty".to_owned()) }
                };
                match pool.submit(perhaps, shape).unwrap().join().unwrap() {
                    Ok(array) => check(&array, shape),
                    Err(text) => assert_eq!((text.as_str(), shape[0]), ("empty", 0)),
                }
            }
            let report = |()| Report {
                name: "all".to_owned(),
                array: counting([300, 300]),
                more: [(3, SHAPES.map(counting).into())].into(),
            };
            let report = pool.submit(report, ()).unwrap().join().unwrap();
            assert_eq!(report.name, "all");
            check(&report.array, [300, 300]);
            SHAPES.iter().zip(&report.more[&3]).for_each(|(&shape, array)| check(array, shape));
            let mapped = pool.map(SHAPES, counting).unwrap();
            SHAPES.into_iter().zip(mapped).for_each(|(shape, array)| check(&array, shape));
            // It is the host's own array, which can be lent and changed.
            let mut array = pool.submit(counting, [200, 200]).unwrap().join().unwrap();
            pool.par_chunks_mut(&mut array, 1000).for_each(|x| x.fill(7)).unwrap();
            assert_eq!(array.as_slice(), [7; 40_000]);
        }
        let process = Process::spawn(|shapes: [[usize; 2]; 7]| shapes.map(counting), SHAPES);
        let made = process.unwrap().join().unwrap();
        SHAPES.into_iter().zip(&made).for_each(|(shape, array)| check(array, shape));
    });
}

#[test]
fn elements_of_any_size_come_back() {
    alone(|| {
        for pool in pools() {
            let empty = |n: usize| SharedArray::<[u8; 0]>::zeroed([n]).unwrap();
            assert_eq!(pool.submit(empty, 5).unwrap().join().unwrap().len(), 5);
            let odd = |n: usize| SharedArray::from_fn([n], |[i]| [i.to_le_bytes()[0]; 7]).unwrap();
            let array = pool.submit(odd, 50_000).unwrap().join().unwrap();
            assert!((0..50_000).all(|i| array[[i]] == [i.to_le_bytes()[0]; 7]));
        }
    });
}

#[test]
fn a_result_may_hold_more_arrays_than_a_worker_gets_spans() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let many =
            |n: usize| -> Vec<SharedArray<u64>> { (0..n).map(|_| counting([5, 1000])).collect() };
        let arrays = pool.submit(many, 1100).unwrap().join().unwrap();
        assert_eq!(arrays.len(), 1100);
        arrays.iter().for_each(|array| check(array, [5, 1000]));
    });
}

#[test]
fn an_array_is_refused_as_an_argument_and_as_a_message() {
    alone(|| {
        for pool in pools() {
            let array = counting([2, 2]);
            let error = pool.submit(|a: SharedArray<u64>| a.len(), array).map(drop).unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::Codec { what: "argument", .. })));
            assert!(error.to_string().contains("`freeze` it"), "{error}");
        }
        let queue = Queue::<SharedArray<u64>>::new(1 << 10).unwrap();
        let error = queue.put(counting([2, 2])).unwrap_err();
        assert!(error.to_string().contains("the argument or the result of a task"), "{error}");
    });
}

/// What ends the encoding of a result.
#[derive(Debug, Clone, Copy, Deserialize)]
enum Bomb {
    Abort,
    Error,
    Panic,
}

impl Serialize for Bomb {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // The worker alone: the host sends it as a number.
        if brigade::worker_index().is_none() {
            return serializer.serialize_unit_variant("Bomb", *self as u32, "");
        }
        match self {
            Bomb::Abort => std::process::abort(),
            Bomb::Error => Err(serde::ser::Error::custom("no")),
            Bomb::Panic => panic!("no"),
        }
    }
}

#[test]
fn what_a_task_has_made_is_freed_if_its_result_fails_or_its_worker_dies() {
    alone(|| {
        const LIMIT: usize = 96 << 20;
        brigade::set_memory_limit(LIMIT as u64);
        let pool = Pool::builder().workers(1).build().unwrap();
        let fail = |bomb: Bomb| (counting([1 << 10, 1 << 11]), Packed(vec![1u64; 1 << 20]), bomb);
        for _ in 0..6 {
            for bomb in [Bomb::Abort, Bomb::Error, Bomb::Panic] {
                let error = pool.submit(fail, bomb).unwrap().join().map(drop).unwrap_err();
                match bomb {
                    Bomb::Abort => assert!(error.death().is_some(), "{error}"),
                    Bomb::Error => assert!(error.to_string().contains("result"), "{error}"),
                    Bomb::Panic => assert!(error.to_string().contains("panicked"), "{error}"),
                }
                progress();
            }
        }
        // A result that nobody takes.
        for _ in 0..6 {
            drop(pool.submit(counting, [1 << 10, 1 << 11]).unwrap());
            pool.submit(|()| (), ()).unwrap().join().unwrap();
        }
        let most = SharedArray::<u8>::zeroed([LIMIT - (16 << 20)]);
        assert!(most.is_ok(), "{most:?}");
    });
}

fn negated(Packed(x): Packed<f32>) -> Packed<f32> {
    Packed(x.into_iter().map(|x| -x).collect())
}

#[test]
fn a_packed_vector_goes_wherever_an_argument_or_a_result_goes() {
    alone(|| {
        for pool in pools() {
            for len in [0, 1, 1000, 8192, 8193, 1_000_000] {
                let x: Vec<f32> = (0..len).map(|n| n as f32).collect();
                let back = pool.submit(negated, Packed(x.clone())).unwrap().join().unwrap();
                assert!(back.iter().zip(&x).all(|(back, x)| *back == -x) && back.len() == x.len());
            }
            let items = (0..20u8).map(|n| (n, Packed(vec![n; 100_000])));
            let sums = |(n, x): (u8, Packed<u8>)| (Packed(vec![x.len(); 9000]), x[99_999] == n);
            for (lens, is_right) in pool.map(items, sums).unwrap() {
                assert!(is_right && *lens == [100_000; 9000]);
            }
            let table = Packed((0..100_000u64).collect());
            let found = pool.with(table).map([5usize, 99_999], |table, at| table[at]).unwrap();
            assert_eq!(found.collect::<Vec<_>>(), [5, 99_999]);
            let empty = pool.submit(|x: Packed<[u8; 0]>| x, Packed(vec![[]; 70])).unwrap();
            assert_eq!(empty.join().unwrap().len(), 70);
        }
        let process = Process::spawn(negated, Packed(vec![1.0; 100_000])).unwrap();
        assert_eq!(*process.join().unwrap(), [-1.0; 100_000]);
        let queue = Queue::<Packed<u32>>::new(1 << 20).unwrap();
        queue.put(Packed(vec![9; 50_000])).unwrap();
        assert_eq!(*queue.get().unwrap(), [9; 50_000]);
    });
}
