//! The host's record of a task.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::record::listener::Listener;
use crate::pool::record::outcome::{EncodedResult, Outcome};
use crate::sys::huge_pages;
use crate::worker::call::{Call, TaskId};
use crate::worker::current_task::PART;

/// Longer than any wait, and short enough for every clock.
pub(crate) const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// What a task is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TaskKind {
    /// Nothing else: it was submitted.
    #[default]
    Single,
    /// A call that sends items in batches.
    Batch,
    Loop,
    Team,
}

/// Options for one task.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TaskOptions {
    /// How long the task may run before its worker is killed.
    pub(crate) timeout: Option<Duration>,
    /// How often the task may be run again if its worker dies.
    pub(crate) retries: u32,
    /// The task uses memory that the caller lends for the duration of the call. It is not over
    /// before its worker has ended, however long that takes.
    pub(crate) borrows: bool,
    pub(crate) kind: TaskKind,
}

impl TaskOptions {
    /// Whether it is a part of a map, a loop or a team.
    pub(crate) fn is_part(&self) -> bool {
        self.kind != TaskKind::Single
    }
}

/// How many tasks, and parts of maps and loops, have got numbers.
#[derive(Debug, Default)]
pub(crate) struct TaskNumbers {
    tasks: u64,
    parts: u64,
}

impl TaskNumbers {
    /// The next number. Those of parts are marked.
    #[inline]
    pub(crate) fn next(&mut self, is_part: bool) -> u64 {
        let (next, mark) = if is_part { (&mut self.parts, PART) } else { (&mut self.tasks, 0) };
        *next += 1;
        (*next - 1) | mark
    }
}

/// The offer of a task to a worker: the worker's index, and the sequence number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) worker: usize,
    pub(crate) seq: NonZeroU64,
}

/// What pins a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    /// The index of its worker.
    pub(crate) worker: usize,
    /// The number of the broadcast that it belongs to.
    pub(crate) broadcast: u64,
}

/// The progress of a task.
#[derive(Debug)]
pub(crate) enum TaskState {
    /// It is in the host's queue, or was offered to a worker.
    Open { call: Call, offer: Option<Offer> },
    /// It is over.
    Done(Outcome),
}

/// The host's record of a task. A million tasks may wait, so rare fields are boxed.
#[derive(Debug)]
pub(crate) struct TaskRecord {
    pub(crate) state: TaskState,
    pub(crate) task_options: TaskOptions,
    /// How often it has died.
    pub(crate) deaths: u32,
    /// The handle was dropped, so the outcome is not wanted.
    pub(crate) detached: bool,
    /// It was asked to end early after it had started.
    pub(crate) is_cancel_requested: bool,
    pub(crate) cold: Option<Box<ColdFields>>,
}

/// Fields that few tasks need.
#[derive(Debug, Default)]
pub(crate) struct ColdFields {
    /// What pins it to a worker, if anything does.
    pub(crate) pin: Option<Pin>,
    /// When it is killed, if it still runs then.
    pub(crate) kill_at: Option<Instant>,
    /// Notified of its end. If there are any, the worker rings when it commits.
    pub(crate) listeners: Vec<Listener>,
}

const _: () = assert!(size_of::<(u32, Option<TaskRecord>)>() <= 160, "a million of them may wait");

impl TaskRecord {
    /// The outcome, if the task is over.
    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            TaskState::Done(outcome) => Some(outcome),
            TaskState::Open { .. } => None,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.outcome().is_some()
    }

    /// Whether it waits in the host's queue.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.state, TaskState::Open { offer: None, .. })
    }

    /// The worker that has it, if one has.
    pub(crate) fn offer(&self) -> Option<Offer> {
        match self.state {
            TaskState::Open { offer, .. } => offer,
            TaskState::Done(_) => None,
        }
    }

    /// What to run, until it is over.
    pub(crate) fn call(&self) -> Option<&Call> {
        match &self.state {
            TaskState::Open { call, .. } => Some(call),
            TaskState::Done(_) => None,
        }
    }

    pub(crate) fn call_mut(&mut self) -> Option<&mut Call> {
        match &mut self.state {
            TaskState::Open { call, .. } => Some(call),
            TaskState::Done(_) => None,
        }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| !cold.listeners.is_empty())
    }

    pub(crate) fn cold_mut(&mut self) -> &mut ColdFields {
        self.cold.get_or_insert_default()
    }
}

