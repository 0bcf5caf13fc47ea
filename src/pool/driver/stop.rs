//! Ending a pool and its workers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tracing::Level;

use crate::error::{Error, Result};
use crate::pool::driver::core::{Core, KILL_TIMEOUT};
use crate::pool::record::callbacks::is_callback_thread;
use crate::pool::record::state::{Lifecycle, State, WaitTarget};
use crate::pool::record::timeline::Timeline;
use crate::pool::record::trace_file::TraceTotals;
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot};
use crate::process::diagnostics;
use crate::worker::link::ChildLink;

impl Core {
    /// Refuses new tasks, waits for those there are, and ends the workers.
    pub(crate) fn close(&self, is_cancelling: bool) -> Result<()> {
        {
            let mut state = self.lock();
            if state.life == Lifecycle::Open {
                state.life = Lifecycle::Draining;
            }
            if is_cancelling {
                state.cancel_all();
            }
        }
        self.wait(None, WaitTarget::All, |state| (state.unfinished == 0).then_some(()));
        let broken = match &self.lock().life {
            Lifecycle::Broken(cause) => Some(cause.clone()),
            _ => None,
        };
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        let written = self.stop_workers(deadline, deadline);
        self.await_callbacks(None);
        broken.map_or(written, |cause| Err(Error::Broken { what: "the pool", cause }))
    }

    /// Waits until the callbacks of all ended tasks have run. On the callback thread it returns at
    /// once.
    pub(crate) fn await_callbacks(&self, deadline: Option<Instant>) {
        if is_callback_thread() {
            return;
        }
        let mut state = self.lock();
        while state.callbacks_due > 0 && deadline.is_none_or(|at| Instant::now() < at) {
            state = self.wait_changed(state, deadline);
        }
    }

    /// Ends the pool: waits up to `grace` for running tasks and initializers, then kills. Idle
    /// workers have `leave` to end by themselves. Idempotent.
    pub(crate) fn end(&self, grace: Duration, leave: Duration) {
        // A grace that the clock cannot represent has no end.
        let deadline = Instant::now().checked_add(grace);
        {
            let mut state = self.lock();
            if state.life == Lifecycle::Closed {
                return;
            }
            if state.life == Lifecycle::Open {
                state.life = Lifecycle::Draining;
            }
            state.cancel_all();
        }
        self.wait(deadline, WaitTarget::All, |state| (state.unfinished == 0).then_some(()));
        let mut state = self.lock();
        for index in 0..state.workers.len() {
            if state.workers[index].host_side.live() > 0 || state.unfinished > 0 {
                state.retire(index, RetireCause::PoolEnds);
                state.workers[index].kill();
            }
        }
        drop(state);
        let leave = Instant::now() + leave;
        // A failure was reported to `tracing`.
        let _ = self.stop_workers(deadline.map_or(leave, |deadline| deadline.min(leave)), leave);
    }

    /// Asks the workers to leave and waits for them. Kills those that are still starting at
    /// `start_deadline` (their initializer may hang), and those that have not left at `deadline`.
    ///
    /// # Errors
    ///
    /// The pool's timeline could not be written.
    fn stop_workers(&self, start_deadline: Instant, deadline: Instant) -> Result<()> {
        let mut state = self.lock();
        if state.life == Lifecycle::Draining {
            // A worker that started after this would never be asked to leave.
            state.life = Lifecycle::Stopping;
        }
        for index in 0..state.workers.len() {
            state.retire(index, RetireCause::Stopped);
            state.workers[index].host_side.stop();
        }
        let starting = |slot: &WorkerSlot| slot.is_occupied() && !slot.host_side.is_ready();
        while state.workers.iter().any(starting) && Instant::now() < start_deadline {
            state = self.wait_changed(state, Some(start_deadline));
        }
        state.kill_workers(starting);
        let occupied = |state: &State| state.workers.iter().any(WorkerSlot::is_occupied);
        while occupied(&state) && Instant::now() < deadline {
            state = self.wait_changed(state, Some(deadline));
        }
        state.kill_workers(WorkerSlot::is_occupied);
        let given_up_at = Instant::now() + KILL_TIMEOUT;
        while occupied(&state) && Instant::now() < given_up_at {
            state = self.wait_changed(state, Some(given_up_at));
        }
        for index in 0..state.workers.len() {
            if state.workers[index].is_occupied() {
                self.abandon_worker(&mut state, index);
            }
        }
        state.life = Lifecycle::Closed;
        state.end_remaining();
        // While there is a callback thread: it calls the wakers, and drops them without the mutex.
        state.wake_permit_waiters();
        let links: Vec<Arc<ChildLink>> =
            state.workers.iter_mut().filter_map(|slot| slot.link.take()).collect();
        // With the last pool, the callback thread ends when it has run what is due.
        let callbacks = state.callbacks.take();
        // Abandoned workers may still use what their initializers were lent.
        let is_last = !state.workers.iter().any(|slot| slot.is_abandoned);
        let initializers =
            if is_last { std::mem::take(&mut state.initializers) } else { Vec::new() };
        let maker = state.state_maker.take_if(|_| is_last);
        let logs = state.logs.take_ended();
        let timeline = state.take_timeline();
        drop(state);
        logs.iter().for_each(|logs| logs.emit_all());
        *self.publisher.lock().unwrap_or_else(PoisonError::into_inner) = None;
        drop((callbacks, initializers, maker));
        links.iter().for_each(|link| link.close());
        self.supervisor.remove(self.doorbell_handler);
        // The server of the last pool ends here.
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
        timeline.map_or(Ok(()), |timeline| finish_timeline(*timeline).map(drop))
    }
}

/// Completes the file of a timeline, and reports a failure to `tracing`.
///
/// # Errors
///
/// The first failure to write.
pub(crate) fn finish_timeline(timeline: Timeline) -> Result<TraceTotals> {
    timeline.finish().inspect_err(|error| {
        let error = error.to_string();
        diagnostics::event(Level::ERROR, move || {
            tracing::error!(error, "a timeline could not be written");
        });
    })
}

impl State {
    /// Kills the workers in the chosen slots. A worker that is not forked yet is killed when it is,
    /// because its slot is retired.
    fn kill_workers(&mut self, which: impl Fn(&WorkerSlot) -> bool) {
        for index in 0..self.workers.len() {
            if which(&self.workers[index]) {
                self.retire(index, RetireCause::PoolEnds);
                self.workers[index].kill();
            }
        }
    }
}

/// How long idle workers may take to leave.
pub(crate) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
