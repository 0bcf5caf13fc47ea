//! The principal components of a table.

mod support;

use std::process::ExitCode;

use brigade::{Error, Matrix, Pool, SharedArray, Svd};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
pca: the principal components of a table of f64, and the part of the variance that each explains

  --in FILE           a .npy file of two dimensions, of f64
  --rows N            without a file: so many rows of made-up numbers [20000]
  --size N            the same as --rows
  --columns N         and so many columns [64]
  --components N      how many components to print [8]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to compute [3]
  --json              print one line of JSON";

fn main() -> ExitCode {
    run(USAGE, |arguments| pca(&arguments))
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    rows: usize,
    columns: usize,
    workers: usize,
    seconds: f64,
    variances: &'a [f64],
    explained: &'a [f64],
}

fn pca(arguments: &Arguments) -> Result<(), Stop> {
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let rows = arguments.number("rows", 2)?.or(arguments.number("size", 2)?);
    let rows = rows.unwrap_or(20_000usize);
    let columns = arguments.number("columns", 1)?.unwrap_or(64usize);
    let components = arguments.number("components", 1)?.unwrap_or(8usize);
    let (pool, _) = arguments.pool()?;
    let mut table = match arguments.text("in") {
        Some(path) => SharedArray::<f64>::from_npy(path)?,
        None => made_up(&pool, rows, columns)?,
    };
    let &[rows, columns] = table.shape().dims() else {
        return Err(Stop::usage(format!("a table has two dimensions, not {}", table.shape())));
    };
    if rows < 2 || columns < 1 {
        let shape = table.shape();
        return Err(Stop::usage(format!(
            "a table of {shape} has no variance; give 2 rows or more"
        )));
    }
    if let Some(at) = table.as_slice().iter().position(|x| !x.is_finite()) {
        let (x, row, column) = (table.as_slice()[at], at / columns, at % columns);
        return Err(Stop::usage(format!("{x} in row {row}, column {column} of the table")));
    }
    center(&pool, &mut table)?;
    let bar = report::bar(repeat, !arguments.has("json"));
    let (svd, timing) = Timing::of(repeat, || {
        let svd = pool.svd(&table)?;
        bar.inc(1);
        Ok::<_, Error>(svd)
    })?;
    bar.finish_and_clear();
    // The variance along component j is the square of singular value j, over the rows less one.
    let values = svd.values().as_slice();
    let variances: Vec<f64> = values.iter().map(|s| s * s / (rows as f64 - 1.0)).collect();
    let total: f64 = variances.iter().sum();
    let part = |variance: &f64| if total > 0.0 { variance / total } else { 0.0 };
    let explained: Vec<f64> = variances.iter().map(part).collect();
    check(&pool, &table, &svd, &variances)?;

    let line = Line {
        op: "pca",
        rows,
        columns,
        workers: pool.workers(),
        seconds: timing.median_s(),
        variances: &variances,
        explained: &explained,
    };
    if arguments.has("json") {
        return report::json(&line);
    }
    println!("{rows} rows of {columns} columns\n");
    println!("{:>9} {:>14} {:>11} {:>11}", "component", "variance", "explained", "together");
    let mut together = 0.0;
    for (index, (variance, part)) in variances.iter().zip(&explained).enumerate().take(components) {
        together += part;
        println!("{index:>9} {variance:>14.6} {:>10.2}% {:>10.2}%", 100.0 * part, 100.0 * together);
    }
    let workers = report::counted(line.workers as u64, "worker");
    println!("\n{:.1} ms by {workers}", 1e3 * line.seconds);
    Ok(())
}

/// Rows that are sums of a few directions, each half as long as the one before, and noise.
fn made_up(pool: &Pool, rows: usize, columns: usize) -> Result<SharedArray<f64>, Error> {
    let hidden = columns.min(6);
    let mut weights = pool.for_overwrite::<f64>([rows, hidden])?;
    let mut directions = pool.for_overwrite::<f64>([hidden, columns])?;
    let mut table = pool.for_overwrite::<f64>([rows, columns])?;
    pool.fill_normal(&mut weights, 1, 0.0, 1.0)?;
    pool.fill_normal(&mut directions, 2, 0.0, 1.0)?;
    pool.fill_normal(&mut table, 3, 0.0, 0.1)?;
    for index in 0..hidden {
        let factor = 0.5f64.powi(i32::try_from(index).expect("at most six"));
        for column in 0..columns {
            directions[[index, column]] *= factor;
        }
    }
    pool.product(&weights, &directions).beta(1.0).run_into(&mut table)?;
    Ok(table)
}

/// Subtracts from each column its mean.
fn center(pool: &Pool, table: &mut SharedArray<f64>) -> Result<(), Error> {
    let means = pool.mean_axis(&*table, 0)?;
    for row in table.as_mut_slice().chunks_exact_mut(means.len()) {
        row.iter_mut().zip(means.as_slice()).for_each(|(x, mean)| *x -= mean);
    }
    Ok(())
}

/// Checks the components against the covariance of the columns: `C V = V D`.
fn check(
    pool: &Pool,
    table: &SharedArray<f64>,
    svd: &Svd<f64>,
    variances: &[f64],
) -> Result<(), Stop> {
    let &[rows, columns] = table.shape().dims() else { unreachable!("checked before") };
    let covariance = pool.gram(Matrix::from(table).transposed())?;
    let product = pool.matmul(&covariance, svd.v())?;
    let most = variances.first().copied().unwrap_or(0.0);
    let bound = 1e-12 * (rows + columns) as f64 * (most + f64::MIN_POSITIVE);
    for i in 0..columns {
        for (j, variance) in variances.iter().enumerate() {
            let error = product[[i, j]] / (rows as f64 - 1.0) - svd.v()[[i, j]] * variance;
            if error.abs() > bound || error.is_nan() {
                let text = format!("component {j} is wrong in column {i} by {error}");
                return Err(Stop::Failure(text));
            }
        }
    }
    Ok(())
}
