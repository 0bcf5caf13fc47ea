//! Captures the ends of a process's standard output and error.
//!
//! The supervisor reads the pipe as it fills, and keeps the last bytes. So a writer waits for room
//! in it only while the supervisor is busy.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::supervisor::{Handler, HandlerId, Supervisor};
use crate::sys::pipe::{self, Read};

/// The number of bytes kept of each process.
const KEPT_BYTES: usize = 8 << 10;
/// The most bytes of one read.
const READ_BYTES: usize = 16 << 10;
/// The most consecutive reads: endless output must not keep the supervisor from other work.
const READS_MAX: usize = 8;

/// The pipe of one of a process's standard streams, and the bytes kept from it.
pub(crate) struct CapturedOutput {
    pipe: OwnedFd,
    buffer: Mutex<Buffer>,
}

#[derive(Default)]
struct Buffer {
    bytes: VecDeque<u8>,
    /// Earlier bytes were discarded.
    is_cut: bool,
    watched: Option<(Weak<Supervisor>, HandlerId)>,
}

impl CapturedOutput {
    /// Starts a capture that `supervisor` reads, and returns the pipe's end for the process.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if no descriptor is available.
    fn start(supervisor: &Arc<Supervisor>) -> Result<(Arc<CapturedOutput>, OwnedFd)> {
        let (read, write) = pipe::pair().map_err(|e| Error::os("pipe2", "a standard stream", e))?;
        let captured = Arc::new(CapturedOutput { pipe: read, buffer: Mutex::default() });
        let token = supervisor.add(Arc::clone(&captured) as Arc<dyn Handler>)?;
        captured.lock().watched = Some((Arc::downgrade(supervisor), token));
        Ok((captured, write))
    }

    /// The last bytes that were written, at most some kibibytes. If more was written, the text
    /// begins at the start of a line, unless the last line is longer than that. Bytes that are not
    /// UTF-8 are replaced.
    fn text(&self) -> String {
        self.read_some();
        let buffer = self.lock();
        let bytes: Vec<u8> = buffer.bytes.iter().copied().collect();
        let is_before_a_line = |&end: &usize| buffer.is_cut && end + 1 < bytes.len();
        let line = bytes.iter().position(|&byte| byte == b'\n').filter(is_before_a_line);
        String::from_utf8_lossy(&bytes[line.map_or(0, |end| end + 1)..]).into_owned()
    }

    /// Reads the available bytes, and then stops reading.
    fn stop(&self) {
        self.read_some();
        let watched = self.lock().watched.take();
        if let Some((supervisor, token)) = watched
            && let Some(supervisor) = supervisor.upgrade()
        {
            supervisor.remove(token);
        }
    }

    /// Reads some of the available bytes; false if no more will come.
    fn read_some(&self) -> bool {
        let mut buffer = [0u8; READ_BYTES];
        for _ in 0..READS_MAX {
            match pipe::try_read(self.pipe.as_fd(), &mut buffer) {
                Read::Bytes(count) => self.lock().keep(&buffer[..count]),
                Read::WouldBlock => return true,
                Read::End => return false,
            }
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        // No code under this lock panics in the middle of a change.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which standard streams of a process are captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Captures {
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Captures {
    /// The number of descriptors that this takes for each process.
    pub(crate) fn count(self) -> usize {
        usize::from(self.stdout) + usize::from(self.stderr)
    }
}

/// The captured streams of a process.
#[derive(Debug, Default)]
pub(crate) struct CapturedStreams {
    stdout: Option<Arc<CapturedOutput>>,
    stderr: Option<Arc<CapturedOutput>>,
}

/// The ends of the pipes for the process.
#[derive(Debug, Default)]
pub(crate) struct StreamEnds {
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

impl CapturedStreams {
    /// Starts the captures.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if no descriptor is available.
    pub(crate) fn start(
        which: Captures,
        supervisor: &Arc<Supervisor>,
    ) -> Result<(CapturedStreams, StreamEnds)> {
        let (mut streams, mut ends) = (CapturedStreams::default(), StreamEnds::default());
        let start = |is_captured: bool| {
            let started = is_captured.then(|| CapturedOutput::start(supervisor)).transpose();
            started.map(Option::unzip)
        };
        (streams.stdout, ends.stdout) = start(which.stdout)?;
        (streams.stderr, ends.stderr) = start(which.stderr).inspect_err(|_| streams.stop())?;
        Ok((streams, ends))
    }

    /// The end of the standard output, if that is captured.
    pub(crate) fn stdout_tail(&self) -> Option<String> {
        self.stdout.as_ref().map(|captured| captured.text())
    }

    /// The end of the standard error, if that is captured.
    pub(crate) fn stderr_tail(&self) -> Option<String> {
        self.stderr.as_ref().map(|captured| captured.text())
    }

    /// Reads the available bytes, and then stops reading.
    pub(crate) fn stop(&self) {
        self.stdout.iter().chain(&self.stderr).for_each(|captured| captured.stop());
    }
}

impl Buffer {
    fn keep(&mut self, bytes: &[u8]) {
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(KEPT_BYTES);
        self.is_cut |= surplus > 0;
        let from_old = surplus.min(self.bytes.len());
        self.bytes.drain(..from_old);
        self.bytes.extend(&bytes[surplus - from_old..]);
    }
}

impl Handler for CapturedOutput {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    fn readable(&self) {
        if !self.read_some() {
            self.stop();
        }
    }

    fn deadline(&self) {}
}

impl std::fmt::Debug for CapturedOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CapturedOutput")
            .field("kept_bytes", &self.lock().bytes.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_bytes_are_kept(writes in prop::collection::vec(0usize..20_000, 0..6)) {
            let mut buffer = Buffer::default();
            let mut all = Vec::new();
            for (round, len) in writes.into_iter().enumerate() {
                let bytes = vec![u8::try_from(round).unwrap(); len];
                buffer.keep(&bytes);
                all.extend(bytes);
            }
            let from = all.len().saturating_sub(KEPT_BYTES);
            prop_assert_eq!(buffer.bytes.iter().copied().collect::<Vec<_>>(), &all[from..]);
            prop_assert_eq!(buffer.is_cut, from > 0);
        }
    }

    #[test]
    fn the_end_of_a_long_last_line_is_kept() {
        let supervisor = Supervisor::current().unwrap();
        let (tail, write) = CapturedOutput::start(&supervisor).unwrap();
        let line = "x".repeat(KEPT_BYTES + 1) + "\n";
        std::io::Write::write_all(&mut std::fs::File::from(write), line.as_bytes()).unwrap();
        tail.stop();
        assert_eq!(tail.text(), line[2..]);
    }

    #[test]
    fn a_tail_is_up_to_date_and_begins_with_a_line() {
        let supervisor = Supervisor::current().unwrap();
        let (captured, write) = CapturedOutput::start(&supervisor).unwrap();
        let mut writer = std::fs::File::from(write);
        let line = "0123456789".repeat(10) + "\n";
        for _ in 0..10_000 {
            std::io::Write::write_all(&mut writer, line.as_bytes()).unwrap();
        }
        // More than the pipe holds, so the supervisor must read.
        let text = loop {
            let text = captured.text();
            if text.len() == KEPT_BYTES / line.len() * line.len() {
                break text;
            }
        };
        assert!(text.lines().all(|found| found.len() + 1 == line.len()));
        drop(writer);
        captured.stop();
    }
}
