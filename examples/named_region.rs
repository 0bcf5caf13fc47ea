//! Two programs share an array by name.

mod support;

use std::process::{Command, ExitCode};

use brigade::{Error, SharedArray};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
named_region: two processes share an array under /dev/shm

  --name NAME         its name [brigade-example-PID]
  --attach NAME       be the second process: double what is there
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    name: &'a str,
    before: Vec<f64>,
    after: Vec<f64>,
}

fn main() -> ExitCode {
    run(USAGE, |arguments| match arguments.text("attach") {
        Some(name) => double(name, &arguments),
        None => share(&arguments),
    })
}

/// The first process: makes the array, starts the second, and checks the result.
fn share(arguments: &Arguments) -> Result<(), Stop> {
    let own = format!("brigade-example-{}", std::process::id());
    let name = arguments.text("name").unwrap_or(&own);
    let mut matrix = SharedArray::<f64>::named(name, [2, 3])?;
    matrix.copy_from_slice(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    let before = matrix.copy_to_vec();
    arguments.say(format_args!("/dev/shm/{name} holds {before:?}"));
    arguments.say(format_args!("in Python: numpy.load(\"/dev/shm/{name}\", mmap_mode=\"r+\")"));

    let program = std::env::current_exe().map_err(Stop::usage)?;
    let status = Command::new(program)
        .args(["--attach", name])
        .args(arguments.has("json").then_some("--json"))
        .status()
        .map_err(Stop::usage)?;
    assert!(status.success(), "the second process: {status}");

    let after = matrix.copy_to_vec();
    arguments.say(format_args!("/dev/shm/{name} holds {after:?}"));
    assert_eq!(after, [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    drop(matrix);
    assert!(matches!(SharedArray::<f64>::open(name), Err(Error::NotFound { .. })));
    arguments.say("the name went with its creator");
    if arguments.has("json") {
        return report::json(&Line { op: "named_region", name, before, after });
    }
    Ok(())
}

/// The second process: knows only the name.
fn double(name: &str, arguments: &Arguments) -> Result<(), Stop> {
    let mut matrix = SharedArray::<f64>::open(name)?;
    let doubled: Vec<f64> = matrix.copy_to_vec().iter().map(|x| 2.0 * x).collect();
    matrix.copy_from_slice(&doubled)?;
    let (pid, shape) = (std::process::id(), matrix.shape());
    arguments.say(format_args!("process {pid} found shape {shape} and doubled it"));
    Ok(())
}
