//! Many items through one function: `map`, `imap`, `imap_unordered`, in batches.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, TaskError};
use crate::pool::core::Core;
use crate::pool::handle::{self, Handle};
use crate::pool::job::{self, Batch, Job, JobError, Trampoline};
use crate::pool::state::{State, Watch};
use crate::pool::task::{Outcome, Rules, TaskId, Whereabouts};
use crate::pool::{Given, Nothing, Pool, SharedValue};
use crate::region::arena::{Contents, Span};

/// How long a batch should keep a worker busy: long beside a dispatch, short beside a second.
const BATCH_NS: u64 = 250_000;
/// Items in a batch at most.
const BATCH_ITEMS_MAX: usize = 1 << 16;
/// A batch is closed when its encoded items reach this, in bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Batches under way at once, for each worker.
const BATCHES_PER_WORKER: usize = 4;

/// Rules for the tasks submitted through it, and the value that they share; from
/// [`Pool::options`] or [`Pool::with`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let scaled: Vec<f64> =
///     pool.options().chunk_size(100).with(0.5).map(0..1000u32, |a, n| a * f64::from(n))?.collect();
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
        let mut results = self.options().imap(items, ahead, function)?;
        results.pipeline.order = Order::AsDone;
        Ok(results)
    }

    /// Rules for some tasks that differ from the pool's.
    pub fn options(&self) -> Options<'_> {
        Options { pool: self, rules: self.core.rules(), chunk_size: None, shared: Nothing }
    }

    /// Gives every call of a function `value` by reference: what a closure would have captured.
    /// It is encoded once and sent to each worker once.
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
        self.rules.timeout = Some(timeout);
        self
    }

    /// Declares the tasks idempotent: run again, up to `retries` times, if the worker dies.
    /// Default: the pool's.
    pub fn retries(mut self, retries: u32) -> Self {
        self.rules.retries = retries;
        self
    }

    fn pipeline<I: Iterator, R>(
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
            (Some(ahead), Some(items)) => (ahead.div_ceil(items), items.min(ahead)),
            (_, fixed) => (BATCHES_PER_WORKER * core.workers(), fixed.unwrap_or(1)),
        };
        Ok(Pipeline {
            core,
            items: Some(items),
            batches: VecDeque::new(),
            batches_max,
            batch_items,
            is_adaptive: fixed.is_none(),
            order: Order::AsGiven,
            trampoline,
            name,
            rules: self.rules,
            shared,
            results: PhantomData,
        })
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
        self.pool.submit_by(self.rules, function, argument)
    }

    /// The results of `function` for every item, in order. See [`Pool::map`].
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
        Ok(Imap { pipeline, ready: Vec::new().into_iter() })
    }
}

impl<W: Serialize + DeserializeOwned + 'static> Options<'_, Given<W>> {
    /// The results of `function(&value, item)` for every item, in order. See [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]. A value that holds array handles cannot be shared like this: give them
    /// with the items, or use [`Pool::par_chunks`].
    pub fn map<I, F, R>(self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let Options { pool, rules, chunk_size, shared } = self;
        let options = Options { pool, rules, chunk_size, shared: Nothing };
        let shared = Shared::new(&pool.core, &shared.value())?;
        let (items, name) = (items.into_iter(), std::any::type_name::<F>());
        options.pipeline(items, sharing::<F, W, I::Item, R>, name, Some(shared), None)?.run()
    }
}

/// A shared value, encoded, in the arena.
#[derive(Debug, Clone)]
struct Shared {
    span: Arc<Span>,
    place: SharedPlace,
}

/// Where a worker finds the shared value of a call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct SharedPlace {
    call: u64,
    offset: u64,
    len: usize,
}

impl Shared {
    fn new<W: Serialize>(core: &Core, value: &W) -> Result<Shared> {
        let mut bytes = Vec::new();
        // Outside of `handoff::encode`, so that handles are refused: workers keep the value
        // longer than a task, and a handle must not outlive its task.
        job::encode_onto(&mut bytes, value).map_err(|reason| {
            Error::Task(TaskError::Codec { what: "shared value", action: "encoded", reason })
        })?;
        let span = core.arena.reserve(bytes.len().max(1), Contents::Stale)?;
        span.store(&bytes);
        let place = SharedPlace { call: core.next_call(), offset: span.offset(), len: bytes.len() };
        Ok(Shared { span: Arc::new(span), place })
    }
}

/// Which batch comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The one submitted first.
    AsGiven,
    /// The one that is done first.
    AsDone,
}

/// Items on their way through the workers, in batches.
struct Pipeline<I: Iterator, R> {
    core: Arc<Core>,
    /// `None` once it has ended, or has panicked.
    items: Option<I>,
    /// Batches under way and how many items each has, oldest first.
    batches: VecDeque<(TaskId, usize)>,
    batches_max: usize,
    batch_items: usize,
    is_adaptive: bool,
    order: Order,
    trampoline: Trampoline,
    name: &'static str,
    rules: Rules,
    shared: Option<Shared>,
    results: PhantomData<fn() -> R>,
}

