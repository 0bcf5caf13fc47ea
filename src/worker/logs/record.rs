//! A log record as bytes.

use std::fmt;

use tracing::field::{Field, Visit};

use crate::worker::logs::level::LogLevel;

/// The longest text of a record, in bytes; a longer one is cut.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// The longest record, in bytes; further fields are left out.
pub(super) const RECORD_BYTES_MAX: usize = 24 << 10;
/// The longest text of a definition, in bytes; a longer one is cut.
const NAME_BYTES_MAX: usize = 512;
/// The most callsites that a worker counts as defined. Then it defines each one again. So what it
/// counts as defined is among the last `2 * IDS_MAX` definitions, which the host remembers.
pub(super) const IDS_MAX: usize = 2048;
/// The most fields of a record; further ones are left out.
pub(super) const FIELDS_MAX: usize = 32;

/// The kind of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It describes a callsite, before the first record from there.
    Definition,
    /// An event of `tracing`.
    Event,
    /// A record of `log`.
    Log,
}

/// The fixed part of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The number of the task, plus one; 0 outside of tasks.
    pub(super) number: u64,
    /// The offset of the task's trampoline.
    pub(super) function: u64,
    /// The worker's name for the callsite.
    pub(super) callsite: u64,
}

const HEAD_BYTES: usize = 25;

/// The description of a callsite.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Definition<'a> {
    pub(super) level: LogLevel,
    pub(super) name: &'a str,
    pub(super) target: &'a str,
    pub(super) module: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
    pub(super) fields: Vec<&'a str>,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum FieldValue<'a> {
    Text(&'a str),
    /// Text that `Debug` or `Display` wrote.
    Debug(&'a str),
    I64(i64),
    U64(u64),
    I128(i128),
    U128(u128),
    F64(f64),
    Bool(bool),
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldValue::Text(text) => write!(f, "{text:?}"),
            FieldValue::Debug(text) => f.write_str(text),
            FieldValue::I64(value) => write!(f, "{value}"),
            FieldValue::U64(value) => write!(f, "{value}"),
            FieldValue::I128(value) => write!(f, "{value}"),
            FieldValue::U128(value) => write!(f, "{value}"),
            FieldValue::F64(value) => write!(f, "{value:?}"),
            FieldValue::Bool(value) => write!(f, "{value}"),
        }
    }
}

/// Writes a record to the end of a buffer.
pub(super) struct Writer<'a>(&'a mut Vec<u8>);

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>, head: Head) -> Writer<'a> {
        out.push(head.kind as u8);
        for word in [head.number, head.function, head.callsite] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        Writer(out)
    }

    pub(super) fn definition(&mut self, definition: &Definition<'_>) {
        let Definition { level, name, target, module, file, line, fields } = definition;
        self.0.push(*level as u8);
        self.0.extend_from_slice(&line.to_le_bytes());
        for text in [name, target, module, file] {
            self.text(cut(text, NAME_BYTES_MAX));
        }
        for name in fields.iter().take(FIELDS_MAX) {
            self.text(cut(name, NAME_BYTES_MAX));
        }
    }

    /// Writes a text with its length. A long one is cut.
    pub(super) fn text(&mut self, text: &str) {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(cut(text, TEXT_BYTES_MAX).as_bytes());
        self.finish_text(start);
    }

    fn finish_text(&mut self, start: usize) {
        let len = u32::try_from(self.0.len() - start - 4).unwrap_or(0);
        self.0[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Begins the field at `index`; false if it is left out.
    fn field(&mut self, index: usize, tag: u8) -> bool {
        // The index, the tag, and the length of a text.
        let end = self.0.len() + 6 + TEXT_BYTES_MAX;
        let is_kept = index < FIELDS_MAX && end <= RECORD_BYTES_MAX;
        if is_kept {
            self.0.extend_from_slice(&[u8::try_from(index).unwrap_or(0), tag]);
        }
        is_kept
    }

    fn bytes(&mut self, field: &Field, tag: u8, bytes: &[u8]) {
        if self.field(field.index(), tag) {
            self.0.extend_from_slice(bytes);
        }
    }

    /// Writes a field with what `value` writes.
    pub(super) fn formatted(&mut self, index: usize, value: fmt::Arguments<'_>) {
        if !self.field(index, 1) {
            return;
        }
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        // Writing ends early when the text is long enough, or the value's own code fails.
        let _ = fmt::write(&mut Limited { out: self.0, end: start + 4 + TEXT_BYTES_MAX }, value);
        self.finish_text(start);
    }
}

/// The longest beginning of `text` of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Takes text up to a limit.
struct Limited<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
}

impl fmt::Write for Limited<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = cut(text, self.end.saturating_sub(self.out.len()));
        self.out.extend_from_slice(fits.as_bytes());
        if fits.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

