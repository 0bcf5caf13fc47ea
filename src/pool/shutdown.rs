//! How a pool ends.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::abandoned::DEATH;
use crate::pool::callbacks::is_callback_thread;
use crate::pool::core::Core;
use crate::pool::state::{Lifecycle, State, WaitTarget};
use crate::pool::worker_slot::{Cause, WorkerSlot};
use crate::sys::thread;
use crate::worker::link::ChildLink;

/// What [`Pool::shutdown_with`] does about the tasks that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Shutdown {
    /// Runs them all, and waits for that.
    #[default]
    Wait,
    /// Cancels those that have not started, asks the others to end early
    /// ([`is_cancelled`](crate::is_cancelled)), and waits for them.
    Cancel,
    /// Runs them all in the background, and returns at once. The handles stay good. If the program
    /// ends first, they end with it.
    Background,
}

impl Pool {
    /// Runs every task that was submitted, then ends the workers, and returns when all that has
    /// happened and all callbacks have run.
    ///
    /// The time is not bounded: a task without a timeout that hangs makes this hang, as does a
    /// callback. (From inside a callback it does not wait for callbacks.)
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if the pool broke; [`Error::Closed`] in a process that was forked from the
    /// pool's, where it does nothing.
    pub fn shutdown(self) -> Result<()> {
        self.core.check_ours()?;
        self.core.close(false)
    }

    /// Ends the pool, with a choice of what becomes of its tasks.
    ///
    /// # Errors
    ///
    /// As [`shutdown`](Pool::shutdown). [`Error::Os`] if no thread can be started for
    /// [`Shutdown::Background`]; the pool ends then as if it were dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, Shutdown};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let tasks: Vec<_> = (0..50u8).map(|n| pool.submit(|n: u8| n, n)).collect::<Result<_, _>>()?;
    /// pool.shutdown_with(Shutdown::Cancel)?;
    /// assert!(tasks.iter().all(|task| task.is_finished()));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn shutdown_with(self, mode: Shutdown) -> Result<()> {
        self.core.check_ours()?;
        match mode {
            Shutdown::Wait => self.core.close(false),
            Shutdown::Cancel => self.core.close(true),
            Shutdown::Background => {
                let closes = move || drop(self.core.close(false));
                let started = thread::start("brigade-close", thread::STACK_BYTES, closes);
                started.map(drop).map_err(|e| Error::os("clone", "a thread that shuts down", e))
            }
        }
    }

    /// Ends the pool now: cancels what has not started, asks what runs to end early, waits for
    /// that up to the pool's grace, and kills what is left. From then on the pool is closed.
    ///
    /// Tasks that were ended so are [`TaskError::Cancelled`](crate::TaskError::Cancelled). A pool
    /// that has ended already stays so, without an error.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a process that was forked from the pool's, where it does nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let endless = pool.submit(|()| while !brigade::is_cancelled() {}, ())?;
    /// pool.terminate()?;
    /// assert!(endless.is_finished());
    /// assert!(matches!(pool.submit(|n: u8| n, 7), Err(Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn terminate(&self) -> Result<()> {
        self.core.check_ours()?;
        self.core.end(self.core.config.grace, LEAVE);
        Ok(())
    }

    /// As [`terminate`](Pool::terminate), without any grace.
    ///
    /// # Errors
    ///
    /// As [`terminate`](Pool::terminate).
    pub fn kill(&self) -> Result<()> {
        self.core.check_ours()?;
        self.core.end(Duration::ZERO, Duration::ZERO);
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.core.is_ours() {
            let deadline = Instant::now().checked_add(self.core.config.grace);
            self.core.end(self.core.config.grace, LEAVE);
            self.core.await_callbacks(deadline);
        }
    }
}

impl Core {
    /// Takes no more tasks, waits for those there are, and ends the workers.
    fn close(&self, is_cancelling: bool) -> Result<()> {
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
    fn await_callbacks(&self, deadline: Option<Instant>) {
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
    pub(super) fn end(&self, grace: Duration, leave: Duration) {
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
    pub(super) fn stop_workers(&self, start_deadline: Instant, deadline: Instant) {
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
const LEAVE: Duration = Duration::from_secs(5);
