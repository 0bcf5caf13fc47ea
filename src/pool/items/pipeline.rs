//! A pipeline: items go through the workers in batches.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result, TaskError};
use crate::pool::api::handle;
use crate::pool::driver::core::Core;
use crate::pool::driver::progress::{ProgressFn, ProgressReporter};
use crate::pool::items::shared_value::SharedValue;
use crate::pool::record::outcome::Outcome;
use crate::pool::record::state::WaitTarget;
use crate::pool::record::task::TaskOptions;
use crate::process::panic;
use crate::sys::huge_pages;
use crate::worker::call::TaskId;
use crate::worker::invocation::{self, Batch, Trampoline};

/// How long a batch should keep a worker busy: long compared with a dispatch, short compared with a
/// second.
const BATCH_NS: u64 = 250_000;
/// The most items of a batch.
const BATCH_ITEMS_MAX: usize = 1 << 16;
/// A batch is closed when its encoded items reach this, in bytes.
const BATCH_BYTES: usize = 256 << 10;
/// The number of batches in flight for each worker.
pub(super) const BATCHES_PER_WORKER: usize = 4;

/// Which batch is delivered next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryOrder {
    /// The one submitted first.
    AsGiven,
    /// The one that is done first.
    AsDone,
}

/// The number of batches in flight, and their size.
pub(super) struct BatchPolicy {
    pub(super) batches_max: usize,
    pub(super) batch_items: usize,
    /// Adapt the size of batches to the time that they take.
    pub(super) is_adaptive: bool,
}

/// What each batch runs.
pub(super) struct BatchCall {
    pub(super) trampoline: Trampoline,
    pub(super) name: &'static str,
    pub(super) task_options: TaskOptions,
    pub(super) value: Option<SharedValue>,
}

/// Items that go through the workers in batches.
pub(super) struct Pipeline<I: Iterator, R> {
    core: Arc<Core>,
    /// `None` once it has ended or panicked.
    items: Option<I>,
    /// Batches in flight with the positions of their items, oldest first.
    batches: VecDeque<(TaskId, Range<usize>)>,
    policy: BatchPolicy,
    order: DeliveryOrder,
    call: BatchCall,
    /// When it is dropped, it waits for running batches, even during a panic.
    waits: bool,
    /// Items that were submitted.
    submitted: usize,
    /// Items whose batches have ended.
    done: usize,
    reporter: Option<ProgressReporter>,
    results: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Pipeline<I, R> {
    pub(super) fn new(
        core: Arc<Core>,
        items: I,
        policy: BatchPolicy,
        call: BatchCall,
        progress: Option<&ProgressFn>,
    ) -> Result<Pipeline<I, R>> {
        let reporter = match (progress, items.size_hint()) {
            (None, _) => None,
            (Some(function), (least, most)) => {
                Some(ProgressReporter::new(function, most.filter(|&most| most == least))?)
            }
        };
        Ok(Pipeline {
            core,
            items: Some(items),
            batches: VecDeque::new(),
            policy,
            order: DeliveryOrder::AsGiven,
            call,
            waits: false,
            submitted: 0,
            done: 0,
            reporter,
            results: PhantomData,
        })
    }
}

impl<I, R> Pipeline<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// All results, or the first failure in order.
    pub(super) fn run(mut self) -> Result<std::vec::IntoIter<R>> {
        self.waits = true;
        let mut results = Vec::new();
        huge_pages::reserve(
            &mut results,
            self.items.as_ref().map_or(0, |items| items.size_hint().0),
        );
        while let Some((_, ended)) = self.next_batch(&mut results) {
            ended?;
        }
        Ok(results.into_iter())
    }

