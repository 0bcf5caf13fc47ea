//! Many items through one function: `map`, `imap`, `imap_unordered`, in batches.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::pool::backpressure::Timeout;
use crate::pool::handle::Handle;
use crate::pool::pipeline::{BATCHES_PER_WORKER, Imap, Pace, Pipeline, Shared, plain, sharing};
use crate::pool::task::{FOREVER, Rules};
use crate::pool::{Given, Nothing, Pool, SharedValue};
use crate::worker::invocation::Trampoline;

/// Rules for the tasks submitted through it, and the value that they share; from
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
pub struct Options<'p, S = Nothing> {
    pool: &'p Pool,
    rules: Rules,
    chunk_size: Option<usize>,
    shared: S,
}

impl Pool {
    /// The results of `function` for every item, in the items' order.
    ///
    /// Items travel in batches, whose size follows from how long the function takes. The call
    /// takes as many items ahead as keep the workers busy, and returns when all are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// The first failure in order, after what was running has ended: all or nothing. A panic of
    /// the iterator itself passes through to the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let longest = pool.map(["a", "bcd", "ef"].map(String::from), |s: String| s.len())?.max();
    /// assert_eq!(longest, Some(3));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<I, F, R>(&self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().map(items, function)
    }

    /// The results of `function`, lazily and in order: at most `ahead` items beyond those that
    /// were delivered are taken from the iterator, which may be endless.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// Each item has its own result; after an error the iterator goes on with the next one. Here,
    /// [`Error::InvalidArgument`] if `ahead` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares: Vec<u64> =
    ///     pool.imap(1u64.., 8, |n| n * n)?.take(4).collect::<Result<_, _>>()?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap<I, F, R>(&self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().imap(items, ahead, function)
    }

    /// As [`imap`](Pool::imap), but in the order in which items are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Pool::imap).
    pub fn imap_unordered<I, F, R>(
        &self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().imap_unordered(items, ahead, function)
    }

    /// Rules for some tasks that differ from the pool's.
    pub fn options(&self) -> Options<'_> {
        Options { pool: self, rules: self.core.rules(), chunk_size: None, shared: Nothing }
    }

    /// Gives every call of a function `value` by reference: what a closure would have captured.
    /// It is encoded once and sent to each worker once, or with every batch of items if it holds
    /// arrays, whose handles end with a task.
    pub fn with<W>(&self, value: W) -> Options<'_, Given<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        self.options().with(value)
    }
}

impl<'p, S> Options<'p, S> {
    /// How many items make a task; at least 1. Default: by how long an item takes.
    pub fn chunk_size(mut self, items: usize) -> Self {
        self.chunk_size = Some(items);
        self
    }

    /// How long a task may run before its worker is killed. Default: the pool's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Declares the tasks idempotent: run again, up to `retries` times, if the worker dies.
    /// Default: the pool's.
    pub fn retries(mut self, retries: u32) -> Self {
        self.rules.retries = retries;
        self
    }

    pub(super) fn pipeline<I: Iterator, R>(
        &self,
        items: I,
        trampoline: Trampoline,
        name: &'static str,
        shared: Option<Shared>,
        ahead: Option<usize>,
    ) -> Result<Pipeline<I, R>> {
        if self.chunk_size == Some(0) {
            return Err(Error::invalid("chunk_size", 0, "at least 1 item"));
        }
        if ahead == Some(0) {
            return Err(Error::invalid("the look-ahead", 0, "at least 1 item"));
        }
        let core = Arc::clone(&self.pool.core);
        core.check(self.rules)?;
        // Lazy results are delivered one by one unless asked otherwise.
        let fixed = self.chunk_size.or(ahead.map(|_| 1));
        let (batches_max, batch_items) = match (ahead, fixed) {
            // Never more items than the look-ahead, so it is rounded down.
            (Some(ahead), Some(items)) => ((ahead / items).max(1), items.min(ahead)),
            (_, fixed) => (BATCHES_PER_WORKER * core.workers(), fixed.unwrap_or(1)),
        };
        let pace = Pace { batches_max, batch_items, is_adaptive: fixed.is_none() };
        Ok(Pipeline::new(core, items, pace, trampoline, name, self.rules, shared))
    }
}

