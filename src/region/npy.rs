//! The header of a NumPy `.npy` file.
//!
//! ```text
//! byte 0        6      8          10                             data_offset
//! +-------------+------+----------+-------------------------------+---------
//! | \x93 NUMPY  | 1, 0 | length   | {'descr': '<f8', ...}    ...\n| elements
//! +-------------+------+----------+-------------------------------+---------
//! ```
//!
//! Versions 2 and 3 have a length of four bytes instead of two. Headers may come from other
//! programs: every byte is checked, nothing is guessed, and no allocation depends on a length in
//! the header.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::region::dtype::Dtype;
use crate::shape::{DIMENSIONS_MAX, Shape};

/// The offset of the elements in files of this crate: a page, so that they can be mapped.
pub(crate) const DATA_OFFSET: usize = 4096;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The most bytes of a bad header that an error quotes.
const QUOTED_BYTES_MAX: usize = 120;

/// The longest header text accepted, in bytes. NumPy itself allows 10 000.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// The contents of a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NpyHeader {
    pub(crate) dtype: Dtype,
    /// Whether the bytes of the elements are in this machine's order.
    pub(crate) is_native: bool,
    /// Whether the first index varies fastest.
    pub(crate) is_fortran: bool,
    pub(crate) shape: Shape,
    /// The offset of the elements in the file, in bytes.
    pub(crate) data_offset: usize,
    /// The size of all elements, in bytes; with `data_offset` at most `isize::MAX`.
    pub(crate) data_bytes: usize,
}

/// The size of a file with [`DATA_OFFSET`] bytes of header and `data_bytes` of elements.
///
/// At least one byte follows the header: NumPy before 2.2 maps from the last page boundary before
/// the elements, and cannot map zero bytes.
pub(crate) fn file_bytes(data_bytes: usize) -> u64 {
    (DATA_OFFSET as u64).saturating_add(data_bytes.max(1) as u64)
}

/// The header that this crate writes: version 1.0, [`DATA_OFFSET`] bytes.
pub(crate) fn encode(dtype: Dtype, shape: &Shape) -> Result<Vec<u8>> {
    if shape.ndim() > DIMENSIONS_MAX {
        let expected = format!("at most {DIMENSIONS_MAX}");
        return Err(Error::invalid("the number of dimensions", shape.ndim(), expected));
    }
    let mut tuple = String::new();
    for extent in shape.dims() {
        tuple += &format!("{extent}, ");
    }
    // A tuple of one has a trailing comma, a longer one does not need it.
    let tuple = if shape.ndim() == 1 { tuple.trim_end() } else { tuple.trim_end_matches(", ") };
    let text = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': ({tuple}), }}");
    let text_bytes = DATA_OFFSET - 10;
    debug_assert!(text.len() < text_bytes, "32 numbers of 20 digits fit easily");
    let mut header = Vec::with_capacity(DATA_OFFSET);
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&[1, 0]);
    header.extend_from_slice(&u16::try_from(text_bytes).expect("4086 fits").to_le_bytes());
    header.extend_from_slice(text.as_bytes());
    header.resize(DATA_OFFSET - 1, b' ');
    header.push(b'\n');
    Ok(header)
}

/// Reads the header of a file of `file_bytes`, and checks that all elements are there.
///
/// # Errors
///
/// [`Error::Layout`] for anything but a whole array of a dtype of this crate.
pub(crate) fn read(file: &File, file_bytes: u64, place: &str) -> Result<NpyHeader> {
    let wrong = |found: String, expected: &str| layout(place, found, expected);
    let header = read_stream(&mut FileReader { file, offset: 0 }, place)?;
    let needed = header.data_offset as u64 + header.data_bytes as u64;
    if file_bytes < needed {
        let NpyHeader { dtype, shape, .. } = &header;
        let found = format!("{file_bytes} bytes (the file is truncated)");
        return Err(wrong(found, &format!("{needed} bytes for {dtype} of shape {shape}")));
    }
    Ok(header)
}

