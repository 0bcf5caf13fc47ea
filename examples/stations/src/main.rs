//! The command line of `stations`.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brigade::Pool;
use brigade::batch::OutputFile;
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget};
use stations::generate;
use stations::group::{TextFile, WrongLines};
use stations::report::{self, Run};

/// Groups a text of `name;value` lines by name, and prints count, minimum, mean and maximum.
///
/// Each line is a name of 1 to 100 bytes of UTF-8, a semicolon, and a number from -99.9 to 99.9
/// with one decimal. It ends with a newline, or a carriage return and a newline; the last line may
/// have no end. The result is `{name=min/mean/max, ...}` in the order of the names' bytes; means
/// are rounded to tenths, halves upwards.
///
/// The file is mapped: do not change it during the run. A change of its length, or of the time of
/// its last change, is an error; another change goes unnoticed.
///
/// Exit codes: 0 success, 1 something failed, 2 wrong command line, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "stations")]
struct Arguments {
    /// The text
    file: PathBuf,
    /// Write a FILE of so many random lines first; FILE must not exist
    #[arg(long, value_name = "ROWS")]
    generate: Option<u64>,
    /// The seed of the random lines
    #[arg(long, default_value_t = 1, requires = "generate")]
    seed: u64,
    /// Worker processes [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Leave wrong lines out, and count them
    #[arg(long)]
    skip_bad: bool,
    /// Print one line of JSON, with counts and the time
    #[arg(long)]
    json: bool,
    /// Compare the result with that of a plain loop
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("stations: {}", text.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let path = &arguments.file;
    let of_file = |error: &dyn Display| format!("{}: {error}", path.display());
    if let Some(rows) = arguments.generate {
        generate_file(path, rows, arguments.seed)?;
    }
    let mut pool = Pool::builder();
    if let Some(workers) = arguments.workers {
        pool = pool.workers(workers.into());
    }
    let pool = pool.build().map_err(|error| error.to_string())?;
    // SAFETY: no program can establish it. The contract is the user's, whom `--help` tells not to
    // change the file during the run. This process does not read the mapped bytes, any of which
    // are valid. A worker that reads beyond a shortened file dies of SIGBUS, and a change of the
    // length, or of the time of the last change, is an error.
    let file = unsafe { TextFile::open(path) }.map_err(|error| of_file(&error))?;
    let wrong_lines = if arguments.skip_bad { WrongLines::Skip } else { WrongLines::Refuse };
    let bar = progress_bar(file.len_bytes(), arguments.json);
    let started = Instant::now();
    let progress = bar.clone();
    let table = file.group(&pool, wrong_lines, move |at| progress.set_position(at.done as u64));
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let table = table.map_err(|error| of_file(&error))?;
    if arguments.check {
        let plain = file.group_plainly(wrong_lines).map_err(|error| of_file(&error))?;
        if plain.sorted() != table.sorted() || plain.lines() != table.lines() {
            return Err("the result differs from that of a plain loop".to_owned());
        }
    }
    let out = BufWriter::new(io::stdout().lock());
    let printed = if arguments.json {
        let run = Run {
            lines: table.lines(),
            skipped: table.wrong(),
            bytes: file.len_bytes(),
            workers: pool.workers(),
            seconds,
            checked: arguments.check,
        };
        report::write_json(&table, &run, out)
    } else {
        report::write_text(&table, out)
    };
    printed.map_err(|error| format!("standard output: {error}"))?;
    if !arguments.json && table.wrong() > 0 {
        eprintln!("stations: {} of {} lines are wrong", table.wrong(), table.lines());
    }
    Ok(())
}

/// Writes random lines to a new file. It appears when it is complete.
fn generate_file(path: &Path, rows: u64, seed: u64) -> Result<(), String> {
    if path.symlink_metadata().is_ok() {
        let shown = path.display();
        return Err(format!("{shown} exists; remove it, or name another file for --generate"));
    }
    let fail = |error: &dyn Display| format!("{}: {error}", path.display());
    let mut out = OutputFile::create(path).map_err(|error| fail(&error))?;
    generate::write(&mut out, rows, seed).map_err(|error| fail(&error))?;
    out.commit().map_err(|error| fail(&error))?;
    Ok(())
}

/// A bar over the bytes on standard error, if that is a terminal.
fn progress_bar(len_bytes: usize, is_hidden: bool) -> ProgressBar {
    let target =
        if is_hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    ProgressBar::with_draw_target(Some(len_bytes as u64), target)
}
