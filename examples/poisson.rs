//! Poisson's equation on a square with periodic borders, by Fourier transforms.

mod support;

use std::process::ExitCode;
use std::time::Instant;

use brigade::{Complex, Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::{picture, report};

const USAGE: &str = "\
poisson: Poisson's equation -(u_xx + u_yy) = f on a periodic square, by Fourier transforms

  --size N            the grid is N by N, at least 48 [512]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --out FILE          write the solution to this .npy file
  --png FILE          and a picture of it to this file
  --json              print one line of JSON";

/// The greatest allowed error of the solution, whose values are from -e to e. The error of the
/// method itself falls faster than any power of the size, and from 48 on is less than roundings.
const ERROR_MAX: f64 = 1e-11;
/// Elements of a chunk of the loop that finds the greatest error.
const CHUNK: usize = 1 << 16;
/// Rows that a worker divides at a time.
const ROWS: usize = 16;

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    size: usize,
    workers: usize,
    error: f64,
    seconds: f64,
}

fn main() -> ExitCode {
    run(USAGE, poisson)
}

fn poisson(arguments: Arguments) -> Result<(), Stop> {
    let size = arguments.number("size", 48usize)?.unwrap_or(512);
    let (pool, _) = arguments.pool()?;
    let (mut force, mut exact) = (pool.zeroed([size, size])?, pool.zeroed([size, size])?);
    fill(&pool, &mut force, &mut exact)?;

    let since = Instant::now();
    let solution = solve(&pool, &force)?;
    let seconds = since.elapsed().as_secs_f64();

    let differences = pool
        .par_chunks(&solution, CHUNK)
        .zip(&exact)
        .map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, greater));
    let error = differences.reduce(0.0, greater)?;
    if error.is_nan() || error > ERROR_MAX {
        return Err(Stop::Failure(format!("off by {error:e}, more than {ERROR_MAX:e}")));
    }
    if let Some(path) = arguments.text("out") {
        solution.to_npy(path)?;
    }
    if let Some(path) = arguments.text("png") {
        picture::write_png(path, &solution, std::f64::consts::E)?;
    }
    if arguments.has("json") {
        let workers = pool.workers();
        return report::json(&Line { op: "poisson", size, workers, error, seconds });
    }
    println!("{size} by {size}: solved in {:.1} ms, off by {error:.1e} at most", 1e3 * seconds);
    Ok(())
}

/// The greater of two numbers, or not-a-number if one of them is: `f64::max` ignores it.
fn greater(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// The force, and the solution `exp(sin x) sin y`, whose mean is zero, on a square of side `2 pi`.
fn fill(
    pool: &Pool,
    force: &mut SharedArray<f64>,
    exact: &mut SharedArray<f64>,
) -> brigade::Result<()> {
    pool.par_rows_mut(force, ROWS).zip(exact).for_each(|(mut force, mut exact)| {
        let (first, size) = (force.first(), force.row_len());
        let at = |i: usize| std::f64::consts::TAU * i as f64 / size as f64;
        for (i, (force, exact)) in force.iter_mut().zip(exact.iter_mut()).enumerate() {
            let sin_y = at(first + i).sin();
            for (j, (force, exact)) in force.iter_mut().zip(exact).enumerate() {
                let sin_x = at(j).sin();
                *exact = sin_x.exp() * sin_y;
                *force = *exact * (sin_x * sin_x + sin_x);
            }
        }
    })
}

/// The solution with mean zero. A wave of `i` periods down and `j` across is an eigenvector of the
/// equation's left side, with eigenvalue `i^2 + j^2`.
fn solve(pool: &Pool, force: &SharedArray<f64>) -> brigade::Result<SharedArray<f64>> {
    let size = force.shape()[0];
    let mut waves = pool.rfft(force).run()?;
    pool.par_rows_mut(&mut waves, ROWS).with(size).for_each(|&size, mut waves| {
        let first = waves.first();
        for (i, row) in waves.iter_mut().enumerate() {
            // The second half of the rows has the negative frequencies.
            let i = (first + i).min(size - first - i) as f64;
            for (j, wave) in row.iter_mut().enumerate() {
                let eigenvalue = i * i + (j * j) as f64;
                *wave = if eigenvalue > 0.0 { *wave / eigenvalue } else { Complex::ZERO };
            }
        }
    })?;
    pool.irfft(&waves).n(size).run()
}
