//! The main use: a checked and timed matrix product.

mod support;

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use brigade::kernel::matmul::{MatMut, MatRef, gemm};
use brigade::{Error, Pool, Scalar, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::freivalds::{self, Verdict};
use support::random::Random;
use support::report;
use support::timing::Timing;

const USAGE: &str = "\
matmul: C = A B by forked workers on shared memory

  --size N            A and B are N by N [2048]
  --m N --k N --n N   A is m by k, B is k by n
  --a FILE --b FILE   read A and B from .npy files instead of making them up
  --out FILE          write C to a .npy file
  --dtype TYPE        f32 or f64 [that of the files, else f64]
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to multiply [3]
  --json              print one line of JSON, and measure nothing else";

fn main() -> ExitCode {
    run(USAGE, |arguments| match dtype(&arguments)? {
        "f32" => multiply::<f32>(&arguments, "f32", f64::from(f32::EPSILON) / 2.0),
        _ => multiply::<f64>(&arguments, "f64", f64::EPSILON / 2.0),
    })
}

/// The requested type, or the one named by the first file's header.
fn dtype(arguments: &Arguments) -> Result<&'static str, Stop> {
    let chosen = arguments.choice("dtype", &["f64", "f32"])?;
    if let (false, Some(path)) = (arguments.has("dtype"), arguments.text("a")) {
        // A guess from text at the file's beginning; reading the array checks it.
        let mut header = Vec::new();
        let file = File::open(path).map(|file| file.take(256).read_to_end(&mut header));
        if file.is_ok() && header.windows(3).any(|text| text == b"f4'") {
            return Ok("f32");
        }
    }
    Ok(chosen)
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    m: usize,
    k: usize,
    n: usize,
    dtype: &'a str,
    workers: usize,
    start: &'a str,
    best_s: f64,
    median_s: f64,
    gflops_best: f64,
    gflops_median: f64,
    checked: bool,
}

/// The whole example, for elements whose half ulp at 1 is `unit`.
fn multiply<T: Sample>(arguments: &Arguments, dtype: &str, unit: f64) -> Result<(), Stop> {
    let json = arguments.has("json");
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let (pool, start) = arguments.pool()?;
    let bar = report::bar(repeat + 3, !json);
    bar.set_message("making A and B");
    let (a, b) = operands::<T>(arguments, &pool)?;
    bar.inc(1);
    bar.set_message("multiplying");
    let (c, timing) = Timing::of(repeat, || {
        let product = pool.matmul(&a, &b);
        bar.inc(1);
        product
    })?;
    bar.set_message("checking");
    let [m, k, n] = [a.shape().dims()[0], a.shape().dims()[1], b.shape().dims()[1]];
    let verdict = freivalds::test([m, k, n], a.as_slice(), b.as_slice(), c.as_slice(), unit);
    if let Verdict::Fails { row, difference, tolerance } = verdict {
        let text = format!("row {row} is wrong by {difference:e}, more than {tolerance:e}");
        return Err(Stop::Failure(text));
    }
    bar.inc(1);
    if let Some(path) = arguments.text("out") {
        c.to_npy(path)?;
    }
    let gflops = |s: f64| 2.0 * m as f64 * k as f64 * n as f64 / s / 1e9;
    if json {
        let line = Line {
            op: "matmul",
            m,
            k,
            n,
            dtype,
            workers: pool.workers(),
            start,
            best_s: timing.best_s(),
            median_s: timing.median_s(),
            gflops_best: gflops(timing.best_s()),
            gflops_median: gflops(timing.median_s()),
            checked: verdict == Verdict::Holds,
        };
        report::json(&line)?;
        return Ok(());
    }
    bar.set_message("multiplying in one process");
    let alone = alone(&a, &b, repeat)?;
    bar.finish_and_clear();
    let rate = |s: f64| format!("{:.1}", gflops(s));
    println!("C = A B: {m} by {k} times {k} by {n}, {dtype}, start by {start}\n");
    println!("{}", report::heading("GFLOP/s"));
    println!("{}", report::row("one process, alone", &alone, rate));
    println!("{}", report::row(&report::counted(pool.workers() as u64, "worker"), &timing, rate));
    println!("\nspeed-up: {:.2}", alone.best_s() / timing.best_s());
    match verdict {
        Verdict::Holds => println!("checked: Freivalds' test, {} vectors", freivalds::VECTORS),
        _ => println!("not checked: A or B holds infinities or what is no number"),
    }
    Ok(())
}

/// A and B, read or generated.
fn operands<T: Sample>(
    arguments: &Arguments,
    pool: &Pool,
) -> Result<(SharedArray<T>, SharedArray<T>), Stop> {
    let sizes = ["size", "m", "k", "n"];
    match (arguments.text("a"), arguments.text("b")) {
        (Some(a), Some(b)) => {
            if let Some(name) = sizes.iter().find(|name| arguments.has(name)) {
                return Err(Stop::usage(format!("--{name} does not go with --a and --b")));
            }
            Ok((SharedArray::from_npy(a)?, SharedArray::from_npy(b)?))
        }
        (None, None) => {
            let size = arguments.number("size", 0usize)?;
            let [m, k, n] = ["m", "k", "n"].map(|name| arguments.number(name, 0));
            let dims = [m?, k?, n?];
            let [m, k, n] = match (size, dims) {
                (Some(size), [None, None, None]) => [size; 3],
                (None, [None, None, None]) => [2048; 3],
                (None, [Some(m), Some(k), Some(n)]) => [m, k, n],
                _ => return Err(Stop::usage("give either --size, or all of --m, --k and --n")),
            };
            Ok((made_up(pool, [m, k], 1)?, made_up(pool, [k, n], 2)?))
        }
        _ => Err(Stop::usage("--a and --b go together")),
    }
}

/// A generated number; implemented for the element types of matrices.
trait Sample: Scalar + Into<f64> {
    fn sample(uniform: f32) -> Self;
}

impl Sample for f32 {
    fn sample(uniform: f32) -> f32 {
        uniform
    }
}

impl Sample for f64 {
    fn sample(uniform: f32) -> f64 {
        f64::from(uniform)
    }
}

/// A matrix of numbers in [-1, 1), generated by the workers.
fn made_up<T: Sample>(pool: &Pool, shape: [usize; 2], seed: u64) -> Result<SharedArray<T>, Error> {
    let mut matrix = pool.for_overwrite(shape)?;
    pool.par_chunks_mut(&mut matrix, 1 << 16).enumerate().with(seed).for_each(
        |&seed, (chunk, elements)| {
            let mut random = Random::new(seed << 32 | chunk as u64);
            elements.fill_with(|| T::sample(random.uniform()));
        },
    )?;
    Ok(matrix)
}

/// The same product in this process, by one thread.
fn alone<T: Scalar>(
    a: &SharedArray<T>,
    b: &SharedArray<T>,
    repeat: usize,
) -> Result<Timing, Error> {
    let [m, k, n] = [a.shape().dims()[0], a.shape().dims()[1], b.shape().dims()[1]];
    let mut c = SharedArray::<T>::zeroed([m, n])?;
    let ((), timing) = Timing::of(repeat, || {
        let a = MatRef::row_major(a.as_slice(), m, k)?;
        let b = MatRef::row_major(b.as_slice(), k, n)?;
        gemm(T::ONE, a, b, T::ZERO, MatMut::row_major(c.as_mut_slice(), m, n)?)
    })?;
    Ok(timing)
}
