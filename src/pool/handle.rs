//! A submitted task, as its submitter holds it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::array::handoff;
use crate::error::{Error, Result, TaskError};
use crate::pool::core::{Core, Start};
use crate::pool::job;
use crate::pool::seat::Cause;
use crate::pool::state::Watch;
use crate::pool::task::{Outcome, TaskId, Value};

/// A task that was submitted to a [`Pool`](crate::Pool), and the way to its result.
///
/// Dropping a handle detaches its task: it runs all the same, and its result is thrown away.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// let task = pool.submit(|n: u64| n * n, 12)?;
/// assert_eq!(task.join()?, 144);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "dropping a handle detaches its task; its result and its error are lost"]
pub struct Handle<R> {
    core: Arc<Core>,
    /// `None` once the outcome has been taken.
    id: Option<TaskId>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Handle<R> {
    pub(super) fn new(core: Arc<Core>, id: TaskId) -> Handle<R> {
        Handle { core, id: Some(id), result: PhantomData }
    }

    /// Waits for the task and returns what its function returned.
    ///
    /// The waiting thread does the pool's work meanwhile: it collects results and hands out tasks.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if the function panicked, its worker died, or the task was cancelled,
    /// killed or timed out; [`Error::Broken`] or [`Error::Closed`] if the pool ended first.
    pub fn join(mut self) -> Result<R> {
        let id = self.usable()?;
        match self.core.wait(None, Watch::Tasks(&[id]), |state| Core::take(state, id)) {
            Some(outcome) => {
                self.id = None;
                open(outcome)
            }
            None => Err(Error::Closed { what: "the handle" }),
        }
    }

    /// Waits for the task, but no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if the task is not over by then: it goes on, and the handle can be
    /// asked again. Otherwise as [`join`](Handle::join); the outcome can be had only once, and
    /// every later call is [`Error::Closed`].
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        let id = self.usable()?;
        let deadline = Instant::now().checked_add(timeout);
        match self.core.wait(deadline, Watch::Tasks(&[id]), |state| Core::take(state, id)) {
            Some(outcome) => {
                self.id = None;
                open(outcome)
            }
            None => Err(Error::TimedOut { what: "the task", after: timeout }),
        }
    }
}

impl<R> Handle<R> {
    /// The task's id, if its outcome can be had: it was not taken before, and this is the
    /// process that submitted it. In a child that was forked from that, the pool's lock may be
    /// held by a thread that the child lacks, and its memory is not mapped.
    fn usable(&self) -> Result<TaskId> {
        if !self.core.is_ours() {
            return Err(Error::Closed { what: "a task of the process that this one forked from" });
        }
        self.id.ok_or(Error::Closed { what: "the handle" })
    }

    /// Whether the task is over: its outcome is there, or was taken.
    ///
    /// False may be out of date by the time it is returned; true stays true. In a process that
    /// was forked from the submitter's it is true: there is nothing to wait for.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let Ok(id) = self.usable() else { return true };
        let mut state = self.core.lock();
        state.drain();
        state.tasks.is_done(id)
    }

    /// Takes the task back if no worker has started it. Returns whether that was possible; the
    /// task then ends as [`TaskError::Cancelled`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|()| 7, ())?;
    /// let cancelled = task.cancel();
    /// assert_eq!(task.join().is_err(), cancelled);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cancel(&self) -> bool {
        self.usable().is_ok_and(|id| self.core.lock().cancel(id))
    }

    /// Ends the task, started or not: cancels it, or kills the worker that runs it, which is
    /// replaced. Other tasks are not affected. A task that has just finished stays finished.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] in a pool without processes ([`Start::InProcess`]);
    /// [`Error::Closed`] in a process that was forked from the submitter's.
    pub fn kill(&self) -> Result<()> {
        if self.core.config.start == Start::InProcess {
            return Err(Error::invalid("kill", "called", "asked of a pool that has workers"));
        }
        if self.id.is_none() {
            return Ok(());
        }
        let id = self.usable()?;
        let mut state = self.core.lock();
        if !state.cancel(id) {
            state.kill_task(id, Cause::Killed(id));
        }
        Ok(())
    }
}

/// Decodes an outcome.
pub(super) fn open<R: DeserializeOwned>(outcome: Outcome) -> Result<R> {
    open_with(outcome, job::decode)
}

/// Decodes an outcome by `decode`.
pub(super) fn open_with<R>(
    outcome: Outcome,
    decode: impl FnOnce(&[u8]) -> std::result::Result<R, String>,
) -> Result<R> {
    let Value { bytes, leases, .. } = outcome.map_err(|error| *error)?;
    let decoded = handoff::redeem(leases, || bytes.with(decode));
    decoded.map_err(|reason| {
        Error::Task(TaskError::Codec { what: "result", action: "decoded", reason })
    })
}

impl<R> Drop for Handle<R> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.core.detach(id);
        }
    }
}

impl<R> std::fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}
