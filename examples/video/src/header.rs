//! The header of a y4m stream.
//!
//! The crate `y4m` (0.8) reads the same headers. But its decoder reads each frame into a buffer of
//! its own, and the crate lends that buffer, so each frame would be copied once more to be shared
//! with the workers; and its errors contain neither the header nor the number of the frame. So the
//! header is parsed here: one line of text.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most bytes of a header line. That of a usual stream has about 60.
pub const LINE_BYTES_MAX: usize = 4096;
/// The greatest width and height.
pub const SIDE_MAX: usize = 65_535;
/// The first word of a stream.
const MAGIC: &str = "YUV4MPEG2";
/// The longest part of the input that an error shows.
const QUOTE_BYTES_MAX: usize = 160;

/// How many columns and rows of luma samples share one chroma sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subsampling {
    /// Columns: 1, 2 or 4.
    pub columns: usize,
    /// Rows: 1 or 2.
    pub rows: usize,
}

/// What the bytes of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Columns of the luma plane, at least 1.
    pub width: usize,
    /// Rows of the luma plane, at least 1.
    pub height: usize,
    /// Bits of a sample. Up to 8, a sample is a byte; else two bytes, the lower one first.
    pub bits: u32,
    /// The two chroma planes; `None` if there are none.
    pub chroma: Option<Subsampling>,
}

impl Layout {
    /// The rows and columns of each plane: luma, and perhaps two of chroma. Where the width or
    /// height is odd, a chroma plane covers one more column or row.
    #[must_use]
    pub fn planes(&self) -> Vec<[usize; 2]> {
        let mut planes = vec![[self.height, self.width]];
        if let Some(Subsampling { columns, rows }) = self.chroma {
            planes.extend([[self.height.div_ceil(rows), self.width.div_ceil(columns)]; 2]);
        }
        planes
    }

    /// The bytes of a sample: 1 or 2.
    #[must_use]
    pub fn sample_bytes(&self) -> usize {
        if self.bits > 8 { 2 } else { 1 }
    }

    /// The bytes of a frame, without its header.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.planes().iter().map(|[rows, columns]| rows * columns).sum::<usize>()
            * self.sample_bytes()
    }
}

/// The header of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The line as it was read, without its newline.
    pub line: Vec<u8>,
    /// The colour space as the header spells it.
    pub colour: String,
    /// What it says about the frames.
    pub layout: Layout,
}

/// The beginning of `bytes` as text in quotes, for an error.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(QUOTE_BYTES_MAX)];
    let rest = if shown.len() < bytes.len() { "..." } else { "" };
    format!("\"{}{rest}\"", shown.escape_ascii())
}

impl Header {
    /// Parses the first line of a stream, without its newline.
    ///
    /// Parameters that say nothing about the size of a frame (`F`, `A`, `I`, `X`) are checked as
    /// far as they have a form, and kept as they are. A stream without `C` is 4:2:0 with 8 bits.
    ///
    /// # Errors
    ///
    /// [`Error::Header`], with the line.
    pub fn parse(line: &[u8]) -> Result<Header> {
        let fail = |problem: String| Error::Header { text: quote(line), problem };
        let mut words = line.split(|&byte| byte == b' ');
        if words.next() != Some(MAGIC.as_bytes()) {
            return Err(fail(format!(
                "does not begin with {MAGIC:?}; make y4m by `ffmpeg -i IN -f yuv4mpegpipe OUT.y4m`"
            )));
        }
        let (mut width, mut height, mut colour) = (None, None, None);
        for word in words.filter(|word| !word.is_empty()) {
            let text = String::from_utf8_lossy(&word[1..]).into_owned();
            let is_new = match word[0] {
                b'W' => width.replace(side(&text).map_err(&fail)?).is_none(),
                b'H' => height.replace(side(&text).map_err(&fail)?).is_none(),
                b'C' => colour.replace(text).is_none(),
                b'F' | b'A' => is_ratio(&text).then_some(true).ok_or_else(|| {
                    let name = if word[0] == b'F' { "the frame rate" } else { "the aspect ratio" };
                    fail(format!("{name} is {text:?}, but must be two numbers such as 30:1"))
                })?,
                _ => true,
            };
            if !is_new {
                return Err(fail(format!("two parameters {}", char::from(word[0]))));
            }
        }
        let width = width.ok_or_else(|| fail("no width (W)".to_owned()))?;
        let height = height.ok_or_else(|| fail("no height (H)".to_owned()))?;
        let colour = colour.unwrap_or_else(|| "420".to_owned());
        let (chroma, bits) = colour_space(&colour).ok_or_else(|| {
            fail(format!(
                "the colour space is {colour:?}, but must be 420, 420jpeg, 420mpeg2, 420paldv, \
                 411, 422, 444 or mono, or 420, 422, 444 with p9, p10 or p12, or mono9, mono10 \
                 or mono12; convert it by `ffmpeg -pix_fmt yuv420p`"
            ))
        })?;
        let layout = Layout { width, height, bits, chroma };
        Ok(Header { line: line.to_vec(), colour, layout })
    }
}

