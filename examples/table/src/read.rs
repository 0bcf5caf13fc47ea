//! Reads a file into a shared array for each column.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use brigade::{ArrayView, AsArrayView, Error, ExitReason, Pool, SharedArray, Whole};

pub use crate::cut::Format;
use crate::cut::groups;
use crate::header::{self, Field, HEAD_BYTES, Header, HeaderFault, Kind};
pub use crate::parse::WrongRow;
use crate::parse::{GroupRead, Plan, Role};

/// The bytes of a block that is searched for the ends of records.
const BLOCK_BYTES: usize = 1 << 20;
/// The bytes of a group of records, about.
const GROUP_BYTES: usize = 4 << 20;
/// The elements that are copied at once.
const COPY_LEN: usize = 1 << 16;
const SIGBUS: i32 = 7;

/// What is read of a file, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The characters that structure the file.
    pub format: Format,
    /// Whether the first record has the names of the columns.
    pub has_names: bool,
    /// The columns to be read; those of numbers, if it is `None`.
    pub columns: Option<Vec<String>>,
    /// Columns of integers; another number, or none, makes a row wrong.
    pub integers: Vec<String>,
    /// Columns of floats.
    pub floats: Vec<String>,
    /// Whether wrong rows are left out, and counted.
    pub skip_bad: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            format: Format { delimiter: b',', comment: Some(b'#') },
            has_names: true,
            columns: None,
            integers: Vec::new(),
            floats: Vec::new(),
            skip_bad: false,
        }
    }
}

/// Why a file was not read.
#[derive(Debug)]
pub enum Failure {
    /// The header.
    Header(HeaderFault),
    /// The file has a byte 0 at its beginning.
    NoText,
    /// A column that was asked for does not exist.
    NoColumn {
        /// Its name.
        name: String,
        /// The names of all columns.
        names: Vec<String>,
    },
    /// No column has numbers.
    NoNumbers,
    /// The first wrong row, and how many more there are.
    Row {
        /// The first one.
        first: WrongRow,
        /// The number of the others.
        others: usize,
    },
    /// A quoted field has no end. It begins in this line or later.
    OpenQuote {
        /// The line, from 1.
        line: usize,
    },
    /// The file was written or shortened while it was read.
    Changed,
    /// It could not be opened or read.
    Read(io::Error),
    /// The library's error.
    Library(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Header(fault) => fault.fmt(f),
            Failure::NoText => f.write_str("it has a byte 0, so it is no text"),
            Failure::NoColumn { name, names } => {
                write!(f, "it has no column {name:?}; its columns are {names:?}")
            }
            Failure::NoNumbers => f.write_str("none of its columns has numbers; name some"),
            Failure::Row { first, others } => {
                write!(f, "line {}: {}", first.line, first.reason)?;
                if *others > 0 {
                    write!(f, "; {others} more rows are wrong")?;
                }
                f.write_str("; --skip-bad leaves such rows out")
            }
            Failure::OpenQuote { line } => {
                write!(f, "a quoted field that begins in line {line} or later has no end")
            }
            Failure::Changed => {
                f.write_str("the file changed while it was read; run again when it is complete")
            }
            Failure::Read(error) => write!(f, "the file could not be read: {error}"),
            Failure::Library(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error.death() {
            // A worker read beyond the end of the file.
            Some(death) if death.reason == ExitReason::Signal(SIGBUS) => Failure::Changed,
            _ => Failure::Library(error),
        }
    }
}

/// The numbers of a column.
#[derive(Debug)]
pub enum Numbers {
    /// Whole numbers.
    Integers(SharedArray<i64>),
    /// Numbers; NaN where the field is empty.
    Floats(SharedArray<f64>),
}

/// A column that was read.
#[derive(Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its numbers.
    pub numbers: Numbers,
}

/// A file that was read.
#[derive(Debug)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The number of rows.
    pub rows: usize,
    /// Rows that were left out.
    pub skipped: usize,
    /// The first of them.
    pub first_skipped: Option<WrongRow>,
    /// Columns that were not read, because most of their first fields are no numbers.
    pub texts: Vec<String>,
    /// The size of the file.
    pub bytes: usize,
}

