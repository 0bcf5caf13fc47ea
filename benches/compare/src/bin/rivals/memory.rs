//! How fast rayon's threads stream through private memory.

use std::hint::black_box;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{seconds_a_call, seconds_a_new_call};
use brigade_compare::stream::{AXPY_BYTES, CHUNK, PAGE_BYTES, PART_BYTES, axpy, gib_a_second, sum};
use rayon::prelude::*;

use crate::tasks::build;

/// How fast is a big array summed?
pub(crate) fn sum_all(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    let mut values = vec![0.0f64; bytes / 8];
    pool.install(|| values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(1.0)));
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let total: f64 = pool.install(|| values.par_chunks(CHUNK).map(sum).sum());
            assert_eq!(total, values.len() as f64, "the sum is wrong");
        });
        vec![("sum_gbps", bytes as f64 / seconds / 1e9)]
    })
}

/// How fast is a multiple of one big array added to another?
pub(crate) fn axpy_all(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let len: usize = arguments.size_bytes() / 4;
    let (mut x, mut y) = (vec![0f32; len], vec![0f32; len]);
    pool.install(|| {
        x.par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(1.0));
        y.par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(2.0));
    });
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let pairs = y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
            pool.install(|| pairs.for_each(|(y, x)| axpy(black_box(0.5), x, y)));
        });
        vec![("axpy_gbps", (len * AXPY_BYTES) as f64 / seconds / 1e9)]
    })
}

/// How fast is zeroed memory allocated, touched by all threads?
pub(crate) fn allocate(arguments: &Arguments) -> Repetition {
    allocations(arguments, "alloc_gib_s")
}

/// How fast is freed memory allocated again? The allocator returned it to the system.
pub(crate) fn reallocate(arguments: &Arguments) -> Repetition {
    allocations(arguments, "realloc_gib_s")
}

/// The same as zeros.
pub(crate) fn rezero(arguments: &Arguments) -> Repetition {
    allocations(arguments, "rezero_gib_s")
}

fn allocations(arguments: &Arguments, figure: &'static str) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    Box::new(move || {
        let seconds = seconds_a_new_call(
            budget,
            || {},
            |()| {
                let mut fresh = vec![0u8; bytes];
                let touch =
                    |part: &mut [u8]| part.chunks_mut(PAGE_BYTES).for_each(|page| page[0] = 1);
                pool.install(|| fresh.par_chunks_mut(PART_BYTES).for_each(touch));
                fresh
            },
        );
        vec![(figure, gib_a_second(bytes, seconds))]
    })
}

/// How long does one thread of the pool take to receive an array and return its sum?
pub(crate) fn handoff(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let values = vec![1.0f64; arguments.size_bytes() / 8];
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            black_box(pool.install(|| sum(&values)));
        });
        vec![("array_handoff_us", seconds * 1e6)]
    })
}
