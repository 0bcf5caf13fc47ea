//! How fast rayon's threads stream through private memory.

use std::hint::black_box;

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use brigade_compare::stream::{AXPY_BYTES, axpy, sum};
use rayon::prelude::*;

use crate::tasks::build;

/// Elements that a thread takes at a time.
const CHUNK: usize = 1 << 16;

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

/// How fast does fresh zeroed memory come, touched by all threads?
pub(crate) fn allocate(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let bytes: usize = arguments.size_bytes();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let mut fresh = vec![0u8; bytes];
            let touch = |page: &mut [u8]| page[0] = 1;
            pool.install(|| fresh.par_chunks_mut(4096).for_each(touch));
            black_box(fresh);
        });
        vec![("alloc_gib_s", bytes as f64 / (1u64 << 30) as f64 / seconds)]
    })
}

/// How long does one thread of the pool take to be handed an array and to return its sum?
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
