//! Workers that were killed and do not end.
//!
//! One that sleeps in the kernel, or is frozen, is given up after [`DEATH`]. Its slot stays as it
//! is, with its queue pair, its spans and all that its tasks were lent, until its pidfd is
//! readable; then it is handled as any other. Its tasks are over before that, but for those that
//! work on memory of their callers. Another slot takes its place.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tracing::Level;

use crate::error::{Death, Error};
use crate::exit::ExitReason;
use crate::pool::driver::core::{Core, DEATH};
use crate::pool::driver::recovery::fail_or_retry;
use crate::pool::record::outcome::broken;
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::worker_slot::{Cause, WorkerSlot, WorkerState};
use crate::process::fork_server::ChildEvent;
use crate::process::supervisor::{Handler, Token};
use crate::worker::call::TaskId;
use crate::worker::death::{phase_of, report};
use crate::worker::queue_pair::Leave;

/// What to say of a worker that was given up.
const NO_END: &str = "it was killed and has not ended: it sleeps in the kernel, or is frozen";

impl Core {
    /// Gives up the workers that were killed a while ago and have not ended; returns when to look
    /// again.
    pub(crate) fn abandon_unkillable(&self, state: &mut State) -> Option<Instant> {
        let (now, mut next) = (Instant::now(), None::<Instant>);
        for index in 0..state.workers.len() {
            let slot = &state.workers[index];
            let Some(killed_at) = slot.killed_at.filter(|_| slot.is_occupied()) else { continue };
            let end = killed_at + DEATH;
            if end <= now {
                self.abandon_worker(state, index);
            } else {
                next = Some(next.map_or(end, |next| next.min(end)));
            }
        }
        state.end_broken();
        next
    }

    /// Goes on without the worker at `index`, which was killed and has not ended.
    pub(crate) fn abandon_worker(&self, state: &mut State, index: usize) {
        if state.workers[index].child.is_none() {
            // Its start was not reported: it has no permit, and will not get one.
            let unknown = io::Error::from(io::ErrorKind::BrokenPipe);
            return self.on_worker_exit(state, index, ExitReason::Unknown, None, Some(unknown));
        }
        state.retire(index, Cause::Leaving(Leave::Unclean));
        state.drain_worker(index);
        let slot = &mut state.workers[index];
        slot.is_abandoned = true;
        let WorkerState::Retiring(cause) = slot.state else { return };
        let pid = slot.pid;
        state.events.defer(Level::ERROR, move || {
            tracing::error!(worker = index, pid, ?cause, "worker given up: {NO_END}");
        });
        self.await_end(&state.workers[index], index);
        state.end_tasks_of_abandoned(index, cause);
        self.substitute(state, index, cause);
    }

    /// Has the supervisor watch for the end of the worker in `slot`. Until then it keeps the pool's
    /// memory, also when nobody else does.
    fn await_end(&self, slot: &WorkerSlot, index: usize) {
        let (Some(child), Some(core)) = (&slot.child, self.own.upgrade()) else { return };
        let incarnation = slot.incarnation;
        let is_watched = child.as_fd().try_clone_to_owned().is_ok_and(|pidfd| {
            let (core, token) = (Arc::clone(&core), OnceLock::new());
            let end = Arc::new(LateEnd { pidfd, core, index, incarnation, token });
            let added = self.supervisor.add(Arc::clone(&end) as Arc<dyn Handler>);
            added.is_ok_and(|token| end.token.set(token).is_ok())
        });
        if !is_watched {
            // Nobody will hear of its end: what it knows of is never given to another.
            std::mem::forget(core);
        }
    }

    /// Has another worker take the place of the one at `index`, which was given up; not without
    /// end, because what has befallen that one may befall each.
    fn substitute(&self, state: &mut State, index: usize, cause: Cause) {
        if !self.is_wanted(state) || matches!(cause, Cause::Stopped | Cause::PoolEnds) {
            return;
        }
        let given_up = state.workers.iter().filter(|slot| slot.is_abandoned).count();
        if given_up > state.target {
            let text = format!("{given_up} workers were given up, worker {index} last: {NO_END}");
            return match state.workers.iter().any(WorkerSlot::is_occupied) {
                true => self.retry_later(state, &text),
                false => state.break_for(&text),
            };
        }
        state.counters.restarts.note(Some(cause), true);
        let vacant = state.position(WorkerState::Vacant);
        match vacant.map_or_else(|| self.add_slot(state), Ok) {
            Ok(vacant) => self.fill(state, vacant),
            Err(error) => self.retry_later(state, &error.to_string()),
        }
    }
}

impl State {
    /// Ends the tasks of a worker that was given up, but for those that work on memory of their
    /// callers. What they were lent stays with the slot.
    fn end_tasks_of_abandoned(&mut self, index: usize, cause: Cause) {
        let State { workers, tasks, .. } = self;
        let (slot, is_over) = (&mut workers[index], |id: TaskId| {
            tasks.get(id).is_none_or(|entry| !entry.rules.borrows)
        });
        let running = slot.queues.running();
        let mut over = slot.queues.give_up(is_over);
        if let Some(held_result) = &mut slot.held_result
            && held_result.task.is_some_and(is_over)
        {
            over.extend(held_result.task.take().map(|id| (0, id)));
        }
        for (seq, id) in over {
            let slot = &mut self.workers[index];
            slot.abandoned_calls.extend(self.tasks.take_call(id));
            let words = slot.queues.last_words().unwrap_or_else(|| NO_END.to_owned());
            let death = Death {
                worker: index,
                phase: phase_of(seq, running),
                stderr_tail: slot.stderr.as_ref().map(|stderr| stderr.text()),
                ..report(slot.pid, ExitReason::Unknown, Some(words))
            };
            fail_or_retry(self, id, Some(cause), death);
        }
    }

    /// Ends all tasks of a broken pool whose workers have ended: nobody else would.
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

    /// Ends all tasks that are left in a pool that has ended, but for those whose workers, which
    /// were given up, may still write to memory of their callers.
    pub(crate) fn end_left(&mut self) {
        for id in self.tasks.unfinished() {
            let is_kept = self.tasks.get(id).is_some_and(|entry| {
                let slot = entry.offer().map(|offer| &self.workers[offer.worker]);
                entry.rules.borrows && slot.is_some_and(|slot| slot.is_abandoned)
            });
            if !is_kept {
                self.complete(id, Err(Box::new(Error::Closed { what: "the pool" })));
            }
        }
    }
}

/// The end of a worker that was given up.
struct LateEnd {
    pidfd: OwnedFd,
    core: Arc<Core>,
    index: usize,
    incarnation: u64,
    token: OnceLock<Token>,
}

impl Handler for LateEnd {
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
