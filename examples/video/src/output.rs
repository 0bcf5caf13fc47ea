//! Frames written to a file or a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Seek, SeekFrom, Write};

use crate::error::{Error, Result};
use crate::picture::{Picture, Sample};

/// Writes the frames of a stream, one after the other.
#[derive(Debug)]
pub struct FrameWriter {
    output: File,
    /// Where the header or the last frame ends in a regular file.
    end: Option<u64>,
    /// The number of the frame that comes next, from 1.
    next: u64,
}

impl FrameWriter {
    /// Writes the header, where `output` stands: at the end, if it was opened to append.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn create(output: File, header: &[u8]) -> Result<FrameWriter> {
        let mut writer = FrameWriter { output, end: None, next: 1 };
        match writer.write_parts(&[header, b"\n"]) {
            Ok(()) => Ok(writer),
            Err((source, _)) => {
                Err(Error::Write { part: "the header".to_owned(), source, ends_after: None })
            }
        }
    }

    /// Writes a frame. If that fails, what was written of it is removed from a regular file,
    /// unless somebody else has written behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], with the frame's number.
    pub fn write<T: Sample>(&mut self, picture: &Picture<T>) -> Result<()> {
        let mut parts = vec![b"FRAME".as_slice(), &picture.parameters, b"\n"];
        parts.extend(picture.planes.iter().map(|plane| bytemuck::cast_slice(plane.as_slice())));
        self.write_parts(&parts).map_err(|(source, is_whole)| Error::Write {
            part: format!("frame {}", self.next),
            source,
            ends_after: is_whole.then_some(self.next - 1),
        })?;
        self.next += 1;
        Ok(())
    }

    /// The number of frames written.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.next - 1
    }

    /// Writes all parts. An error also has whether the output now ends as before.
    fn write_parts(&mut self, parts: &[&[u8]]) -> std::result::Result<(), (io::Error, bool)> {
        match write_all(&mut self.output, parts) {
            (_, Ok(())) => {
                self.end = self.output.stream_position().ok();
                Ok(())
            }
            // The write error is reported. An error of the removal would say no more.
            (torn, Err(source)) => Err((source, self.remove_torn(torn).unwrap_or(false))),
        }
    }

    /// Removes the last `torn_bytes` that were written. Returns false, and changes nothing, if the
    /// output is not a regular file that ends with them.
    fn remove_torn(&mut self, torn_bytes: u64) -> io::Result<bool> {
        let metadata = self.output.metadata()?;
        if !metadata.is_file() {
            return Ok(false);
        }
        // The position is behind the last write, also in a file that was opened to append.
        let position = self.output.stream_position()?;
        let start = position.checked_sub(torn_bytes);
        match start {
            Some(start) if metadata.len() == position && self.end.is_none_or(|e| e == start) => {
                self.output.set_len(start)?;
                self.output.seek(SeekFrom::Start(start))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// Writes all parts. Returns how many bytes were written, also beside an error.
fn write_all(output: &mut impl Write, parts: &[&[u8]]) -> (u64, io::Result<()>) {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    let mut bytes = 0;
    // Removes empty parts at the front.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match output.write_vectored(left) {
            Ok(0) => return (bytes, Err(ErrorKind::WriteZero.into())),
            Ok(count) => {
                bytes += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes at most three bytes at a time, and is interrupted in between.
    #[derive(Default)]
    struct Slow(Vec<u8>, bool);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let count = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_frame_is_whole_when_the_system_takes_it_in_pieces() {
        let mut slow = Slow::default();
        let parts = [b"".as_slice(), b"FRAME", b"", b"\n", b"0123456789", b""];
        let (bytes, result) = write_all(&mut slow, &parts);
        result.unwrap();
        assert_eq!((slow.0.as_slice(), bytes), (&b"FRAME\n0123456789"[..], 16));
    }
}
