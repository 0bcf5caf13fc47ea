//! The names and types of the columns of a file.

use std::collections::HashSet;
use std::fmt;

use memchr::memchr;

use crate::cut::{Format, State};
use crate::parse::{Fields, integer, number};

/// The bytes that are read for names and types.
pub(crate) const HEAD_BYTES: usize = 1 << 20;
/// The records from which types are inferred.
const SAMPLE_RECORDS: usize = 1000;

/// What a column has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Whole numbers in each of the first records.
    Integer,
    /// Numbers, or nothing.
    Float,
    /// Something else in most of the first records.
    Text,
}

/// A column of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name; its number, from 1, in a file without a header.
    pub name: String,
    /// What it has.
    pub kind: Kind,
}

/// What the beginning of a file says.
#[derive(Debug, PartialEq, Eq)]
pub struct Header {
    /// The columns.
    pub fields: Vec<Field>,
    /// Where the first record begins, and the newlines before it.
    pub(crate) data: (usize, usize),
}

/// Why a header cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderFault {
    /// There is no record.
    Empty,
    /// The first mebibyte has no end of a record.
    TooLong,
    /// It is not UTF-8, or has a byte 0.
    NoText,
    /// Two columns have this name.
    Twice(String),
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFault::Empty => f.write_str("it has no record; check that it is the right file"),
            HeaderFault::TooLong => write!(
                f,
                "its first record does not end within {HEAD_BYTES} bytes; check its quotes"
            ),
            HeaderFault::NoText => f.write_str("its first record is not UTF-8 text"),
            HeaderFault::Twice(name) => {
                write!(f, "two columns have the name {name:?}; rename one in the file")
            }
        }
    }
}

/// Reads the first [`HEAD_BYTES`] of a file, which are all of it if `is_all`.
pub(crate) fn read(
    head: &[u8],
    is_all: bool,
    format: Format,
    has_names: bool,
) -> Result<Header, HeaderFault> {
    // A byte order mark is no part of the first field.
    let mark_len = if head.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let head = &head[mark_len..];
    let (mut at, mut lines) = (0, 0);
    let mut records = Vec::new();
    let mut fields = Fields::new(format);
    let (mut data, mut names) = ((mark_len, 0), None);
    while at < head.len() && records.len() < SAMPLE_RECORDS {
        let (end, state, passed) = format.advance(head, (at, State::Outside), head.len(), 1);
        let is_whole = passed == 1 || (is_all && state != State::Quoted);
        if !is_whole {
            break;
        }
        let record = &head[at..end];
        lines += memchr::memchr_iter(b'\n', record).count();
        at = end;
        if format.is_left_out(record) {
            continue;
        }
        let found = fields.split(record).map(|found| found.map(<[u8]>::to_vec).collect());
        let found: Vec<Vec<u8>> = found.map_err(|_| HeaderFault::TooLong)?;
        match names {
            None if has_names => {
                names = Some(found);
                data = (mark_len + at, lines);
            }
            None => {
                names = Some((1..=found.len()).map(|n| n.to_string().into_bytes()).collect());
                records.push(found);
            }
            Some(_) => records.push(found),
        }
    }
    let is_cut = at < head.len() && names.is_none();
    let names = names.ok_or(if is_cut { HeaderFault::TooLong } else { HeaderFault::Empty })?;
    let field = |(index, name): (usize, Vec<u8>)| {
        let name = String::from_utf8(name).map_err(|_| HeaderFault::NoText)?;
        if name.contains('\0') {
            return Err(HeaderFault::NoText);
        }
        Ok(Field { name: name.trim().to_owned(), kind: kind(&records, index) })
    };
    let fields: Vec<Field> = names.into_iter().enumerate().map(field).collect::<Result<_, _>>()?;
    let mut names = HashSet::new();
    if let Some(field) = fields.iter().find(|field| !names.insert(field.name.as_str())) {
        return Err(HeaderFault::Twice(field.name.clone()));
    }
    Ok(Header { fields, data })
}

impl Format {
    /// Whether a record, with its end, is a comment or an empty line.
    pub(crate) fn is_left_out(self, record: &[u8]) -> bool {
        matches!(record, b"" | b"\n" | b"\r\n" | b"\r") || record.first().copied() == self.comment
    }
}

/// What most records have in a field.
fn kind(records: &[Vec<Vec<u8>>], index: usize) -> Kind {
    let fields = || records.iter().filter_map(|record| record.get(index)).map(|f| f.trim_ascii());
    let (mut texts, mut numbers) = (0, 0);
    for field in fields().filter(|field| !field.is_empty()) {
        match number(field) {
            Some(_) => numbers += 1,
            None => texts += 1,
        }
    }
    let is_integer = |field: &[u8]| integer(field).is_some() || number(field).is_none();
    match () {
        () if texts > numbers => Kind::Text,
        () if numbers > 0 && fields().all(|field| !field.is_empty() && is_integer(field)) => {
            Kind::Integer
        }
        () => Kind::Float,
    }
}

/// Whether the bytes are a text: they have no byte 0.
pub(crate) fn is_text(head: &[u8]) -> bool {
    memchr(0, head).is_none()
}
