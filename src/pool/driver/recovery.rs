//! Recovery after a worker has died: drain, classify, report, replace.
//!
//! Each step relies on those before it.
//!
//! 1. The fork server has reaped the worker, or its pidfd is readable: it writes no more. A
//!    worker whose start was never reported has written nothing either: it waits for the host's
//!    permit, which the host sends when it has the pidfd. Nothing that a live worker can do, such
//!    as closing its socket, counts as its end. A worker that was killed and does not end is
//!    abandoned after a while (`abandoned.rs`), and handled here when it has ended.
//! 2. Its queue pair is drained. Whatever it committed is delivered, even if it died right after
//!    the commit.
//! 3. The other tasks are split by their claim words. CLAIMED: the task had started. It fails with
//!    the death, or runs again if that is allowed. OFFERED: it had not started. It is recalled and
//!    goes back to the front of the queue, in the old order.
//! 4. The slot gets a new worker with a new queue pair, unless the pool is ending, or its workers
//!    die before they are ready.

use std::io;
use std::time::{Duration, Instant};

use tracing::Level;

use crate::error::{Death, Error, Result, TaskError};
use crate::exit::ExitReason;
use crate::object::transfer::Lease;
use crate::pool::driver::core::Core;
use crate::pool::driver::core::KILL_TIMEOUT;
use crate::pool::record::outcome::broken;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot, WorkerState};
use crate::process::child;
use crate::process::fork_server::ChildEvent;
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::{oom, process};
use crate::worker::call::{Call, TaskId};
use crate::worker::death::{phase_of, report};
use crate::worker::logs::source::LogSource;
use crate::worker::queue_pair::LeaveReason;

impl Core {
    /// Handles an event of the worker that has, or had, this slot.
    pub(crate) fn child_event(&self, index: usize, incarnation: u64, event: ChildEvent) {
        let mut state = self.lock();
        let slot = &state.workers[index];
        if slot.incarnation != incarnation || !slot.has_worker() {
            if let ChildEvent::Started { child, .. } = event {
                // The pool gave it up before its start was reported.
                let _ = child.signal(process::SIGKILL);
            }
            return;
        }
        let mut permitted = None;
        match event {
            ChildEvent::Started { pid, child } => {
                let slot = &mut state.workers[index];
                slot.pid = pid;
                slot.logs.iter().for_each(|logs| logs.set_pid(pid));
                slot.child = Some(child);
                if slot.state == WorkerState::Starting {
                    slot.state = WorkerState::Running;
                }
                match slot.state {
                    // Retiring before it had a pidfd to be killed by.
                    WorkerState::Retiring(cause) if !cause.is_departure() => slot.kill(),
                    _ => permitted = slot.link.clone(),
                }
                if let Some(timeline) = &mut state.timeline {
                    timeline.started(index, pid);
                }
                state.events.defer(Level::DEBUG, move || {
                    tracing::debug!(worker = index, pid, "worker started");
                });
            }
            ChildEvent::Killed(cause) => {
                state.workers[index].server_end = cause;
                state.workers[index].kill();
            }
            ChildEvent::Failed(error) => {
                self.on_worker_exit(&mut state, index, ExitReason::Unknown, None, Some(error));
            }
            ChildEvent::Ended { reason, peak_rss_bytes } => {
                self.on_worker_exit(&mut state, index, reason, peak_rss_bytes, None);
            }
        }
        state.end_broken();
        // The one that ended may have been surplus, and all others asleep.
        self.restart_dormant(&mut state);
        state.drive();
        self.arm_supervisor(&mut state);
        drop(state);
        if let Some(link) = permitted {
            link.permit();
        }
        self.changed.notify_all();
    }

