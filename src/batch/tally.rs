//! The progress of a run, key by key.

use std::collections::VecDeque;
use std::time::Instant;

use crate::batch::journal::Journal;
use crate::batch::key::Key;
use crate::batch::ledger::{Attempt, Decision, Ledger};
use crate::batch::report::{KeyOutcome, KeyReport, shortened};
use crate::batch::summary::Summary;
use crate::error::Result;
use crate::exit::ExitReason;

/// The progress of a run: the keys that are still to run, the outcomes so far, and the journal that
/// records them. `brigade-mpi` has one on rank 0, for keys that run on all ranks.
#[derive(Debug)]
pub struct Tally {
    journal: Option<Journal>,
    ledger: Ledger,
    retries_failed: bool,
    /// Keys whose worker has died once.
    again: VecDeque<Attempt>,
    /// Keys that run when nothing else does, at the end.
    alone: VecDeque<Attempt>,
    start: Instant,
    pub(super) summary: Summary,
    /// Keys that have failed permanently in this run.
    pub(super) failed_now: usize,
}

impl Tally {
    /// The tally of a run that began at `start`.
    pub(super) fn new(
        journal: Option<Journal>,
        ledger: Ledger,
        retries_failed: bool,
        start: Instant,
    ) -> Tally {
        Tally {
            journal,
            ledger,
            retries_failed,
            again: VecDeque::new(),
            alone: VecDeque::new(),
            start,
            summary: Summary::default(),
            failed_now: 0,
        }
    }

    /// The next attempt at `key`; `None` if the run skips it, or runs it later.
    pub fn meet(&mut self, key: Key) -> Option<Attempt> {
        match self.ledger.decide(key, self.retries_failed) {
            Decision::Repeated => self.summary.repeated += 1,
            Decision::Done => self.summary.skipped += 1,
            Decision::Failed(report) => self.summary.failed.push(report),
            Decision::Run(attempt) if attempt.is_alone => self.alone.push_back(attempt),
            Decision::Run(attempt) => return Some(attempt),
        }
        None
    }

    /// The next attempt at a key whose worker has died.
    pub fn next_again(&mut self) -> Option<Attempt> {
        self.again.pop_front()
    }

    /// The next attempt that is to run when nothing else does.
    pub fn next_alone(&mut self) -> Option<Attempt> {
        self.alone.pop_front()
    }

    /// Takes an attempt back that was not made.
    pub(super) fn put_back(&mut self, attempt: Attempt) {
        match attempt.is_alone {
            true => self.alone.push_front(attempt),
            false => self.again.push_front(attempt),
        }
    }

    /// The outcome of a key whose worker died: `OutOfMemory` if the kernel killed it for memory, or
    /// if Rust's allocator printed its message before the worker aborted.
    pub fn death_of(
        &self,
        key: &Key,
        is_killed_for_memory: bool,
        reason: ExitReason,
        printed: Option<&str>,
    ) -> KeyOutcome {
        let is_refusal = |line: &str| {
            let bytes = line.strip_prefix("memory allocation of ");
            let bytes = bytes.and_then(|rest| rest.trim_end().strip_suffix(" bytes failed"));
            bytes.is_some_and(|bytes| bytes.parse::<u64>().is_ok())
        };
        let is_aborted = reason.signal_name() == Some("SIGABRT");
        let is_refused = is_aborted && printed.unwrap_or_default().lines().any(is_refusal);
        self.ledger.death_of(key, is_killed_for_memory || is_refused)
    }

    /// Records how an attempt ended; [`commit`](Tally::commit) writes it.
    pub fn record(&mut self, mut report: KeyReport) {
        report.error = report.error.map(shortened);
        self.ledger.note(&report);
        if let Some(journal) = &mut self.journal {
            journal.push(&report);
        }
        let number = report.attempt.saturating_add(1);
        match report.outcome {
            KeyOutcome::Done => {
                self.summary.done += 1;
                self.summary.bytes = self.summary.bytes.saturating_add(report.bytes);
            }
            KeyOutcome::Died => {
                self.again.push_back(Attempt { key: report.key, number, is_alone: false });
            }
            KeyOutcome::OutOfMemory => {
                self.alone.push_back(Attempt { key: report.key, number, is_alone: true });
            }
            KeyOutcome::Failed | KeyOutcome::TimedOut | KeyOutcome::Quarantined => {
                self.failed_now += 1;
                self.summary.failed.push(report);
            }
        }
    }

    /// Writes what was recorded to the journal.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os): the lines are kept, for the next call.
    pub fn commit(&mut self) -> Result<()> {
        self.journal.as_mut().map_or(Ok(()), Journal::commit)
    }

    /// Notes whether the run was interrupted.
    pub fn note_interrupt(&mut self, is_requested: bool) {
        self.summary.is_interrupted |= is_requested;
    }

    /// What the run has come to.
    pub fn finish(&mut self) -> Summary {
        self.summary.elapsed = self.start.elapsed();
        std::mem::take(&mut self.summary)
    }
}
