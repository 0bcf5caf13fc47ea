//! Groups the lines of a file, by a pool or plainly.
#![allow(unsafe_code)]

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
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

/// What changes when a file is written: its length and the time of its last change.
type Version = (u64, i64, i64);

fn version(metadata: &Metadata) -> Version {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

/// A text that is open to be read.
#[derive(Debug)]
pub struct TextFile {
    path: PathBuf,
    /// Held open, so that its state can be compared.
    file: File,
    version: Version,
    bytes: MappedArray<u8>,
}

impl TextFile {
    /// Maps the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`SharedArray::map_bytes`].
    pub fn open(path: &Path) -> Result<TextFile, Failure> {
        // SAFETY: no program can establish it: the contract is the user's, whom `--help` tells not
        // to change the file during the run. This process does not read the bytes, any of which
        // are valid; a worker that reads beyond a shortened file dies of SIGBUS, and
        // `is_unchanged` compares the length and the time of the last change.
        let bytes = unsafe { SharedArray::map_bytes(path) }.map_err(Failure::Library)?;
        let file = File::open(path).map_err(Failure::Read)?;
        let version = version(&file.metadata().map_err(Failure::Read)?);
        Ok(TextFile { path: path.to_owned(), file, version, bytes })
    }

    /// The number of bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn is_unchanged(&self) -> bool {
        self.file.metadata().is_ok_and(|found| version(&found) == self.version)
            && self.version.0 == self.bytes.len() as u64
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
        if !self.is_unchanged() {
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
