//! What a task costs in rayon, whose threads share everything.

use std::hint::black_box;
use std::time::{Duration, Instant};

use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{idle, latencies_us, percentile, seconds_a_call, spin};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// How long does a program wait from building a pool to its first result?
pub(crate) fn start(arguments: &Arguments) -> Repetition {
    let workers = arguments.number("workers");
    Box::new(move || {
        let start = Instant::now();
        let pool = build(workers);
        pool.install(|| {});
        vec![("start_ms", start.elapsed().as_secs_f64() * 1e3)]
    })
}

/// How long does a caller outside the pool wait for an empty task, one at a time?
pub(crate) fn submit(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    Box::new(move || {
        let mut samples = latencies_us(budget, || {}, || pool.install(|| {}));
        vec![
            ("submit_join_p50_us", percentile(&mut samples, 50)),
            ("submit_join_p99_us", percentile(&mut samples, 99)),
        ]
    })
}

/// How long does a caller wait for an empty task after a rest?
pub(crate) fn submit_idle(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let rest = Duration::from_millis(arguments.number("idle_ms"));
    Box::new(move || {
        let mut samples = latencies_us(budget, || idle(rest), || pool.install(|| {}));
        vec![("submit_join_idle_p50_us", percentile(&mut samples, 50))]
    })
}

/// How many empty tasks a second, all spawned in one scope?
pub(crate) fn burst(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u32 = arguments.number("tasks");
    Box::new(move || {
        let all = || pool.scope(|scope| (0..tasks).for_each(|_| scope.spawn(|_| {})));
        vec![("tasks_per_s", f64::from(tasks) / seconds_a_call(budget, all))]
    })
}

/// How long do a few short tasks take together?
pub(crate) fn fork_join(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u32 = arguments.number("tasks");
    let work = || spin(Duration::from_micros(20));
    Box::new(move || {
        let all = || pool.scope(|scope| (0..tasks).for_each(|_| scope.spawn(|_| work())));
        vec![("fork_join_us", percentile(&mut latencies_us(budget, || {}, all), 50))]
    })
}

/// How many small items a second does a map take, results collected?
pub(crate) fn map(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let items: u64 = arguments.number("items");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let collected: Vec<u64> = pool.install(|| {
                (0..items).into_par_iter().map(|item| item.wrapping_mul(item)).collect()
            });
            black_box(collected);
        });
        vec![("map_items_per_s", items as f64 / seconds)]
    })
}

/// What does a parallel loop cost by itself, by the call and by the empty chunk?
pub(crate) fn empty_loop(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let chunks: usize = arguments.number("chunks");
    let mut elements = vec![0u8; chunks];
    Box::new(move || {
        let seconds = |elements: &mut [u8]| {
            seconds_a_call(budget / 2, || {
                let touch = |chunk: &mut [u8]| {
                    black_box(chunk);
                };
                pool.install(|| elements.par_chunks_mut(1).for_each(touch));
            })
        };
        let workers = pool.current_num_threads();
        let (all, few) = (seconds(&mut elements), seconds(&mut elements[..workers]));
        vec![("loop_overhead_ns_per_chunk", all * 1e9 / chunks as f64), ("loop_call_us", few * 1e6)]
    })
}

pub(crate) fn build(workers: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(workers).build().expect("threads start")
}
