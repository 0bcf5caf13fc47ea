//! Options of tasks, with a shared value.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::api::handle::Handle;
use crate::pool::driver::progress::{Progress, ProgressFn};
use crate::pool::items::pipeline::{BATCHES_PER_WORKER, BatchCall, BatchPolicy, Pipeline};
use crate::pool::items::shared_value::SharedValue;
use crate::pool::record::task::{FOREVER, TaskKind, TaskOptions};
use crate::pool::with::With;
use crate::worker::invocation::{Trampoline, encode_onto};

/// Options for the tasks that are submitted through it, and the value that they share; from
/// [`Pool::options`] or [`Pool::with`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let scaled = pool.options().chunk_size(100).with(0.5).map(0..1000u32, |a, n| a * f64::from(n))?;
/// let scaled: Vec<f64> = scaled.collect();
/// assert_eq!(scaled[7], 3.5);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct Options<'p, S = ()> {
    pool: &'p Pool,
    task_options: TaskOptions,
    chunk_size: Option<usize>,
    progress: Option<ProgressFn>,
    value: S,
}

impl Pool {
    /// Options for tasks that differ from the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let options = pool.options().timeout(Duration::from_secs(10)).retries(1);
    /// assert_eq!(options.submit(|n: u64| n + 1, 1)?.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn options(&self) -> Options<'_> {
        let task_options = self.core.task_options();
        Options { pool: self, task_options, chunk_size: None, progress: None, value: () }
    }

    /// Passes `value` by reference to every call of a function: what a closure would have captured.
    /// It is encoded once and sent once to each worker; if it holds arrays, whose handles end with
    /// a task, it is sent with every batch of items.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let multiples: Vec<u64> = pool.with(3).map(1..=4, |&a, n| a * n)?.collect();
    /// assert_eq!(multiples, [3, 6, 9, 12]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with<W>(&self, value: W) -> Options<'_, With<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        self.options().with(value)
    }
}

impl<'p, S> Options<'p, S> {
    /// The number of items of a task, at least 1. Default: adapted to the time that an item takes.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares = pool.options().chunk_size(50).map(0..100u64, |n| n * n)?;
    /// assert_eq!(squares.sum::<u64>(), 328_350);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = Some(items);
        self
    }

    /// How long a task may run before its worker is killed. Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool, TaskError};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hasty = pool.options().timeout(Duration::from_millis(10));
    /// let endless = hasty.submit(|()| while std::hint::black_box(true) {}, ())?;
    /// assert!(matches!(endless.join(), Err(Error::Task(TaskError::TimedOut { .. }))));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.task_options.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Declares the tasks idempotent: run again, up to `retries` times, if the worker dies.
    /// Default: the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let repeatable = pool.options().retries(2);
    /// assert_eq!(repeatable.submit(|n: u64| n * n, 12)?.join()?, 144);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.task_options.retries = retries;
        self
    }

    /// Calls `function` with the [`Progress`] of a map, in items, at most ten times a second and
    /// once at its end. Default: none. Tasks of [`submit`](Options::submit) report nothing. See
    /// [`ParLoop::progress`](crate::ParLoop::progress) for the thread, and for a panic.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let (sender, reports) = mpsc::channel();
    /// let options = pool.options().progress(move |progress| drop(sender.send(progress)));
    /// assert_eq!(options.map(0..100u64, |n| n * n)?.max(), Some(9801));
    /// drop(options);
    /// let last = reports.iter().last().expect("the map has ended");
    /// assert_eq!((last.done, last.total), (100, Some(100)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn progress(mut self, function: impl FnMut(Progress) + Send + 'static) -> Self {
        self.progress = Some(ProgressFn::new(function));
        self
    }

    /// The same with this chunk size, unless it was set.
    pub(super) fn with_chunk_size_or(mut self, items: usize) -> Self {
        self.chunk_size.get_or_insert(items);
        self
    }

    /// A pipeline of `items` through `trampoline`, which runs `F`. `ahead` limits how many more
    /// items than results are taken.
    pub(super) fn pipeline<F, I: Iterator, R>(
        &self,
        items: I,
        ahead: Option<usize>,
        trampoline: Trampoline,
        value: Option<SharedValue>,
    ) -> Result<Pipeline<I, R>> {
        if self.chunk_size == Some(0) {
            return Err(Error::invalid("chunk_size", 0, "at least 1 item"));
        }
        if ahead == Some(0) {
            return Err(Error::invalid("the look-ahead", 0, "at least 1 item"));
        }
        let core = Arc::clone(&self.pool.core);
        core.check(self.task_options)?;
        // Lazy results are delivered one by one, unless the chunk size is set.
        let fixed = self.chunk_size.or(ahead.map(|_| 1));
        let (batches_max, batch_items) = match (ahead, fixed) {
            // Rounded down, so that there are never more items than `ahead`.
            (Some(ahead), Some(items)) => ((ahead / items).max(1), items.min(ahead)),
            (_, fixed) => (BATCHES_PER_WORKER * core.workers(), fixed.unwrap_or(1)),
        };
        let policy = BatchPolicy { batches_max, batch_items, is_adaptive: fixed.is_none() };
        let name = std::any::type_name::<F>();
        let task_options = TaskOptions { kind: TaskKind::Batch, ..self.task_options };
        let call = BatchCall { trampoline, name, task_options, value };
        Pipeline::new(core, items, policy, call, self.progress.as_ref())
    }
}

impl<'p> Options<'p> {
    /// Passes `value` by reference to every call of a function. See [`Pool::with`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let sums = pool.options().chunk_size(2).with(10).map(0..4u32, |&a, n| a + n)?;
    /// assert_eq!(sums.collect::<Vec<_>>(), [10, 11, 12, 13]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with<W>(self, value: W) -> Options<'p, With<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        let Options { pool, task_options, chunk_size, progress, .. } = self;
        Options { pool, task_options, chunk_size, progress, value: With(value) }
    }

    /// Runs `function(argument)` in a worker, with these options. See [`Pool::submit`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).build()?;
    /// let task = pool.options().retries(1).submit(|text: String| text.len(), "four".to_owned())?;
    /// assert_eq!(task.join()?, 4);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.core.check(self.task_options)?;
        let _room = self.pool.core.reserve()?;
        self.submit_when_permitted(function, argument)
    }

    /// The same, but waits for room in the queue for `timeout` at most; `None` if there is none.
    pub(crate) fn submit_within<F, A, R>(
        &self,
        timeout: Duration,
        function: F,
        argument: A,
    ) -> Result<Option<Handle<R>>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.core.check(self.task_options)?;
        let _room = match self.pool.core.reserve_timeout(timeout) {
            Err(Error::TimedOut { .. }) => return Ok(None),
            room => room?,
        };
        self.submit_when_permitted(function, argument).map(Some)
    }

    fn submit_when_permitted<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let handle = self.pool.submit_by(self.task_options, function, &argument)?;
        // As in `Pool::submit`.
        drop(argument);
        Ok(handle)
    }
}

impl<'p, W: Serialize> Options<'p, With<W>> {
    /// The same options without the value, and the encoded value. The value is dropped here: later
    /// a panic of its `Drop` would leak the call's results.
    pub(super) fn share(self) -> Result<(Options<'p>, SharedValue)> {
        let Options { pool, task_options, chunk_size, progress, value: With(value) } = self;
        let shared = SharedValue::new(&pool.core, &mut |out| encode_onto(out, &value))?;
        drop(value);
        Ok((Options { pool, task_options, chunk_size, progress, value: () }, shared))
    }
}
