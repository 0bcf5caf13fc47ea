//! What a pool has done so far.

use std::time::Duration;

use crate::error::{Error, TaskError};
use crate::pool::task::Outcome;

/// Counters under the pool's mutex.
#[derive(Debug, Clone, Default)]
pub(super) struct Counters {
    pub(super) submitted: u64,
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) retried: u64,
    pub(super) restarts: u64,
    pub(super) busy_ns: u64,
}

impl Counters {
    /// Counts an outcome.
    pub(super) fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(_) => self.succeeded += 1,
            Err(error) if matches!(**error, Error::Task(TaskError::Cancelled)) => {
                self.cancelled += 1;
            }
            Err(_) => self.failed += 1,
        }
    }
}

/// A snapshot of what a pool has done and is doing; see [`Pool::stats`](crate::Pool::stats).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Tasks that no worker has been given.
    pub queued: usize,
    /// Tasks that workers have been given and that are not known to be over.
    pub offered: usize,
    /// Tasks that returned a value.
    pub succeeded: u64,
    /// Tasks that panicked, died, timed out or could not be encoded.
    pub failed: u64,
    /// Tasks that were cancelled or killed on request.
    pub cancelled: u64,
    /// Runs that were repeated because a worker died.
    pub retried: u64,
    /// Workers that have a process now.
    pub workers: usize,
    /// Workers that ended and were replaced, for whatever reason.
    pub restarts: u64,
    /// How long workers have run tasks, all together.
    pub busy: Duration,
}
