//! The cost of a task in rayon, with threads.

use std::hint::black_box;
use std::time::Duration;

use brigade_compare::data::private_memory;
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{
    idle, latencies_us, percentile, seconds_a_call, seconds_a_new_call, spin,
};
use rayon::prelude::*;
use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

/// How long does a program wait from building a pool to its first result?
pub(crate) fn start(arguments: &Arguments) -> Repetition {
    let (workers, budget) = (arguments.number("workers"), arguments.budget());
    let host = private_memory(arguments.number("host_gib"));
    Box::new(move || {
        black_box(&host);
        let seconds = seconds_a_new_call(
            budget,
            || {},
            |()| {
                let pool = build(workers);
                pool.install(|| {});
                pool
            },
        );
        vec![("start_ms", seconds * 1e3)]
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

/// How many tasks a second return their number, if a thread of the pool spawns them?
pub(crate) fn burst(arguments: &Arguments) -> Repetition {
    bursts(arguments, |pool, results| pool.scope(|scope| spawn_all(scope, results)))
}

/// How many tasks a second return their number, if a thread outside the pool spawns them?
pub(crate) fn burst_outside(arguments: &Arguments) -> Repetition {
    bursts(arguments, |pool, results| pool.in_place_scope(|scope| spawn_all(scope, results)))
}

fn bursts(arguments: &Arguments, all: fn(&ThreadPool, &mut [u64])) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u64 = arguments.number("tasks");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let mut results = vec![0u64; tasks as usize];
            all(&pool, &mut results);
            assert_eq!(results.iter().sum::<u64>(), tasks * (tasks - 1) / 2);
        });
        vec![("tasks_per_s", tasks as f64 / seconds)]
    })
}

fn spawn_all<'s>(scope: &Scope<'s>, results: &'s mut [u64]) {
    for (n, result) in (0..).zip(results) {
        scope.spawn(move |_| *result = black_box(n));
    }
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

/// How many small items a second does a map take, results collected and added up?
pub(crate) fn map(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let items: u64 = arguments.number("items");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let collected: Vec<u64> =
                pool.install(|| (0..items).into_par_iter().map(|n| n ^ 1).collect());
            assert_eq!(black_box(collected).iter().sum::<u64>(), items * (items - 1) / 2);
        });
        vec![("map_items_per_s", items as f64 / seconds)]
    })
}

/// What does a parallel loop cost, by the call and by the empty chunk?
pub(crate) fn empty_loop(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let chunks: usize = arguments.number("chunks");
    let mut elements = vec![0u8; chunks];
    let share = chunks.div_ceil(pool.current_num_threads());
    Box::new(move || {
        let mut run = |len: usize| {
            let touch = |chunk: &mut [u8]| {
                black_box(chunk);
            };
            pool.install(|| elements.par_chunks_mut(len).for_each(touch));
        };
        let each = seconds_a_call(budget, || run(1));
        let mut calls = latencies_us(budget, || {}, || run(share));
        vec![
            ("loop_overhead_ns_per_chunk", each * 1e9 / chunks as f64),
            ("loop_call_us", percentile(&mut calls, 50)),
        ]
    })
}

pub(crate) fn build(workers: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(workers).build().expect("threads start")
}
