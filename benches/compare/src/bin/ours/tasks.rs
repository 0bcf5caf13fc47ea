//! The cost of a task in brigade.

use std::hint::black_box;
use std::time::Duration;

use brigade::{Handle, Pool};
use brigade_compare::data::private_memory;
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{
    idle, latencies_us, percentile, seconds_a_call, seconds_a_new_call, spin,
};

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
                run_one(&pool);
                pool
            },
        );
        vec![("start_ms", seconds * 1e3)]
    })
}

/// How long does a caller wait for an empty task, one at a time?
pub(crate) fn submit(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    Box::new(move || {
        let mut samples = latencies_us(budget, || {}, || run_one(&pool));
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
        let mut samples = latencies_us(budget, || idle(rest), || run_one(&pool));
        vec![("submit_join_idle_p50_us", percentile(&mut samples, 50))]
    })
}

/// How many tasks a second return their number, if all are submitted and then all joined?
pub(crate) fn burst(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u64 = arguments.number("tasks");
    let all = move |tasks: u64| {
        let submit = |n| pool.submit(|n: u64| n, n).expect("the pool is open");
        let handles: Vec<Handle<u64>> = (0..tasks).map(submit).collect();
        let join = |handle: Handle<u64>| handle.join().expect("the task returns");
        assert_eq!(handles.into_iter().map(join).sum::<u64>(), tasks * (tasks - 1) / 2);
    };
    Box::new(move || {
        all(tasks.min(10_000));
        vec![("tasks_per_s", tasks as f64 / seconds_a_call(budget, || all(tasks)))]
    })
}

/// How long do a few short tasks take together?
pub(crate) fn fork_join(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u32 = arguments.number("tasks");
    Box::new(move || {
        let submit =
            |_| pool.submit(|()| spin(Duration::from_micros(20)), ()).expect("the pool is open");
        let all = || {
            let handles: Vec<Handle<()>> = (0..tasks).map(submit).collect();
            handles.into_iter().for_each(|handle| handle.join().expect("the task returns"));
        };
        vec![("fork_join_us", percentile(&mut latencies_us(budget, || {}, all), 50))]
    })
}

pub(crate) fn build(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("the pool starts")
}

fn nothing((): ()) {}

pub(crate) fn run_one(pool: &Pool) {
    pool.submit(nothing, ()).expect("the pool is open").join().expect("the task returns");
}

/// How many items a second go through a map, results collected and added up?
pub(crate) fn map(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let items: u64 = arguments.number("items");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let sum: u64 = pool.map(0..items, |n| n ^ 1).expect("the tasks return").sum();
            assert_eq!(sum, items * (items - 1) / 2);
        });
        vec![("map_items_per_s", items as f64 / seconds)]
    })
}

/// What does a loop over chunks cost, by call and by chunk?
pub(crate) fn chunks(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let chunks: usize = arguments.number("chunks");
    let mut x = brigade::SharedArray::<u8>::zeroed([chunks]).expect("there is memory");
    let share = chunks.div_ceil(pool.workers());
    let touch = |chunk: &mut [u8]| {
        black_box(chunk);
    };
    Box::new(move || {
        let each = seconds_a_call(budget, || {
            pool.par_chunks_mut(&mut x, 1).for_each(touch).expect("the loop ends");
        });
        let mut calls = latencies_us(
            budget,
            || {},
            || {
                pool.par_chunks_mut(&mut x, share).for_each(touch).expect("the loop ends");
            },
        );
        vec![
            ("loop_overhead_ns_per_chunk", each * 1e9 / chunks as f64),
            ("loop_call_us", percentile(&mut calls, 50)),
        ]
    })
}