/// Reads a header, and nothing after it.
///
/// # Errors
///
/// [`Error::Layout`], [`Error::Os`].
pub(crate) fn read_stream(stream: &mut impl Read, place: &str) -> Result<NpyHeader> {
    let mut fill = |bytes: &mut [u8]| {
        let mut done = 0;
        while done < bytes.len() {
            match stream.read(&mut bytes[done..]) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::os("read", place, e)),
            }
        }
        Ok(done)
    };
    let mut prefix = [0u8; 12];
    let mut got = fill(&mut prefix[..10])?;
    if got == 10 && prefix[6] > 1 {
        got += fill(&mut prefix[10..])?;
    }
    let (text_offset, text_bytes) = parse_prefix(&prefix[..got], place)?;
    let mut text = vec![0u8; text_bytes];
    let got = fill(&mut text)?;
    if got < text_bytes {
        let found = format!("{got} of {text_bytes} bytes of header");
        return Err(layout(place, found, "a whole header (the file is truncated)"));
    }
    parse_text(&text, text_offset + text_bytes, place)
}

/// A file, read from an offset without moving its position.
struct FileReader<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(bytes, self.offset)?;
        self.offset += got as u64;
        Ok(got)
    }
}

/// Reads a header at the beginning of `bytes`; later bytes are ignored.
///
/// # Errors
///
/// [`Error::Layout`].
#[cfg(any(test, fuzzing))]
pub(crate) fn parse(bytes: &[u8], place: &str) -> Result<NpyHeader> {
    let (offset, length) = parse_prefix(&bytes[..bytes.len().min(12)], place)?;
    let text = bytes.get(offset..offset + length);
    let text = text.ok_or_else(|| layout(place, "too few bytes", "a whole header"))?;
    parse_text(text, offset + length, place)
}

fn layout(place: &str, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Layout { place: place.to_owned(), found: found.into(), expected: expected.into() }
}

