//! Reads the numbers of records.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use memchr::{memchr_iter, memchr3};
use serde::{Deserialize, Serialize};

use crate::cut::{Format, Start, State};

/// The bytes of a wrong field that are shown.
const SHOWN_BYTES_MAX: usize = 60;

/// What is done with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// It is not read.
    Skip,
    /// It is a whole number, for this array. If the type was inferred, another number is noticed,
    /// and is no error.
    Integer {
        /// The number of the array.
        column: usize,
        /// Whether the user gave the type.
        is_given: bool,
    },
    /// It is a number or empty, which is NaN, for this array.
    Float {
        /// The number of the array.
        column: usize,
    },
}

/// How the records of a file are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) format: Format,
    pub(crate) roles: Vec<Role>,
    pub(crate) starts: Vec<Start>,
    /// The records of each group but the last.
    pub(crate) records: usize,
    /// The newlines before the text.
    pub(crate) lines_before: usize,
}

/// A row that was not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongRow {
    /// The line in which it begins, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What was read of a group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct GroupRead {
    /// Rows that were read.
    pub(crate) rows: usize,
    pub(crate) wrong: usize,
    pub(crate) first_wrong: Option<WrongRow>,
    /// Arrays of integers in which there is another number, or none.
    pub(crate) not_integer: Vec<usize>,
}

impl Plan {
    /// Reads the records of group `group`. Column `c` of row `r` is put into
    /// `out[c * self.records + r]`, as its bits.
    pub(crate) fn read(&self, group: usize, text: &[u8], out: &mut [u64]) -> GroupRead {
        let start = &self.starts[group];
        let from = (start.at, start.state);
        let (mut at, _, _) = self.format.advance(text, from, text.len(), start.skip);
        let line = |at: usize| {
            self.lines_before + start.lines + memchr_iter(b'\n', &text[start.at..at]).count() + 1
        };
        let mut read = GroupRead::default();
        let mut fields = Fields::new(self.format);
        for _ in 0..self.records {
            if at >= text.len() {
                break;
            }
            if let Some(end) = self.usual_record(text, at, read.rows, out) {
                (at, read.rows) = (end, read.rows + 1);
                continue;
            }
            let outside = (at, State::Outside);
            let (end, _, _) = self.format.advance(text, outside, text.len(), 1);
            let record = &text[at..end];
            if !self.format.is_left_out(record) {
                let (row, widened) = (read.rows, read.not_integer.len());
                match self.any_record(record, row, out, &mut fields, &mut read.not_integer) {
                    Ok(()) => read.rows += 1,
                    Err(reason) => {
                        // A row that is left out says nothing of the types.
                        read.not_integer.truncate(widened);
                        read.wrong += 1;
                        let line = || WrongRow { line: line(at), reason };
                        read.first_wrong.get_or_insert_with(line);
                    }
                }
            }
            at = end;
        }
        read
    }

    /// Reads a record of plain numbers, and returns where it ends. `None` for any other.
    #[inline]
    fn usual_record(&self, text: &[u8], at: usize, row: usize, out: &mut [u64]) -> Option<usize> {
        // Numbers and spaces begin with lesser bytes than letters, but not than a comment.
        if text.get(at).copied() == self.format.comment {
            return None;
        }
        let mut rest = &text[at..];
        let last = self.roles.len() - 1;
        for (index, &role) in self.roles.iter().enumerate() {
            match role {
                Role::Skip => {
                    let end = memchr3(self.format.delimiter, b'\n', b'"', rest);
                    let end = end.unwrap_or(rest.len());
                    rest = &rest[end..];
                }
                Role::Integer { column, .. } => {
                    let (value, len) = leading_integer(rest)?;
                    out[column * self.records + row] = value.cast_unsigned();
                    rest = &rest[len..];
                }
                Role::Float { column } => {
                    let (value, len) = fast_float2::parse_partial::<f64, _>(rest).ok()?;
                    out[column * self.records + row] = value.to_bits();
                    rest = &rest[len..];
                }
            }
            rest = match rest {
                [byte, rest @ ..] if *byte == self.format.delimiter && index < last => rest,
                [b'\n', rest @ ..] | [b'\r', b'\n', rest @ ..] if index == last => rest,
                [] if index == last => rest,
                _ => return None,
            };
        }
        Some(text.len() - rest.len())
    }

