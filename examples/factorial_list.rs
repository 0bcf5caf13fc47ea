//! A list of factorials mapped over workers: one call, ordered results.

mod support;

use std::process::ExitCode;

use brigade::kernel::bigint;
use dashu_int::UBig;
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
factorial_list: 0!, 1!, 2!, ... each by some worker

  --count N           how many [300]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    count: u32,
    workers: usize,
    last_digits: usize,
}

fn main() -> ExitCode {
    run(USAGE, list)
}

/// Runs in a worker, but is an ordinary function.
fn factorial(n: u32) -> String {
    bigint::to_decimal(&bigint::factorial(n.into()))
}

fn list(arguments: Arguments) -> Result<(), Stop> {
    let count = arguments.number("count", 1)?.unwrap_or(300);
    let (pool, _) = arguments.pool()?;
    let numbers: Vec<String> = pool.map(0..count, factorial)?.collect();

    let mut expected = UBig::ONE;
    for (n, number) in (0..count).zip(&numbers) {
        expected *= n.max(1);
        assert_eq!(*number, expected.to_string(), "{n}!");
    }
    assert_eq!(numbers.len(), usize::try_from(count).unwrap_or(usize::MAX));
    if arguments.has("json") {
        let last_digits = numbers.last().map_or(0, String::len);
        let workers = pool.workers();
        return report::json(&Line { op: "factorial_list", count, workers, last_digits });
    }
    for (n, number) in numbers.iter().enumerate().take(11) {
        println!("{n:>3}! = {number}");
    }
    if let Some((last, number)) = numbers.iter().enumerate().skip(11).last() {
        println!("...\n{last:>3}! = {:.20}... ({} digits)", number, number.len());
    }
    Ok(())
}
