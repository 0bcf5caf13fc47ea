//! One-off processes: started, watched and ended, with their exit reasons.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use brigade::{Error, ExitReason, Process, active_processes};
use serde::Serialize;
use support::arguments::{Arguments, Stop, run};
use support::report;

const USAGE: &str = "\
processes: some that return, one that waits, one that crashes

  --count N           how many that return [4]
  --patience-ms N     how long to wait for the one that waits [50]
  --json              print one line of JSON";

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    returned: u32,
    terminated: u32,
    crashed: u32,
}

fn main() -> ExitCode {
    run(USAGE, show)
}

/// Runs in a separate process: it may leak, crash or be killed.
fn digits(n: u32) -> String {
    (1..=n).map(|n| char::from_digit(n % 10, 10).unwrap_or('?')).collect()
}

fn waits(_: ()) {
    loop {
        std::thread::park();
    }
}

fn crashes(disk: String) {
    eprintln!("{disk} is on fire");
    std::process::abort();
}

fn show(arguments: Arguments) -> Result<(), Stop> {
    let count = arguments.number("count", 1u32)?.unwrap_or(4);
    let patience = arguments.number("patience-ms", 0u64)?.unwrap_or(50);

    // Values are returned as from a thread.
    let processes: Vec<_> =
        (1..=count).map(|n| Process::spawn(digits, n)).collect::<Result<_, _>>()?;
    for (n, process) in (1..=count).zip(processes) {
        let (pid, digits) = (process.pid(), process.join()?);
        arguments.say(format_args!("process {pid}: {digits}"));
        assert_eq!(digits.len(), n as usize);
    }

    // A process that does not end by itself is terminated; dropping it would do the same.
    let mut waiting = Process::builder().name("waits").spawn(waits, ())?;
    match waiting.join_timeout(Duration::from_millis(patience)) {
        Err(Error::TimedOut { .. }) => {
            arguments.say(format_args!("{:?} runs", active_processes()));
        }
        other => return Err(Stop::Failure(format!("it cannot end: {other:?}"))),
    }
    waiting.terminate()?;
    arguments.say(format_args!("{} {}", waiting.name(), waiting.wait()?));
    assert_eq!(waiting.exit_reason(), Some(ExitReason::Signal(15)));

    // The error of a crash says what is known, here including the output on stderr.
    let crashed = Process::builder().capture_stderr().spawn(crashes, "sda".to_owned())?;
    let Err(error) = crashed.join() else {
        return Err(Stop::Failure("it cannot return".to_owned()));
    };
    arguments.say(&error);
    assert!(error.to_string().contains("sda is on fire"));
    assert!(active_processes().is_empty());
    if arguments.has("json") {
        let op = "processes";
        return report::json(&Line { op, returned: count, terminated: 1, crashed: 1 });
    }
    Ok(())
}
