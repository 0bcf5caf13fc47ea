//! When a worker must ring while no thread polls.

use crate::pool::record::state::State;
use crate::pool::record::task::TaskRecord;
use crate::pool::record::worker_slot::WorkerSlot;
use crate::worker::wakeup::Driver;

impl State {
    /// Prepares for a time in which no thread polls for results: sets the results at which the
    /// workers must ring, and the thread that they wake. Returns false if there is already such a
    /// result, or if a worker waits for room that the caller can make: it must drain again.
    pub(crate) fn arm(&mut self, sleeper: Driver) -> bool {
        for slot in &self.workers {
            slot.host_side.set_wake_at(self.wake_at(slot));
        }
        let needs_drain = |slot: &WorkerSlot| {
            let queues = &slot.host_side;
            queues.has_result_from(self.wake_at(slot)) || queues.is_without_room()
        };
        self.control.driver().arm(sleeper, || self.workers.iter().any(needs_drain))
    }

    /// The first result of this worker at which it must ring.
    fn wake_at(&self, slot: &WorkerSlot) -> u64 {
        let queues = &slot.host_side;
        let mut at = u64::MAX;
        if self.waiting_for_all > 0 {
            at = queues.in_flight().next_back().map_or(at, |entry| entry.seq);
        }
        if self.is_permit_awaited() {
            at = at.min(queues.in_flight().next().map_or(at, |entry| entry.seq));
        }
        if !slot.pinned.is_empty() {
            at = at.min(queues.in_flight().next_back().map_or(at, |entry| entry.seq));
        }
        if !self.queue.is_empty() {
            at = at.min(queues.half_way().unwrap_or(u64::MAX));
        }
        if self.listeners == 0 {
            return at;
        }
        let watched = queues.in_flight().find(|entry| {
            entry.task.and_then(|id| self.tasks.get(id)).is_some_and(TaskRecord::has_listeners)
        });
        at.min(watched.map_or(u64::MAX, |entry| entry.seq))
    }

    /// Whether no thread would be woken now. (An armed supervisor stays armed: later offers only
    /// make the workers ring earlier than necessary.)
    pub(crate) fn needs_rings(&self) -> bool {
        self.control.driver().get() != Driver::Supervisor
    }
}
