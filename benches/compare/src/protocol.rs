//! The line protocol between a contender and `compare.py`.
//!
//! A contender is started as `PROGRAM WORKLOAD name=value ...`. It sets itself up, prints `ready`,
//! and then answers each line `run` on its standard input with one line of JSON: an object from
//! figure to value, where a figure's name ends in its unit. It ends at end of file. Between two
//! lines it may be stopped while others run, so a repetition warms up before it measures.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

/// The figures of one repetition.
pub type Figures = Vec<(&'static str, f64)>;

/// Runs one measurement; everything that it needs is already set up.
pub type Repetition = Box<dyn FnMut() -> Figures>;

/// The name of a workload, and the function that sets it up.
pub type Workload = (&'static str, fn(&Arguments) -> Repetition);

/// The exit code for a workload that this program does not have: a gap in the table, not an error.
const EXIT_NO_SUCH_WORKLOAD: u8 = 3;

/// The `name=value` pairs of the command line.
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// The text of `name`.
    ///
    /// # Panics
    ///
    /// If it was not given.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).unwrap_or_else(|| panic!("{name}=... is missing"))
    }

    /// The number `name`.
    ///
    /// # Panics
    ///
    /// If it was not given, or is not a number.
    #[must_use]
    pub fn number<N: FromStr>(&self, name: &str) -> N {
        let text = self.text(name);
        text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"))
    }

    /// The size in bytes that the argument `mib` gives.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.number::<usize>("mib") << 20
    }

    /// How long one repetition should measure.
    #[must_use]
    pub fn budget(&self) -> Duration {
        Duration::from_millis(self.number("budget_ms"))
    }
}

/// Serves the workload that the command line names, until end of file.
pub fn serve(workloads: &[Workload]) -> ExitCode {
    let mut words = std::env::args().skip(1);
    let name = words.next().unwrap_or_default();
    let Some((_, set_up)) = workloads.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = workloads.iter().map(|(known, _)| *known).collect();
        eprintln!("no workload {name:?} here; there are {}", known.join(", "));
        return ExitCode::from(EXIT_NO_SUCH_WORKLOAD);
    };
    let pairs = words.filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    let mut repetition = set_up(&Arguments(pairs.collect()));
    say("ready");
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("run") => say(&to_json(&repetition())),
            _ => break,
        }
    }
    ExitCode::SUCCESS
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // If the driver has ended, no answer is needed; end of file follows.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn to_json(figures: &Figures) -> String {
    let fields: Vec<String> =
        figures.iter().map(|(name, value)| format!("\"{name}\":{value:e}")).collect();
    format!("{{{}}}", fields.join(","))
}
