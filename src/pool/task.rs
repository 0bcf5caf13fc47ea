//! The host's record of a task.

use std::time::{Duration, Instant};

use crate::array::handoff::{Lease, WireLease};
use crate::control::Memory;
use crate::error::{Error, Result, TaskError};
use crate::pool::lane::{RESULT_INLINE_BYTES, RING_PAYLOAD_BYTES_MAX, TASK_INLINE_BYTES};
use crate::pool::listener::Listener;
use crate::process::function::FunctionOffset;
use crate::region::arena::{Arena, Contents, Span};
use std::sync::Arc;

/// Names a task as long as its entry exists; never reused with the same generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TaskId {
    index: u32,
    generation: u32,
}

impl TaskId {
    /// For diagnostics.
    pub(super) fn number(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }
}

/// Bytes on the way to a worker.
#[derive(Debug)]
pub(super) enum Payload {
    /// Small enough for a task slot.
    Inline { len: usize, bytes: [u8; TASK_INLINE_BYTES] },
    /// Small enough for the byte ring.
    Bytes(Box<[u8]>),
    /// Larger: in the arena already.
    Span(Span),
}

impl Payload {
    /// Bytes, lease table included.
    pub(super) fn len(&self) -> usize {
        match self {
            Payload::Inline { len, .. } => *len,
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Span(span) => span.len_bytes(),
        }
    }

    /// Puts `bytes` where bytes of that many belong.
    pub(super) fn new(bytes: &[u8], arena: &Arc<Arena>) -> Result<Payload> {
        if bytes.len() <= TASK_INLINE_BYTES {
            let mut inline = [0; TASK_INLINE_BYTES];
            inline[..bytes.len()].copy_from_slice(bytes);
            return Ok(Payload::Inline { len: bytes.len(), bytes: inline });
        }
        if bytes.len() <= RING_PAYLOAD_BYTES_MAX {
            return Ok(Payload::Bytes(bytes.into()));
        }
        let span = arena.reserve(bytes.len(), Contents::Stale)?;
        span.store(bytes);
        Ok(Payload::Span(span))
    }
}

/// What to run.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) function: FunctionOffset,
    pub(super) payload: Payload,
    /// Arrays that travel by handle; their wire forms stand in front of the payload.
    pub(super) leases: Vec<Lease>,
    /// For people: the type name of the function.
    pub(super) name: &'static str,
    /// What the argument refers to in the arena beside its leases.
    pub(super) keeps: Option<Arc<Kept>>,
}

/// An encoded value that several tasks refer to, and what it refers to itself.
#[derive(Debug)]
pub(super) struct Kept {
    /// Never read: the encoded value in it stays as long as this does.
    pub(super) _span: Span,
    pub(super) leases: Vec<Lease>,
}

impl Call {
    /// A call of `function` with an encoded argument and the leases it refers to.
    pub(super) fn new(
        function: FunctionOffset,
        name: &'static str,
        encoded: &[u8],
        leases: Vec<Lease>,
        arena: &Arc<Arena>,
    ) -> Result<Call> {
        if leases.is_empty() {
            let payload = Payload::new(encoded, arena)?;
            return Ok(Call { function, payload, leases, name, keeps: None });
        }
        let mut bytes = table(&leases);
        bytes.extend_from_slice(encoded);
        let payload = Payload::new(&bytes, arena)?;
        Ok(Call { function, payload, leases, name, keeps: None })
    }

    /// The control memories that a worker was lent with it.
    pub(super) fn lent(&self) -> impl Iterator<Item = &Memory> {
        let kept = self.keeps.iter().flat_map(|kept| &kept.leases);
        self.leases.iter().chain(kept).filter_map(Lease::control)
    }
}

/// Leases as they stand in front of a payload.
pub(super) fn table(leases: &[Lease]) -> Vec<u8> {
    let rows: Vec<WireLease> = leases.iter().map(Lease::wire).collect();
    bytemuck::cast_slice(&rows).to_vec()
}

/// The leases in a table, and what stands behind them; `None` if there is less.
pub(super) fn split_table(bytes: &[u8], leases: usize) -> Option<(Vec<WireLease>, &[u8])> {
    let table_bytes = leases.checked_mul(size_of::<WireLease>())?;
    let (table, rest) = bytes.split_at_checked(table_bytes)?;
    let rows = table.chunks_exact(size_of::<WireLease>());
    Some((rows.map(bytemuck::pod_read_unaligned).collect(), rest))
}

/// Longer than anything is waited for: a time that clocks can still count.
pub(super) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Rules for one task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Kill the worker when the task has run for this long.
    pub(crate) timeout: Option<Duration>,
    /// How often it may be run again if its worker dies.
    pub(crate) retries: u32,
}

/// Where a task is.
#[derive(Debug)]
pub(super) enum Whereabouts {
    /// In the host's queue.
    Queued,
    /// Given to this worker under this sequence number.
    Offered { worker: usize, seq: u64 },
    /// Over.
    Done(Outcome),
}

/// What came of a task.
pub(super) type Outcome = std::result::Result<Value, Box<Error>>;

/// An encoded result.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) bytes: ValueBytes,
    /// The leases of the call, for handles that come back.
    pub(super) leases: Vec<Lease>,
    /// How long the worker took for it, in nanoseconds; 0: unknown.
    pub(super) elapsed_ns: u64,
}

