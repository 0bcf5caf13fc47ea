//! Sorts an array of numbers, from a file or random ones.

mod support;

use std::process::ExitCode;

use brigade::{Error, Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
sort: an array of f64 in ascending order, NaN last

  --in FILE           a .npy file of one dimension, of f64
  --out FILE          write the sorted array to this .npy file
  --size N            without a file: so many random numbers [10000000]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to sort [3]
  --json              print one line of JSON";

fn main() -> ExitCode {
    run(USAGE, |arguments| sort(&arguments))
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    size: usize,
    workers: usize,
    seconds: f64,
    least: Option<f64>,
    median: Option<f64>,
    greatest: Option<f64>,
}

fn sort(arguments: &Arguments) -> Result<(), Stop> {
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let size = arguments.number("size", 0)?.unwrap_or(10_000_000usize);
    let (pool, _) = arguments.pool()?;
    let unsorted = match arguments.text("in") {
        Some(path) => SharedArray::<f64>::from_npy(path)?,
        None => {
            let mut random = pool.for_overwrite::<f64>([size])?;
            pool.fill_uniform(&mut random, 1)?;
            random
        }
    };
    let bar = report::bar(repeat, !arguments.has("json"));
    let (sorted, timing) = Timing::of(repeat, || {
        let mut sorted = SharedArray::from_slice(unsorted.as_slice())?;
        sorted.reshape(unsorted.shape().clone())?;
        pool.sort(&mut sorted)?;
        bar.inc(1);
        Ok::<_, Error>(sorted)
    })?;
    bar.finish_and_clear();
    check(&pool, &unsorted, &sorted)?;
    if let Some(path) = arguments.text("out") {
        sorted.to_npy(path)?;
    }

    let x = sorted.as_slice();
    let line = Line {
        op: "sort",
        size: x.len(),
        workers: pool.workers(),
        seconds: timing.median_s(),
        least: x.first().copied(),
        median: x.get(x.len() / 2).copied(),
        greatest: x.last().copied(),
    };
    if arguments.has("json") {
        return report::json(&line);
    }
    if let (Some(least), Some(greatest)) = (line.least, line.greatest) {
        println!("{} numbers from {least} to {greatest}", line.size);
    }
    println!(
        "{:.1} ms with a copy by {}",
        1e3 * line.seconds,
        report::counted(line.workers as u64, "worker")
    );
    Ok(())
}

/// Asserts that the elements are in order, and that they are those that were there: the indices of
/// a stable `argsort` give the same elements, and each index occurs once.
fn check(pool: &Pool, unsorted: &SharedArray<f64>, sorted: &SharedArray<f64>) -> Result<(), Stop> {
    let pairs = sorted.as_slice().windows(2);
    assert!(pairs.into_iter().all(|pair| pair[0] <= pair[1] || pair[1].is_nan()), "not in order");
    let order = pool.argsort(unsorted)?;
    let taken = pool.take(unsorted, &order)?;
    let mut same = taken.as_slice().iter().zip(sorted.as_slice());
    assert!(same.all(|(a, b)| a == b || (a.is_nan() && b.is_nan())), "other elements");
    let mut indices = order;
    pool.sort(&mut indices)?;
    assert!(indices.as_slice().iter().copied().eq(0..indices.len() as u64), "an index twice");
    Ok(())
}