/// All tasks that are not done, or whose outcome was not taken yet.
#[derive(Debug, Default)]
pub(crate) struct TaskTable {
    slots: Vec<(u32, Option<TaskRecord>)>,
    free: Vec<u32>,
}

impl TaskTable {
    /// Adds a queued task.
    #[inline]
    pub(crate) fn insert(&mut self, call: Call, task_options: TaskOptions) -> Result<TaskId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.add_slot()?,
        };
        let (generation, slot) = &mut self.slots[index as usize];
        // Constructed in place: moving it would cost more than everything else here.
        *slot = Some(TaskRecord {
            state: TaskState::Open { call, offer: None },
            task_options,
            deaths: 0,
            detached: false,
            is_cancel_requested: false,
            cold: None,
        });
        Ok(TaskId { index, generation: *generation })
    }

    /// An empty slot, the last one.
    #[cold]
    fn add_slot(&mut self) -> Result<u32> {
        let index = u32::try_from(self.slots.len()).map_err(|_| Error::Full {
            what: "the pool's list of tasks",
            capacity: "4294967296 tasks".into(),
        })?;
        if self.slots.len() == self.slots.capacity() {
            let more = self.slots.len().max(64);
            huge_pages::reserve(&mut self.slots, more);
        }
        self.slots.push((0, None));
        Ok(index)
    }

    /// The task, unless it has been removed.
    #[inline]
    pub(crate) fn get(&self, id: TaskId) -> Option<&TaskRecord> {
        match self.slots.get(id.index as usize) {
            Some((generation, Some(entry))) if *generation == id.generation => Some(entry),
            _ => None,
        }
    }

    /// Takes the call from a task, because its worker may still write to what it was lent. So the
    /// task does not run again.
    pub(crate) fn take_call(&mut self, id: TaskId) -> Option<Call> {
        let entry = self.get_mut(id)?;
        entry.task_options.retries = 0;
        let call = entry.call_mut()?;
        Some(Call {
            function: call.function,
            name: call.name,
            number: call.number,
            payload: std::mem::take(&mut call.payload),
            leases: std::mem::take(&mut call.leases),
            shared_input: call.shared_input.take(),
        })
    }

    /// The task, unless it has been removed.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut TaskRecord> {
        match self.slots.get_mut(id.index as usize) {
            Some((generation, Some(entry))) if *generation == id.generation => Some(entry),
            _ => None,
        }
    }

    /// Whether the task is over, or was removed.
    pub(crate) fn is_done(&self, id: TaskId) -> bool {
        self.get(id).is_none_or(TaskRecord::is_done)
    }

    /// Removes a task.
    #[inline]
    pub(crate) fn remove(&mut self, id: TaskId) {
        if let Some((generation, slot)) = self.slots.get_mut(id.index as usize)
            && *generation == id.generation
            && slot.is_some()
        {
            *slot = None;
            *generation = generation.wrapping_add(1);
            self.free.push(id.index);
        }
    }

    /// Takes the outcome of a task that is over, and removes the task.
    #[inline]
    pub(crate) fn take(&mut self, id: TaskId) -> Option<Outcome> {
        let TaskState::Done(outcome) = &mut self.get_mut(id)?.state else { return None };
        let outcome = std::mem::replace(outcome, Ok(EncodedResult::default()));
        self.remove(id);
        Some(outcome)
    }

    /// Ids of all tasks that are not done.
    pub(crate) fn unfinished(&self) -> Vec<TaskId> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, (_, slot))| slot.as_ref().is_some_and(|entry| !entry.is_done()))
            .map(|(index, &(generation, _))| TaskId { index, generation })
            .collect()
    }
}