/// Reads the file at `path` by the workers of `pool`. The result is the same for any number of
/// workers.
///
/// # Errors
///
/// Every [`Failure`].
///
/// # Safety
///
/// As for [`SharedArray::map_bytes`]: during this call nobody changes the file.
pub unsafe fn read(pool: &Pool, path: &Path, options: &Options) -> Result<Table, Failure> {
    // SAFETY: this function's contract.
    let bytes = unsafe { SharedArray::map_bytes(path) }?;
    let mut head = Vec::new();
    let file = File::open(path).map_err(Failure::Read)?;
    file.take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(Failure::Read)?;
    let table = read_mapped(pool, &bytes.as_array_view(), &head, options);
    match bytes.is_unchanged() {
        true => table,
        false => Err(Failure::Changed),
    }
}

fn read_mapped(
    pool: &Pool,
    bytes: &ArrayView<'_, u8>,
    head: &[u8],
    options: &Options,
) -> Result<Table, Failure> {
    if !header::is_text(head) {
        return Err(Failure::NoText);
    }
    let is_all = head.len() == bytes.len();
    let header = header::read(head, is_all, options.format, options.has_names);
    let Header { mut fields, data } = header.map_err(Failure::Header)?;
    let texts = choose(&mut fields, options)?;
    let text = bytes.rows(data.0..bytes.len())?;
    let mut plan = plan(pool, &text, options.format, data.1)?;
    loop {
        plan.roles = roles(&fields, options);
        let (blocks, reads) = parse(pool, &text, &plan)?;
        let mut wide: Vec<usize> = reads.iter().flat_map(|read| read.not_integer.clone()).collect();
        wide.sort_unstable();
        wide.dedup();
        if !wide.is_empty() {
            // A column that began with integers has another number: once more, as floats.
            let chosen = fields.iter_mut().filter(|field| field.kind != Kind::Text);
            let of_column = chosen.enumerate().filter(|(column, _)| wide.contains(column));
            of_column.for_each(|(_, field)| field.kind = Kind::Float);
            continue;
        }
        let first = reads.iter().find_map(|read| read.first_wrong.clone());
        let skipped = reads.iter().map(|read| read.wrong).sum();
        if let Some(first) = first.clone().filter(|_| !options.skip_bad) {
            return Err(Failure::Row { first, others: skipped - 1 });
        }
        let columns = join(pool, &fields, &plan, &blocks, &reads)?;
        let rows = reads.iter().map(|read| read.rows).sum();
        let bytes = bytes.len();
        return Ok(Table { columns, rows, skipped, first_skipped: first, texts, bytes });
    }
}

/// Gives the columns that are not read the kind `Text`, and returns the names of those that have
/// texts.
fn choose(fields: &mut [Field], options: &Options) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = fields.iter().map(|field| field.name.clone()).collect();
    let named = options.columns.iter().flatten().chain(&options.integers).chain(&options.floats);
    for name in named {
        if !names.contains(name) {
            return Err(Failure::NoColumn { name: name.clone(), names });
        }
    }
    let mut texts = Vec::new();
    for field in &mut *fields {
        let is_chosen = options.columns.as_ref().is_none_or(|names| names.contains(&field.name));
        if options.integers.contains(&field.name) {
            field.kind = Kind::Integer;
        } else if options.floats.contains(&field.name) {
            field.kind = Kind::Float;
        } else if !is_chosen {
            field.kind = Kind::Text;
        } else if field.kind == Kind::Text {
            match options.columns {
                // Its rows are wrong, and named.
                Some(_) => field.kind = Kind::Float,
                None => texts.push(field.name.clone()),
            }
        }
    }
    match fields.iter().any(|field| field.kind != Kind::Text) {
        true => Ok(texts),
        false => Err(Failure::NoNumbers),
    }
}

/// What is done with each field. The arrays are in the order of the fields.
fn roles(fields: &[Field], options: &Options) -> Vec<Role> {
    let mut columns = 0..;
    let role = |field: &Field| {
        let mut column = || columns.next().expect("a number");
        match field.kind {
            Kind::Text => Role::Skip,
            Kind::Float => Role::Float { column: column() },
            Kind::Integer => {
                let is_given = options.integers.contains(&field.name);
                Role::Integer { column: column(), is_given }
            }
        }
    };
    fields.iter().map(role).collect()
}

