//! Flushes printed text, with a limit on the wait.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use crate::sys::stdio_buffers;

/// How long a flush may take when other threads print too.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Flushes the text that this process has printed.
#[derive(Debug, Default)]
pub(crate) struct StdioFlusher {
    /// The signal from a thread that waits for the lock of a stream, perhaps without end.
    stuck: Option<Receiver<()>>,
}

impl StdioFlusher {
    /// Flushes it. Gives up after a second if another thread holds a stream, and then does nothing
    /// until that has released the stream.
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
        // If no thread could be started, the channel is closed and there is no wait.
        drop(flushing);
        let outcome = is_done.recv_timeout(TIMEOUT);
        self.stuck = (outcome == Err(RecvTimeoutError::Timeout)).then_some(is_done);
    }
}