    /// Reads any record, with its end, or says what is wrong.
    fn any_record(
        &self,
        record: &[u8],
        row: usize,
        out: &mut [u64],
        fields: &mut Fields,
        not_integer: &mut Vec<usize>,
    ) -> Result<(), String> {
        let fields = fields.split(record)?;
        if fields.len() != self.roles.len() {
            let (found, expected) = (fields.len(), self.roles.len());
            return Err(format!("it has {found} fields, but must have {expected}"));
        }
        for (index, (field, &role)) in fields.zip(&self.roles).enumerate() {
            let field = field.trim_ascii();
            let wrong = |expected: &str| {
                let shown = String::from_utf8_lossy(&field[..field.len().min(SHOWN_BYTES_MAX)]);
                format!("field {} is {shown:?}, but must be {expected}", index + 1)
            };
            let (column, bits) = match role {
                Role::Skip => continue,
                Role::Float { column } if field.is_empty() => (column, f64::NAN.to_bits()),
                Role::Float { column } => {
                    let value = number(field).ok_or_else(|| wrong("a number, or empty"))?;
                    (column, value.to_bits())
                }
                Role::Integer { column, is_given } => match integer(field) {
                    Some(value) => (column, value.cast_unsigned()),
                    None if is_given => return Err(wrong("a whole number below 2^63")),
                    None if field.is_empty() || number(field).is_some() => {
                        if !not_integer.contains(&column) {
                            not_integer.push(column);
                        }
                        (column, 0)
                    }
                    None => return Err(wrong("a number")),
                },
            };
            out[column * self.records + row] = bits;
        }
        Ok(())
    }
}

/// A whole number of up to 18 digits at the beginning of a text, and its length.
#[inline(always)]
fn leading_integer(text: &[u8]) -> Option<(i64, usize)> {
    let sign_len = usize::from(text.first() == Some(&b'-'));
    let (mut value, mut len) = (0i64, sign_len);
    while let Some(digit) = text.get(len).map(|byte| byte.wrapping_sub(b'0')).filter(|d| *d < 10) {
        if len - sign_len == 18 {
            return None;
        }
        value = 10 * value + i64::from(digit);
        len += 1;
    }
    let value = if sign_len == 1 { -value } else { value };
    (len > sign_len).then_some((value, len))
}

/// A whole number.
pub(crate) fn integer(field: &[u8]) -> Option<i64> {
    str::from_utf8(field).ok()?.parse().ok()
}

/// A number.
pub(crate) fn number(field: &[u8]) -> Option<f64> {
    fast_float2::parse(field).ok()
}

/// The fields of a record, split by `csv-core`.
#[derive(Debug)]
pub(crate) struct Fields {
    format: Format,
    /// Its tables take longer to build than a record to read.
    reader: Reader,
    /// The fields one behind another, and where each ends.
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Fields {
    pub(crate) fn new(format: Format) -> Fields {
        let mut builder = ReaderBuilder::new();
        // A carriage return elsewhere than before a newline is a character. Comments are left out
        // by `Plan::read`.
        let builder = builder.delimiter(format.delimiter).terminator(Terminator::Any(b'\n'));
        let format = Format { comment: None, ..format };
        Fields { format, reader: builder.build(), text: Vec::new(), ends: Vec::new() }
    }

    /// Splits a record, with or without its end.
    ///
    /// # Errors
    ///
    /// What is wrong, if a quoted field has no end.
    pub(crate) fn split(
        &mut self,
        record: &[u8],
    ) -> Result<impl ExactSizeIterator<Item = &[u8]>, String> {
        let line = record.strip_suffix(b"\n").unwrap_or(record);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (_, state, _) = self.format.advance(line, (0, State::Outside), line.len(), 1);
        if state == State::Quoted {
            return Err("a quoted field has no end".to_owned());
        }
        self.text.resize(line.len() + 1, 0);
        self.ends.resize(line.len() + 2, 0);
        let reader = &mut self.reader;
        reader.reset();
        // The second call says that there is no more.
        let (_, _, written, ended) = reader.read_record(line, &mut self.text, &mut self.ends);
        let (text, ends) = (&mut self.text[written..], &mut self.ends[ended..]);
        let (result, _, _, more) = reader.read_record(&[], text, ends);
        let fields = if result == ReadRecordResult::Record { ended + more } else { 0 };
        let ends = &self.ends[..fields];
        let text = &self.text;
        Ok(ends.iter().enumerate().map(move |(index, &end)| {
            let start = index.checked_sub(1).map_or(0, |before| ends[before]);
            &text[start..end]
        }))
    }
}