/// The offset and length of the header's text, from the first (up to) 12 bytes.
fn parse_prefix(prefix: &[u8], place: &str) -> Result<(usize, usize)> {
    let wrong = |found: String, expected: &str| layout(place, found, expected);
    if !prefix.starts_with(MAGIC) {
        let shown = prefix.escape_ascii();
        return Err(wrong(format!("a file that begins with \"{shown}\""), "a .npy file"));
    }
    let short = || wrong("a file that ends in its header".to_owned(), "a whole .npy file");
    let version = prefix.get(6..8).ok_or_else(short)?;
    let (text_offset, text_bytes) = match version {
        [1, 0] => {
            let length = prefix.get(8..10).ok_or_else(short)?;
            (10, usize::from(u16::from_le_bytes([length[0], length[1]])))
        }
        [2 | 3, 0] => {
            let length = prefix.get(8..12).ok_or_else(short)?;
            let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]);
            (12, usize::try_from(length).unwrap_or(usize::MAX))
        }
        other => {
            let found = format!(".npy version {}.{}", other[0], other[1]);
            return Err(wrong(found, "version 1.0, 2.0 or 3.0"));
        }
    };
    if text_bytes > TEXT_BYTES_MAX {
        let found = format!("a header of {text_bytes} bytes");
        return Err(wrong(found, &format!("at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok((text_offset, text_bytes))
}

/// Reads the dictionary: exactly the three keys, each once, in any order.
fn parse_text(text: &[u8], data_offset: usize, place: &str) -> Result<NpyHeader> {
    let quoted = text[..text.len().min(QUOTED_BYTES_MAX)].trim_ascii_end();
    let quoted = String::from_utf8_lossy(quoted);
    let garbled =
        |what: &str| layout(place, format!("a header with {what}: {quoted:?}"), "a .npy header");
    let text = std::str::from_utf8(text).map_err(|_| garbled("bytes that are not text"))?;
    let mut cursor = Cursor(text);
    let (mut dtype, mut is_fortran, mut shape) = (None, None, None);
    cursor.expect('{').ok_or_else(|| garbled("no dictionary"))?;
    while !cursor.accept('}') {
        let key = cursor.quoted().ok_or_else(|| garbled("a key that is not a string"))?;
        cursor.expect(':').ok_or_else(|| garbled("a key without a value"))?;
        let is_new = match key {
            "descr" => {
                let code = cursor.quoted().ok_or_else(|| {
                    let found = format!("a structured dtype: {quoted:?}");
                    let expected = "one number per element (in NumPy, save each field: a['name'])";
                    layout(place, found, expected)
                })?;
                let known = Dtype::parse(code).ok_or_else(|| {
                    let instead = Dtype::instead_of(code);
                    let expected = "f4, f8, i1 to i8, u1 to u8, c8 or c16";
                    let expected = format!("{expected} (in NumPy, save {instead})");
                    layout(place, format!("dtype {code:?}"), expected)
                })?;
                dtype.replace(known).is_none()
            }
            "fortran_order" => {
                let value = cursor.boolean().ok_or_else(|| garbled("no True or False"))?;
                is_fortran.replace(value).is_none()
            }
            "shape" => {
                let value = cursor.tuple().ok_or_else(|| garbled("a shape that is not a tuple"))?;
                if value.len() > DIMENSIONS_MAX {
                    let found = format!("a shape of {} dimensions", value.len());
                    let expected = format!("at most {DIMENSIONS_MAX} (in NumPy, reshape it)");
                    return Err(layout(place, found, expected));
                }
                let value = Shape::from(value);
                shape.replace(value).is_none()
            }
            _ => return Err(garbled("an unknown key")),
        };
        if !is_new {
            return Err(garbled("the same key twice"));
        }
        if !cursor.accept(',') && !cursor.rest().starts_with('}') {
            return Err(garbled("no comma between its entries"));
        }
    }
    if !cursor.rest().is_empty() {
        return Err(garbled("something after its dictionary"));
    }
    let (Some((dtype, is_native)), Some(is_fortran), Some(shape)) = (dtype, is_fortran, shape)
    else {
        return Err(garbled("a missing key"));
    };
    let data_bytes = shape
        .size_bytes(dtype.size_bytes())
        .filter(|&bytes| bytes < isize::MAX.unsigned_abs() - data_offset)
        .ok_or_else(|| layout(place, format!("shape {shape}"), "a shape that can be addressed"))?;
    Ok(NpyHeader { dtype, is_native, is_fortran, shape, data_offset, data_bytes })
}

/// A parser for the few Python literals of a header.
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn rest(&mut self) -> &'a str {
        self.0 = self.0.trim_start_matches([' ', '\t', '\n', '\r']);
        self.0
    }

    fn accept(&mut self, wanted: char) -> bool {
        let stripped = self.rest().strip_prefix(wanted);
        self.0 = stripped.unwrap_or(self.0);
        stripped.is_some()
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        self.accept(wanted).then_some(())
    }

    /// A string without escapes.
    fn quoted(&mut self) -> Option<&'a str> {
        let quote = self.rest().chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (inside, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest;
        (!inside.contains('\\')).then_some(inside)
    }

    fn boolean(&mut self) -> Option<bool> {
        let (value, rest) = match (self.rest().strip_prefix("True"), self.0.strip_prefix("False")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        self.0 = rest;
        Some(value)
    }

    /// Numbers in parentheses; the header's length limits how many.
    fn tuple(&mut self) -> Option<Vec<usize>> {
        self.expect('(')?;
        let mut dims = Vec::new();
        let mut comma = true;
        while !self.accept(')') {
            let digits_end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (digits, rest) = self.0.split_at(digits_end);
            if !comma {
                return None;
            }
            dims.push(digits.parse::<usize>().ok()?);
            self.0 = rest;
            comma = self.accept(',');
        }
        // `(3)` is a number in parentheses, not a tuple.
        (dims.len() != 1 || comma).then_some(dims)
    }
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
