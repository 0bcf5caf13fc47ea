//! Workers that were killed and do not end.
//!
//! A worker that sleeps in the kernel, or is frozen, is abandoned after [`KILL_TIMEOUT`]. Its slot
//! keeps its queue pair, its spans and everything that its tasks were lent until its pidfd is
//! readable. Then its exit is handled like any other. Its tasks end at once, except those that work
//! on memory of their callers. Another slot gets a worker instead.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracing::Level;

use crate::error::{Death, Error};
use crate::exit::ExitReason;
use crate::pool::driver::core::{Core, KILL_TIMEOUT};
use crate::pool::driver::recovery::{fail_or_retry, log_tail};
use crate::pool::record::outcome::broken;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot, WorkerState};
use crate::process::fork_server::ChildEvent;
use crate::process::supervisor::{Handler, HandlerId};
use crate::worker::call::TaskId;
use crate::worker::death::{phase_of, report};
use crate::worker::queue_pair::LeaveReason;

/// The crash message of an abandoned worker.
const NO_END: &str = "it was killed and has not ended: it sleeps in the kernel, or is frozen";

impl Core {
    /// Abandons the workers that were killed more than [`KILL_TIMEOUT`] ago and have not ended.
    /// Returns when to check again.
    pub(crate) fn abandon_unkillable(&self, state: &mut State) -> Option<Instant> {
        let (now, mut next) = (Instant::now(), None::<Instant>);
        for index in 0..state.workers.len() {
            let slot = &state.workers[index];
            let Some(killed_at) = slot.killed_at.filter(|_| slot.is_occupied()) else { continue };
            let end = killed_at + KILL_TIMEOUT;
            if end <= now {
                self.abandon_worker(state, index);
            } else {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        state.end_broken();
        next
    }

    /// Abandons the worker at `index`, which was killed and has not ended.
    pub(crate) fn abandon_worker(&self, state: &mut State, index: usize) {
        if state.workers[index].child.is_none() {
            // Its start was not reported, so it never gets a permit to begin.
            let unknown = io::Error::from(io::ErrorKind::BrokenPipe);
            return self.on_worker_exit(state, index, ExitReason::Unknown, None, Some(unknown));
        }
        state.retire(index, RetireCause::Leaving(LeaveReason::Unclean));
        state.drain_worker(index);
        let slot = &mut state.workers[index];
        slot.is_abandoned = true;
        let WorkerState::Retiring(cause) = slot.state else { return };
        let pid = slot.pid;
        state.events.defer(Level::ERROR, move || {
            tracing::error!(worker = index, pid, ?cause, "worker abandoned: {NO_END}");
        });
        self.await_end(&state.workers[index], index);
        state.end_tasks_of_abandoned(index, cause);
        self.replace_abandoned(state, index, cause);
    }

    /// Lets the supervisor watch for the end of the worker in `slot`. The watch keeps the pool's
    /// memory until then, even if the pool is dropped.
    fn await_end(&self, slot: &WorkerSlot, index: usize) {
        let (Some(child), Some(core)) = (&slot.child, self.own.upgrade()) else { return };
        let incarnation = slot.incarnation;
        let is_watched = child.as_fd().try_clone_to_owned().is_ok_and(|pidfd| {
            let (core, token) = (Arc::clone(&core), OnceLock::new());
            let end = Arc::new(AbandonedWatch { pidfd, core, index, incarnation, token });
            let added = self.supervisor.add(Arc::clone(&end) as Arc<dyn Handler>);
            added.is_ok_and(|token| end.token.set(token).is_ok())
        });
        if !is_watched {
            // Its end cannot be noticed, so the memory that it can write to is never freed.
            std::mem::forget(core);
        }
    }

    /// Starts a worker in another slot to replace the abandoned one at `index`, unless more workers
    /// are abandoned than the pool should have: the next one may not end either.
    fn replace_abandoned(&self, state: &mut State, index: usize, cause: RetireCause) {
        if !self.is_wanted(state) || matches!(cause, RetireCause::Stopped | RetireCause::PoolEnds) {
            return;
        }
        let given_up = state.workers.iter().filter(|slot| slot.is_abandoned).count();
        if given_up > state.target {
            let text = format!("{given_up} workers were abandoned, worker {index} last: {NO_END}");
            return match state.workers.iter().any(WorkerSlot::is_occupied) {
                true => self.retry_later(state, &text),
                false => state.break_for(&text),
            };
        }
        state.counters.restarts.note(Some(cause), true);
        let vacant = state.vacant().first().copied();
        match vacant.map_or_else(|| self.add_slot(state), Ok) {
            Ok(vacant) => self.fill(state, vacant),
            Err(error) => self.retry_later(state, &error.to_string()),
        }
    }
}

impl State {
    /// Ends the tasks of an abandoned worker, except those that work on memory of their callers.
    /// The slot keeps what they were lent.
    fn end_tasks_of_abandoned(&mut self, index: usize, cause: RetireCause) {
        // Its ring can be read, though it has not ended.
        let logs = self.finish_logs_of(index);
        let State { workers, tasks, .. } = self;
        let (slot, is_over) = (&mut workers[index], |id: TaskId| {
            tasks.get(id).is_none_or(|entry| !entry.task_options.borrows)
        });
        let running = slot.host_side.running();
        let mut over = slot.host_side.take_abandoned(is_over);
        if let Some(held_result) = &mut slot.held_result
            && held_result.task.is_some_and(is_over)
        {
            over.extend(held_result.task.take().map(|id| (0, id)));
        }
        for (seq, id) in over {
            let log_tail = log_tail(self, id, logs.as_deref());
            let slot = &mut self.workers[index];
            slot.abandoned_calls.extend(self.tasks.take_call(id));
            let words = slot.host_side.crash_message().unwrap_or_else(|| NO_END.to_owned());
            let death = Death {
                worker: index,
                phase: phase_of(seq, running),
                stdout_tail: slot.streams.stdout_tail(),
                stderr_tail: slot.streams.stderr_tail(),
                log_tail,
                ..report(slot.pid, ExitReason::Unknown, Some(words))
            };
            fail_or_retry(self, id, Some(cause), death);
        }
    }

    /// Ends all tasks of a broken pool if all its workers have ended.
    pub(crate) fn end_broken(&mut self) {
        let Lifecycle::Broken(cause) = &self.life else { return };
        if self.workers.iter().any(WorkerSlot::has_worker) {
            return;
        }
        let cause = cause.clone();
        for id in self.tasks.unfinished() {
            self.complete(id, Err(Box::new(broken(&cause))));
        }
    }

    /// Ends the remaining tasks of a pool that has ended, except those whose abandoned workers may
    /// still write to memory of their callers.
    pub(crate) fn end_remaining(&mut self) {
        for id in self.tasks.unfinished() {
            let is_kept = self.tasks.get(id).is_some_and(|entry| {
                let slot = entry.offer().map(|offer| &self.workers[offer.worker]);
                entry.task_options.borrows && slot.is_some_and(|slot| slot.is_abandoned)
            });
            if !is_kept {
                self.complete(id, Err(Box::new(Error::Closed { what: "the pool" })));
            }
        }
    }
}

/// Watches for the end of an abandoned worker.
struct AbandonedWatch {
    pidfd: OwnedFd,
    core: Arc<Core>,
    index: usize,
    incarnation: u64,
    token: OnceLock<HandlerId>,
}

impl Handler for AbandonedWatch {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readable(&self) {
        let ended = ChildEvent::Ended { reason: ExitReason::Unknown, peak_rss_bytes: None };
        self.core.child_event(self.index, self.incarnation, ended);
        if let Some(&token) = self.token.get() {
            self.core.supervisor.remove(token);
        }
    }

    fn deadline(&self) {}
}
