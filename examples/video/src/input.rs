//! Frames of a y4m stream, read straight into shared arrays.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};

use crate::error::{Error, Result};
use crate::header::{Header, LINE_BYTES_MAX, quote};
use crate::picture::{Picture, Sample};

/// The first word of a frame.
const FRAME: &[u8] = b"FRAME";
/// The buffer for header lines. Whatever of a plane lies beyond it is read into the plane itself.
const BUFFER_BYTES: usize = 4096;

/// Reads the frames of a stream, one after the other.
#[derive(Debug)]
pub struct FrameReader<R> {
    input: BufReader<R>,
    frame_bytes: usize,
    /// The number of the frame that comes next, from 1.
    next: u64,
}

impl<R: Read> FrameReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// [`Error::Header`] if the input is empty, or no y4m stream; [`Error::Read`].
    pub fn open(input: R) -> Result<(Header, FrameReader<R>)> {
        let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
        let line = read_line(&mut input)
            .map_err(|source| Error::Read { part: "the header".to_owned(), source })?;
        let fail = |text, problem: &str| Error::Header { text, problem: problem.to_owned() };
        let Some(text) = line.strip_suffix(b"\n") else {
            return Err(match line.len() {
                0 => fail(quote(&line), "the input is empty"),
                _ => Header::parse(&line).err().unwrap_or_else(|| {
                    fail(quote(&line), "no newline ends it, within 4096 bytes of the input")
                }),
            });
        };
        let header = Header::parse(text)?;
        let frame_bytes = header.layout.frame_bytes();
        Ok((header, FrameReader { input, frame_bytes, next: 1 }))
    }

    /// Reads the next frame into `picture`; false at the end of the input.
    ///
    /// # Errors
    ///
    /// [`Error::FrameHeader`], [`Error::Truncated`] or [`Error::Read`], with the frame's number.
    pub fn read<T: Sample>(&mut self, picture: &mut Picture<T>) -> Result<bool> {
        let frame = self.next;
        let fail = |source| Error::Read { part: format!("frame {frame}"), source };
        let line = read_line(&mut self.input).map_err(fail)?;
        if line.is_empty() {
            return Ok(false);
        }
        let got = line.len();
        let truncated = |got_bytes, header_bytes, is_in_header| {
            let frame_bytes = self.frame_bytes + header_bytes;
            Err(Error::Truncated { frame, got_bytes, frame_bytes, is_in_header })
        };
        let parameters = match line.strip_suffix(b"\n") {
            Some(text) => text.strip_prefix(FRAME),
            // A header that ends early.
            None if got < LINE_BYTES_MAX && (FRAME.starts_with(&line) || has_frame(&line)) => {
                // At least its first word and a newline, or what there is and a newline.
                return truncated(got, got.max(FRAME.len()) + 1, true);
            }
            None => None,
        };
        let parameters = parameters.filter(|rest| matches!(rest.first(), None | Some(b' ')));
        let Some(parameters) = parameters else {
            return Err(Error::FrameHeader { frame, text: quote(&line) });
        };
        picture.parameters = parameters.to_vec();
        let (header_bytes, mut got) = (got, got);
        for plane in &mut picture.planes {
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(plane.as_mut_slice());
            let read = read_full(&mut self.input, bytes).map_err(fail)?;
            got += read;
            if read < bytes.len() {
                return truncated(got, header_bytes, false);
            }
        }
        self.next += 1;
        Ok(true)
    }
}

/// Whether a line begins as the header of a frame does.
fn has_frame(line: &[u8]) -> bool {
    line.strip_prefix(FRAME).is_some_and(|rest| matches!(rest.first(), None | Some(b' ')))
}

/// A line with its newline; without one at the end of the input, or if it is too long.
fn read_line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Fills `bytes`. Returns how many were read: fewer at the end of the input.
fn read_full(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < bytes.len() {
        match input.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_with_their_parameters_and_the_end_is_found() {
        let stream =
            b"YUV4MPEG2 W2 H1 Cmono10\nFRAME\n\x01\x02\x03\x00FRAME Ip X=1\n\xff\x03\x00\x00";
        let (header, mut reader) = FrameReader::open(stream.as_slice()).unwrap();
        let mut picture = Picture::<u16>::new(&header.layout).unwrap();
        assert!(reader.read(&mut picture).unwrap());
        assert_eq!((picture.planes[0].as_slice(), picture.parameters.len()), (&[0x201, 3][..], 0));
        assert!(reader.read(&mut picture).unwrap());
        assert_eq!(
            (picture.planes[0][[0, 0]], picture.parameters.as_slice()),
            (1023, &b" Ip X=1"[..])
        );
        assert!(!reader.read(&mut picture).unwrap());
    }

    #[test]
    fn what_is_no_whole_frame_is_an_error_with_its_number() {
        let good = b"YUV4MPEG2 W2 H2 C420\nFRAME\n123456";
        let fails = |rest: &[u8]| {
            let stream = [good.as_slice(), rest].concat();
            let (header, mut reader) = FrameReader::open(stream.as_slice()).unwrap();
            let mut picture = Picture::<u8>::new(&header.layout).unwrap();
            assert!(reader.read(&mut picture).unwrap());
            reader.read(&mut picture).unwrap_err().to_string()
        };
        for (rest, expected) in [
            (b"F".as_slice(), "ends in frame 2, after 1 of at least 12 bytes"),
            (b"FRAME", "ends in frame 2, after 5 of at least 12 bytes"),
            (b"FRAME Xno newline", "ends in frame 2, after 17 of at least 24 bytes"),
            (b"FRAME\n", "ends in frame 2, after 6 of its 12 bytes"),
            (b"FRAME\n12345", "ends in frame 2, after 11 of its 12 bytes"),
            (b"FRAMES\n123456", "frame 2 of the input begins with \"FRAMES\\n\""),
            (b"\nFRAME\n123456", "frame 2 of the input begins with \"\\n\""),
            (b"garbage", "frame 2 of the input begins with \"garbage\""),
            ([b"FRAME X".as_slice(), &[b'x'; 5000]].concat().as_slice(), "frame 2 of the input"),
        ] {
            let error = fails(rest);
            assert!(error.contains(expected), "{error} has no {expected}");
        }
    }

    #[test]
    fn an_input_without_a_header_is_an_error() {
        for (stream, expected) in [
            (b"".as_slice(), "the input is empty"),
            (b"YUV4MPEG2 W8 H8", "no newline ends it"),
            (&[0; 100_000], "does not begin with"),
            ([b"YUV4MPEG2 W8 H8 X".as_slice(), &[b'x'; 9000]].concat().as_slice(), "no newline"),
        ] {
            let error = FrameReader::open(stream).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} has no {expected}");
        }
    }
}
