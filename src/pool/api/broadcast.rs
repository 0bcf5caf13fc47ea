//! Running a function once on each worker.

use std::any::type_name;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, TaskError};
use crate::pool::Pool;
use crate::pool::api::handle::Handle;
use crate::pool::driver::broadcast::Broadcast;
use crate::pool::record::config::Initializer;
use crate::pool::record::task::{FOREVER, TaskOptions};
use crate::worker::invocation;

/// What a function of [`Pool::broadcast`] returned on one worker.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, WorkerResult};
/// let pool = Pool::builder().workers(2).build()?;
/// for WorkerResult { worker, result, .. } in pool.broadcast(|()| brigade::worker_index(), ())? {
///     assert_eq!(result, Ok(Some(worker)));
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerResult<R> {
    /// The index of the worker, as [`worker_index`](crate::worker_index) returns it there.
    pub worker: usize,
    /// What the function returned, or why it did not.
    pub result: std::result::Result<R, TaskError>,
}

/// Options for one call of a function on each worker; made by [`Pool::broadcast_options`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use brigade::{Pool, TaskError};
/// let pool = Pool::builder().workers(2).build()?;
/// let hang = |()| -> () { loop { std::thread::park() } };
/// let hasty = pool.broadcast_options().timeout(Duration::from_millis(5));
/// let results = hasty.run(hang, ())?;
/// assert_eq!(results.len(), 2);
/// for one in results {
///     assert!(matches!(one.result, Err(TaskError::TimedOut { .. })));
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct BroadcastOptions<'p> {
    pool: &'p Pool,
    task_options: TaskOptions,
    covers_replacements: bool,
}

impl Pool {
    /// Runs `function(argument)` exactly once on each worker, and waits for all of them: to load a
    /// new model, to empty a cache, to ask for figures. Returns one entry for each worker, in the
    /// order of their indices; in a pool [in this process](crate::Start::InProcess), one.
    ///
    /// A busy worker runs it when it has finished the tasks that it was offered before, and starts
    /// no others meanwhile. A worker that is starting runs it as its first task, and one that left
    /// for [want of work](crate::PoolBuilder::idle_timeout) is started again for it. If a worker
    /// ends before it has begun, its replacement runs it. If it dies while it runs it, its entry is
    /// that [death](TaskError::Died), unless the pool has [retries](crate::PoolBuilder::retries).
    /// If the pool is [resized](Pool::resize) to fewer workers first, the entries of the surplus
    /// ones are [`Cancelled`](TaskError::Cancelled).
    ///
    /// Workers that start later do not run it, unless
    /// [that is requested](BroadcastOptions::cover_replacements). The call does not wait for room
    /// in a [limited queue](crate::PoolBuilder::queue_limit). `argument` may hold any handle except
    /// an [`OwnedChunk`](crate::OwnedChunk); it is encoded once.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`submit`](Pool::submit), and as [`Handle::join`] if the pool breaks or ends meanwhile.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use brigade::Pool;
    /// static SCALE: AtomicU64 = AtomicU64::new(1);
    /// let pool = Pool::builder().workers(3).build()?;
    /// let old = pool.broadcast(|scale: u64| SCALE.swap(scale, Ordering::Relaxed), 7)?;
    /// assert_eq!(old.iter().map(|one| one.worker).collect::<Vec<_>>(), [0, 1, 2]);
    /// assert!(old.iter().all(|one| one.result == Ok(1)));
    /// let scaled = pool.map(0..4u64, |n| n * SCALE.load(Ordering::Relaxed))?;
    /// assert_eq!(scaled.collect::<Vec<_>>(), [0, 7, 14, 21]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn broadcast<F, A, R>(&self, function: F, argument: A) -> Result<Vec<WorkerResult<R>>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.broadcast_options().run(function, argument)
    }

    /// Options for a [`broadcast`](Pool::broadcast) that differ from the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let results = pool.broadcast_options().run(|n: u8| n + 1, 1)?;
    /// assert!(results.iter().all(|one| one.result == Ok(2)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn broadcast_options(&self) -> BroadcastOptions<'_> {
        BroadcastOptions {
            pool: self,
            task_options: self.task_options(),
            covers_replacements: false,
        }
    }
}

impl BroadcastOptions<'_> {
    /// How long the function may run on a worker before that is killed. Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Pool, TaskError};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hasty = pool.broadcast_options().timeout(Duration::from_millis(5));
    /// let results = hasty.run(|()| -> () { loop { std::thread::park() } }, ())?;
    /// assert!(matches!(results[0].result, Err(TaskError::TimedOut { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.task_options.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Lets workers that start later run the function too, before their first task: those that
    /// replace others, and those that the pool is [resized](Pool::resize) by. They run it after the
    /// [initializer](crate::PoolBuilder::initializer) and after what was broadcast earlier, and
    /// what it returns there is dropped. A panic there has the same effect as one of an
    /// initializer. The pool keeps the argument, with what its handles refer to, until it ends.
    /// Default: they do not.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use brigade::Pool;
    /// static SCALE: AtomicU64 = AtomicU64::new(1);
    /// let pool = Pool::builder().workers(1).build()?;
    /// let set = |scale: u64| SCALE.store(scale, Ordering::Relaxed);
    /// pool.broadcast_options().cover_replacements().run(set, 7)?;
    /// pool.submit(|()| std::process::abort(), ())?.join().map(|()| ()).unwrap_err();
    /// assert_eq!(pool.submit(|()| SCALE.load(Ordering::Relaxed), ())?.join()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cover_replacements(mut self) -> Self {
        self.covers_replacements = true;
        self
    }

    /// Runs `function(argument)` once on each worker. See [`Pool::broadcast`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::broadcast`], and [`Error::InvalidArgument`] for a timeout of zero, or one in a
    /// pool without processes.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let results = pool.broadcast_options().run(|n: u64| n + 1, 6)?;
    /// assert_eq!(results.len(), 2);
    /// assert!(results.iter().all(|one| one.result == Ok(7)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run<F, A, R>(&self, function: F, argument: A) -> Result<Vec<WorkerResult<R>>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        // Only its type matters, as in `submit`.
        let _ = function;
        let core = &self.pool.core;
        core.check(self.task_options)?;
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, &argument);
        let encoded = Initializer::new(invocation::call::<F, A, R>, encode);
        let function = encoded.map_err(|reason| TaskError::Codec {
            what: "argument",
            action: "encoded",
            reason,
        })?;
        drop(argument);
        let ids = core.broadcast(Broadcast {
            function,
            name: type_name::<F>(),
            task_options: self.task_options,
            first: self.covers_replacements.then_some(invocation::call_first::<F, A, R>),
        })?;
        let handle = |(worker, id)| (worker, Handle::<R>::new(Arc::clone(core), id));
        // All at once: dropping the rest on an error detaches their tasks.
        let handles: Vec<_> = ids.into_iter().map(handle).collect();
        let join = |(worker, handle): (usize, Handle<R>)| match handle.join() {
            Ok(value) => Ok(WorkerResult { worker, result: Ok(value) }),
            Err(Error::Task(error)) => Ok(WorkerResult { worker, result: Err(error) }),
            Err(error) => Err(error),
        };
        handles.into_iter().map(join).collect()
    }
}
