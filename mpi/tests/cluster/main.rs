//! Programs on a cluster, each run under mpirun.
//!
//! This program is both: started by cargo it starts itself under mpirun, and there it is a case.
//! Arguments select the tests whose names contain one of them. Those whose names begin with
//! `by_command` run only if they are selected.
#![allow(unsafe_code)]
#![expect(clippy::disallowed_methods, reason = "polls processes that it cannot wait for")]

mod arrays;
mod batch;
mod deaths;
mod examples;
mod farm;
mod job;

use std::panic::catch_unwind;
use std::process::ExitCode;

use job::{CASE, launcher};

/// A test's name, what it does, and the case that its ranks run.
type Test = (&'static str, fn(), fn());

fn main() -> ExitCode {
    let tests: Vec<Test> =
        [farm::TESTS, batch::TESTS, arrays::TESTS, deaths::TESTS, examples::TESTS].concat();
    if let Ok(case) = std::env::var(CASE) {
        let (_, _, run) = tests.iter().find(|test| test.0 == case).expect("a case of this program");
        run();
        return ExitCode::SUCCESS;
    }
    if launcher().is_none() {
        println!(
            "skipped: there is no mpirun; on Debian, \
             `apt-get install -y libopenmpi-dev openmpi-bin libclang-dev`"
        );
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| match words.is_empty() {
        true => !name.starts_with("by_command"),
        false => words.iter().any(|word| name.contains(word)),
    };
    let mut failed = Vec::new();
    for (name, test, _) in tests.iter().filter(|test| is_chosen(test.0)) {
        let since = std::time::Instant::now();
        let is_good = catch_unwind(|| {
            job::begin(name);
            test();
            job::expect_nothing_left();
        })
        .is_ok();
        let word = if is_good { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({:.1} s)", since.elapsed().as_secs_f64());
        if !is_good {
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
