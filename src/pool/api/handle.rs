//! The handle of a submitted task.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::error::{Error, Result, TaskError};
use crate::object::transfer;
use crate::pool::driver::core::Core;
use crate::pool::record::config::Start;
use crate::pool::record::outcome::{EncodedResult, Outcome};
use crate::pool::record::worker_slot::RetireCause;
use crate::process::panic;
use crate::worker::call::TaskId;
use crate::worker::invocation;

/// A task that was submitted to a [`Pool`](crate::Pool), with access to its result.
///
/// Dropping a handle detaches its task: it still runs, and its result is discarded. After
/// [`cancel_on_drop`](Handle::cancel_on_drop) it cancels the task.
///
/// With the feature `async`, a handle is a [`Future`] of what [`join`](Handle::join) returns.
///
/// # States
///
/// | the task             | `is_running` | `is_finished` | `cancel` returns        | `join_timeout(0)`      |
/// |----------------------|--------------|---------------|-------------------------|------------------------|
/// | waits                | false        | false         | true, and it never runs | [`Error::TimedOut`]    |
/// | runs                 | true         | false         | false, and requests it  | [`Error::TimedOut`]    |
/// | returned or failed   | false        | true          | false                   | its value or its error |
/// | was cancelled, killed| false        | true          | true                    | `Cancelled`            |
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
    /// Dropping it cancels the task.
    cancels: bool,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> Handle<R> {
    pub(crate) fn new(core: Arc<Core>, id: TaskId) -> Handle<R> {
        Handle { core, id: Some(id), cancels: false, result: PhantomData }
    }

    /// Waits for the task and returns what its function returned.
    ///
    /// While it waits, the calling thread does the pool's work: it collects results and hands out
    /// tasks.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if the function panicked, its worker died, or the task was cancelled,
    /// killed or timed out; [`Error::Broken`] or [`Error::Closed`] if the pool ended first.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).build()?;
    /// assert_eq!(pool.submit(|n: u64| n * n, 12)?.join()?, 144);
    /// let failed = pool.submit(|n: u64| 12 / n, 0)?.join();
    /// assert!(matches!(failed, Err(Error::Task(_))));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join(mut self) -> Result<R> {
        let id = self.usable()?;
        match self.core.outcome(id, None, true) {
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
    /// [`Error::TimedOut`] if the task is not over by then: it goes on, and the handle can be used
    /// again. Otherwise as [`join`](Handle::join). The outcome can be taken only once; every later
    /// call is [`Error::Closed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut task = pool.submit(|()| while !brigade::is_cancelled() {}, ())?;
    /// let result = task.join_timeout(Duration::from_millis(5));
    /// assert!(matches!(result, Err(Error::TimedOut { .. })));
    /// task.cancel();
    /// task.join()?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join_timeout(&mut self, timeout: Duration) -> Result<R> {
        let id = self.usable()?;
        let deadline = Instant::now().checked_add(timeout);
        match self.core.outcome(id, deadline, !timeout.is_zero()) {
            Some(outcome) => {
                self.id = None;
                open(outcome)
            }
            None => Err(Error::TimedOut { what: "the task", after: timeout }),
        }
    }

    /// Passes the outcome to `callback` when the task is over, or soon if it already is: what
    /// [`join`](Handle::join) would have returned. [`on_finish`](Handle::on_finish), which keeps
    /// the handle, describes where callbacks run, and what happens if one panics.
    ///
    /// # Errors
    ///
    /// As [`on_finish`](Handle::on_finish); the task is then detached.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let (sender, values) = mpsc::channel();
    /// for n in 1..=3u64 {
    ///     let sender = sender.clone();
    ///     let square = pool.submit(|n: u64| n * n, n)?;
    ///     square.then(move |value| sender.send(value.unwrap()).unwrap())?;
    /// }
    /// drop(sender);
    /// assert_eq!(values.iter().sum::<u64>(), 14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn then(self, callback: impl FnOnce(Result<R>) + Send + 'static) -> Result<()>
    where
        R: 'static,
    {
        let id = self.usable()?;
        let core = Arc::clone(&self.core);
        core.call_at_end(id, move || callback(self.join()))
    }

    /// Decodes an outcome that was taken from the pool's record.
    #[cfg(feature = "async")]
    pub(crate) fn finish(&mut self, outcome: Outcome) -> Result<R> {
        self.id = None;
        open(outcome)
    }
    /// Takes the outcomes of the tasks in `running` that are over, with their numbers, and their
    /// handles out of it, with one lock for all; offers queued tasks to the workers. It passes over
    /// at most `passed_max` tasks that are not over: it is for tasks of one pool in the order in
    /// which they were submitted. For `brigade-mpi`, which polls many tasks.
    #[doc(hidden)]
    pub fn take_ended(
        running: &mut VecDeque<(usize, Handle<R>)>,
        passed_max: usize,
    ) -> Vec<(usize, Result<R>)> {
        let Some((core, _)) = running.front().and_then(|(_, handle)| handle.place()) else {
            return Vec::new();
        };
        let core = Arc::clone(core);
        let mut ended = Vec::new();
        let mut state = core.lock();
        state.drive();
        if !state.queue.is_empty() {
            core.rearm(&mut state);
        }
        let mut passed = 0;
        while passed < passed_max
            && let Some((number, handle)) = running.get_mut(passed)
        {
            let is_here = Arc::ptr_eq(&handle.core, &core);
            let id = handle.id.filter(|_| is_here);
            match id.and_then(|id| Core::take(&mut state, id)) {
                Some(outcome) => {
                    // Before the handle is dropped, which would lock the pool again.
                    handle.id = None;
                    ended.push((*number, outcome));
                    running.remove(passed);
                }
                None => passed += 1,
            }
        }
        state.emit_due_logs();
        drop(state);
        ended.into_iter().map(|(number, outcome)| (number, open(outcome))).collect()
    }
}

