//! Writing out what was printed, without waiting for ever.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use crate::sys::stdio_buffers;

/// How long printed text may take to be written when other threads print too.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Writes out what this process has printed.
#[derive(Debug, Default)]
pub(crate) struct StdioFlusher {
    /// From a thread that waits for the lock of a stream, perhaps without end.
    stuck: Option<Receiver<()>>,
}

impl StdioFlusher {
    /// Writes it out; gives up after a second if another thread holds a stream, and until that has
    /// let go of it.
    pub(crate) fn flush(&mut self) {
        if stdio_buffers::flush_quickly() {
            return;
        }
        let is_stuck = |stuck: &Receiver<()>| stuck.try_recv() == Err(TryRecvError::Empty);
        if self.stuck.as_ref().is_some_and(is_stuck) {
            return;
        }
        let (done, is_done) = mpsc::channel();
        let flushing = thread::Builder::new().spawn(move || {
            stdio_buffers::flush_all();
            done.send(())
        });
        // Without a thread the channel is closed, and nothing is waited for.
        drop(flushing);
        let outcome = is_done.recv_timeout(TIMEOUT);
        self.stuck = (outcome == Err(RecvTimeoutError::Timeout)).then_some(is_done);
    }
}