impl<'p> Options<'p> {
    /// Gives every call of a function `value` by reference. See [`Pool::with`].
    pub fn with<W>(self, value: W) -> Options<'p, Given<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        let Options { pool, rules, chunk_size, .. } = self;
        Options { pool, rules, chunk_size, shared: Given::new(value) }
    }

    /// Runs `function(argument)` in a worker, by these rules. See [`Pool::submit`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::submit`].
    pub fn submit<F, A, R>(&self, function: F, argument: A) -> Result<Handle<R>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.pool.core.check(self.rules)?;
        let _room = self.pool.core.reserve(Timeout::Endless)?;
        let handle = self.pool.submit_by(self.rules, function, &argument)?;
        // As in `Pool::submit`.
        drop(argument);
        Ok(handle)
    }

    /// The results of `function` for every item, in order. See [`Pool::map`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map`], and [`Error::InvalidArgument`] for a chunk size of 0.
    pub fn map<I, F, R>(&self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let (items, name) = (items.into_iter(), std::any::type_name::<F>());
        self.pipeline(items, plain::<F, I::Item, R>, name, None, None)?.run()
    }

    /// The results of `function`, lazily and in order. See [`Pool::imap`].
    ///
    /// A chunk size above 1 delivers more quickly, but an item that fails takes the others of its
    /// chunk with it, under one error.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    pub fn imap<I, F, R>(&self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let (items, name) = (items.into_iter(), std::any::type_name::<F>());
        let pipeline = self.pipeline(items, plain::<F, I::Item, R>, name, None, Some(ahead))?;
        Ok(Imap::new(pipeline))
    }

    /// As [`imap`](Options::imap), but in the order in which chunks are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Options::imap).
    pub fn imap_unordered<I, F, R>(
        &self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(self.imap(items, ahead, function)?.unordered())
    }
}

impl<W: Serialize + DeserializeOwned + 'static> Options<'_, Given<W>> {
    /// The results of `function(&value, item)` for every item, in order. See [`Pool::map`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]; [`TaskError::Codec`](crate::TaskError::Codec) if the value cannot be
    /// encoded. It may hold a [`Frozen`](crate::Frozen) array, or any handle of
    /// [`shared`](crate::shared) or of a queue, but no [`OwnedChunk`](crate::OwnedChunk), which one
    /// task has for itself. With an array in it, the value is decoded for every batch of items.
    pub fn map<I, F, R>(self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.shared_pipeline(items.into_iter(), None, function)?.run()
    }

    /// The results of `function(&value, item)`, lazily and in order. See [`Pool::imap`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`], and as [`map`](Options::map) for the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut multiples = pool.with(3u64).imap(1.., 8, |&a, n: u64| a * n)?;
    /// assert_eq!(multiples.nth(4).transpose()?, Some(15));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap<I, F, R>(self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(Imap::new(self.shared_pipeline(items.into_iter(), Some(ahead), function)?))
    }

    /// As [`imap`](Options::imap), but in the order in which chunks are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Options::imap).
    pub fn imap_unordered<I, F, R>(
        self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(self.imap(items, ahead, function)?.unordered())
    }

    fn shared_pipeline<I, F, R>(
        self,
        items: I,
        ahead: Option<usize>,
        function: F,
    ) -> Result<Pipeline<I, R>>
    where
        I: Iterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let Options { pool, rules, chunk_size, shared } = self;
        let options = Options { pool, rules, chunk_size, shared: Nothing };
        let value = shared.value();
        let shared = Shared::new(&pool.core, &value)?;
        // Not on the way out: a panic of its `Drop` would leak what is being returned.
        drop(value);
        let name = std::any::type_name::<F>();
        options.pipeline(items, sharing::<F, W, I::Item, R>, name, Some(shared), ahead)
    }
}
