//! A run of a batch: submits keys, journals outcomes.

use std::iter::Fuse;
use std::time::{Duration, Instant};

use crate::batch::admission::Admission;
use crate::batch::interrupt::Interrupt;
use crate::batch::key::Key;
use crate::batch::ledger::Attempt;
use crate::batch::progress::{BatchProgress, OnProgress};
use crate::batch::report::KeyOutcome;
use crate::batch::summary::Summary;
use crate::batch::tally::Tally;
use crate::batch::task::Returned;
use crate::error::{Error, Result, TaskError};
use crate::pool::{Handle, Pool, ReturnWhen, wait};

/// The longest wait between two looks at the interrupt, for room in the queue too, and the time
/// between two progress reports.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How long keys are taken and submitted before the outcomes of others are looked at.
const FILL_TIME: Duration = Duration::from_millis(10);
/// How much work a worker should have ahead: several times what it takes to wake a thread.
const AHEAD_NS: u64 = 300_000;
/// Tasks that a worker has ahead at least, the one that it runs included, and at most.
const AHEAD_MIN: u64 = 2;
const AHEAD_MAX: u64 = 64;

/// What decides how a batch runs, besides its keys and its function.
pub(super) struct Parts<'b> {
    pub(super) pool: &'b Pool,
    /// The name of the function, for reports of deaths.
    pub(super) function: &'static str,
    pub(super) tally: Tally,
    pub(super) admission: Admission,
    pub(super) interrupt: Option<&'b Interrupt>,
    pub(super) on_progress: Option<OnProgress<'b>>,
}

/// A task that was submitted.
struct Flight {
    attempt: Attempt,
    handle: Handle<Returned>,
    /// It may have seen a request to end early. If it failed, that need not be the key's fault.
    is_asked: bool,
}

/// The next thing to do for the keys.
enum Next {
    Run(Attempt),
    /// Nothing: keys were skipped for as long as may be.
    Later,
    /// Nothing until a running task ends.
    Nothing,
}

/// A run under way.
///
/// Dropping it, which a panic of the iterator of keys or of the progress callback does, waits for
/// what runs and writes its outcomes: no task of a batch runs when the journal is unlocked.
pub(super) struct Run<'b, I, S>
where
    I: Iterator<Item = Key>,
    S: FnMut(Key) -> Result<Option<Handle<Returned>>>,
{
    parts: Parts<'b>,
    keys: Fuse<I>,
    /// Submits a key; `None` if the pool's queue stays full.
    submit: S,
    flights: Vec<Flight>,
    /// The usual duration of a task.
    usual_ns: u64,
    /// Nothing more is started.
    is_stopping: bool,
    start: Instant,
    /// When progress was last reported.
    reported_at: Option<Instant>,
    progress: BatchProgress,
}

