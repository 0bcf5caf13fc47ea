//! The command line of `table`.
#![allow(unsafe_code)]

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use brigade::Pool;
use clap::Parser;
use table::read::{self, Format, Numbers, Options, Table};
use table::report::{self, Run};
use table::summary::summaries;

/// Reads the columns of numbers of a CSV file into shared arrays, and describes them.
///
/// The first record has the names of the columns. Fields may be quoted, with a quote doubled
/// within; a quoted field may have newlines. Lines end with a newline, or a carriage return and a
/// newline. Empty lines are left out. The types of columns are inferred from the first 1000 records
/// of the first mebibyte: a column is text, and not read, if most of its fields are no numbers. A
/// column that begins with whole numbers is a column of floats if there is another number, or an
/// empty field, anywhere. An empty field of a column of floats is NaN.
///
/// A row with another number of fields, or with a field that is no number, is an error with its
/// line's number.
///
/// The file is mapped: do not change it during the run. A change of its length, or of the time of
/// its last change, is an error; another change goes unnoticed.
///
/// Exit codes: 0 success, 1 something failed, 2 wrong command line, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "table")]
struct Arguments {
    /// The CSV file
    file: PathBuf,
    /// The columns to read [default: those of numbers]
    #[arg(long, value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Columns of whole numbers; an empty field, or another number, makes a row wrong
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    integers: Vec<String>,
    /// Columns of floats
    #[arg(long, value_delimiter = ',', value_name = "COLUMNS")]
    floats: Vec<String>,
    /// The character between fields; `\t` is a tabulator
    #[arg(long, default_value = ",", value_parser = delimiter)]
    delimiter: u8,
    /// The character at the beginning of a comment; an empty one for none
    #[arg(long, default_value = "#", value_parser = comment)]
    comment: Comment,
    /// The first record is data; columns have the names 1, 2, 3
    #[arg(long)]
    no_header: bool,
    /// Leave wrong rows out, and count them
    #[arg(long)]
    skip_bad: bool,
    /// Group the other columns by this column of whole numbers
    #[arg(long, value_name = "COLUMN")]
    group_by: Option<String>,
    /// Write each column to DIR/NAME.npy
    #[arg(long, value_name = "DIR")]
    npy_out: Option<PathBuf>,
    /// Worker processes [default: one for each processor]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// A type of its own, because clap treats an `Option` as an option that may be left out.
#[derive(Debug, Clone, Copy)]
struct Comment(Option<u8>);

fn delimiter(text: &str) -> Result<u8, &'static str> {
    const WANTED: &str = "must be one ASCII character: no letter, none of a number, no quote";
    match *text.as_bytes() {
        _ if text == "\\t" => Ok(b'\t'),
        // A number must end at it.
        [byte] if byte.is_ascii_alphanumeric() || b"\"\n\r+-.".contains(&byte) => Err(WANTED),
        [byte] if byte.is_ascii() => Ok(byte),
        _ => Err(WANTED),
    }
}

fn comment(text: &str) -> Result<Comment, &'static str> {
    match text {
        "" => Ok(Comment(None)),
        _ => delimiter(text).map(|byte| Comment(Some(byte))),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.comment.0 == Some(arguments.delimiter) {
        eprintln!("table: --comment and --delimiter are the same character; choose two");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("table: {}", text.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let path = &arguments.file;
    let mut pool = Pool::builder();
    if let Some(workers) = arguments.workers {
        pool = pool.workers(workers.into());
    }
    let pool = pool.build().map_err(|error| error.to_string())?;
    let options = Options {
        format: Format { delimiter: arguments.delimiter, comment: arguments.comment.0 },
        has_names: !arguments.no_header,
        columns: arguments.columns.clone(),
        integers: arguments.integers.clone(),
        floats: arguments.floats.clone(),
        skip_bad: arguments.skip_bad,
    };
    let started = Instant::now();
    // SAFETY: no program can establish it. The contract is the user's, whom `--help` tells not to
    // change the file during the run. This process does not read the mapped bytes, any of which
    // are valid. A worker that reads beyond a shortened file dies of SIGBUS, and a change of the
    // length, or of the time of the last change, is an error.
    let table = unsafe { read::read(&pool, path, &options) };
    let seconds = started.elapsed().as_secs_f64();
    let table = table.map_err(|error| format!("{}: {error}", path.display()))?;
    let groups = match &arguments.group_by {
        None => None,
        Some(by) => {
            let groups = report::group(&pool, &table, by).map_err(|error| error.to_string())?;
            let rule = "--group-by needs a column of whole numbers that is read, but";
            Some(groups.ok_or_else(|| format!("{rule} {by:?} is none"))?)
        }
    };
    if let Some(folder) = &arguments.npy_out {
        write_npy(&table, folder, path)?;
    }
    let columns = summaries(&pool, &table).map_err(|error| error.to_string())?;
    let (rows, skipped, bytes) = (table.rows, table.skipped, table.bytes);
    let texts = table.texts.clone();
    let workers = pool.workers();
    let run = Run { rows, skipped, bytes, workers, seconds, texts, columns, groups };
    let out = BufWriter::new(io::stdout().lock());
    let printed = match arguments.json {
        true => report::write_json(&run, out),
        false => report::write_text(&run, out),
    };
    printed.map_err(|error| format!("standard output: {error}"))?;
    if !arguments.json {
        note_what_was_left_out(&table);
    }
    Ok(())
}

fn note_what_was_left_out(table: &Table) {
    if !table.texts.is_empty() {
        eprintln!("table: columns of text are not read: {:?}", table.texts);
    }
    if let Some(first) = &table.first_skipped {
        let skipped = table.skipped;
        eprintln!("table: {skipped} rows are wrong; line {}: {}", first.line, first.reason);
    }
}

/// Writes each column to a file of its own. All names are checked before the first is written.
fn write_npy(table: &Table, folder: &Path, read_from: &Path) -> Result<(), String> {
    let read_from = read_from.canonicalize().ok();
    for column in &table.columns {
        let name = &column.name;
        let path = folder.join(format!("{name}.npy")).canonicalize().ok();
        if path.is_some() && path == read_from {
            return Err(format!("the column {name:?} would replace the file that was read"));
        }
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(format!("the column {name:?} is no name for a file; choose --columns"));
        }
    }
    let fail = |error: io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder).map_err(fail)?;
    for column in &table.columns {
        let path = folder.join(format!("{}.npy", column.name));
        let written = match &column.numbers {
            Numbers::Integers(numbers) => numbers.to_npy(&path),
            Numbers::Floats(numbers) => numbers.to_npy(&path),
        };
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}