/// The bytes of a [`Value`].
#[derive(Debug)]
pub(super) enum ValueBytes {
    Inline { len: usize, bytes: [u8; RESULT_INLINE_BYTES] },
    Bytes(Box<[u8]>),
    Span(Span, usize),
}

impl ValueBytes {
    /// The first `len` bytes of a result slot's words; at most [`RESULT_INLINE_BYTES`].
    pub(super) fn inline(len: usize, word: impl Fn(usize) -> u64) -> ValueBytes {
        let mut bytes = [0; RESULT_INLINE_BYTES];
        for (index, chunk) in bytes.chunks_exact_mut(8).take(len.div_ceil(8)).enumerate() {
            chunk.copy_from_slice(&word(index).to_ne_bytes());
        }
        ValueBytes::Inline { len, bytes }
    }

    /// Keeps bytes that were copied out of a lane.
    pub(super) fn new(bytes: Vec<u8>) -> ValueBytes {
        if bytes.len() > RESULT_INLINE_BYTES {
            return ValueBytes::Bytes(bytes.into());
        }
        let mut inline = [0; RESULT_INLINE_BYTES];
        inline[..bytes.len()].copy_from_slice(&bytes);
        ValueBytes::Inline { len: bytes.len(), bytes: inline }
    }

    /// Calls `f` with the bytes.
    pub(super) fn with<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        match self {
            ValueBytes::Inline { len, bytes } => f(&bytes[..*len]),
            ValueBytes::Bytes(bytes) => f(bytes),
            ValueBytes::Span(span, len) => f(&span.load(*len)),
        }
    }
}

/// A task as the host knows it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Whereabouts,
    /// `None` once it is done.
    pub(super) call: Option<Call>,
    pub(super) rules: Rules,
    /// How often it has died so far.
    pub(super) deaths: u32,
    /// Nobody will ask for the outcome.
    pub(super) detached: bool,
    /// It was asked to end early, after it had started.
    pub(super) is_asked: bool,
    /// When it is killed, if it is still running by then.
    pub(super) kill_at: Option<Instant>,
    /// Who is to hear of its end: workers ring when it commits, if there is anybody.
    pub(super) listeners: Vec<Listener>,
}

/// All tasks that are not done, or done and not yet asked for.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    slots: Vec<(u32, Option<Entry>)>,
    free: Vec<u32>,
}

impl Tasks {
    /// Adds a queued task.
    pub(super) fn insert(&mut self, call: Call, rules: Rules) -> Result<TaskId> {
        let entry = Entry {
            place: Whereabouts::Queued,
            call: Some(call),
            rules,
            deaths: 0,
            detached: false,
            is_asked: false,
            kill_at: None,
            listeners: Vec::new(),
        };
        if let Some(index) = self.free.pop() {
            let (generation, slot) = &mut self.slots[index as usize];
            *slot = Some(entry);
            return Ok(TaskId { index, generation: *generation });
        }
        let index = u32::try_from(self.slots.len()).map_err(|_| Error::Full {
            what: "the pool's list of tasks",
            capacity: "4294967296 tasks".into(),
        })?;
        self.slots.push((0, Some(entry)));
        Ok(TaskId { index, generation: 0 })
    }

    /// The task, unless it has been removed.
    pub(super) fn get(&self, id: TaskId) -> Option<&Entry> {
        match self.slots.get(id.index as usize) {
            Some((generation, Some(entry))) if *generation == id.generation => Some(entry),
            _ => None,
        }
    }

    /// The task, unless it has been removed.
    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Entry> {
        match self.slots.get_mut(id.index as usize) {
            Some((generation, Some(entry))) if *generation == id.generation => Some(entry),
            _ => None,
        }
    }

    /// Whether the task is over, or was removed.
    pub(super) fn is_done(&self, id: TaskId) -> bool {
        self.get(id).is_none_or(|entry| matches!(entry.place, Whereabouts::Done(_)))
    }

    /// Forgets a task and returns its entry.
    pub(super) fn remove(&mut self, id: TaskId) -> Option<Entry> {
        let (generation, slot) = self.slots.get_mut(id.index as usize)?;
        if *generation != id.generation {
            return None;
        }
        let entry = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        Some(entry)
    }

    /// Ids of all tasks that are not done.
    pub(super) fn unfinished(&self) -> Vec<TaskId> {
        (0u32..)
            .zip(&self.slots)
            .filter_map(|(index, (generation, slot))| match slot {
                Some(Entry { place: Whereabouts::Done(_), .. }) | None => None,
                Some(_) => Some(TaskId { index, generation: *generation }),
            })
            .collect()
    }
}

/// Whether that is what came of it.
pub(super) fn is_cancelled(outcome: &Outcome) -> bool {
    outcome.as_ref().is_err_and(|error| matches!(**error, Error::Task(TaskError::Cancelled)))
}

/// The error of a task that was cancelled.
pub(super) fn cancelled() -> Box<Error> {
    Box::new(Error::Task(TaskError::Cancelled))
}

/// The error of a task that a broken pool cannot run.
pub(super) fn broken(cause: &str) -> Error {
    Error::Broken { what: "the pool", cause: cause.to_owned() }
}
