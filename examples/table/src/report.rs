//! Prints the summary of a table and its groups.

use std::io::{self, Write};

use brigade::{Groups, Pool, Result, SharedArray};
use serde::Serialize;

use crate::read::{Numbers, Table};
use crate::summary::{Number, Summary};

/// The aggregates of a column, an element for each key.
#[derive(Debug, PartialEq, Serialize)]
pub struct GroupedColumn {
    /// The column's name.
    pub name: String,
    /// The means.
    pub mean: Vec<f64>,
    /// The least numbers.
    pub min: Vec<Number>,
    /// The greatest numbers.
    pub max: Vec<Number>,
}

impl GroupedColumn {
    fn new<V>(name: String, groups: &Groups<i64, V>, number: fn(V) -> Number) -> GroupedColumn
    where
        V: brigade::Number<Mean = f64>,
    {
        let numbers = |values: &SharedArray<V>| {
            values.as_slice().iter().map(|&value| number(value)).collect()
        };
        let (min, max) = (numbers(&groups.mins), numbers(&groups.maxs));
        GroupedColumn { name, mean: groups.means.as_slice().to_vec(), min, max }
    }
}

/// The columns of a table, grouped by the numbers of one.
#[derive(Debug, PartialEq, Serialize)]
pub struct Grouped {
    /// The name of the column of keys.
    pub by: String,
    /// The keys, in ascending order.
    pub keys: Vec<i64>,
    /// The number of rows of each key.
    pub counts: Vec<u64>,
    /// The other columns.
    pub columns: Vec<GroupedColumn>,
}

/// Groups all columns by the column of integers with this name; `None` if there is none.
///
/// A group with an empty field has NaN as mean, minimum and maximum of that column.
///
/// # Errors
///
/// As [`Pool::group_by`].
pub fn group(pool: &Pool, table: &Table, by: &str) -> Result<Option<Grouped>> {
    let named = table.columns.iter().find(|column| column.name == by);
    let Some(Numbers::Integers(keys)) = named.map(|column| &column.numbers) else {
        return Ok(None);
    };
    let Groups { keys: found, counts, .. } = pool.group_by(keys, keys)?;
    let (found, counts) = (found.as_slice().to_vec(), counts.as_slice().to_vec());
    let mut columns = Vec::new();
    for column in table.columns.iter().filter(|column| column.name != by) {
        let name = column.name.clone();
        columns.push(match &column.numbers {
            Numbers::Integers(values) => {
                let groups = pool.group_by(keys, values)?;
                GroupedColumn::new(name, &groups, Number::Integer)
            }
            Numbers::Floats(values) => {
                GroupedColumn::new(name, &pool.group_by(keys, values)?, Number::Float)
            }
        });
    }
    Ok(Some(Grouped { by: by.to_owned(), keys: found, counts, columns }))
}

/// What a run did.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Rows that were read.
    pub rows: usize,
    /// Rows that were left out.
    pub skipped: usize,
    /// The size of the file.
    pub bytes: usize,
    /// The number of workers.
    pub workers: usize,
    /// The time for reading the file into arrays.
    pub seconds: f64,
    /// Columns that were not read.
    pub texts: Vec<String>,
    /// The columns that were read. What is NaN is null.
    pub columns: Vec<Summary>,
    /// Their groups.
    pub groups: Option<Grouped>,
}

/// Writes one line of JSON.
///
/// # Errors
///
/// Those of `out`.
pub fn write_json(run: &Run, mut out: impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut out, run)?;
    writeln!(out)?;
    out.flush()
}

/// Writes tables.
///
/// # Errors
///
/// Those of `out`.
pub fn write_text(run: &Run, mut out: impl Write) -> io::Result<()> {
    let megabytes_per_s = run.bytes as u64 / 1000;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let megabytes_per_s = megabytes_per_s as f64 / 1000.0 / run.seconds;
    writeln!(out, "{} rows in {:.3} s, {megabytes_per_s:.0} MB/s", run.rows, run.seconds)?;
    let heading = ["column", "type", "count", "empty", "mean", "min", "max"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(run.columns.iter().map(|column| {
        let Summary { name, kind, count, empty, mean, min, max } = column;
        let (mean, min, max) = (format!("{mean:.6}"), min.to_string(), max.to_string());
        let (count, empty) = (count.to_string(), empty.to_string());
        [name.clone(), (*kind).to_owned(), count, empty, mean, min, max]
    }));
    write_rows(&rows, &mut out)?;
    if let Some(groups) = &run.groups {
        write_groups(groups, &mut out)?;
    }
    out.flush()
}

fn write_groups(groups: &Grouped, out: &mut impl Write) -> io::Result<()> {
    let mut heading = vec![groups.by.clone(), "count".to_owned()];
    for column in &groups.columns {
        heading.extend(["mean", "min", "max"].map(|what| format!("{what} {}", column.name)));
    }
    let mut rows = vec![heading];
    for (index, (key, count)) in groups.keys.iter().zip(&groups.counts).enumerate() {
        let mut row = vec![key.to_string(), count.to_string()];
        for column in &groups.columns {
            row.push(format!("{:.6}", column.mean[index]));
            row.extend([&column.min, &column.max].map(|numbers| numbers[index].to_string()));
        }
        rows.push(row);
    }
    writeln!(out)?;
    write_rows(&rows, out)
}

/// Writes rows with aligned columns: the first to the left, the others to the right.
fn write_rows<R: AsRef<[String]>>(rows: &[R], out: &mut impl Write) -> io::Result<()> {
    let width = |index: usize| {
        let widths = rows.iter().map(|row| row.as_ref()[index].chars().count());
        widths.max().unwrap_or(0)
    };
    let columns = rows.first().map_or(0, |row| row.as_ref().len());
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let (first, others) = row.as_ref().split_first().expect("at least one column");
        write!(out, "{first:<width$}", width = widths[0])?;
        for (field, &width) in others.iter().zip(&widths[1..]) {
            write!(out, "  {field:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
