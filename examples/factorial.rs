//! n! by forked workers, checked without another big product.

mod support;

use std::fs;
use std::process::ExitCode;

use brigade::kernel::bigint;
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::timing::Timing;
use support::{digest, modular, report};

const USAGE: &str = "\
factorial: n! by forked workers on shared memory

  --n N               the number [100000]
  --limbs-out FILE    write the limbs, 8 bytes each, lowest byte and limb first
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to compute it [3]
  --json              print one line of JSON";

fn main() -> ExitCode {
    run(USAGE, factorial)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    n: u64,
    workers: usize,
    best_s: f64,
    median_s: f64,
    bits: u64,
    decimal_digits: u64,
    limbs_sha256: &'a str,
    checked: bool,
}

fn factorial(arguments: Arguments) -> Result<(), Stop> {
    let json = arguments.has("json");
    let n = arguments.number("n", 0u64)?.unwrap_or(100_000);
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let (pool, start) = arguments.pool()?;
    let bar = report::bar(repeat + 2, !json);
    bar.set_message("multiplying");
    let (number, timing) = Timing::of(repeat, || {
        let number = pool.factorial(n);
        bar.inc(1);
        number
    })?;
    bar.set_message("checking");
    let (limbs, bits) = (number.limbs(), number.bits());
    check(n, limbs, bits)?;
    bar.inc(1);
    let digits = modular::decimal_digits(limbs);
    if let Some(path) = arguments.text("limbs-out") {
        let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        fs::write(path, bytes).map_err(|error| Stop::usage(format!("{path}: {error}")))?;
    }
    let sha256 = digest::sha256(limbs);
    if json {
        return report::json(&Line {
            op: "factorial",
            n,
            workers: pool.workers(),
            best_s: timing.best_s(),
            median_s: timing.median_s(),
            bits,
            decimal_digits: digits,
            limbs_sha256: &sha256,
            checked: true,
        });
    }
    bar.set_message("multiplying in one process");
    let (alone, one) = Timing::of(repeat, || Ok::<_, Stop>(bigint::factorial(n)))?;
    bar.finish_and_clear();
    if alone != limbs {
        return Err(Stop::Failure("workers and one process differ".into()));
    }
    let digits = report::counted(digits, "decimal digit");
    println!("{n}! has {digits}, {bits} bits; start by {start}\n");
    println!("{}", report::heading("Mbit/s"));
    let rate = |s: f64| format!("{:.1}", bits as f64 / s / 1e6);
    println!("{}", report::row("one process, alone", &one, rate));
    println!("{}", report::row(&report::counted(pool.workers() as u64, "worker"), &timing, rate));
    println!("\nspeed-up: {:.2}", one.best_s() / timing.best_s());
    println!("SHA-256 of the limbs: {sha256}");
    println!("checked: modulo 2^61 - 1, and by its power of two");
    Ok(())
}

/// Compares the limbs with what is known of n!.
fn check(n: u64, limbs: &[u64], bits: u64) -> Result<(), Stop> {
    let highest = limbs.last().copied().unwrap_or(0);
    let length = limbs.len() as u64 * 64 - u64::from(highest.leading_zeros());
    let found = [modular::residue(limbs), modular::twos(limbs), bits];
    let expected = [modular::factorial_residue(n), modular::factorial_twos(n), length];
    for ((what, found), expected) in ["residue modulo 2^61 - 1", "power of two", "length in bits"]
        .iter()
        .zip(found)
        .zip(expected)
    {
        if found != expected {
            let text = format!("the {what} is {found}, but should be {expected}");
            return Err(Stop::Failure(text));
        }
    }
    if highest == 0 {
        return Err(Stop::Failure("the highest limb is zero".into()));
    }
    Ok(())
}
