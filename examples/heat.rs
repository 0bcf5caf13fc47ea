//! The temperature of a plate, by Jacobi steps until it converges.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use brigade::{Boundary, Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
heat: the steady heat of a square plate whose border is held, by Jacobi steps

  --size N            the plate is N by N, at least 3 [100]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --json              print one line of JSON";

/// The greatest allowed error of the result; the border has temperatures from -1 to 1.
const ERROR_MAX: f64 = 1e-4;
/// The steps between two checks of the change.
const STEPS: u32 = 100;
/// Elements of a chunk of the loop that finds the greatest change.
const CHUNK: usize = 1 << 16;

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    size: usize,
    workers: usize,
    steps: u32,
    error: f64,
    seconds: f64,
}

fn main() -> ExitCode {
    run(USAGE, heat)
}

fn heat(arguments: Arguments) -> Result<(), Stop> {
    let size = arguments.number("size", 3usize)?.unwrap_or(100);
    let (pool, _) = arguments.pool()?;
    // x^2 - y^2 is the mean of its four neighbours everywhere, so the plate must converge to it.
    let exact = |[i, j]: [usize; 2]| {
        let (x, y) = (i as f64 / (size - 1) as f64, j as f64 / (size - 1) as f64);
        x * x - y * y
    };
    let is_border = |place: [usize; 2]| place.iter().any(|&i| i == 0 || i == size - 1);
    let begin = |place| if is_border(place) { exact(place) } else { 0.0 };
    let mut now = SharedArray::from_fn([size, size], begin)?;
    let mut next = pool.zeroed::<f64>([size, size])?;

    // An error shrinks by the cosine of pi / (size - 1) in each step. So a change this small
    // implies an error of less than half of the allowed one.
    let rate = 1.0 - (std::f64::consts::PI / (size - 1) as f64).cos();
    let since = Instant::now();
    let mut steps = 0;
    loop {
        for _ in 0..STEPS {
            step(&pool, &now, &mut next)?;
            std::mem::swap(&mut now, &mut next);
        }
        steps += STEPS;
        if largest_difference(&pool, &now, &next)? <= 0.5 * ERROR_MAX * rate {
            break;
        }
    }
    let seconds = since.elapsed().as_secs_f64();

    let exact = SharedArray::from_fn([size, size], exact)?;
    let error = largest_difference(&pool, &now, &exact)?;
    assert!(error <= ERROR_MAX, "off by {error} after {steps} steps");
    let line = Line { op: "heat", size, workers: pool.workers(), steps, error, seconds };
    if arguments.has("json") {
        return report::json(&line);
    }
    println!("{size} by {size}: {steps} steps in {seconds:.2} s, off by {error:.1e} at most");
    Ok(())
}

/// Each element except those of the border becomes the mean of its four neighbours.
fn step(pool: &Pool, now: &SharedArray<f64>, next: &mut SharedArray<f64>) -> brigade::Result<()> {
    pool.stencil_into(now, next, [1, 1], Boundary::Shrink, |x| {
        match (x.get([-1, 0]), x.get([1, 0]), x.get([0, -1]), x.get([0, 1])) {
            (Some(up), Some(down), Some(left), Some(right)) => 0.25 * (up + down + left + right),
            // At the border a neighbour is missing.
            _ => x.centre(),
        }
    })
}

fn largest_difference(
    pool: &Pool,
    x: &SharedArray<f64>,
    y: &SharedArray<f64>,
) -> brigade::Result<f64> {
    let differences = pool
        .par_chunks(x, CHUNK)
        .zip(y)
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max));
    differences.reduce(0.0, f64::max)
}