impl Visit for Writer<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.formatted(field.index(), format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if self.field(field.index(), 0) {
            self.text(value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bytes(field, 2, &value.to_le_bytes());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bytes(field, 3, &value.to_le_bytes());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bytes(field, 4, &value.to_le_bytes());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bytes(field, 5, &value.to_le_bytes());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.bytes(field, 6, &value.to_le_bytes());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bytes(field, 7, &[u8::from(value)]);
    }
}

/// Reads a record. Every method returns `None` for bytes that no worker writes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The head of a record, and the rest.
    pub(super) fn new(bytes: &'a [u8]) -> Option<(Head, Reader<'a>)> {
        if bytes.len() > RECORD_BYTES_MAX {
            return None;
        }
        let (&kind, words) = bytes.split_first()?;
        let kind = [Kind::Definition, Kind::Event, Kind::Log].into_iter().nth(kind.into())?;
        let mut rest = Reader(words);
        let (number, function) = (rest.word()?, rest.word()?);
        let callsite = rest.word()?;
        debug_assert_eq!(bytes.len() - rest.0.len(), HEAD_BYTES);
        Some((Head { kind, number, function, callsite }, rest))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn word(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(u32::from_le_bytes(self.take()?)).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        str::from_utf8(text).ok()
    }

    pub(super) fn definition(mut self) -> Option<Definition<'a>> {
        let [level] = self.take()?;
        let level = LogLevel::from_byte(level)?;
        let line = u32::from_le_bytes(self.take()?);
        let (name, target) = (self.name()?, self.name()?);
        let (module, file) = (self.name()?, self.name()?);
        let mut fields = Vec::new();
        while !self.0.is_empty() && fields.len() < FIELDS_MAX {
            fields.push(self.name()?);
        }
        Some(Definition { level, name, target, module, file, line, fields })
    }

    /// A text of a definition.
    fn name(&mut self) -> Option<&'a str> {
        self.text().filter(|text| text.len() <= NAME_BYTES_MAX)
    }

    /// The next field: its index and its value.
    pub(super) fn field(&mut self) -> Option<(usize, FieldValue<'a>)> {
        let [index, tag] = self.take()?;
        let value = match tag {
            0 => FieldValue::Text(self.text()?),
            1 => FieldValue::Debug(self.text()?),
            2 => FieldValue::I64(i64::from_le_bytes(self.take()?)),
            3 => FieldValue::U64(u64::from_le_bytes(self.take()?)),
            4 => FieldValue::I128(i128::from_le_bytes(self.take()?)),
            5 => FieldValue::U128(u128::from_le_bytes(self.take()?)),
            6 => FieldValue::F64(f64::from_le_bytes(self.take()?)),
            7 => FieldValue::Bool(self.take::<1>()? != [0]),
            _ => return None,
        };
        Some((index.into(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: Head = Head { kind: Kind::Event, number: 3, function: 4, callsite: 5 };

    #[test]
    fn a_definition_is_read_as_it_was_written() {
        let fields = vec!["message", "user"];
        let level = LogLevel::Warn;
        let (name, target, module, file, line) = ("event", "a::b", "a", "a/b.rs", 7);
        let written = Definition { level, name, target, module, file, line, fields };
        let mut bytes = Vec::new();
        Writer::new(&mut bytes, HEAD).definition(&written);
        let (head, rest) = Reader::new(&bytes).unwrap();
        assert_eq!((head, rest.definition().unwrap()), (HEAD, written));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut bytes = Vec::new();
        let text = format!("a{}", "\u{e4}".repeat(TEXT_BYTES_MAX));
        Writer::new(&mut bytes, HEAD).formatted(0, format_args!("{text}"));
        let (_, mut rest) = Reader::new(&bytes).unwrap();
        let (_, FieldValue::Debug(found)) = rest.field().unwrap() else { panic!("no text") };
        assert_eq!(found.len(), TEXT_BYTES_MAX - 1);
        assert!(text.starts_with(found));
    }

    #[test]
    fn a_record_with_fields_up_to_the_limit_can_be_read() {
        let text = "x".repeat(TEXT_BYTES_MAX);
        for second in TEXT_BYTES_MAX - 64..=TEXT_BYTES_MAX {
            let mut bytes = Vec::new();
            let mut writer = Writer::new(&mut bytes, HEAD);
            for (index, len) in [(0, TEXT_BYTES_MAX), (1, second), (2, TEXT_BYTES_MAX)] {
                writer.formatted(index, format_args!("{}", &text[..len]));
            }
            assert!(Reader::new(&bytes).is_some(), "{second}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some((_, rest)) = Reader::new(&bytes) {
                let _ = rest.definition();
                let mut fields = rest;
                let _ = fields.text();
                while fields.field().is_some() {}
            }
        }
    }
}
