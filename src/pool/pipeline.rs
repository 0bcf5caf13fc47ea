//! Items on their way through the workers, in batches.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, TaskError};
use crate::object::transfer::{self, Lease};
use crate::pool::core::Core;
use crate::pool::handle;
use crate::pool::state::WaitTarget;
use crate::pool::task::{Outcome, Rules};
use crate::process::panic;
use crate::region::arena::Contents;
use crate::region::windows::Windows;
use crate::sys::huge_pages;
use crate::worker::call;
use crate::worker::call::{SharedInput, TaskId};
use crate::worker::invocation::{self, Batch, CodecError, Invocation, Trampoline};
use crate::worker::queue_pair::Stage;

/// How long a batch should keep a worker busy: long beside a dispatch, short beside a second.
const BATCH_NS: u64 = 250_000;
/// Items in a batch at most.
const BATCH_ITEMS_MAX: usize = 1 << 16;
/// A batch is closed when its encoded items reach this, in bytes.
const BATCH_BYTES: usize = 256 << 10;
/// Batches under way at once, for each worker.
pub(super) const BATCHES_PER_WORKER: usize = 4;

/// A shared value, encoded, in the arena.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    kept: Arc<SharedInput>,
    place: SharedPlace,
}

/// Where a worker finds the shared value of a call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct SharedPlace {
    call: u64,
    offset: u64,
    len: usize,
    /// How many leases stand in front of it.
    leases: usize,
    /// It holds arrays: each task decodes it with leases of its own.
    is_given: bool,
}

impl Shared {
    pub(super) fn new<W: Serialize>(core: &Core, value: &W) -> Result<Shared> {
        let mut encoded = Vec::new();
        let attempt = transfer::encode_shared(|| invocation::encode_onto(&mut encoded, value));
        let ((), leases) = attempt.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "shared value", action: "encoded", reason })
        })?;
        // A handle of an array must not outlive its task, so such a value is not kept for the next.
        let is_given = leases.iter().any(Lease::is_of_array);
        let mut bytes = call::table(&leases);
        bytes.extend_from_slice(&encoded);
        let span = core.arena.reserve(bytes.len().max(1), Contents::Stale)?;
        span.store(&bytes);
        let (call, offset) = (core.next_call(), span.offset());
        let place = SharedPlace { call, offset, len: bytes.len(), leases: leases.len(), is_given };
        Ok(Shared { kept: Arc::new(SharedInput { _span: Some(span), leases, is_given }), place })
    }
}

impl SharedPlace {
    /// The bytes in the arena, and how many leases stand in front.
    fn copy_out(&self, windows: &Windows) -> std::result::Result<(Vec<u8>, usize), CodecError> {
        let bytes = windows.copy_out(self.offset, self.len);
        let bytes = bytes.map_err(|error| CodecError::Argument(error.to_string()))?;
        Ok((bytes, self.leases))
    }
}

/// Which batch comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpawnRequest {
    /// The one submitted first.
    AsGiven,
    /// The one that is done first.
    AsDone,
}

/// How many batches there are at once, and how large they are.
pub(super) struct Pace {
    pub(super) batches_max: usize,
    pub(super) batch_items: usize,
    /// Size the batches by how long they take.
    pub(super) is_adaptive: bool,
}

