//! The file of a timeline, and the thread that writes it.
//!
//! After every write the file ends with [`TAIL`], so it is a complete JSON document at all times
//! but during a write:
//!
//! 1. New events and a new tail are written in one call, over the old tail.
//! 2. If that fails (the disk is full), the old tail is restored, in space that the file already
//!    has, and the file is cut after it. Nothing is written from then on.
//!
//! The thread blocks all signals: among them SIGXFSZ, so that a limit of the file size is an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::pool::record::trace_event::{Event, Formatter, TAIL};
use crate::sys::thread::{self, Thread};
use crate::sys::{clock, file, process, signal};

/// Lists of events that may wait for a slow disk; further ones are lost.
const WAITING_MAX: usize = 256;

/// What was written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TraceTotals {
    pub(crate) tasks: u64,
    pub(crate) events: u64,
    pub(crate) lost: u64,
    pub(crate) bytes: u64,
}

/// What [`TraceFile::finish`] waits for.
struct Writing {
    sender: SyncSender<Vec<Event>>,
    thread: Thread,
    result: Arc<Mutex<Result<TraceTotals>>>,
}

/// A trace that a thread writes.
pub(crate) struct TraceFile {
    path: PathBuf,
    lost: AtomicU64,
    /// `None` when it is finished.
    writing: Mutex<Option<Writing>>,
}

impl std::fmt::Debug for TraceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TraceFile {
    /// Creates or empties the file, writes its beginning, and starts the thread.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] unless it is a regular file; [`Error::Os`].
    pub(crate) fn create(path: &Path, pool: &str) -> Result<TraceFile> {
        let shown = path.display().to_string();
        let file = file::create(path, "a regular file for a timeline")?;
        let formatter = Formatter { pid: process::pid(), start_ns: clock::now_ns() };
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut head = formatter.head(pool, unix.as_secs_f64());
        let mut trace = Trace { file, path: shown, formatter, end: 0, events: 0 };
        trace.append(&mut head)?;
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let result = Arc::new(Mutex::new(Ok(TraceTotals::default())));
        let for_thread = Arc::clone(&result);
        let body = move || {
            // After a failure the host's handlers may run on this thread too, which is harmless.
            let _ = signal::block_all();
            let written = trace.write_all(&receiver);
            *for_thread.lock().unwrap_or_else(PoisonError::into_inner) = written;
        };
        let thread = thread::start("brigade-trace", thread::STACK_BYTES, body)
            .map_err(|e| Error::os("clone", "the thread that writes a timeline", e))?;
        let writing = Mutex::new(Some(Writing { sender, thread, result }));
        Ok(TraceFile { path: path.to_owned(), lost: AtomicU64::new(0), writing })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Passes events to the thread. Does not wait: if too many wait already, they are lost.
    pub(crate) fn send(&self, events: Vec<Event>) {
        let count = events.len() as u64;
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_sent = writing.as_ref().is_some_and(|to| to.sender.try_send(events).is_ok());
        if !is_sent {
            // Relaxed: a counter.
            self.lost.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// The first failure to write.
    pub(crate) fn finish(&self) -> Result<TraceTotals> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Writing { sender, thread, result }) = writing else {
            return Err(Error::Closed { what: "the timeline" });
        };
        drop(sender);
        thread.join();
        let fresh = Ok(TraceTotals::default());
        let written =
            std::mem::replace(&mut *result.lock().unwrap_or_else(PoisonError::into_inner), fresh);
        // Relaxed: a counter, and no thread adds to it now.
        Ok(TraceTotals { lost: self.lost.load(Ordering::Relaxed), ..written? })
    }
}

/// The file as its thread sees it.
struct Trace {
    file: File,
    path: String,
    formatter: Formatter,
    /// The position of the tail.
    end: u64,
    events: u64,
}

impl Trace {
    fn write_all(mut self, receiver: &Receiver<Vec<Event>>) -> Result<TraceTotals> {
        let mut out = String::new();
        let mut written = Ok(());
        while let Ok(events) = receiver.recv() {
            if written.is_err() {
                continue;
            }
            for event in &events {
                self.formatter.event(&mut out, event);
            }
            written = self.append(&mut out);
            self.events += if written.is_ok() { events.len() as u64 } else { 0 };
        }
        let bytes = self.end + TAIL.len() as u64;
        written.map(|()| TraceTotals { events: self.events, bytes, ..TraceTotals::default() })
    }

    /// Writes `text`, which is empty then, and a tail over the old tail; restores the old one if
    /// that fails.
    fn append(&mut self, text: &mut String) -> Result<()> {
        let len = text.len() as u64;
        text.push_str(TAIL);
        let written = self.file.write_all_at(text.as_bytes(), self.end);
        text.clear();
        match written {
            Ok(()) => {
                self.end += len;
                Ok(())
            }
            Err(error) => {
                self.restore();
                Err(self.failure(error))
            }
        }
    }

    /// Restores the tail. A failure is ignored: it cannot be repaired.
    fn restore(&self) {
        if self.end > 0 {
            let _ = self.file.write_all_at(TAIL.as_bytes(), self.end);
            let _ = self.file.set_len(self.end + TAIL.len() as u64);
        }
    }

    fn failure(&self, error: io::Error) -> Error {
        Error::os("write", format!("the timeline {}", self.path), error)
    }
}