impl<R> Handle<R> {
    /// The task's id, if its outcome is available: it was not taken before, and this is the process
    /// that submitted the task. In a child that was forked from that process, a thread that does
    /// not exist there may hold the pool's lock, and the pool's memory is not mapped.
    fn usable(&self) -> Result<TaskId> {
        if !self.core.is_ours() {
            return Err(Error::Closed { what: "a task of the process that this one forked from" });
        }
        self.id.ok_or(Error::Closed { what: "the handle" })
    }

    /// Whether the task is over: its outcome is available, or was taken.
    ///
    /// False may be out of date when it is returned; true stays true. In a process that was forked
    /// from the submitter's it is true, because there is nothing to wait for.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|n: u64| n * n, 12)?;
    /// while !task.is_finished() {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(task.join()?, 144);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let Ok(id) = self.usable() else { return true };
        let mut state = self.core.lock();
        state.drain();
        state.tasks.is_done(id)
    }

    /// Whether a worker has started the task and the task is not known to be over.
    ///
    /// Either answer may be out of date when it is returned. In a process that was forked from the
    /// submitter's it is false.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// while !task.is_running() {
    ///     std::thread::yield_now();
    /// }
    /// task.kill(std::time::Duration::ZERO)?;
    /// # task.join().map(|()| ()).unwrap_err();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.usable().is_ok_and(|id| {
            let mut state = self.core.lock();
            state.drain();
            state.has_started(id)
        })
    }

    /// Recalls the task if no worker has started it; otherwise requests that it end early. From
    /// then on [`is_cancelled`](crate::is_cancelled) is true in the task, which may return at any
    /// time, with a value like any other. After this request the task is not retried.
    ///
    /// Returns whether the task is over as [`TaskError::Cancelled`]: because this call recalled it,
    /// or because of an earlier call or a kill. False if it runs, or has ended otherwise.
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

    /// The same handle, which [cancels](Handle::cancel) its task when it is dropped before the
    /// outcome was taken: also by a panic or an early return, and as a future that an executor
    /// drops. A task that runs is only requested to end.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|()| while !brigade::is_cancelled() {}, ())?.cancel_on_drop();
    /// drop(task);
    /// assert_eq!(pool.submit(|n: u8| n, 7)?.join()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cancel_on_drop(mut self) -> Handle<R> {
        self.cancels = true;
        self
    }

    /// Ends the task, started or not, without waiting for its end. It cancels the task as
    /// [`cancel`](Handle::cancel) does. If the task still runs after `grace`, its worker is killed
    /// and replaced. Other tasks are not affected.
    ///
    /// A task that returns within the grace has its value; one that is killed ends as
    /// [`TaskError::Cancelled`]. If there are several calls, the earliest deadline counts; a grace
    /// of zero kills at once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] in a pool without processes ([`Start::InProcess`]);
    /// [`Error::Closed`] in a process that was forked from the submitter's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hangs = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// hangs.kill(Duration::from_millis(10))?;
    /// assert!(hangs.join().map(|()| "?").unwrap_err().to_string().contains("cancelled"));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn kill(&self, grace: Duration) -> Result<()> {
        if self.core.config.start == Start::InProcess {
            return Err(Error::invalid("the pool", "in-process", "one with worker processes"));
        }
        if self.id.is_none() {
            return Ok(());
        }
        let id = self.usable()?;
        let mut state = self.core.lock();
        if state.cancel(id) || state.tasks.is_done(id) {
            return Ok(());
        }
        if grace.is_zero() {
            state.kill_task(id, RetireCause::Killed(id));
            self.core.watch_exits(&mut state);
        } else if let Some(at) = Instant::now().checked_add(grace)
            && let Some(entry) = state.tasks.get_mut(id)
        {
            let kill_at = &mut entry.cold_mut().kill_at;
            *kill_at = Some(kill_at.map_or(at, |earlier| earlier.min(at)));
            self.core.schedule_timeout(&mut state, at);
        }
        Ok(())
    }

    /// Runs `callback` once when the task is over, or soon if it already is. The handle stays, so a
    /// task may have several callbacks, which run in the order in which they were given.
    /// [`join`](Handle::join) does not wait for them.
    ///
    /// Callbacks run one after the other on one thread of the host, which starts with the first
    /// callback and ends with the last pool. If one panics, the panic is logged as a `tracing`
    /// error, and the next ones run. A callback may do anything that other code may, including
    /// dropping its pool; later callbacks wait until it returns.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the outcome was taken, or in a process that was forked from the
    /// submitter's; [`Error::Os`] if the thread cannot be started. The callback is then dropped.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let (done, is_done) = mpsc::channel();
    /// let task = pool.submit(|n: u64| n * n, 12)?;
    /// task.on_finish(move || done.send("done").unwrap())?;
    /// assert_eq!(is_done.recv(), Ok("done"));
    /// assert_eq!(task.join()?, 144);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn on_finish(&self, callback: impl FnOnce() + Send + 'static) -> Result<()> {
        let id = self.usable()?;
        self.core.call_at_end(id, callback)
    }

    /// The pool's record of the task, for a thread that waits for several.
    pub(crate) fn place(&self) -> Option<(&Arc<Core>, TaskId)> {
        self.usable().ok().map(|id| (&self.core, id))
    }
}

/// Decodes an outcome.
pub(crate) fn open<R: DeserializeOwned>(outcome: Outcome) -> Result<R> {
    let mut value = None;
    open_with(outcome, &mut |bytes| {
        value = Some(invocation::decode(bytes)?);
        Ok(())
    })?;
    Ok(value.expect("it was decoded"))
}

/// Decodes an outcome by `decode`. A panic in it becomes an error, because a callback must be
/// called, and later tasks must not be affected.
pub(crate) fn open_with(
    outcome: Outcome,
    decode: &mut dyn FnMut(&[u8]) -> std::result::Result<(), String>,
) -> Result<()> {
    let EncodedResult { bytes, leases, .. } = outcome.map_err(|error| *error)?;
    let decoded = panic::to_error(|| {
        let _scope = transfer::redeeming(leases);
        bytes.with(decode)
    });
    decoded.map_err(|reason| {
        Error::Task(TaskError::Codec { what: "result", action: "decoded", reason })
    })
}

impl<R> Drop for Handle<R> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            if self.cancels {
                self.cancel();
            }
            self.core.detach(id);
        }
    }
}

impl<R> std::fmt::Debug for Handle<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.id).finish_non_exhaustive()
    }
}
