//! Groups the lines of a file, by a pool or plainly.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use brigade::{Error, ExitReason, MappedArray, Pool, Progress, SharedArray};

use crate::line::WrongLine;
use crate::scan::add_piece;
use crate::table::Table;

/// The bytes that a worker takes at once.
const PIECE_BYTES: usize = 1 << 20;
const SIGBUS: i32 = 7;

/// What is done with wrong lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongLines {
    /// The first one is an error.
    Refuse,
    /// They are counted.
    Skip,
}

/// Why a file was not grouped.
#[derive(Debug)]
pub enum Failure {
    /// The first wrong line, and how many more there are.
    Line {
        /// The first one.
        first: WrongLine,
        /// The number of the others.
        others: u64,
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
            Failure::Line { first, others: 0 } => {
                write!(f, "{first}; --skip-bad leaves such lines out")
            }
            Failure::Line { first, others } => {
                write!(f, "{first}, and {others} more are wrong; --skip-bad leaves them out")
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

/// A text that is open to be read.
#[derive(Debug)]
pub struct TextFile {
    path: PathBuf,
    bytes: MappedArray<u8>,
}

impl TextFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::map_bytes`].
    ///
    /// # Safety
    ///
    /// As for [`SharedArray::map_bytes`]: while the file is open here, nobody changes it.
    pub unsafe fn open(path: &Path) -> Result<TextFile, Failure> {
        // SAFETY: this function's contract.
        let bytes = unsafe { SharedArray::map_bytes(path) }.map_err(Failure::Library)?;
        Ok(TextFile { path: path.to_owned(), bytes })
    }

    /// The number of bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Groups the lines by name in the workers of `pool`. The result is the same for any number of
    /// workers. `progress` is called while it runs.
    ///
    /// # Errors
    ///
    /// Every [`Failure`].
    pub fn group(
        &self,
        pool: &Pool,
        wrong_lines: WrongLines,
        progress: impl FnMut(Progress) + Send + 'static,
    ) -> Result<Table, Failure> {
        let grouped = pool
            .par_records(&self.bytes, b'\n', PIECE_BYTES)
            .progress(progress)
            .fold(Table::new, add_piece)
            .merge(Table::merged);
        if !self.bytes.is_unchanged() {
            return Err(Failure::Changed);
        }
        check(grouped.map_err(failure)?, wrong_lines)
    }

    /// The same by a plain loop over the lines, which this process reads by itself.
    ///
    /// # Errors
    ///
    /// [`Failure::Line`], [`Failure::Read`].
    pub fn group_plainly(&self, wrong_lines: WrongLines) -> Result<Table, Failure> {
        let mut reader = BufReader::new(File::open(&self.path).map_err(Failure::Read)?);
        let (mut table, mut line) = (Table::new(), Vec::new());
        while reader.read_until(b'\n', &mut line).map_err(Failure::Read)? > 0 {
            table.add_line(line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
        check(table, wrong_lines)
    }
}

/// A worker that dies of SIGBUS read beyond the end of the file.
fn failure(error: Error) -> Failure {
    match error.death() {
        Some(death) if death.reason == ExitReason::Signal(SIGBUS) => Failure::Changed,
        _ => Failure::Library(error),
    }
}

fn check(table: Table, wrong_lines: WrongLines) -> Result<Table, Failure> {
    match table.first_wrong() {
        Some(first) if wrong_lines == WrongLines::Refuse => {
            Err(Failure::Line { first: first.clone(), others: table.wrong() - 1 })
        }
        _ => Ok(table),
    }
}
