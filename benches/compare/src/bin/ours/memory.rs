//! How fast brigade's workers stream through shared memory.

use std::hint::black_box;

use brigade::{Frozen, SharedArray};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use brigade_compare::stream::{AXPY_BYTES, axpy, sum};

use crate::tasks::build;

/// Elements that a worker takes at a time.
const CHUNK: usize = 1 << 16;

/// How fast is a big array summed?
pub(crate) fn sum_all(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    let mut values = pool.zeroed::<f64>([bytes / 8]).expect("there is memory");
    pool.par_chunks_mut(&mut values, CHUNK).for_each(|x| x.fill(1.0)).expect("it is filled");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let total = pool.par_chunks(&values, CHUNK).map(sum).reduce(0.0, |a, b| a + b);
            assert_eq!(total.expect("it is summed"), values.len() as f64, "the sum is wrong");
        });
        vec![("sum_gbps", bytes as f64 / seconds / 1e9)]
    })
}

/// How fast is a multiple of one big array added to another?
pub(crate) fn axpy_all(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let len: usize = arguments.size_bytes() / 4;
    let mut x = pool.zeroed::<f32>([len]).expect("there is memory");
    let mut y = pool.zeroed::<f32>([len]).expect("there is memory");
    pool.par_chunks_mut(&mut x, CHUNK).for_each(|x| x.fill(1.0)).expect("it is filled");
    pool.par_chunks_mut(&mut y, CHUNK).for_each(|y| y.fill(2.0)).expect("it is filled");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            pool.par_chunks_mut(&mut y, CHUNK)
                .zip(&x)
                .with(black_box(0.5f32))
                .for_each(|alpha, (y, x)| axpy(*alpha, x, y))
                .expect("it is added");
        });
        vec![("axpy_gbps", (len * AXPY_BYTES) as f64 / seconds / 1e9)]
    })
}

/// How fast does zeroed memory come, touched by all workers?
pub(crate) fn allocate(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(pool.zeroed::<u8>([bytes]).expect("there is memory"));
        });
        vec![("alloc_gib_s", bytes as f64 / (1u64 << 30) as f64 / seconds)]
    })
}

/// How long does one worker take to be handed an array and to return its sum?
pub(crate) fn handoff(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let mut values = SharedArray::<f64>::zeroed([arguments.size_bytes() / 8]).expect("memory");
    values.as_mut_slice().fill(1.0);
    let values = values.freeze();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let task = pool.submit(|x: Frozen<f64>| sum(x.as_slice()), values.clone());
            black_box(task.expect("the pool is open").join().expect("the task returns"));
        });
        vec![("array_handoff_us", seconds * 1e6)]
    })
}