    /// The result of each item. The items of a batch that failed have its error.
    pub(super) fn run_each(mut self) -> Result<Vec<std::result::Result<R, TaskError>>> {
        self.waits = true;
        let (mut all, mut results) = (Vec::new(), Vec::new());
        while let Some((items, ended)) = self.next_batch(&mut results) {
            match ended {
                Ok(()) => all.extend(results.drain(..).map(Ok)),
                Err(Error::Task(error)) if !items.is_empty() => {
                    results.clear();
                    if error == TaskError::Cancelled {
                        // This call cancels none of them itself.
                        self.core.check_open(&self.core.lock())?;
                    }
                    all.extend(items.map(|_| Err(error.clone())));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Appends the results of the next batch to `results`, and returns the positions of its items;
    /// `None` after the last. If a batch cannot be submitted, the positions are empty.
    fn next_batch(&mut self, results: &mut Vec<R>) -> Option<(Range<usize>, Result<()>)> {
        if let Err(error) = self.fill() {
            self.items = None;
            return Some((self.submitted..self.submitted, Err(error)));
        }
        if self.batches.is_empty() {
            return None;
        }
        let (at, outcome) = self.wait();
        let (_, positions) = self.batches.remove(at)?;
        let items = positions.len();
        self.done += items;
        if let Some(reporter) = &mut self.reporter {
            reporter.report(self.done);
        }
        let elapsed_ns = outcome.as_ref().map_or(0, |value| value.elapsed_ns);
        self.adapt(items, elapsed_ns);
        let mut ended = handle::open_with(outcome, &mut |bytes| {
            invocation::decode_batch(bytes, items, results)
        });
        if let Err(Error::Task(error)) = &mut ended {
            error.set_items(&positions);
        }
        Some((positions, ended))
    }

    /// Submits batches until enough are in flight.
    fn fill(&mut self) -> Result<()> {
        while self.batches.len() < self.policy.batches_max {
            // Taken out while it runs, so that an iterator that panics is not used again.
            let Some(mut items) = self.items.take() else { return Ok(()) };
            let Some(first) = items.next() else { return Ok(()) };
            let BatchCall { trampoline, name, task_options, ref value } = self.call;
            let items_max = self.policy.batch_items;
            let mut count = 1;
            let encode = &mut |out: &mut Vec<u8>| {
                if let Some(value) = value {
                    invocation::encode_onto(out, &value.place)?;
                }
                let mut batch = Batch::new(out);
                batch.push(&first)?;
                while count < items_max && batch.len() < BATCH_BYTES {
                    let Some(item) = items.next() else { break };
                    batch.push(&item)?;
                    count += 1;
                }
                batch.finish();
                Ok(())
            };
            let keeps = value.as_ref().map(|value| Arc::clone(&value.kept));
            let id = self.core.submit_with(trampoline, name, task_options, keeps, encode)?;
            self.batches.push_back((id, self.submitted..self.submitted + count));
            self.submitted += count;
            self.items = Some(items);
        }
        Ok(())
    }

    /// Waits for the next batch and reports the progress; returns its position and its outcome.
    fn wait(&mut self) -> (usize, Outcome) {
        let count = if self.order == DeliveryOrder::AsGiven { 1 } else { self.batches.len() };
        let ids: Vec<TaskId> = self.batches.iter().take(count).map(|(id, _)| *id).collect();
        loop {
            let due = self.reporter.as_ref().map(ProgressReporter::due);
            let ended = self.core.wait(due, WaitTarget::Tasks(&ids), |state| {
                (0..).zip(&ids).find_map(|(at, &id)| Some((at, Core::take_with_logs(state, id)?)))
            });
            if let Some(ended) = ended {
                return ended;
            }
            if let Some(reporter) = &mut self.reporter {
                reporter.report(self.done);
            }
        }
    }

    /// Adapts the size of later batches to the time that this one took.
    fn adapt(&mut self, items: usize, elapsed_ns: u64) {
        if !self.policy.is_adaptive || elapsed_ns == 0 {
            return;
        }
        let per_batch = BATCH_NS.saturating_mul(items as u64) / elapsed_ns;
        let wanted = usize::try_from(per_batch).unwrap_or(BATCH_ITEMS_MAX);
        // Grown in steps, because the first item may have been a fast one.
        self.policy.batch_items = wanted.clamp(1, BATCH_ITEMS_MAX).min(self.policy.batch_items * 8);
    }
}

impl<I: Iterator, R> Pipeline<I, R> {
    /// Cancels batches that have not started and waits for the others.
    fn abandon(&mut self) {
        let ids: Vec<TaskId> = self.batches.iter().map(|(id, _)| *id).collect();
        self.core.wait(None, WaitTarget::Tasks(&ids), |state| {
            for &id in &ids {
                state.cancel(id);
            }
            ids.iter().all(|&id| state.tasks.is_done(id)).then_some(())
        });
    }
}

impl<I: Iterator, R> Drop for Pipeline<I, R> {
    fn drop(&mut self) {
        if let Some(reporter) = self.reporter.take() {
            reporter.finish(self.done);
        }
        if self.batches.is_empty() || !self.core.is_ours() {
            return;
        }
        // This may run while a panic unwinds.
        panic::ignore(|| {
            if self.waits {
                self.abandon();
            }
            for (id, _) in self.batches.drain(..) {
                self.core.lock().cancel(id);
                self.core.detach(id);
            }
        });
    }
}

/// Results as they arrive; see [`Pool::imap`](crate::Pool::imap).
///
/// Dropping it cancels items that have not started; running ones run to their end.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let mut halves = pool.imap([8u8, 4], 2, |n| n / 2)?;
/// assert_eq!(halves.next().transpose()?, Some(4));
/// assert_eq!(halves.next().transpose()?, Some(2));
/// assert!(halves.next().is_none());
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// A loop that Ctrl-C ends after the items that run:
///
/// ```
/// use brigade::Pool;
/// use brigade::batch::Interrupt;
/// let pool = Pool::builder().workers(2).build()?;
/// let interrupt = Interrupt::on_sigint()?;
/// let mut sum = 0;
/// for square in pool.imap(1u64.., 8, |n| n * n)? {
///     sum += square?;
///     # if sum > 100 { interrupt.request() }
///     if interrupt.is_requested() {
///         break;
///     }
/// }
/// println!("the sum so far: {sum}");
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "dropping it cancels what has not started"]
pub struct Imap<I: Iterator, R> {
    pipeline: Pipeline<I, R>,
    /// The rest of the batch that is being delivered.
    ready: std::vec::IntoIter<R>,
    /// The position of the next item of `ready`.
    next: usize,
}

impl<I: Iterator, R> Imap<I, R> {
    pub(super) fn new(pipeline: Pipeline<I, R>) -> Imap<I, R> {
        Imap { pipeline, ready: Vec::new().into_iter(), next: 0 }
    }

    /// The same in the order in which batches are done.
    pub(super) fn unordered(mut self) -> Imap<I, R> {
        self.pipeline.order = DeliveryOrder::AsDone;
        self
    }

    /// Results with the positions of their items, from 0 in the order of the iterator.
    ///
    /// An error has the position of the first item of its chunk.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let words = ["mise", "en", "place"];
    /// let lens = pool.imap_unordered(words.map(String::from), 3, |word| word.len())?;
    /// for (at, len) in lens.indexed() {
    ///     assert_eq!(len?, words[at].len());
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn indexed(self) -> Indexed<I, R> {
        Indexed(self)
    }
}

impl<I, R> Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    /// The next result, with the position of its item.
    fn next_indexed(&mut self) -> Option<(usize, Result<R>)> {
        loop {
            if let Some(result) = self.ready.next() {
                self.next += 1;
                return Some((self.next - 1, Ok(result)));
            }
            let mut results = Vec::new();
            let (items, ended) = self.pipeline.next_batch(&mut results)?;
            self.next = items.start;
            match ended {
                Ok(()) => self.ready = results.into_iter(),
                Err(error) => return Some((items.start, Err(error))),
            }
        }
    }
}

impl<I, R> Iterator for Imap<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = Result<R>;

    fn next(&mut self) -> Option<Result<R>> {
        self.next_indexed().map(|(_, result)| result)
    }
}

impl<I: Iterator, R> std::fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Imap").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

/// Results with the positions of their items; from [`Imap::indexed`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// let pool = Pool::builder().workers(2).build()?;
/// let mut halves = pool.imap([8u8, 4], 2, |n| n / 2)?.indexed();
/// assert!(matches!(halves.next(), Some((0, Ok(4)))));
/// assert!(matches!(halves.next(), Some((1, Ok(2)))));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it cancels what has not started"]
pub struct Indexed<I: Iterator, R>(Imap<I, R>);

impl<I, R> Iterator for Indexed<I, R>
where
    I: Iterator,
    I::Item: Serialize,
    R: DeserializeOwned,
{
    type Item = (usize, Result<R>);

    fn next(&mut self) -> Option<(usize, Result<R>)> {
        self.0.next_indexed()
    }
}
