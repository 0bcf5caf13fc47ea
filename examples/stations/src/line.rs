//! The format of a line: `name;value`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 100;

/// The bytes of a wrong line that are shown.
const SHOWN_BYTES_MAX: usize = 60;

/// What is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// It has no `;`.
    NoSeparator,
    /// Its name has no bytes, or more than [`NAME_BYTES_MAX`].
    NameLength,
    /// Its name is not UTF-8.
    NotUtf8,
    /// Its value is not a number from -99.9 to 99.9 with one decimal.
    Value,
}

/// A wrong line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongLine {
    /// Its number, from 1.
    pub number: u64,
    /// What is wrong with it.
    pub fault: Fault,
    /// Its first bytes, as text.
    pub text: String,
}

impl WrongLine {
    pub(crate) fn new(number: u64, fault: Fault, line: &[u8]) -> WrongLine {
        let shown = &line[..line.len().min(SHOWN_BYTES_MAX)];
        let more = if shown.len() < line.len() { " ..." } else { "" };
        let text = format!("{:?}{more}", String::from_utf8_lossy(shown));
        WrongLine { number, fault, text }
    }
}

impl fmt::Display for WrongLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.fault {
            Fault::NoSeparator => "a name, ';' and a value".to_owned(),
            Fault::NameLength => format!("a name of 1 to {NAME_BYTES_MAX} bytes"),
            Fault::NotUtf8 => "a name in UTF-8".to_owned(),
            Fault::Value => "a value from -99.9 to 99.9 with one decimal".to_owned(),
        };
        write!(f, "line {} is {}, but must have {rule}", self.number, self.text)
    }
}

/// Reads a line without its end: the name, and the value in tenths. A carriage return at the end is
/// ignored.
///
/// # Errors
///
/// The first [`Fault`], from left to right.
pub fn parse(line: &[u8]) -> Result<(&[u8], i16), Fault> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let separator = memchr::memchr(b';', line).ok_or(Fault::NoSeparator)?;
    let (name, value) = (&line[..separator], &line[separator + 1..]);
    check_name(name)?;
    Ok((name, tenths(value).ok_or(Fault::Value)?))
}

/// Checks a name.
pub(crate) fn check_name(name: &[u8]) -> Result<(), Fault> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(Fault::NameLength);
    }
    str::from_utf8(name).map(|_| ()).map_err(|_| Fault::NotUtf8)
}

/// The tenths of a number with one or two digits before the point, and one behind.
fn tenths(value: &[u8]) -> Option<i16> {
    let (sign, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    let (whole, tenth) = match *digits {
        [ones, b'.', tenth] => ([b'0', ones], tenth),
        [tens, ones, b'.', tenth] => ([tens, ones], tenth),
        _ => return None,
    };
    let digits = [whole[0], whole[1], tenth];
    digits.iter().all(u8::is_ascii_digit).then(|| {
        sign * digits.iter().fold(0, |number, digit| 10 * number + i16::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_lines_are_read_and_wrong_ones_named() {
        for (line, value) in [("a;0.0", 0), ("a;-0.1", -1), ("a;99.9", 999), ("a;-99.9\r", -999)] {
            assert_eq!(parse(line.as_bytes()), Ok((&b"a"[..], value)), "{line:?}");
        }
        for value in ["", "1", "1.", ".1", "-.1", "1.23", "100.0", "+1.0", "1,0", "1.0 ", "--1.0"] {
            assert_eq!(parse(format!("a;{value}").as_bytes()), Err(Fault::Value), "{value:?}");
        }
        assert_eq!(parse(b"a;1.0;2.0"), Err(Fault::Value));
        assert_eq!(parse(b""), Err(Fault::NoSeparator));
        assert_eq!(parse(b"abc 1.0"), Err(Fault::NoSeparator));
        assert_eq!(parse(b";1.0"), Err(Fault::NameLength));
        assert_eq!(parse(&[&[b'x'; 101][..], b";1.0"].concat()), Err(Fault::NameLength));
        assert_eq!(parse(b"\xff;1.0"), Err(Fault::NotUtf8));
        assert_eq!(parse(&[&[b'x'; 100][..], b";1.0"].concat()).unwrap().1, 10);
    }
}
