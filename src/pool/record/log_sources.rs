//! What a pool knows about the log records of its workers.

use std::sync::Arc;

use crate::worker::logs::level::HostLevels;
use crate::worker::logs::source::LogSource;

/// The log records of a pool's workers.
#[derive(Debug, Default)]
pub(crate) struct LogSources {
    /// The records of workers that have ended and may not have been emitted.
    pub(super) ended: Vec<Arc<LogSource>>,
    /// Records that a thread should emit before it takes a result.
    pub(super) due: Vec<Arc<LogSource>>,
    /// The levels of the host that were sent to the workers; `None` if one was started since.
    pub(super) sent_levels: Option<HostLevels>,
    /// The host wants records of the workers.
    pub(super) are_wanted: bool,
}

impl LogSources {
    /// Takes the records of the workers that have ended, to emit them without the mutex.
    pub(crate) fn take_ended(&mut self) -> Vec<Arc<LogSource>> {
        self.due.clear();
        std::mem::take(&mut self.ended)
    }

    pub(super) fn add_due(&mut self, logs: &Arc<LogSource>) {
        if !self.due.iter().any(|due| Arc::ptr_eq(due, logs)) {
            self.due.push(Arc::clone(logs));
        }
    }
}
