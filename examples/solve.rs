//! A linear system: solved, checked and timed.

mod support;

use std::process::ExitCode;

use brigade::{Error, Matrix, Norm, Pool, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::random::Random;
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
solve: A X = B by forked workers on shared memory

  --size N            A is N by N [1000]
  --columns K         B is N by K [1]
  --a FILE --b FILE   read A and B from .npy files of f64 instead of making them up
  --out FILE          write X to a .npy file
  --spd               use the Cholesky factor of A, which is symmetric positive definite
  --refine N          refine the solution N times [0]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to solve [3]
  --json              print one line of JSON";

/// The largest residual of a good solution, as in LAPACK's tests.
const RESIDUAL_MAX: f64 = 30.0;

fn main() -> ExitCode {
    run(USAGE, |arguments| solve(&arguments))
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    n: usize,
    columns: usize,
    workers: usize,
    start: &'a str,
    best_s: f64,
    median_s: f64,
    gflops_best: f64,
    residual: f64,
    checked: bool,
}

fn solve(arguments: &Arguments) -> Result<(), Stop> {
    let json = arguments.has("json");
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let refinements = arguments.number("refine", 0)?.unwrap_or(0);
    let is_spd = arguments.has("spd");
    if is_spd && refinements > 0 {
        return Err(Stop::usage("--refine does not go with --spd"));
    }
    let (pool, start) = arguments.pool()?;
    let (a, b) = operands(arguments, &pool, is_spd)?;
    let (x, timing) = Timing::of(repeat, || {
        if is_spd { pool.solve_spd(&a, &b) } else { pool.system(&a, &b).refine(refinements).run() }
    })?;
    let residual = residual(&pool, &a, &x, &b)?;
    if residual.is_nan() || residual > RESIDUAL_MAX {
        let text = format!("the residual is {residual:.1}, more than {RESIDUAL_MAX}");
        return Err(Stop::Failure(text));
    }
    if let Some(path) = arguments.text("out") {
        x.to_npy(path)?;
    }
    let (n, columns) = (a.shape().dims()[0], x.len() / a.shape().dims()[0].max(1));
    let factor = if is_spd { 1.0 } else { 2.0 } / 3.0;
    let operations = (factor * n as f64 + 2.0 * columns as f64) * (n as f64).powi(2);
    let gflops = |s: f64| operations / s / 1e9;
    if json {
        return report::json(&Line {
            op: "solve",
            n,
            columns,
            workers: pool.workers(),
            start,
            best_s: timing.best_s(),
            median_s: timing.median_s(),
            gflops_best: gflops(timing.best_s()),
            residual,
            checked: true,
        });
    }
    println!("A X = B: A is {n} by {n}, B is {n} by {columns}, start by {start}\n");
    println!("{}", report::heading("GFLOP/s"));
    let workers = report::counted(pool.workers() as u64, "worker");
    println!("{}", report::row(&workers, &timing, |s| format!("{:.1}", gflops(s))));
    println!(
        "\nchecked: ||A X - B|| / (||A|| ||X|| eps) = {residual:.2}, of at most {RESIDUAL_MAX}"
    );
    Ok(())
}

/// `||A X - B|| / (||A|| ||X|| eps)` in the 1-norm; 0 if there is nothing to solve.
fn residual(
    pool: &Pool,
    a: &SharedArray<f64>,
    x: &SharedArray<f64>,
    b: &SharedArray<f64>,
) -> Result<f64, Error> {
    if x.is_empty() {
        return Ok(0.0);
    }
    let rows = x.shape().dims()[0];
    let columns = x.len() / rows;
    let x = Matrix::strided(x, 0, [rows, columns], [columns.cast_signed(), 1])?;
    let mut difference = SharedArray::from_slice(b.as_slice())?;
    difference.reshape([rows, columns])?;
    pool.product(a, x.clone()).alpha(-1.0).beta(1.0).run_into(&mut difference)?;
    let scale = pool.matrix_norm(a, Norm::One)? * pool.matrix_norm(x, Norm::One)? * f64::EPSILON;
    let norm = pool.matrix_norm(&difference, Norm::One)?;
    // Both are zero if B is.
    Ok(if norm == 0.0 { 0.0 } else { norm / scale })
}

/// A and B, read or generated.
fn operands(
    arguments: &Arguments,
    pool: &Pool,
    is_spd: bool,
) -> Result<(SharedArray<f64>, SharedArray<f64>), Stop> {
    match (arguments.text("a"), arguments.text("b")) {
        (Some(a), Some(b)) => {
            if let Some(name) = ["size", "columns"].iter().find(|name| arguments.has(name)) {
                return Err(Stop::usage(format!("--{name} does not go with --a and --b")));
            }
            Ok((SharedArray::from_npy(a)?, SharedArray::from_npy(b)?))
        }
        (None, None) => {
            let n = arguments.number("size", 0)?.unwrap_or(1000);
            let columns = arguments.number("columns", 0)?.unwrap_or(1);
            let mut a = made_up(pool, [n, n], 1)?;
            if is_spd {
                // Symmetric, with a diagonal that dominates.
                a = SharedArray::from_fn([n, n], |[i, j]| {
                    if i == j { n as f64 } else { a[[i.max(j), i.min(j)]] }
                })?;
            }
            Ok((a, made_up(pool, [n, columns], 2)?))
        }
        _ => Err(Stop::usage("--a and --b go together")),
    }
}

/// A matrix of numbers in [-1, 1), generated by the workers.
fn made_up(pool: &Pool, shape: [usize; 2], seed: u64) -> Result<SharedArray<f64>, Error> {
    let mut matrix = pool.for_overwrite(shape)?;
    pool.par_chunks_mut(&mut matrix, 1 << 16).enumerate().with(seed).for_each(
        |&seed, (chunk, elements)| {
            let mut random = Random::new(seed << 32 | chunk as u64);
            elements.fill_with(|| f64::from(random.uniform()));
        },
    )?;
    Ok(matrix)
}
