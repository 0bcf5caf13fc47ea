//! Means and standard deviations of the columns of a table.

mod support;

use std::process::ExitCode;

use brigade::{Error, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
statistics: means and standard deviations of the columns of a table of f64

  --in FILE           a .npy file of two dimensions, of f64
  --rows N            without a file: so many rows of normal numbers [1000000]
  --size N            the same as --rows
  --columns N         and so many columns [20]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to compute [3]
  --json              print one line of JSON";

fn main() -> ExitCode {
    run(USAGE, |arguments| statistics(&arguments))
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    rows: usize,
    columns: usize,
    workers: usize,
    seconds: f64,
    means: &'a [f64],
    deviations: &'a [f64],
}

fn statistics(arguments: &Arguments) -> Result<(), Stop> {
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let rows = arguments.number("rows", 1)?.or(arguments.number("size", 1)?);
    let rows = rows.unwrap_or(1_000_000usize);
    let columns = arguments.number("columns", 1)?.unwrap_or(20usize);
    let (pool, _) = arguments.pool()?;
    let table = match arguments.text("in") {
        Some(path) => SharedArray::<f64>::from_npy(path)?,
        None => {
            let mut table = pool.for_overwrite::<f64>([rows, columns])?;
            pool.fill_normal(&mut table, 1, 10.0, 2.0)?;
            table
        }
    };
    let &[rows, columns] = table.shape().dims() else {
        return Err(Stop::usage(format!("a table has two dimensions, not {}", table.shape())));
    };
    let bar = report::bar(repeat, !arguments.has("json"));
    let ((means, deviations), timing) = Timing::of(repeat, || {
        let found = (pool.mean_axis(&table, 0)?, pool.std_axis(&table, 0, 1)?);
        bar.inc(1);
        Ok::<_, Error>(found)
    })?;
    bar.finish_and_clear();
    check(&table, &means, &deviations);

    let line = Line {
        op: "statistics",
        rows,
        columns,
        workers: pool.workers(),
        seconds: timing.median_s(),
        means: means.as_slice(),
        deviations: deviations.as_slice(),
    };
    if arguments.has("json") {
        return report::json(&line);
    }
    println!("{rows} rows of {columns} columns\n");
    println!("{:>8} {:>16} {:>16}", "column", "mean", "deviation");
    for (column, (mean, deviation)) in line.means.iter().zip(line.deviations).enumerate().take(20) {
        println!("{column:>8} {mean:>16.9} {deviation:>16.9}");
    }
    if columns > 20 {
        println!("... and {} more", columns - 20);
    }
    println!(
        "\n{:.1} ms by {}",
        1e3 * line.seconds,
        report::counted(line.workers as u64, "worker")
    );
    Ok(())
}

/// Compares with plain loops, which add in another order.
fn check(table: &SharedArray<f64>, means: &SharedArray<f64>, deviations: &SharedArray<f64>) {
    let &[rows, columns] = table.shape().dims() else { unreachable!("checked before") };
    let mut sums = vec![0.0; columns];
    for row in table.as_slice().chunks_exact(columns.max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
    let count = rows as f64;
    let mut squares = vec![0.0; columns];
    for row in table.as_slice().chunks_exact(columns.max(1)) {
        let deviations = row.iter().zip(&sums).map(|(x, sum)| x - sum / count);
        squares.iter_mut().zip(deviations).for_each(|(square, d)| *square += d * d);
    }
    let is_near = |a: f64, b: f64| {
        a == b || (a - b).abs() <= 1e-9 * (1.0 + b.abs()) || (a.is_nan() && b.is_nan())
    };
    for column in 0..columns {
        let (mean, deviation) = (sums[column] / count, (squares[column] / (count - 1.0)).sqrt());
        assert!(is_near(means[[column]], mean), "mean of column {column}: {mean}");
        assert!(is_near(deviations[[column]], deviation), "deviation of {column}: {deviation}");
    }
}
