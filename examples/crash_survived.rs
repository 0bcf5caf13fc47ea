//! Tasks that crash, hang and panic, while the others go on.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use brigade::{Error, Pool, SharedArray, TaskError};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
crash_survived: tasks that abort, overflow the stack, hang and panic

  --workers N         worker processes [2]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    workers: usize,
    succeeded: u64,
    failed: u64,
    replaced_workers: u64,
}

fn main() -> ExitCode {
    run(USAGE, survive)
}

/// The ways in which a task can fail.
fn troubled(kind: u32) -> u32 {
    match kind {
        1 => std::process::abort(),
        2 => overflow(&[kind; 100]),
        3 => loop {
            std::hint::spin_loop();
        },
        4 => panic!("out of cabbage"),
        _ => kind * 10,
    }
}

/// Calls itself 2^32 times, or until the stack is full.
fn overflow(frame: &[u32; 100]) -> u32 {
    let next = std::hint::black_box([frame[0].wrapping_add(1); 100]);
    if next[0] == 0 { 0 } else { overflow(&next) + next[1] % 2 }
}

fn survive(arguments: Arguments) -> Result<(), Stop> {
    let workers = arguments.number("workers", 1)?.unwrap_or(2);
    let pool = Pool::builder().workers(workers).build()?;

    let submit = |kind| match kind {
        3 => pool.options().timeout(Duration::from_millis(300)).submit(troubled, kind),
        _ => pool.submit(troubled, kind),
    };
    let handles = (0..12).map(submit).collect::<Result<Vec<_>, _>>()?;
    for (kind, handle) in (0..).zip(handles) {
        let outcome = handle.join();
        match &outcome {
            Ok(value) => arguments.say(format_args!("task {kind:>2}: {value}")),
            Err(error) => arguments.say(format_args!("task {kind:>2}: {error}")),
        }
        match (kind, outcome) {
            (1 | 2, Err(Error::Task(TaskError::Died(_))))
            | (3, Err(Error::Task(TaskError::TimedOut { .. })))
            | (4, Err(Error::Task(TaskError::Panicked { .. }))) => {}
            (_, outcome) => assert_eq!(outcome?, kind * 10),
        }
    }

    // A crash in a loop fails one chunk, and the error names its range.
    let mut squares = SharedArray::<u64>::zeroed([1000])?;
    let crashed = pool.par_chunks_mut(&mut squares, 100).enumerate().for_each(|(i, squares)| {
        if i == 7 {
            std::process::abort();
        }
        (i as u64 * 100..).zip(squares).for_each(|(n, square)| *square = n * n);
    });
    let error = crashed.expect_err("chunk 7 aborts");
    arguments.say(format_args!("the loop: {error}"));
    let torn = error.death().map_or(&[][..], |death| &death.torn);
    assert!(matches!(torn, [range] if *range == (700..800)), "{torn:?}");
    let is_torn = |n: usize| (700..800).contains(&n);
    assert!(squares.as_slice().iter().enumerate().all(|(n, &s)| is_torn(n) || s == (n * n) as u64));

    let stats = pool.stats();
    arguments.say(format_args!(
        "{} workers died and were replaced; {} tasks returned",
        stats.restarts, stats.succeeded
    ));
    assert!(stats.restarts >= 3, "{stats:?}");
    pool.shutdown()?;
    if arguments.has("json") {
        let (succeeded, failed, replaced_workers) = (stats.succeeded, stats.failed, stats.restarts);
        let op = "crash_survived";
        return report::json(&Line { op, workers, succeeded, failed, replaced_workers });
    }
    Ok(())
}
