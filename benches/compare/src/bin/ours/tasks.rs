//! What a task costs in brigade.

use std::time::{Duration, Instant};

use brigade::{Handle, Pool};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::{idle, latencies_us, percentile, seconds_a_call, spin};

/// How long does a program wait from building a pool to its first result?
pub(crate) fn start(arguments: &Arguments) -> Repetition {
    let workers = arguments.number("workers");
    Box::new(move || {
        let start = Instant::now();
        let pool = build(workers);
        run_one(&pool);
        vec![("start_ms", start.elapsed().as_secs_f64() * 1e3)]
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

/// How many empty tasks a second, all submitted and then all joined?
pub(crate) fn burst(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u32 = arguments.number("tasks");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || submit_and_join(&pool, nothing, tasks));
        vec![("tasks_per_s", f64::from(tasks) / seconds)]
    })
}

/// How long do a few short tasks take together?
pub(crate) fn fork_join(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let tasks: u32 = arguments.number("tasks");
    Box::new(move || {
        let work = |()| spin(Duration::from_micros(20));
        let mut samples = latencies_us(budget, || {}, || submit_and_join(&pool, work, tasks));
        vec![("fork_join_us", percentile(&mut samples, 50))]
    })
}

pub(crate) fn build(workers: usize) -> Pool {
    Pool::builder().workers(workers).build().expect("the pool starts")
}

fn nothing((): ()) {}

fn run_one(pool: &Pool) {
    pool.submit(nothing, ()).expect("the pool is open").join().expect("the task returns");
}

fn submit_and_join(pool: &Pool, task: impl Fn(()) + Copy + Send + 'static, count: u32) {
    let submit = |_| pool.submit(task, ()).expect("the pool is open");
    let handles: Vec<Handle<()>> = (0..count).map(submit).collect();
    for handle in handles {
        handle.join().expect("the task returns");
    }
}

/// How many items a second go through a map, results collected?
pub(crate) fn map(arguments: &Arguments) -> Repetition {
    let (pool, budget) = (build(arguments.number("workers")), arguments.budget());
    let items: u64 = arguments.number("items");
    Box::new(move || {
        let seconds = seconds_a_call(budget, || {
            let mapped = pool.map(0..items, |n| n + 1).expect("the tasks return");
            assert_eq!(mapped.len() as u64, items);
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
    Box::new(move || {
        let each = seconds_a_call(budget, || {
            pool.par_chunks_mut(&mut x, 1).for_each(|_| ()).expect("the loop ends");
        });
        let mut calls = latencies_us(
            budget,
            || {},
            || {
                pool.par_chunks_mut(&mut x, share).for_each(|_| ()).expect("the loop ends");
            },
        );
        vec![
            ("loop_overhead_ns_per_chunk", each * 1e9 / chunks as f64),
            ("loop_call_us", percentile(&mut calls, 50)),
        ]
    })
}