/// Parses a width or a height.
fn side(text: &str) -> std::result::Result<usize, String> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok());
    match number.flatten() {
        Some(side @ 1..=SIDE_MAX) => Ok(side),
        _ => Err(format!("a side of {text:?} samples, but it must have 1 to {SIDE_MAX}")),
    }
}

/// Whether `text` is two numbers with a colon between them.
fn is_ratio(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    text.split_once(':').is_some_and(|(over, under)| is_number(over) && is_number(under))
}

/// The subsampling and the bits of a sample that a colour space has.
fn colour_space(name: &str) -> Option<(Option<Subsampling>, u32)> {
    let chroma = |columns, rows| Some(Subsampling { columns, rows });
    match name {
        "420jpeg" | "420mpeg2" | "420paldv" => return Some((chroma(2, 2), 8)),
        "411" => return Some((chroma(4, 1), 8)),
        _ => {}
    }
    let (chroma, depth) = match name.split_at_checked(3)? {
        ("420", depth) => (chroma(2, 2), depth),
        ("422", depth) => (chroma(2, 1), depth),
        ("444", depth) => (chroma(1, 1), depth),
        _ => (None, name.strip_prefix("mono")?),
    };
    let depth =
        if chroma.is_some() && !depth.is_empty() { depth.strip_prefix('p')? } else { depth };
    let bits = match depth {
        "" if !name.ends_with('p') => 8,
        "9" => 9,
        "10" => 10,
        "12" => 12,
        _ => return None,
    };
    Some((chroma, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_space_has_its_planes() {
        let planes = |colour: &str| {
            let header = Header::parse(format!("YUV4MPEG2 W5 H3 F25:1 C{colour}").as_bytes());
            let layout = header.unwrap_or_else(|error| panic!("{error}")).layout;
            (layout.planes(), layout.bits, layout.frame_bytes())
        };
        let (luma, half) = ([3, 5], [2, 3]);
        for name in ["420", "420jpeg", "420mpeg2", "420paldv"] {
            assert_eq!(planes(name), (vec![luma, half, half], 8, 27));
        }
        assert_eq!(planes("420p10"), (vec![luma, half, half], 10, 54));
        assert_eq!(planes("422"), (vec![luma, [3, 3], [3, 3]], 8, 33));
        assert_eq!(planes("422p12"), (vec![luma, [3, 3], [3, 3]], 12, 66));
        assert_eq!(planes("444p9"), (vec![luma; 3], 9, 90));
        assert_eq!(planes("411"), (vec![luma, [3, 2], [3, 2]], 8, 27));
        assert_eq!(planes("mono"), (vec![luma], 8, 15));
        assert_eq!(planes("mono10"), (vec![luma], 10, 30));
        let layout = Header::parse(b"YUV4MPEG2  W2 H4 Xfree text=\xff Ip A1:1").unwrap().layout;
        assert_eq!(layout.planes(), [[4, 2], [2, 1], [2, 1]]);
    }

    #[test]
    fn a_malformed_header_is_an_error_that_quotes_it_and_the_value() {
        let cases: [(&[u8], &str); 19] = [
            (b"", "\"\": does not begin with"),
            (b"RIFF\x00\xff", "\"RIFF\\x00\\xff\": does not begin with \"YUV4MPEG2\""),
            (b"YUV4MPEG", "does not begin with"),
            (b"YUV4MPEG2", "\"YUV4MPEG2\": no width (W)"),
            (b"YUV4MPEG2 W8", "no height (H)"),
            (b"YUV4MPEG2 W0 H8", "a side of \"0\" samples"),
            (b"YUV4MPEG2 W8 H65536", "a side of \"65536\" samples, but it must have 1 to 65535"),
            (b"YUV4MPEG2 W8 H99999999999999999999999", "a side of \"99999"),
            (b"YUV4MPEG2 W+8 H8", "a side of \"+8\""),
            (b"YUV4MPEG2 W-8 H8", "a side of \"-8\""),
            (b"YUV4MPEG2 W H8", "a side of \"\""),
            (b"YUV4MPEG2 W8 H8 W9", "two parameters W"),
            (b"YUV4MPEG2 W8 H8 F25", "the frame rate is \"25\""),
            (b"YUV4MPEG2 W8 H8 A1:", "the aspect ratio is \"1:\""),
            (b"YUV4MPEG2 W8 H8 C444alpha", "the colour space is \"444alpha\""),
            (b"YUV4MPEG2 W8 H8 C420p16", "the colour space is \"420p16\""),
            (b"YUV4MPEG2 W8 H8 C420p", "the colour space is \"420p\""),
            (b"YUV4MPEG2 W8 H8 C42010", "the colour space is \"42010\""),
            (b"YUV4MPEG2 W8 H8 Cmonop10", "the colour space is \"monop10\""),
        ];
        for (line, expected) in cases {
            let error = Header::parse(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} has no {expected}");
            assert!(error.contains(&quote(line)), "{error} does not quote {line:?}");
        }
        let long = [b"YUV4MPEG2 W8 H8 X".as_slice(), &[b'y'; 3000]].concat();
        assert!(quote(&long).len() < 200 && quote(&long).ends_with("yyy...\""));
    }
}