/// Finds the groups of records.
fn plan(
    pool: &Pool,
    text: &ArrayView<'_, u8>,
    format: Format,
    lines_before: usize,
) -> Result<Plan, Failure> {
    let chunks = pool.par_chunks(text, BLOCK_BYTES).zip(Whole(text)).enumerate();
    let blocks = chunks.with(format).map(|format, (index, (block, text))| {
        let start = index * BLOCK_BYTES;
        format.scan(text, start..start + block.len())
    });
    let groups = groups(&blocks.collect()?, text.len(), BLOCK_BYTES, GROUP_BYTES);
    if let Some(lines) = groups.open_quote {
        return Err(Failure::OpenQuote { line: lines_before + lines + 1 });
    }
    let (starts, records) = (groups.starts, groups.records);
    Ok(Plan { format, roles: Vec::new(), starts, records, lines_before })
}

/// Reads all groups: for each a row of all columns' numbers, and what was read.
fn parse(
    pool: &Pool,
    text: &ArrayView<'_, u8>,
    plan: &Plan,
) -> Result<(SharedArray<u64>, Vec<GroupRead>), Failure> {
    let columns = plan.roles.iter().filter(|&&role| role != Role::Skip).count();
    let mut blocks = pool.for_overwrite::<u64>([plan.starts.len(), columns, plan.records])?;
    let rows = pool.par_rows_mut(&mut blocks, 1).zip(Whole(text)).enumerate();
    let reads = rows
        .with(plan.clone())
        .map(|plan, (group, (out, text))| plan.read(group, text, out.into_slice()));
    let reads = reads.collect()?;
    Ok((blocks, reads))
}

/// Joins the groups' numbers to one array for each column.
fn join(
    pool: &Pool,
    fields: &[Field],
    plan: &Plan,
    blocks: &SharedArray<u64>,
    reads: &[GroupRead],
) -> Result<Vec<Column>, Failure> {
    let mut ends = Vec::with_capacity(reads.len());
    let mut rows = 0;
    for read in reads {
        rows += read.rows;
        ends.push(rows);
    }
    let chosen: Vec<&Field> = fields.iter().filter(|field| field.kind != Kind::Text).collect();
    let columns = chosen.len();
    let column = |(column, field): (usize, &&Field)| {
        let parts = Parts { ends: ends.clone(), records: plan.records, columns, column };
        let numbers = match field.kind {
            Kind::Integer => {
                let mut numbers = pool.for_overwrite([rows])?;
                copy(pool, &mut numbers, blocks, parts, u64::cast_signed)?;
                Numbers::Integers(numbers)
            }
            _ => {
                let mut numbers = pool.for_overwrite([rows])?;
                copy(pool, &mut numbers, blocks, parts, f64::from_bits)?;
                Numbers::Floats(numbers)
            }
        };
        Ok(Column { name: field.name.clone(), numbers })
    };
    chosen.iter().enumerate().map(column).collect()
}

/// Where the numbers of a column are.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Parts {
    /// For each group, the rows of it and of those before.
    ends: Vec<usize>,
    /// The rows that a group has room for.
    records: usize,
    columns: usize,
    column: usize,
}

impl Parts {
    /// The numbers from row `first` on in one group, and no more than `len`.
    fn part<'a>(&self, blocks: &'a [u64], first: usize, len: usize) -> &'a [u64] {
        let group = self.ends.partition_point(|&end| end <= first);
        let begin = group.checked_sub(1).map_or(0, |before| self.ends[before]);
        let start = (group * self.columns + self.column) * self.records;
        let end = self.ends[group].min(first + len);
        &blocks[start + first - begin..start + end - begin]
    }
}

fn copy<T: brigade::Element>(
    pool: &Pool,
    numbers: &mut SharedArray<T>,
    blocks: &SharedArray<u64>,
    parts: Parts,
    from_bits: impl Fn(u64) -> T + Copy + Send + 'static,
) -> Result<(), Failure> {
    let chunks = pool.par_chunks_mut(numbers, COPY_LEN).enumerate().zip(Whole(blocks));
    chunks.with(parts).for_each(move |parts, ((chunk, numbers), blocks)| {
        let mut done = 0;
        while done < numbers.len() {
            let part = parts.part(blocks, chunk * COPY_LEN + done, numbers.len() - done);
            let to = &mut numbers[done..done + part.len()];
            to.iter_mut().zip(part).for_each(|(to, &bits)| *to = from_bits(bits));
            done += part.len();
        }
    })?;
    Ok(())
}
