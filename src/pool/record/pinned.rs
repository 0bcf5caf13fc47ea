//! Tasks that are pinned to a worker.
//!
//! Such a task waits in its worker's slot, not in the pool's queue. It is offered when the worker
//! has nothing else, one at a time, and meanwhile the worker is offered no other task. So it is the
//! first of what the worker has, and never moved to another worker.

use crate::error::Result;
use crate::pool::record::config::Initializer;
use crate::pool::record::outcome::cancelled;
use crate::pool::record::state::State;
use crate::pool::record::task::{Pin, TaskOptions, TaskRecord};
use crate::pool::record::worker_slot::{RetireCause, WorkerSlot, WorkerState};
use crate::worker::call::{Call, TaskId};
use crate::worker::queue_pair::SLOTS;

impl State {
    /// Adds a task that only this worker may run.
    pub(crate) fn pin(
        &mut self,
        call: Call,
        task_options: TaskOptions,
        pin: Pin,
    ) -> Result<TaskId> {
        let id = self.tasks.insert(call, task_options)?;
        self.unfinished += 1;
        self.counters.submitted += 1;
        if let Some(entry) = self.tasks.get_mut(id) {
            entry.cold_mut().pin = Some(pin);
        }
        self.workers[pin.worker].pinned.push_back(id);
        self.has_pinned = true;
        Ok(id)
    }

    /// Puts a pinned task that no worker has back to the front of its worker's queue.
    pub(crate) fn push_pinned(&mut self, id: TaskId, pin: Pin) {
        self.workers[pin.worker].pinned.push_front(id);
        self.has_pinned = true;
    }

    /// Offers pinned tasks to workers that have no others, and cancels those whose worker will have
    /// no successor.
    #[cold]
    pub(crate) fn offer_pinned(&mut self) {
        let is_full = self.available_workers() >= self.target;
        self.has_pinned = false;
        for index in 0..self.workers.len() {
            let State { workers, tasks, .. } = self;
            let slot = &mut workers[index];
            slot.pinned.retain(|&id| tasks.get(id).is_some_and(TaskRecord::is_queued));
            let is_lost = slot.is_abandoned
                || match slot.state {
                    WorkerState::Retiring(cause) => cause == RetireCause::Surplus,
                    WorkerState::Vacant => is_full,
                    _ => false,
                };
            if is_lost {
                slot.misses_broadcast |= !slot.pinned.is_empty();
                for id in std::mem::take(&mut slot.pinned) {
                    self.complete(id, Err(cancelled()));
                }
            }
            self.offer_pinned_to(index);
            self.has_pinned |= !self.workers[index].pinned.is_empty();
        }
    }

    fn offer_pinned_to(&mut self, index: usize) {
        let slot = &mut self.workers[index];
        // A stopped worker does not pass what was recalled from it. It is offered the task anyway,
        // so that the task's timeout counts.
        let has_room = (slot.host_side.in_flight().count() as u64) < SLOTS;
        let is_free = slot.takes_offers() && slot.host_side.live() == 0 && has_room;
        if is_free
            && let Some(&id) = slot.pinned.front()
            && self.offer(index, id)
        {
            self.workers[index].pinned.pop_front();
            self.workers[index].host_side.wake();
        }
        let slot = &mut self.workers[index];
        slot.host_side.reserve(!slot.pinned.is_empty());
    }

    /// The indices of the slots whose worker takes offers, is dormant or is being replaced, and of
    /// empty slots that will get a worker: up to the target.
    pub(crate) fn present_workers(&self) -> Vec<usize> {
        let is_present = |index: &usize| {
            let slot = &self.workers[*index];
            slot.takes_offers() || slot.is_dormant()
        };
        let is_replaced = |index: &usize| {
            let slot = &self.workers[*index];
            let is_surplus = slot.state == WorkerState::Retiring(RetireCause::Surplus);
            !is_present(index) && !is_surplus && !slot.is_abandoned
        };
        let all = 0..self.workers.len();
        let mut found: Vec<usize> = all.clone().filter(is_present).collect();
        let missing = self.target.saturating_sub(found.len());
        // The slots that will get a worker: those whose worker leaves, then the empty ones, in the
        // order in which `vacant` fills them.
        let mut replaced: Vec<usize> = all.filter(is_replaced).collect();
        replaced.sort_by_key(|&index| {
            let slot = &self.workers[index];
            (!slot.has_worker(), slot.pinned.is_empty())
        });
        found.extend(replaced.into_iter().take(missing));
        found.sort_unstable();
        found
    }

    /// Whether all missing workers must start in other slots, which have waiting tasks.
    pub(crate) fn is_owed_to_others(&self, index: usize) -> bool {
        let waits = |slot: &&WorkerSlot| {
            let is_coming = slot.state == WorkerState::Vacant || slot.awaits_successor();
            is_coming && !slot.pinned.is_empty()
        };
        let owed = self.workers.iter().filter(waits).count();
        self.workers[index].pinned.is_empty() && self.available_workers() + owed >= self.target
    }

    /// Marks the workers that have no task among `ids`, those of a broadcast.
    pub(crate) fn note_missed(&mut self, ids: &[(usize, TaskId)]) {
        for (index, slot) in self.workers.iter_mut().enumerate() {
            slot.misses_broadcast |= ids.iter().all(|&(worker, _)| worker != index);
        }
    }

    /// How many pinned tasks the worker in this slot was offered and has not started: the first of
    /// all that it was offered, or none.
    pub(crate) fn unstarted_pinned(&self, index: usize) -> usize {
        let queues = &self.workers[index].host_side;
        let first = queues.in_flight().find(|entry| Some(entry.seq) == queues.unstarted());
        let task = first.and_then(|entry| self.tasks.get(entry.task?));
        let cold = task.and_then(|entry| entry.cold.as_ref());
        usize::from(cold.is_some_and(|cold| cold.pin.is_some()))
    }

    /// The functions that a new worker in this slot runs first, except those that it gets as a
    /// task.
    pub(crate) fn initializers_of(&self, index: usize) -> impl Iterator<Item = &Initializer> {
        self.initializers.iter().filter(move |initializer| {
            initializer.broadcast.is_none_or(|broadcast| !self.owes(index, broadcast))
        })
    }

    /// Whether the worker in this slot has still to run its task of this broadcast.
    fn owes(&self, index: usize, broadcast: u64) -> bool {
        self.workers[index].pinned.iter().any(|&id| {
            let cold = self.tasks.get(id).and_then(|entry| entry.cold.as_ref());
            cold.and_then(|cold| cold.pin).is_some_and(|pin| pin.broadcast == broadcast)
        })
    }
}

#[cfg(test)]
#[path = "pinned_tests.rs"]
mod tests;
