//! A timeline of what the workers of a pool do.

mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use brigade::{Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
observe: records a timeline of tasks, a loop, a product and a crash

  --workers N         worker processes [2]
  --timeline FILE     the file of the timeline; open it in https://ui.perfetto.dev [observe.json]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    workers: usize,
    tasks: u64,
    events: u64,
    size_bytes: u64,
    timeline: &'a str,
}

fn main() -> ExitCode {
    run(USAGE, observe)
}

/// Computes for `micros` microseconds.
fn compute(micros: u64) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_micros(micros) {
        std::hint::spin_loop();
    }
}

fn crash(_: ()) {
    std::process::abort()
}

fn observe(arguments: Arguments) -> Result<(), Stop> {
    let workers = arguments.number("workers", 1)?.unwrap_or(2);
    let path = arguments.text("timeline").unwrap_or("observe.json");
    let pool = Pool::builder().workers(workers).name("observe").build()?;
    pool.timeline(path)?;

    let times = [4000, 2000, 1000, 500, 250, 3000, 1500, 750];
    let tasks = times.map(|micros| pool.submit(compute, micros));
    for task in tasks {
        task?.join()?;
    }
    let error = pool.submit(crash, ())?.join().expect_err("it aborts");
    arguments.say(&error);
    let mut x = SharedArray::<f64>::zeroed([64])?;
    pool.par_chunks_mut(&mut x, 1).for_each(|x| {
        compute(100);
        x[0] = 1.0;
    })?;
    let a = SharedArray::from_fn([700, 700], |[i, j]| (i ^ j) as f32)?;
    pool.matmul(&a, &a)?;
    pool.map(0..50_000u64, |n| n * n)?.sum::<u64>();

    let summary = pool.finish_timeline()?;
    assert!(summary.tasks > 10 && summary.lost == 0, "{summary:?}");
    let (tasks, events, size_bytes) = (summary.tasks, summary.events, summary.size_bytes);
    if arguments.has("json") {
        let line = Line { op: "observe", workers, tasks, events, size_bytes, timeline: path };
        return report::json(&line);
    }
    println!("{tasks} tasks in {events} events: {size_bytes} bytes in {path}");
    Ok(())
}
