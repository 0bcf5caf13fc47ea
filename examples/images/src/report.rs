//! How the program ends: summary, JSON, exit code.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use brigade::Error;
use brigade::batch::Key;
use serde::Serialize;

use crate::batch::Outcome;

/// Why the program ends early.
#[derive(Debug)]
pub enum Stop {
    /// The command line is wrong: exit code 2.
    Usage(String),
    /// Something failed: exit code 1.
    Failure(String),
}

impl Stop {
    /// The command line is wrong about `path`.
    pub fn usage(path: &Path, why: &dyn fmt::Display) -> Stop {
        Stop::Usage(format!("{}: {why}", shown(path)))
    }

    /// What was to be made of `path` has failed.
    pub fn failure(path: &Path, why: &dyn fmt::Display) -> Stop {
        Stop::Failure(format!("{}: {why}", shown(path)))
    }

    /// What a run has to say, and its exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Stop::Usage(_) => 2,
            Stop::Failure(_) => 1,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Stop::Usage(text) | Stop::Failure(text)) = self;
        f.write_str(text)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        let text = error.to_string();
        match error {
            Error::InvalidArgument { .. } | Error::Layout { .. } | Error::NotFound { .. } => {
                Stop::Usage(text)
            }
            _ => Stop::Failure(text),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Failure(format!("standard output: {error}"))
    }
}

/// Writes a line to standard error, if anybody reads it.
pub fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "images: {line}");
}

/// A path on one line.
#[must_use]
pub fn shown(path: &Path) -> String {
    Key::from(path).to_string()
}

/// The line that `--json` prints.
#[derive(Serialize)]
struct Line {
    op: &'static str,
    done: usize,
    skipped: usize,
    failed: Vec<Failed>,
    bytes: u64,
    seconds: f64,
    interrupted: bool,
}

/// One of the failures.
#[derive(Serialize)]
struct Failed {
    key: String,
    outcome: String,
    error: String,
}

impl Outcome {
    /// Writes the outcome of the folder, as text or as a line of JSON.
    ///
    /// # Errors
    ///
    /// Those of writing, for example because nobody reads.
    pub fn print(&self, is_json: bool, mut out: impl Write) -> io::Result<()> {
        let Outcome { summary, refused } = self;
        if !is_json {
            writeln!(out, "{summary}")?;
            for (path, why) in refused {
                writeln!(out, "  {}: not read: {why}", shown(path))?;
            }
            if !refused.is_empty() {
                writeln!(out, "{} more could not be read", refused.len())?;
            }
            return out.flush();
        }
        let of_keys = summary.failed.iter().map(|report| Failed {
            key: report.key.to_string(),
            outcome: report.outcome.to_string(),
            error: report.error.clone().unwrap_or_default(),
        });
        let others = refused.iter().map(|(path, why)| Failed {
            key: shown(path),
            outcome: "not_read".to_owned(),
            error: why.clone(),
        });
        let line = Line {
            op: "images",
            done: summary.done,
            skipped: summary.skipped,
            failed: of_keys.chain(others).collect(),
            bytes: summary.bytes,
            seconds: summary.elapsed.as_secs_f64(),
            interrupted: summary.is_interrupted,
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        out.flush()
    }
}
