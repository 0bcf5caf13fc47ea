//! Frames written to a file or a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, Write};

use crate::error::{Error, Result};
use crate::picture::{Picture, Sample};

/// Writes the frames of a stream, one after the other.
#[derive(Debug)]
pub struct FrameWriter {
    output: File,
    /// What a regular file has of whole frames; `None` for a pipe or a device.
    whole_bytes: Option<u64>,
    /// The number of the frame that comes next, from 1.
    next: u64,
}

impl FrameWriter {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// [`Error::Write`].
    pub fn create(output: File, header: &[u8]) -> Result<FrameWriter> {
        let whole_bytes = output.metadata().ok().filter(std::fs::Metadata::is_file).map(|_| 0);
        let mut writer = FrameWriter { output, whole_bytes, next: 1 };
        writer.write_parts(&[header, b"\n"], "the header".to_owned())?;
        Ok(writer)
    }

    /// Writes a frame. If that fails, a regular file is cut behind the frame before.
    ///
    /// # Errors
    ///
    /// [`Error::Write`], with the frame's number.
    pub fn write<T: Sample>(&mut self, picture: &Picture<T>) -> Result<()> {
        let mut parts = vec![b"FRAME".as_slice(), &picture.parameters, b"\n"];
        parts.extend(picture.planes.iter().map(|plane| bytemuck::cast_slice(plane.as_slice())));
        self.write_parts(&parts, format!("frame {}", self.next))?;
        self.next += 1;
        Ok(())
    }

    /// The number of frames written.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.next - 1
    }

    fn write_parts(&mut self, parts: &[&[u8]], part: String) -> Result<()> {
        match write_all(&mut self.output, parts) {
            Ok(bytes) => {
                self.whole_bytes = self.whole_bytes.map(|whole| whole + bytes);
                Ok(())
            }
            Err(source) => {
                if let Some(whole) = self.whole_bytes {
                    // The write error is reported; a torn frame at the end would be one more.
                    let _ = self.output.set_len(whole);
                }
                Err(Error::Write { part, source })
            }
        }
    }
}

/// Writes all parts; returns their size.
fn write_all(output: &mut impl Write, parts: &[&[u8]]) -> io::Result<u64> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut left = slices.as_mut_slice();
    let mut bytes = 0;
    // Removes empty parts at the front.
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        match output.write_vectored(left) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => {
                bytes += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
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
        let bytes = write_all(&mut slow, &[b"", b"FRAME", b"", b"\n", b"0123456789", b""]).unwrap();
        assert_eq!((slow.0.as_slice(), bytes), (&b"FRAME\n0123456789"[..], 16));
    }
}
