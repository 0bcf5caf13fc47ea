//! A large array, filled and summed by workers.

mod support;

use std::process::ExitCode;

use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
parallel_sum: fills an array and adds it up, in chunks

  --size-mib N        size of the array [1024]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to add [5]
  --json              print one line of JSON";

/// Elements of a chunk: 1 MiB.
const CHUNK: usize = 1 << 17;

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    size_mib: usize,
    workers: usize,
    sum: f64,
    filling_gbps: f64,
    adding_gbps: f64,
    one_process_gbps: f64,
}

fn main() -> ExitCode {
    run(USAGE, sum)
}

fn sum(arguments: Arguments) -> Result<(), Stop> {
    let size_mib = arguments.number("size-mib", 0usize)?.unwrap_or(1024);
    let repeat = arguments.number("repeat", 1)?.unwrap_or(5);
    let Some(len) = size_mib.checked_mul(CHUNK) else {
        return Err(Stop::usage(format!(
            "--size-mib is {size_mib}, more than there are addresses"
        )));
    };
    let (pool, _) = arguments.pool()?;

    let (mut x, making) = Timing::of(1, || pool.for_overwrite::<f64>([len]))?;
    let ((), filling) = Timing::of(1, || {
        pool.par_chunks_mut(&mut x, CHUNK).enumerate().for_each(|(i, x)| {
            // Small integers, so that the sum does not depend on the order of addition.
            for (j, x) in x.iter_mut().enumerate() {
                *x = ((i + j) % 1000) as f64;
            }
        })
    })?;
    let (sum, adding) = Timing::of(repeat, || {
        pool.par_chunks(&x, CHUNK).map(|x| x.iter().sum::<f64>()).reduce(0.0, |a, b| a + b)
    })?;
    let (alone, one) = Timing::of(repeat, || Ok::<f64, Stop>(x.as_slice().iter().sum()))?;
    assert_eq!(sum.to_bits(), alone.to_bits(), "{sum} by workers, {alone} by one process");

    let gbps = |s: f64| (len * 8) as f64 / s / 1e9;
    if arguments.has("json") {
        return report::json(&Line {
            op: "parallel_sum",
            size_mib,
            workers: pool.workers(),
            sum,
            filling_gbps: gbps(filling.median_s()),
            adding_gbps: gbps(adding.median_s()),
            one_process_gbps: gbps(one.median_s()),
        });
    }
    let rate = |s: f64| format!("{:.1}", gbps(s));
    println!("{size_mib} MiB of f64, sum {sum}\n");
    println!("{}", report::heading("GB/s"));
    println!("{}", report::row("making", &making, rate));
    println!("{}", report::row("filling", &filling, rate));
    println!("{}", report::row("adding, one process", &one, rate));
    println!("{}", report::row(&report::counted(pool.workers() as u64, "worker"), &adding, rate));
    Ok(())
}
