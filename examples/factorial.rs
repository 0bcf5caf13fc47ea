//! n! by forked workers, checked without another big product.

mod support;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brigade::kernel::bigint;
use brigade::{Pool, SharedBigUint};
use indicatif::ProgressBar;
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::timing::Timing;
use support::{digest, modular, report};

const USAGE: &str = "\
factorial: n! by forked workers on shared memory

  --n N               the number [100000]
  --out FILE          write the decimal digits; FILE must not exist yet
  --limbs-out FILE    write the limbs, 8 bytes each, lowest byte and limb first; as --out
  --force             write over files that exist
  --workers N         worker processes [one for each processor]
  --start KIND        forkserver or inprocess [forkserver]
  --repeat N          how often to compute it [3]
  --progress          show a bar though standard error is no terminal, or with --json
  --json              print one line of JSON";

fn main() -> ExitCode {
    run(USAGE, factorial)
}

/// The largest n for which one process computes the same, for comparison.
const ALONE_MAX: u64 = 20_000_000;

/// The line that `--json` prints.
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
    /// How long the conversion to digits took, if they were requested.
    decimal_s: Option<f64>,
    checked: bool,
}

fn factorial(arguments: Arguments) -> Result<(), Stop> {
    let json = arguments.has("json");
    let n = arguments.number("n", 0u64)?.unwrap_or(100_000);
    let repeat = arguments.number("repeat", 1)?.unwrap_or(3);
    let (pool, start) = arguments.pool()?;
    // Before the work, so that a path that cannot be written to is reported at once.
    let output = |option| {
        let path = arguments.text(option);
        path.map(|path| Output::create(path, arguments.has("force"))).transpose()
    };
    let (out, limbs_out) = (output("out")?, output("limbs-out")?);
    let progress = Progress::new(&arguments, repeat + 2 + usize::from(out.is_some()));
    let bar = &progress.bar;
    bar.set_message("multiplying");
    let (number, timing) = Timing::of(repeat, || {
        let before = bar.position();
        pool.factorial_watched(n, |done| progress.tell(before, done))
    })?;
    bar.set_message("checking");
    let (limbs, bits) = (number.limbs(), number.bits());
    check(n, limbs, bits)?;
    bar.inc(STEP);
    let digits = modular::decimal_digits(limbs);
    if let Some(out) = limbs_out {
        let bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        out.publish(&[&bytes])?;
    }
    let decimal = match out {
        Some(out) => Some(write_digits(&pool, &number, digits, out, bar)?),
        None => None,
    };
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
            decimal_s: decimal,
            checked: true,
        });
    }
    bar.set_message("multiplying in one process");
    let one = alone(n, repeat, limbs)?;
    bar.finish_and_clear();
    let digits = report::counted(digits, "decimal digit");
    println!("{n}! has {digits}, {bits} bits; start by {start}\n");
    table(pool.workers(), &timing, one.as_ref(), bits);
    if let Some(seconds) = decimal {
        println!("decimal digits: {seconds:.3} s");
    }
    println!("SHA-256 of the limbs: {sha256}");
    println!("checked: modulo 2^61 - 1, and by its power of two");
    Ok(())
}

/// Prints the table of times, and the speed-up.
fn table(workers: usize, timing: &Timing, one: Option<&Timing>, bits: u64) {
    println!("{}", report::heading("Mbit/s"));
    let rate = |s: f64| format!("{:.1}", bits as f64 / s / 1e6);
    if let Some(one) = one {
        println!("{}", report::row("one process, alone", one, rate));
    }
    println!("{}", report::row(&report::counted(workers as u64, "worker"), timing, rate));
    println!();
    if let Some(one) = one {
        println!("speed-up: {:.2}", one.best_s() / timing.best_s());
    }
}