/// Items on their way through the workers, in batches.
pub(super) struct Pipeline<I: Iterator, R> {
    core: Arc<Core>,
    /// `None` once it has ended, or has panicked.
    items: Option<I>,
    /// Batches under way and how many items each has, oldest first.
    batches: VecDeque<(TaskId, usize)>,
    pace: Pace,
    order: SpawnRequest,
    trampoline: Trampoline,
    name: &'static str,
    rules: Rules,
    shared: Option<Shared>,
    /// Its end waits for what runs, also if it is left by a panic.
    waits: bool,
    results: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Pipeline<I, R> {
    pub(super) fn new(
        core: Arc<Core>,
        items: I,
        pace: Pace,
        trampoline: Trampoline,
        name: &'static str,
        rules: Rules,
        shared: Option<Shared>,
    ) -> Pipeline<I, R> {
        Pipeline {
            core,
            items: Some(items),
            batches: VecDeque::new(),
            pace,
            order: SpawnRequest::AsGiven,
            trampoline,
            name,
            rules,
            shared,
            waits: false,
            results: PhantomData,
        }
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
        while let Some(ended) = self.next_batch(&mut results) {
            ended?;
        }
        Ok(results.into_iter())
    }

    /// Appends the results of the next batch to `results`; `None` after the last.
    fn next_batch(&mut self, results: &mut Vec<R>) -> Option<Result<()>> {
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
        self.adapt(items, elapsed_ns);
        Some(handle::open_with(outcome, |bytes| invocation::decode_batch(bytes, items, results)))
    }

    /// Submits batches until enough are under way.
    fn fill(&mut self) -> Result<()> {
        while self.batches.len() < self.pace.batches_max {
            // Taken out while it runs: an iterator that panics is not asked again.
            let Some(mut items) = self.items.take() else { return Ok(()) };
            let Some(first) = items.next() else { return Ok(()) };
            let (items_max, shared) = (self.pace.batch_items, self.shared.as_ref());
            let mut count = 1;
            let encode = |out: &mut Vec<u8>| {
                if let Some(shared) = shared {
                    invocation::encode_onto(out, &shared.place)?;
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
            let shared_input = shared.map(|shared| Arc::clone(&shared.kept));
            let (trampoline, name, rules) = (self.trampoline, self.name, self.rules);
            let id = self.core.submit_with(trampoline, name, rules, shared_input, encode)?;
            self.batches.push_back((id, count));
            self.items = Some(items);
        }
        Ok(())
    }

    /// Waits for the next batch; its position and what came of it.
    fn wait(&self) -> Option<(usize, Outcome)> {
        let count = if self.order == SpawnRequest::AsGiven { 1 } else { self.batches.len() };
        let ids: Vec<TaskId> = self.batches.iter().take(count).map(|&(id, _)| id).collect();
        self.core.wait(None, WaitTarget::Tasks(&ids), |state| {
            (0..).zip(&ids).find_map(|(at, &id)| Some((at, Core::take(state, id)?)))
        })
    }

    /// Sizes the batches to come by how long this one took.
    fn adapt(&mut self, items: usize, elapsed_ns: u64) {
        if !self.pace.is_adaptive || elapsed_ns == 0 {
            return;
        }
        let per_batch = BATCH_NS.saturating_mul(items as u64) / elapsed_ns;
        let wanted = usize::try_from(per_batch).unwrap_or(BATCH_ITEMS_MAX);
        // Grown by steps: the first item may have been an easy one.
        self.pace.batch_items = wanted.clamp(1, BATCH_ITEMS_MAX).min(self.pace.batch_items * 8);
    }
}

impl<I: Iterator, R> Pipeline<I, R> {
    /// Cancels what has not started and waits for the rest.
    fn abandon(&mut self) {
        let ids: Vec<TaskId> = self.batches.iter().map(|&(id, _)| id).collect();
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
        if self.batches.is_empty() || !self.core.is_ours() {
            return;
        }
        // It may be left by a panic already.
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
/// Dropping it cancels what has not started; what runs, runs to its end.
#[must_use = "dropping it cancels what has not started"]
pub struct Imap<I: Iterator, R> {
    pipeline: Pipeline<I, R>,
    /// What is left of the batch that is being delivered.
    ready: std::vec::IntoIter<R>,
}

impl<I: Iterator, R> Imap<I, R> {
    pub(super) fn new(pipeline: Pipeline<I, R>) -> Imap<I, R> {
        Imap { pipeline, ready: Vec::new().into_iter() }
    }

    /// The same in the order in which batches are done.
    pub(super) fn unordered(mut self) -> Imap<I, R> {
        self.pipeline.order = SpawnRequest::AsDone;
        self
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
        loop {
            if let Some(result) = self.ready.next() {
                return Some(Ok(result));
            }
            let mut results = Vec::new();
            match self.pipeline.next_batch(&mut results)? {
                Ok(()) => self.ready = results.into_iter(),
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
pub(super) fn plain<F, A, R>(invocation: &mut Invocation<'_>) -> std::result::Result<(), CodecError>
where
    F: Fn(A) -> R + Copy + Send + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let items = invocation.arguments::<A>()?;
    invocation.begin();
    // SAFETY: named by `Options` alone, for a function that it was given.
    let function = unsafe { invocation::conjure::<F>() };
    let results: Vec<R> = invocation::each(items).map(function).collect();
    invocation.finish_all(&results)
}

/// The same with a shared value, whose place stands before the items.
pub(super) fn sharing<F, W, A, R>(
    invocation: &mut Invocation<'_>,
) -> std::result::Result<(), CodecError>
where
    F: Fn(&W, A) -> R + Copy + Send + 'static,
    W: DeserializeOwned + 'static,
    A: DeserializeOwned,
    R: Serialize,
{
    let place = invocation.leading::<SharedPlace>()?;
    let windows = invocation.windows;
    // SAFETY: named by `Options` alone, for a function that it was given.
    let function = unsafe { invocation::conjure::<F>() };
    let results: Vec<R> = if place.is_given {
        let (bytes, leases) = place.copy_out(windows)?;
        let encoded = call::split_table(&bytes, leases).map_or(&[][..], |(_, encoded)| encoded);
        let (shared, items) = invocation.arguments_beside::<W, A>(encoded)?;
        invocation.begin();
        invocation::each(items).map(|item| function(&shared, item)).collect()
    } else {
        let items = invocation.arguments::<A>()?;
        let shared = invocation.cache.shared::<W>(place.call, || {
            let (bytes, leases) = place.copy_out(windows)?;
            let short = || CodecError::Argument("a shared value without its leases".into());
            let (leases, encoded) = call::split_table(&bytes, leases).ok_or_else(short)?;
            let decoded = transfer::decode_kept(windows, &leases, || invocation::decode(encoded));
            decoded.map_err(CodecError::Argument)
        })?;
        (invocation.progress)(Stage::Running);
        invocation::each(items).map(|item| function(shared, item)).collect()
    };
    invocation.finish_all(&results)
}
