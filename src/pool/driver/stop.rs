//! Ending a pool and its workers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::{Core, DEATH};
use crate::pool::record::callbacks::is_callback_thread;
use crate::pool::record::state::{Lifecycle, State, WaitTarget};
use crate::pool::record::worker_slot::{Cause, WorkerSlot};
use crate::worker::link::ChildLink;

impl Core {
    /// Takes no more tasks, waits for those there are, and ends the workers.
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
        let deadline = Instant::now() + LEAVE;
        self.stop_workers(deadline, deadline);
        self.await_callbacks(None);
        broken.map_or(Ok(()), |cause| Err(Error::Broken { what: "the pool", cause }))
    }

    /// Waits until every callback has run whose task is over; not on the thread that runs them.
    pub(crate) fn await_callbacks(&self, deadline: Option<Instant>) {
        if is_callback_thread() {
            return;
        }
        let mut state = self.lock();
        while state.callbacks_due > 0 && deadline.is_none_or(|at| Instant::now() < at) {
            state = self.wait_changed(state, deadline);
        }
    }

    /// Ends the pool: waits up to `grace` for tasks and initializers that run, then kills.
    /// Workers with nothing to do have `leave` to end by themselves. Idempotent.
    pub(crate) fn end(&self, grace: Duration, leave: Duration) {
        // A grace that no clock can count is for ever.
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
            if state.workers[index].queues.live() > 0 || state.unfinished > 0 {
                state.retire(index, Cause::PoolEnds);
                state.workers[index].kill();
            }
        }
        drop(state);
        let leave = Instant::now() + leave;
        self.stop_workers(deadline.map_or(leave, |deadline| deadline.min(leave)), leave);
    }

    /// Sends the workers home and waits for them, killing those that are still starting at
    /// `start_deadline`, in an initializer that hangs perhaps, and those that linger past
    /// `deadline`.
    pub(crate) fn stop_workers(&self, start_deadline: Instant, deadline: Instant) {
        let mut state = self.lock();
        if state.life == Lifecycle::Draining {
            // A worker started from here on would never be told to leave.
            state.life = Lifecycle::Completion;
        }
        for index in 0..state.workers.len() {
            state.retire(index, Cause::Stopped);
            state.workers[index].queues.stop();
        }
        let starting = |slot: &WorkerSlot| slot.is_occupied() && !slot.queues.is_ready();
        while state.workers.iter().any(starting) && Instant::now() < start_deadline {
            state = self.wait_changed(state, Some(start_deadline));
        }
        state.kill_workers(starting);
        let occupied = |state: &State| state.workers.iter().any(WorkerSlot::is_occupied);
        while occupied(&state) && Instant::now() < deadline {
            state = self.wait_changed(state, Some(deadline));
        }
        state.kill_workers(WorkerSlot::is_occupied);
        let given_up_at = Instant::now() + DEATH;
        while occupied(&state) && Instant::now() < given_up_at {
            state = self.wait_changed(state, Some(given_up_at));
        }
        for index in 0..state.workers.len() {
            if state.workers[index].is_occupied() {
                self.abandon_worker(&mut state, index);
            }
        }
        state.life = Lifecycle::Closed;
        state.end_left();
        let links: Vec<Arc<ChildLink>> =
            state.workers.iter_mut().filter_map(|slot| slot.link.take()).collect();
        // The last pool's callback thread ends when it has run what is due.
        let callbacks = state.callbacks.take();
        // Workers that were given up may still have what their initializers were lent.
        let is_last = !state.workers.iter().any(|slot| slot.is_abandoned);
        let initializer = state.initializer.take_if(|_| is_last);
        drop(state);
        drop((callbacks, initializer));
        links.iter().for_each(|link| link.close());
        self.supervisor.remove(self.doorbell_token);
        // The last pool's server ends here.
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(server);
    }
}

impl State {
    /// Kills the workers in some slots. One that is not forked yet is killed when it is: the
    /// retirement says so.
    fn kill_workers(&mut self, which: impl Fn(&WorkerSlot) -> bool) {
        for index in 0..self.workers.len() {
            if which(&self.workers[index]) {
                self.retire(index, Cause::PoolEnds);
                self.workers[index].kill();
            }
        }
    }
}

/// How long workers with nothing to do may take to leave.
pub(crate) const LEAVE: Duration = Duration::from_secs(5);