impl<'b, I, S> Run<'b, I, S>
where
    I: Iterator<Item = Key>,
    S: FnMut(Key) -> Result<Option<Handle<Returned>>>,
{
    /// A run that began at `start`.
    pub(super) fn new(parts: Parts<'b>, keys: I, submit: S, start: Instant) -> Run<'b, I, S> {
        let (least, most) = keys.size_hint();
        Run {
            parts,
            keys: keys.fuse(),
            submit,
            flights: Vec::new(),
            usual_ns: AHEAD_NS,
            is_stopping: false,
            start,
            reported_at: None,
            progress: BatchProgress {
                total: most.filter(|&most| most == least),
                ..BatchProgress::default()
            },
        }
    }

    /// Runs all keys.
    ///
    /// # Errors
    ///
    /// The first error that is not one of a key: what runs has ended by then, and the journal has
    /// all that could be written.
    pub(super) fn finish(mut self) -> Result<Summary> {
        let mut ended = Ok(());
        loop {
            if self.parts.interrupt.is_some_and(Interrupt::is_requested) && !self.is_stopping {
                self.parts.tally.note_interrupt(true);
                self.stop();
            }
            let step = self.fill().and_then(|is_full| {
                self.collect(if is_full { TICK } else { Duration::ZERO })?;
                self.commit()
            });
            self.report(false);
            if let Err(error) = step {
                self.stop();
                ended = ended.and(Err(error));
            }
            if self.flights.is_empty() && (self.is_stopping || self.is_exhausted()) {
                break;
            }
        }
        // There may be room on the disk by now.
        let written = self.commit();
        self.report(true);
        ended.and(written)?;
        Ok(self.parts.tally.finish())
    }

    /// Submits keys; true if no more may be under way now, false if that took too long.
    fn fill(&mut self) -> Result<bool> {
        let start = Instant::now();
        while !self.is_stopping && !self.flights.first().is_some_and(|f| f.attempt.is_alone) {
            let running = self.flights.len();
            let ahead = (AHEAD_NS / self.usual_ns.max(1)).clamp(AHEAD_MIN, AHEAD_MAX);
            let wanted =
                usize::try_from(ahead).unwrap_or(1).saturating_mul(self.parts.pool.workers());
            let allowed = self.parts.admission.limit(running, Instant::now())?;
            if running >= wanted.min(allowed) {
                break;
            }
            let attempt = match self.next(start) {
                Next::Run(attempt) => attempt,
                Next::Later => return Ok(false),
                Next::Nothing => break,
            };
            match (self.submit)(attempt.key.clone())? {
                Some(handle) => self.flights.push(Flight { attempt, handle, is_asked: false }),
                None => {
                    self.parts.tally.put_back(attempt);
                    return Ok(false);
                }
            }
            // An iterator may be slow, and in a pool without processes the task has run by now.
            if start.elapsed() >= FILL_TIME {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What to do next, for a caller that began at `start`.
    fn next(&mut self, start: Instant) -> Next {
        if let Some(attempt) = self.parts.tally.next_again() {
            return Next::Run(attempt);
        }
        for key in self.keys.by_ref() {
            if let Some(attempt) = self.parts.tally.meet(key) {
                return Next::Run(attempt);
            }
            if start.elapsed() >= FILL_TIME {
                return Next::Later;
            }
        }
        // A task that is under way may still turn out to have to run again.
        let alone = if self.flights.is_empty() { self.parts.tally.next_alone() } else { None };
        alone.map_or(Next::Nothing, Next::Run)
    }

    /// Whether no key is left.
    fn is_exhausted(&mut self) -> bool {
        match self.next(Instant::now()) {
            Next::Run(attempt) => self.parts.tally.put_back(attempt),
            Next::Later => {}
            Next::Nothing => return true,
        }
        false
    }

    /// Waits until a task has ended, at most `timeout`, and takes the outcomes of all that have.
    fn collect(&mut self, timeout: Duration) -> Result<()> {
        let handles = self.flights.iter().map(|flight| &flight.handle);
        let Ok(waited) = wait(handles, ReturnWhen::FirstCompleted, Some(timeout)) else {
            return Ok(());
        };
        // From the last, so that the positions stay right.
        let mut ended: Vec<Flight> =
            waited.done.into_iter().rev().map(|at| self.flights.swap_remove(at)).collect();
        ended.reverse();
        let mut result = Ok(());
        for flight in ended {
            // After an error too: an outcome that is known is to be written.
            result = result.and(self.take(flight));
        }
        result
    }

    /// Takes the outcome of a task.
    fn take(&mut self, flight: Flight) -> Result<()> {
        let Flight { attempt, handle, is_asked } = flight;
        // The signal that interrupts the batch may have ended a program that the task had started,
        // or the worker itself. Then the failure is not the key's: it runs again next time.
        let is_interrupted = self.parts.interrupt.is_some_and(Interrupt::is_requested);
        let is_excused = is_asked || is_interrupted;
        let mut report = attempt.report();
        match handle.join() {
            Ok(Returned { result, elapsed_ns, memory_bytes }) => {
                self.usual_ns = self.usual_ns - self.usual_ns / 8 + elapsed_ns / 8;
                memory_bytes.into_iter().for_each(|bytes| self.parts.admission.note(bytes));
                report.duration = Some(Duration::from_nanos(elapsed_ns));
                match result {
                    Ok(bytes) => (report.outcome, report.bytes) = (KeyOutcome::Done, bytes),
                    Err(_) if is_excused => {
                        self.parts.tally.note_interrupt(is_interrupted);
                        return Ok(());
                    }
                    Err(text) => report.error = Some(text),
                }
            }
            Err(Error::Task(TaskError::Cancelled)) if self.is_stopping => return Ok(()),
            // Not by this run: the pool was ended, which is not the key's fault.
            Err(Error::Task(TaskError::Cancelled)) => {
                return Err(Error::Closed { what: "the pool" });
            }
            Err(error @ (Error::Closed { .. } | Error::Broken { .. })) => return Err(error),
            Err(Error::Task(TaskError::Died(_) | TaskError::Panicked { .. })) if is_excused => {
                self.parts.tally.note_interrupt(is_interrupted);
                return Ok(());
            }
            Err(Error::Task(TaskError::Died(mut death))) => {
                death.task = self.parts.function;
                let printed = death.stderr_tail.as_deref();
                let outcome = self.parts.tally.death_of(
                    &report.key,
                    death.out_of_memory,
                    death.reason,
                    printed,
                );
                death.peak_rss_bytes.into_iter().for_each(|bytes| self.parts.admission.note(bytes));
                report.outcome = outcome;
                report.error = Some(death.to_string());
                report.death = Some(death);
            }
            Err(error) => {
                if matches!(error, Error::Task(TaskError::TimedOut { .. })) {
                    report.outcome = KeyOutcome::TimedOut;
                }
                report.error = Some(error.to_string());
            }
        }
        self.parts.tally.record(report);
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        self.parts.tally.commit()
    }

    /// Takes back what has not started, and starts nothing more.
    fn stop(&mut self) {
        self.is_stopping = true;
        for flight in &mut self.flights {
            let handle = &flight.handle;
            if !handle.is_finished() && !handle.is_running() {
                // One that starts at this moment is asked to end early.
                flight.is_asked = !handle.cancel();
            }
        }
    }

    /// Reports progress, unless that was done a moment ago.
    fn report(&mut self, is_over: bool) {
        let Some(on_progress) = &mut self.parts.on_progress else { return };
        let now = Instant::now();
        if !is_over && self.reported_at.is_some_and(|at| now.duration_since(at) < TICK) {
            return;
        }
        self.reported_at = Some(now);
        let Tally { ref summary, failed_now, .. } = self.parts.tally;
        let Summary { done, skipped, repeated, ref failed, .. } = *summary;
        self.progress.done = done;
        self.progress.skipped = skipped + repeated;
        self.progress.failed = failed.len();
        self.progress.failed_now = failed_now;
        self.progress.running = self.flights.len();
        self.progress.elapsed = now.duration_since(self.start);
        self.progress.is_over = is_over;
        on_progress(&self.progress);
    }
}

impl<I, S> Drop for Run<'_, I, S>
where
    I: Iterator<Item = Key>,
    S: FnMut(Key) -> Result<Option<Handle<Returned>>>,
{
    fn drop(&mut self) {
        self.stop();
        while !self.flights.is_empty() {
            // A panic is under way, whose message says more.
            let _ = self.collect(TICK);
        }
        let _ = self.commit();
    }
}