    /// Steps 2 to 4 for the worker at `index`, which writes nothing any more.
    pub(crate) fn on_worker_exit(
        &self,
        state: &mut State,
        index: usize,
        reason: ExitReason,
        peak_rss_bytes: Option<u64>,
        failure: Option<io::Error>,
    ) {
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::HostWorkerExit);
        state.drain_dead(index);
        let logs = state.finish_logs_of(index);
        let slot = &mut state.workers[index];
        let cause = match slot.state {
            WorkerState::Retiring(cause) => Some(cause),
            _ => None,
        };
        let ready = slot.host_side.is_ready();
        let pid = slot.pid;
        let crash_message = slot.host_side.crash_message().or_else(|| corrupt_text(cause));
        let crash_message = crash_message.or_else(|| slot.server_end.take());
        let streams = std::mem::take(&mut slot.streams);
        streams.stop();
        let (stdout_tail, stderr_tail) = (streams.stdout_tail(), streams.stderr_tail());
        let failure = failure.and_then(failure_text);
        let running = slot.host_side.running();
        let running_task = slot.host_side.running_task();
        state.record_exit(index, running_task, cause, reason);
        let slot = &mut state.workers[index];
        let (started, untouched) = slot.host_side.classify_in_flight();
        let has_started = !started.is_empty();
        sweep_lent(state, index, &started);
        state.workers[index].release();
        state.events.defer(Level::DEBUG, move || {
            tracing::debug!(worker = index, pid, %reason, ?cause, "worker ended");
        });
        let out_of_memory = is_killed_by_others(reason, cause) && oom::attribute();
        for id in untouched.into_iter().rev() {
            state.requeue_first(id);
        }
        for (seq, id) in started.into_iter().rev() {
            let death = Death {
                worker: index,
                out_of_memory,
                peak_rss_bytes,
                phase: phase_of(seq, running),
                stdout_tail: stdout_tail.clone(),
                stderr_tail: stderr_tail.clone(),
                log_tail: log_tail(state, id, logs.as_deref()),
                ..report(pid, reason, crash_message.clone())
            };
            fail_or_retry(state, id, cause, death);
        }
        let is_death = has_started || reason != ExitReason::Code(0);
        let stderr = stderr_tail.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let words = crash_message.or(failure.clone()).or(stderr);
        let end = WorkerExit { ready, cause, is_death, reason, failure, words };
        self.replace(state, index, &end);
    }

    fn replace(&self, state: &mut State, index: usize, end: &WorkerExit) {
        #[cfg(feature = "failpoints")]
        failpoint::hit(Point::HostReplace);
        let WorkerExit { ready, cause, is_death, reason, failure, words } = end;
        let is_alone = !state.workers.iter().any(WorkerSlot::is_occupied);
        let slot = &mut state.workers[index];
        if *ready {
            slot.start_failures = 0;
        } else if cause.is_none() {
            let is_own = failure.is_some() || !reason.is_from_outside();
            slot.start_failures += if is_own { OWN_FAILURE } else { 1 };
            let is_abandoned = slot.start_failures >= FAILURES_MAX;
            let words = words.as_deref().unwrap_or(child::unready_message(*reason));
            let text = format!("worker {index} {reason} before it was ready: {words}");
            if is_abandoned {
                state.break_for(&text);
            }
            state.start_failure = Some(text);
        }
        let is_ending = matches!(cause, Some(RetireCause::Stopped | RetireCause::PoolEnds));
        if is_ending || !self.is_wanted(state) || state.is_owed_to_others(index) {
            return;
        }
        let is_needed = !state.queue.is_empty() || !state.workers[index].pinned.is_empty();
        if *cause == Some(RetireCause::Idle) && !is_needed {
            state.workers[index].state = WorkerState::Dormant;
            state.count_dormant();
            return;
        }
        state.counters.restarts.note(*cause, *is_death);
        match failure {
            // Other workers run. The system may have room for another process later.
            Some(cause) if !is_alone => self.retry_later(state, cause),
            _ => self.fill(state, index),
        }
    }

    /// Starts a worker in an empty slot. Without a fork server, the supervisor first starts one
    /// outside the mutex, because that takes milliseconds.
    pub(crate) fn fill(&self, state: &mut State, index: usize) {
        match self.server_if_alive() {
            Some(server) => {
                if let Err(error) = self.start_worker(state, index, &server) {
                    self.note_failure(state, index, &error);
                }
            }
            None => {
                state.workers[index].state = WorkerState::Vacant;
                state.needs_server = true;
                self.schedule_check(state, Instant::now());
            }
        }
    }

    /// A worker could not be started. Another attempt follows later. After several failures in a
    /// row the pool breaks, if it has no other worker.
    fn note_failure(&self, state: &mut State, index: usize, error: &Error) {
        let slot = &mut state.workers[index];
        slot.state = WorkerState::Vacant;
        slot.start_failures = slot.start_failures.saturating_add(OWN_FAILURE);
        let is_abandoned = slot.start_failures >= FAILURES_MAX;
        if is_abandoned && !state.workers.iter().any(WorkerSlot::is_occupied) {
            state.break_for(&format!("no worker could be started: {error}"));
        } else {
            self.retry_later(state, &error.to_string());
        }
    }

    pub(crate) fn retry_later(&self, state: &mut State, cause: &str) {
        let text = cause.to_owned();
        state.events.defer(Level::WARN, move || {
            tracing::warn!(cause = text, "a worker could not be started");
        });
        state.retry_cause = Some(cause.to_owned());
        state.start_failure = Some(cause.to_owned());
        self.schedule_check(state, Instant::now() + RETRY_DELAY);
    }

    /// Starts a fork server if some slot waits for one. Call it without the mutex.
    pub(crate) fn start_needed_server(&self) -> Result<()> {
        let is_needed = {
            let state = self.lock();
            state.needs_server || state.retry_cause.is_some()
        };
        if is_needed { self.ensure_server().map(drop) } else { Ok(()) }
    }

    /// Starts missing workers again, each in its own slot, as many as are missing after the
    /// replacement of those that leave. `server` is the outcome of starting a fork server.
    pub(crate) fn fill_vacant(&self, state: &mut State, server: &Result<()>) {
        let was_tried = state.retry_cause.take().is_some();
        let needed_server = std::mem::take(&mut state.needs_server);
        if !was_tried && !needed_server {
            return;
        }
        let replaced = state.workers.iter().filter(|slot| slot.awaits_successor()).count();
        for index in state.vacant() {
            if state.may_start() && state.available_workers() + replaced < state.target {
                match server {
                    Ok(()) => self.fill(state, index),
                    Err(error) => self.note_failure(state, index, error),
                }
            }
        }
    }

    /// Whether the pool needs another worker.
    pub(crate) fn is_wanted(&self, state: &State) -> bool {
        state.may_start() && state.available_workers() < state.target
    }

    /// Breaks the pool after a panic of the supervisor, and kills its workers: the record of their
    /// tasks may be inconsistent.
    pub(crate) fn break_and_kill(&self, cause: &str) {
        let mut state = self.lock();
        if !matches!(state.life, Lifecycle::Closed | Lifecycle::Broken(_)) {
            state.break_for(cause);
        }
        for index in 0..state.workers.len() {
            state.retire(index, RetireCause::PoolBroke);
            state.workers[index].kill();
        }
        self.schedule_check(&mut state, Instant::now() + KILL_TIMEOUT);
        self.arm_supervisor(&mut state);
        drop(state);
        self.changed.notify_all();
    }

    /// Handles the end of file on a worker's socket: stops listening to it.
    pub(crate) fn link_closed(&self, index: usize, incarnation: u64) {
        let mut state = self.lock();
        let Some(slot) = state.workers.get_mut(index) else { return };
        if slot.incarnation == incarnation {
            // Its last result may say why it leaves.
            state.drain_worker(index);
            let slot = &mut state.workers[index];
            let is_ready = slot.host_side.is_ready();
            let link = slot.link.take();
            if is_ready {
                // It is dying, or its task has closed descriptors that are not its own. Then it
                // can neither ring nor ask for spans, and is replaced after the task.
                state.retire(index, RetireCause::Leaving(LeaveReason::Unclean));
                state.workers[index].host_side.stop();
                state.drive();
                self.arm_supervisor(&mut state);
            }
            if let Some(link) = link {
                drop(state);
                link.close();
            }
        }
    }
}