impl<I, R> Pipeline<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// All results, or the first failure in order.
    fn run(mut self) -> Result<std::vec::IntoIter<R>> {
        let mut results = Vec::new();
        while let Some(batch) = self.next_batch() {
            match batch {
                Ok(batch) => results.extend(batch),
                Err(error) => {
                    self.abandon();
                    return Err(error);
                }
            }
        }
        Ok(results.into_iter())
    }

    /// The results of the next batch; `None` after the last.
    fn next_batch(&mut self) -> Option<Result<Vec<R>>> {
        if let Err(error) = self.fill() {
            self.items = None;
            return Some(Err(error));
        }
        if self.batches.is_empty() {
            return None;
        }
        let (at, outcome) = self.wait()?;
        let (_, items) = self.batches.remove(at)?;
        let elapsed_ns = outcome.as_ref().map_or(0, |value| value.elapsed_ns);
        let results = handle::open::<Vec<R>>(outcome);
        self.adapt(items, elapsed_ns);
        Some(results)
    }

    /// Submits batches until enough are under way.
    fn fill(&mut self) -> Result<()> {
        while self.batches.len() < self.batches_max {
            // Taken out while it runs: an iterator that panics is not asked again.
            let Some(mut items) = self.items.take() else { return Ok(()) };
            let Some(first) = items.next() else { return Ok(()) };
            let (items_max, shared) = (self.batch_items, self.shared.as_ref());
            let mut count = 1;
            let encode = |out: &mut Vec<u8>| {
                if let Some(shared) = shared {
                    job::encode_onto(out, &shared.place)?;
                }
                let mut batch = Batch::new(out);
                batch.push(&first)?;
                while count < items_max && batch.len() < BATCH_BYTES {
                    let Some(item) = items.next() else { break };
                    batch.push(&item)?;
                    count += 1;
                }
                Ok(())
            };
            let keeps = shared.map(|shared| Arc::clone(&shared.span));
            let (trampoline, name, rules) = (self.trampoline, self.name, self.rules);
            let id = self.core.submit_keeping(trampoline, name, rules, keeps, encode)?;
            self.batches.push_back((id, count));
            self.items = Some(items);
        }
        Ok(())
    }

    /// Waits for the next batch; its position and what came of it.
    fn wait(&self) -> Option<(usize, Outcome)> {
        let count = if self.order == Order::AsGiven { 1 } else { self.batches.len() };
        let ids: Vec<TaskId> = self.batches.iter().take(count).map(|&(id, _)| id).collect();
        self.core.wait(None, Watch::Tasks(&ids), |state| {
            (0..).zip(&ids).find_map(|(at, &id)| Some((at, Core::take(state, id)?)))
        })
    }

    /// Sizes the batches to come by how long this one took.
    fn adapt(&mut self, items: usize, elapsed_ns: u64) {
        if !self.is_adaptive || elapsed_ns == 0 {
            return;
        }
        let per_batch = BATCH_NS.saturating_mul(items as u64) / elapsed_ns;
        let wanted = usize::try_from(per_batch).unwrap_or(BATCH_ITEMS_MAX);
        // Grown by steps: the first item may have been an easy one.
        self.batch_items = wanted.clamp(1, BATCH_ITEMS_MAX).min(self.batch_items * 8);
    }

    /// Cancels what has not started and waits for the rest.
    fn abandon(&mut self) {
        let ids: Vec<TaskId> = self.batches.drain(..).map(|(id, _)| id).collect();
        let is_done = |state: &State, id: TaskId| {
            state.tasks.get(id).is_none_or(|entry| matches!(entry.place, Whereabouts::Done(_)))
        };
        self.core.wait(None, Watch::Tasks(&ids), |state| {
            for &id in &ids {
                state.cancel(id);
            }
            ids.iter().all(|&id| is_done(state, id)).then_some(())
        });
        for id in ids {
            self.core.detach(id);
        }
    }
}

impl<I: Iterator, R> Drop for Pipeline<I, R> {
    fn drop(&mut self) {
        for (id, _) in self.batches.drain(..) {
            if self.core.is_ours() {
                self.core.lock().cancel(id);
            }
            self.core.detach(id);
        }
    }
}

/// Results as they arrive; see [`Pool::imap`].
///
/// Dropping it cancels what has not started; what runs, runs to its end.
#[must_use = "dropping it cancels what has not started"]
pub struct Imap<I: Iterator, R> {
    pipeline: Pipeline<I, R>,
    /// What is left of the batch that is being delivered.
    ready: std::vec::IntoIter<R>,
}

impl<I, R> Iterator for Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        loop {
            if let Some(result) = self.ready.next() {
                return Some(Ok(result));
            }
            match self.pipeline.next_batch()? {
                Ok(batch) => self.ready = batch.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<I: Iterator, R> std::fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imap").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

/// The trampoline of `map`.
fn plain<F, A, R>(job: &mut Job<'_>) -> std::result::Result<(), JobError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let items = job.arguments::<A>()?;
    job.begin();
    let results: Vec<R> = items.into_iter().map(job::conjure::<F>()).collect();
    job.finish(&results)
}

/// The same with a shared value, whose place stands before the items.
fn sharing<F, W, A, R>(job: &mut Job<'_>) -> std::result::Result<(), JobError>
where
    F: Fn(&W, A) -> R + Copy + Send + 'static,
    W: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let place = job.leading::<SharedPlace>()?;
    let items = job.arguments::<A>()?;
    let windows = job.windows;
    let shared = job.station.shared::<W>(place.call, || {
        let bytes = windows
            .copy_out(place.offset, place.len)
            .map_err(|error| JobError::Argument(error.to_string()))?;
        job::decode(&bytes).map_err(JobError::Argument)
    })?;
    (job.progress)(crate::pool::lane::Stage::Running);
    let function = job::conjure::<F>();
    let results: Vec<R> = items.into_iter().map(|item| function(shared, item)).collect();
    job.finish(&results)
}
