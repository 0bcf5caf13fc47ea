//! The public handle of a pool.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::SendError;
use crate::error::{Error, Result};
use crate::pool::api::handle::Handle;
use crate::pool::driver::backpressure::QueuePermit;
use crate::pool::driver::core::Core;
use crate::pool::record::config::{Start, check_worker_count};
use crate::pool::record::task::TaskOptions;
use crate::process::function::FunctionOffset;
use crate::worker::invocation;

/// Workers that run tasks.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(1).build()?;
/// assert_eq!(pool.map(1..4u32, |n| n * n)?.collect::<Vec<_>>(), [1, 4, 9]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Pool {
    pub(crate) core: Arc<Core>,
}

impl Pool {
    pub(crate) fn from_core(core: Arc<Core>) -> Pool {
        Pool { core }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    /// The options of tasks that have none of their own.
    pub(crate) fn task_options(&self) -> TaskOptions {
        self.core.task_options()
    }

    /// Whether tasks run in worker processes.
    pub(crate) fn has_workers(&self) -> bool {
        self.core.config.start == Start::ForkServer
    }

    /// The number of workers that the pool has, or will have again when there is work.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.core.workers()
    }

    /// Runs `function(argument)` in a worker. Waits for room if the pool's queue has a
    /// [limit](crate::PoolBuilder::queue_limit), and for nothing else.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::Error::Closed) or [`Broken`](crate::Error::Broken) if the pool takes no
    /// tasks, [`TaskError::Codec`](crate::TaskError::Codec) if the argument cannot be encoded,
    /// [`NoSpace`](crate::Error::NoSpace) if it is large and there is no memory for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.submit(|(a, b): (u64, u64)| a + b, (1, 2))?;
    /// assert_eq!(task.join()?, 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let _room = self.core.reserve()?;
        let handle = self.submit_by(self.core.task_options(), function, &argument)?;
        // Before the handle exists: a panic of the argument's `Drop` would leak the handle.
        drop(argument);
        Ok(handle)
    }

    pub(crate) fn submit_by<F, A, R>(
        &self,
        task_options: TaskOptions,
        function: F,
        argument: &A,
    ) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters: a function item or a closure that captures nothing.
        let _ = function;
        let name = std::any::type_name::<F>();
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, argument);
        let id = self.core.submit(invocation::call::<F, A, R>, name, task_options, encode)?;
        Ok(Handle::new(Arc::clone(&self.core), id))
    }

    /// Runs `function(argument)` in a worker, for a function that is known only at run time.
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`], and [`InvalidArgument`](crate::Error::InvalidArgument) for a function
    /// that is not part of the program's executable.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let functions: [fn(f64) -> f64; 2] = [f64::sqrt, f64::abs];
    /// let handles: Vec<_> =
    ///     functions.iter().map(|&f| pool.submit_fn(f, 16.0)).collect::<Result<_, _>>()?;
    /// let values: Vec<f64> = handles.into_iter().map(|h| h.join()).collect::<Result<_, _>>()?;
    /// assert_eq!(values, [4.0, 16.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit_fn<A, R>(&self, function: fn(A) -> R, argument: A) -> Result<Handle<R>>
    where
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let word = match self.core.config.start {
            Start::InProcess => function as usize as u64,
            Start::ForkServer => FunctionOffset::of(function as *const ())?.to_word(),
        };
        let name = std::any::type_name::<fn(A) -> R>();
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &(word, &argument));
        let trampoline = invocation::call_pointer::<A, R>;
        let _room = self.core.reserve()?;
        let id = self.core.submit(trampoline, name, self.core.task_options(), encode)?;
        let handle = Handle::new(Arc::clone(&self.core), id);
        // As in `submit`.
        drop(argument);
        Ok(handle)
    }

    /// As [`submit`](Pool::submit), but does not wait for room: a full pool returns the argument.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if as many tasks wait as [`queue_limit`](crate::PoolBuilder::queue_limit)
    /// allows; else as [`submit`](Pool::submit). The argument is returned with the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// let hangs = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// let waits = pool.submit(|n: u8| n, 1)?;
    /// let refused = pool.try_submit(|n: u8| n, 2).unwrap_err();
    /// assert!(matches!((refused.value, *refused.error), (2, Error::Full { .. })));
    /// hangs.kill(Duration::ZERO)?;
    /// # waits.join()?;
    /// # hangs.join().map(|()| ()).unwrap_err();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_submit<F, A, R>(
        &self,
        function: F,
        argument: A,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_with_permit(function, argument, self.core.try_reserve())
    }

    /// As [`submit`](Pool::submit), but waits for room no longer than `timeout`.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there was no room in time; else as [`submit`](Pool::submit). The
    /// argument is returned with the error.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// let task = pool.submit_timeout(|n: u8| n + 1, 1, Duration::from_secs(1))?;
    /// assert_eq!(task.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit_timeout<F, A, R>(
        &self,
        function: F,
        argument: A,
        timeout: Duration,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_with_permit(function, argument, self.core.reserve_timeout(timeout))
    }

    fn submit_with_permit<F, A, R>(
        &self,
        function: F,
        argument: A,
        permit: Result<Option<QueuePermit<'_>>>,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let submitted =
            permit.and_then(|_room| self.submit_by(self.core.task_options(), function, &argument));
        match submitted {
            Ok(handle) => {
                // As in `submit`.
                drop(argument);
                Ok(handle)
            }
            Err(error) => Err(SendError::new(argument, error)),
        }
    }

    /// Changes the number of workers.
    ///
    /// Surplus workers, idle ones first, finish the task that they run and end; tasks that they had
    /// not started go to others. Workers that stay are not affected, and the call does not wait for
    /// new ones. No task is lost or run again.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] unless `workers` is 1 to 1024, and in a pool without processes;
    /// [`Error::Closed`] or [`Error::Broken`] if the pool takes no tasks; as
    /// [`PoolBuilder::build`](crate::PoolBuilder::build) if a worker cannot be started: the pool
    /// keeps the workers that it then has.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let tasks: Vec<_> = (0..9u8).map(|n| pool.submit(|n: u8| n, n)).collect::<Result<_, _>>()?;
    /// pool.resize(2)?;
    /// assert_eq!(pool.workers(), 2);
    /// for (n, task) in (0..9).zip(tasks) {
    ///     assert_eq!(task.join()?, n);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn resize(&self, workers: usize) -> Result<()> {
        check_worker_count(workers)?;
        if self.core.config.start == Start::InProcess {
            return Err(Error::invalid("the pool", "in-process", "one with worker processes"));
        }
        self.core.check_ours()?;
        self.core.resize(workers)
    }

    /// Waits until every worker has run its [initializer](crate::PoolBuilder::initializer) and can
    /// take tasks, but no longer than `timeout`.
    ///
    /// [`build`](crate::PoolBuilder::build) returns when the workers are forked, before it is known
    /// how their initializers end. Tasks may be submitted without this call.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if workers repeatedly end before they are ready; the cause contains what
    /// the initializer returned, or its panic. After `timeout`, [`Error::Spawn`] with the cause if
    /// a worker has failed so far, else [`Error::TimedOut`]. [`Error::Closed`] if the pool has
    /// ended, or in a process that was forked from the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let ready = Pool::builder().workers(2).initializer(|()| Ok(()), ()).build()?;
    /// ready.wait_ready(Duration::from_secs(60))?;
    ///
    /// let fails = |()| Err("there is no licence".to_owned());
    /// if let Ok(pool) = Pool::builder().workers(1).initializer(fails, ()).build() {
    ///     let error = pool.wait_ready(Duration::from_secs(60)).unwrap_err();
    ///     assert!(matches!(error, Error::Broken { .. }));
    ///     assert!(error.to_string().contains("there is no licence"));
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        self.core.check_ours()?;
        self.core.wait_ready(timeout)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("core", &self.core).finish()
    }
}
