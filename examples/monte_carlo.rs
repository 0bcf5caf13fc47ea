//! Pi by random points, the same for any number of workers.

mod support;

use std::process::ExitCode;

use brigade::Error;
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
monte_carlo: pi, from the share of random points that lie in a circle

  --samples N         points [10000000]
  --size N            the same as --samples
  --seed N            of the random numbers [1]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to compute [3]
  --json              print one line of JSON";

/// Points that are in memory at a time: two numbers of 8 bytes each.
const BATCH: usize = 1 << 22;
/// The numbers of a chunk.
const CHUNK: usize = 1 << 16;

fn main() -> ExitCode {
    run(USAGE, |arguments| monte_carlo(&arguments))
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    samples: usize,
    seed: u64,
    workers: usize,
    seconds: f64,
    inside: u64,
    pi: f64,
}

fn monte_carlo(arguments: &Arguments) -> Result<(), Stop> {
    let samples = arguments.number("samples", 1)?.or(arguments.number("size", 1)?);
    let samples = samples.unwrap_or(10_000_000usize);
    let seed = arguments.number("seed", 0)?.unwrap_or(1u64);
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let (pool, _) = arguments.pool()?;
    let mut numbers = pool.for_overwrite::<f64>([2 * BATCH.min(samples)])?;
    let bar = report::bar(repeat * samples.div_ceil(BATCH), !arguments.has("json"));
    let (inside, timing) = Timing::of(repeat, || {
        let mut inside = 0;
        for batch in 0..samples.div_ceil(BATCH) {
            let points = (samples - batch * BATCH).min(BATCH);
            // Each batch has its own stream.
            pool.fill_uniform(&mut numbers, seed.wrapping_mul(1 << 20).wrapping_add(batch as u64))?;
            inside += pool
                .par_chunks(&numbers, CHUNK)
                .enumerate()
                .with(points)
                .map(|&points, (chunk, numbers)| {
                    let here = points.saturating_sub(chunk * CHUNK / 2).min(numbers.len() / 2);
                    let points = numbers.chunks_exact(2).take(here);
                    points.filter(|point| point[0] * point[0] + point[1] * point[1] < 1.0).count()
                        as u64
                })
                .reduce(0, |a, b| a + b)?;
            bar.inc(1);
        }
        Ok::<u64, Error>(inside)
    })?;
    bar.finish_and_clear();
    let pi = 4.0 * inside as f64 / samples as f64;
    // Six standard deviations of the estimate.
    let tolerance = 6.0 * 1.65 / (samples as f64).sqrt();
    assert!((pi - std::f64::consts::PI).abs() < tolerance.max(4.0 / samples as f64), "{pi}");

    let (workers, seconds) = (pool.workers(), timing.median_s());
    if arguments.has("json") {
        let op = "monte_carlo";
        return report::json(&Line { op, samples, seed, workers, seconds, inside, pi });
    }
    println!("pi is about {pi} ({inside} of {samples} points)");
    println!("{:.1} ms by {}", 1e3 * seconds, report::counted(workers as u64, "worker"));
    Ok(())
}