/// The crash message of a worker that was killed for what it wrote.
fn corrupt_text(cause: Option<RetireCause>) -> Option<String> {
    (cause == Some(RetireCause::Corrupt)).then(|| CORRUPT.to_owned())
}

/// The last log records of a task.
pub(super) fn log_tail(state: &State, id: TaskId, logs: Option<&LogSource>) -> Vec<String> {
    let number = state.tasks.get(id).and_then(|entry| entry.call()).map(|call| call.number);
    number.zip(logs).map_or(Vec::new(), |(number, logs)| logs.last_records(number))
}

/// The text of a failure to start a worker. `None` if the server was killed before it could answer:
/// the next server may succeed.
fn failure_text(failure: io::Error) -> Option<String> {
    (failure.kind() != io::ErrorKind::BrokenPipe).then(|| failure.to_string())
}

/// Whether SIGKILL came from outside this pool, perhaps from the kernel.
fn is_killed_by_others(reason: ExitReason, cause: Option<RetireCause>) -> bool {
    reason == ExitReason::Signal(SIGKILL)
        && cause.is_none_or(|cause| cause.is_departure() && cause != RetireCause::Stopped)
}

/// The crash message of a worker that left none and overwrote the words of the host.
const CORRUPT: &str = "it wrote over memory that it shares with the host";

