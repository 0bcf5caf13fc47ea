//! When the log records of workers are emitted.

use std::sync::Arc;

use crate::pool::record::log_sources::LogSources;
use crate::pool::record::state::State;
use crate::worker::logs::delivery;
use crate::worker::logs::level::{HostLevels, LogLevel};
use crate::worker::logs::source::LogSource;

impl State {
    /// Sends the workers the levels of log records that the host wants, if that has changed.
    #[inline]
    pub(crate) fn update_log_levels(&mut self, limit: LogLevel) {
        let host = HostLevels::current();
        if self.logs.sent_levels != Some(host) {
            self.send_levels(host, limit);
        }
    }

    #[cold]
    fn send_levels(&mut self, host: HostLevels, limit: LogLevel) {
        self.logs.sent_levels = Some(host);
        self.logs.are_wanted = host.limited(limit).pack() != 0;
        self.workers.iter().flat_map(|slot| &slot.logs).for_each(|logs| logs.update_levels());
    }

    /// Whether the host wants any records of the workers.
    #[inline]
    pub(crate) fn wants_logs(&self) -> bool {
        self.logs.are_wanted
    }

    /// A worker was started: the next submission compares its levels with those of the host.
    pub(crate) fn forget_sent_levels(&mut self) {
        self.logs.sent_levels = None;
    }

    /// The worker at `index` has committed a result: its records are emitted before a thread that
    /// takes the result goes on.
    #[inline]
    pub(crate) fn note_logs_of(&mut self, index: usize) {
        if self.logs.are_wanted
            && let Some(logs) = self.workers[index].logs.as_ref().filter(|logs| logs.is_pending())
        {
            self.logs.add_due(logs);
        }
    }

    /// A thread takes a result: it emits the records that are due when it has released the mutex,
    /// or waits while another thread does so.
    #[inline]
    pub(crate) fn emit_due_logs(&mut self) {
        if !self.logs.due.is_empty() {
            self.defer_due_logs();
        }
    }

    #[cold]
    fn defer_due_logs(&mut self) {
        self.logs.due.retain(|logs| logs.is_pending());
        let due = self.logs.due.clone();
        if !due.is_empty() {
            self.events.defer_duty(move || delivery::emit_for_joiner(&due));
        }
    }

    /// The worker at `index` has ended, or is given up: takes the records that its ring still
    /// holds. Its slot keeps the ring, to which it may still write.
    pub(crate) fn finish_logs_of(&mut self, index: usize) -> Option<Arc<LogSource>> {
        let logs = self.workers[index].logs.clone()?;
        logs.finish();
        delivery::notify(&logs);
        // Each of them keeps its ring in the arena.
        let LogSources { ended, due, .. } = &mut self.logs;
        for sources in [&mut *ended, due] {
            sources.retain(|source| source.is_pending());
        }
        if logs.is_pending() {
            ended.push(Arc::clone(&logs));
            self.logs.add_due(&logs);
        }
        Some(logs)
    }
}