/// Computes the same in one process and compares; `None` if that would take too long.
fn alone(n: u64, repeat: usize, limbs: &[u64]) -> Result<Option<Timing>, Stop> {
    if n > ALONE_MAX {
        return Ok(None);
    }
    let (alone, timing) = Timing::of(repeat, || Ok::<_, Stop>(bigint::factorial(n)))?;
    if alone != limbs {
        return Err(Stop::Failure("workers and one process differ".into()));
    }
    Ok(Some(timing))
}

/// Steps of the bar for each factorial, and for each of the other steps.
const STEP: u64 = 100;

/// A bar, or lines if there is no terminal and they are requested.
struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    fn new(arguments: &Arguments, steps: usize) -> Progress {
        let wanted = arguments.has("progress");
        let bar = report::bar(steps * 100, wanted || !arguments.has("json"));
        let lines = wanted && bar.is_hidden();
        Progress { bar, lines }
    }

    /// Shows how much of a factorial is done that began at position `before`.
    fn tell(&self, before: u64, done: f64) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 0 to 100"
        )]
        let percent = (done * STEP as f64) as u64;
        self.bar.set_position(before + percent);
        if self.lines {
            eprintln!("factorial: {percent} %");
        }
    }
}

/// Computes the digits, compares them with the number, and writes them with a line feed; returns
/// how long the conversion took.
fn write_digits(
    pool: &Pool,
    number: &SharedBigUint,
    digits: u64,
    out: Output,
    bar: &ProgressBar,
) -> Result<f64, Stop> {
    bar.set_message("making digits");
    let start = Instant::now();
    let text = pool.to_decimal(number)?;
    let seconds = start.elapsed().as_secs_f64();
    bar.inc(STEP);
    if text.len() as u64 != digits {
        return Err(Stop::Failure(format!("{} digits instead of {digits}", text.len())));
    }
    if modular::residue_of_decimal(&text) != modular::residue(number.limbs()) {
        return Err(Stop::Failure("the digits are those of another number".into()));
    }
    out.publish(&[text.as_bytes(), b"\n"])?;
    Ok(seconds)
}

/// A file that appears under its name when it is complete, or not at all.
struct Output {
    path: PathBuf,
    /// The temporary name, until the file is complete; `None` if the target is not a regular file.
    partial: Option<PathBuf>,
    file: File,
    force: bool,
}

impl Output {
    /// Creates the file under a temporary name in the same directory.
    fn create(path: &str, force: bool) -> Result<Output, Stop> {
        let path = PathBuf::from(path);
        // A device or a pipe is written to: a file in its place would remove it for all programs.
        if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            let opened = File::options().write(true).open(&path);
            let file = opened.map_err(|error| refused(&path, &error))?;
            return Ok(Output { path, partial: None, file, force });
        }
        if !force && path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        if path.is_dir() {
            return Err(Stop::usage(format!("{}: is a directory", path.display())));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        let partial = path.with_file_name(name);
        let file = File::create_new(&partial).map_err(|error| refused(&path, &error))?;
        Ok(Output { path, partial: Some(partial), file, force })
    }

    /// Writes all parts, and gives the file its name.
    fn publish(mut self, parts: &[&[u8]]) -> Result<(), Stop> {
        let mut write = || {
            parts.iter().try_for_each(|part| self.file.write_all(part))?;
            let Some(partial) = &self.partial else { return Ok(()) };
            self.file.sync_all()?;
            if self.force {
                fs::rename(partial, &self.path)
            } else {
                // A link, unlike a rename, never replaces a file that appeared in the meantime.
                fs::hard_link(partial, &self.path)
            }
        };
        match write() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists(&self.path)),
            Err(error) => Err(refused(&self.path, &error)),
            Ok(()) => Ok(()),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // It no longer exists if it was renamed.
            let _ = fs::remove_file(partial);
        }
    }
}

fn exists(path: &Path) -> Stop {
    Stop::usage(format!("{}: exists already; --force writes over it", path.display()))
}

fn refused(path: &Path, error: &io::Error) -> Stop {
    Stop::usage(format!("{}: {error}; nothing was written", path.display()))
}

/// Compares the limbs with known properties of n!.
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