/// The signal that the kernel sends when memory is exhausted.
const SIGKILL: i32 = 9;

/// How a worker ended, for the decision whether to replace it.
struct WorkerExit {
    /// It had been ready.
    ready: bool,
    /// Why it was retired.
    cause: Option<RetireCause>,
    /// It did not leave by itself while idle.
    is_death: bool,
    reason: ExitReason,
    /// Why it did not start, or could not be watched.
    failure: Option<String>,
    /// Its crash message, else the failure, else what it wrote to its standard error.
    words: Option<String>,
}

/// The weight of a death before the worker was ready. A death that may have come from outside has
/// the weight 1.
const OWN_FAILURE: u32 = 4;
/// The pool breaks after three deaths in a row on one slot, or a dozen that may have come from
/// outside.
const FAILURES_MAX: u32 = 3 * OWN_FAILURE;
/// The pause before the next attempt to fill an empty slot.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Frees the locks that a dead worker held in memory that it was lent: for its initializer, for the
/// tasks that it had started, and for earlier ones.
fn sweep_lent(state: &State, index: usize, started: &[(u64, TaskId)]) {
    let first = state.initializers.iter().chain(&state.state_maker);
    let first = first.flat_map(|initializer| initializer.leases.iter());
    let calls = started.iter().filter_map(|&(_, id)| state.tasks.get(id)?.call());
    let calls = calls.chain(&state.workers[index].abandoned_calls);
    let others = first.filter_map(Lease::object).chain(calls.flat_map(Call::lent));
    state.workers[index].sweep(others);
}

/// Fails a task that had started, or queues it again if that is allowed.
pub(crate) fn fail_or_retry(
    state: &mut State,
    id: TaskId,
    cause: Option<RetireCause>,
    mut death: Death,
) {
    let Some(entry) = state.tasks.get_mut(id) else { return };
    let error = match cause {
        Some(RetireCause::TimedOut(late, after)) if late == id => {
            TaskError::TimedOut { after, items: None }
        }
        Some(RetireCause::Killed(killed)) if killed == id => TaskError::Cancelled,
        Some(RetireCause::PoolEnds) => TaskError::Cancelled,
        Some(RetireCause::PoolBroke) => {
            let error = match &state.life {
                Lifecycle::Broken(cause) => broken(cause),
                _ => Error::Closed { what: "the pool" },
            };
            state.complete(id, Err(Box::new(error)));
            return;
        }
        _ => {
            entry.deaths += 1;
            let may_run_again =
                entry.deaths <= entry.task_options.retries && !entry.is_cancel_requested;
            if may_run_again && !entry.is_done() {
                state.counters.retried += 1;
                state.requeue_first(id);
                return;
            }
            death.task = entry.call().map_or("a task", |call| call.name);
            TaskError::Died(Box::new(death))
        }
    };
    state.complete(id, Err(Box::new(Error::Task(error))));
}
