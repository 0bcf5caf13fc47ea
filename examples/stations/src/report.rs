//! Prints a table in the classical form, or as JSON.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use crate::table::{Statistics, Table};

/// A number of tenths as text, with one decimal.
#[must_use]
pub fn decimal(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let magnitude = tenths.unsigned_abs();
    format!("{sign}{}.{}", magnitude / 10, magnitude % 10)
}

/// The mean in tenths, rounded to the nearest one; halves are rounded up.
///
/// # Panics
///
/// If there are no values, or 2^63.
#[must_use]
pub fn mean_tenths(statistics: &Statistics) -> i64 {
    let count = i64::try_from(statistics.count).expect("fewer than 2^63 lines");
    (2 * statistics.sum + count).div_euclid(2 * count)
}

/// Writes `{name=min/mean/max, ...}`, in the order of the bytes of the names.
///
/// # Errors
///
/// Those of `out`.
pub fn write_text(table: &Table, mut out: impl Write) -> io::Result<()> {
    let mut before = "{";
    for (name, found) in table.sorted() {
        let [min, max] = [found.min, found.max].map(|tenths| decimal(tenths.into()));
        write!(out, "{before}{name}={min}/{}/{max}", decimal(mean_tenths(&found)))?;
        before = ", ";
    }
    let end = if before == "{" { "{}" } else { "}" };
    writeln!(out, "{end}")?;
    out.flush()
}

/// The statistics of a name, in degrees.
#[derive(Debug, Serialize)]
struct Station {
    count: u64,
    min: f64,
    mean: f64,
    max: f64,
}

/// What a run did.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Lines that were read, wrong ones too.
    pub lines: u64,
    /// Lines that were left out.
    pub skipped: u64,
    /// The size of the file.
    pub bytes: usize,
    /// The number of workers.
    pub workers: usize,
    /// The time for reading and grouping.
    pub seconds: f64,
    /// Whether the result was compared with that of a plain loop.
    pub checked: bool,
}

/// Writes one line of JSON: the run and, by name, the statistics of each station.
///
/// # Errors
///
/// Those of `out`.
pub fn write_json(table: &Table, run: &Run, mut out: impl Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        #[serde(flatten)]
        run: &'a Run,
        stations: BTreeMap<&'a str, Station>,
    }
    #[expect(clippy::cast_precision_loss, reason = "the nearest double")]
    let station = |found: Statistics| Station {
        count: found.count,
        min: f64::from(found.min) / 10.0,
        mean: found.sum as f64 / found.count as f64 / 10.0,
        max: f64::from(found.max) / 10.0,
    };
    let sorted = table.sorted().into_iter();
    let stations = sorted.map(|(name, found)| (name, station(found))).collect();
    serde_json::to_writer(&mut out, &Line { run, stations })?;
    writeln!(out)?;
    out.flush()
}
