//! How fast workers stream through shared memory, and allocate it.

use std::hint::black_box;

use brigade::{Frozen, Pool, SharedArray};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{percentile, seconds_a_call, seconds_a_new_call, time};
use brigade_compare::stream::{AXPY_BYTES, CHUNK, PAGE_BYTES, PART_BYTES, axpy, gib_a_second, sum};

use crate::tasks::{build, run_one};

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

/// How fast is new zeroed memory allocated, touched by all workers?
///
/// The arena is freed with its last pool and array, so the memory comes from the system each time.
pub(crate) fn allocate(arguments: &Arguments) -> Repetition {
    let (workers, budget) = (arguments.number("workers"), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    Box::new(move || {
        let before = || {
            let pool = build(workers);
            run_one(&pool);
            pool
        };
        let seconds = seconds_a_new_call(budget, before, |pool| {
            let mut array = pool.zeroed::<u8>([bytes]).expect("there is memory");
            touch(pool, &mut array);
            array
        });
        vec![("alloc_gib_s", gib_a_second(bytes, seconds))]
    })
}

/// How fast is freed memory allocated again, touched by all workers?
pub(crate) fn reallocate(arguments: &Arguments) -> Repetition {
    again(arguments, "realloc_gib_s", |pool, bytes| {
        let mut array = pool.for_overwrite([bytes]).expect("there is memory");
        touch(pool, &mut array);
        array
    })
}

/// How fast is freed memory allocated again, as zeros?
pub(crate) fn rezero(arguments: &Arguments) -> Repetition {
    again(arguments, "rezero_gib_s", |pool, bytes| pool.zeroed([bytes]).expect("there is memory"))
}

fn again(
    arguments: &Arguments,
    figure: &'static str,
    take: fn(&Pool, usize) -> SharedArray<u8>,
) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    touch(&pool, &mut take(&pool, bytes));
    Box::new(move || {
        let seconds = seconds_a_new_call(budget, || {}, |()| take(&pool, bytes));
        vec![(figure, gib_a_second(bytes, seconds))]
    })
}

/// Touches a byte of each page, by all workers.
fn touch(pool: &Pool, array: &mut SharedArray<u8>) {
    let touch = |part: &mut [u8]| part.chunks_mut(PAGE_BYTES).for_each(|page| page[0] = 1);
    pool.par_chunks_mut(array, PART_BYTES).for_each(touch).expect("it is touched");
}

/// How long does one worker take to receive an array and return its sum, compared with the sum
/// alone?
pub(crate) fn handoff(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let mut values = SharedArray::<f64>::zeroed([arguments.size_bytes() / 8]).expect("memory");
    values.as_mut_slice().fill(1.0);
    let values = values.freeze();
    let timed = |x: Frozen<f64>| {
        let alone = time(|| {
            black_box(sum(x.as_slice()));
        });
        alone.as_secs_f64() * 1e6
    };
    Box::new(move || {
        let mut alone_us = Vec::new();
        let seconds = seconds_a_call(budget, || {
            let task = pool.submit(timed, values.clone()).expect("the pool is open");
            alone_us.push(task.join().expect("the task returns"));
        });
        vec![("array_handoff_us", seconds * 1e6), ("array_sum_us", percentile(&mut alone_us, 50))]
    })
}
