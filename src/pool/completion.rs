//! How a task ends: by its result, or by somebody's will.

use tracing::Level;

use crate::pool::listener::Completion;
use crate::pool::state::{Lifecycle, State};
use crate::pool::task::{Entry, Offer, Outcome, Progress, broken, cancelled, is_cancelled};
use crate::pool::worker_slot::Cause;
use crate::worker::call::TaskId;

impl State {
    /// Notes what came of a task and tells who waits for it.
    #[inline]
    pub(super) fn complete(&mut self, id: TaskId, outcome: Outcome) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        if entry.is_done() {
            return;
        }
        self.counters.note(&outcome);
        let ending = Completion::of(&outcome);
        entry.progress = Progress::Done(outcome);
        let listeners = entry.cold.take().map_or(Vec::new(), |cold| cold.listeners);
        let mut is_awaited = !listeners.is_empty();
        if entry.detached {
            self.tasks.remove(id);
        }
        if is_awaited {
            self.notify(listeners, ending);
        }
        self.events.defer(Level::TRACE, move || {
            tracing::trace!(task = id.number(), ?ending, "task ended");
        });
        self.unfinished -= 1;
        if self.waiting_for_room > 0 {
            self.wake_room();
        }
        if self.unfinished == 0 && self.waiting_for_all > 0 {
            is_awaited = true;
            for waiter in self.waiting.drain(..) {
                waiter.wake();
            }
        }
        if is_awaited {
            self.wake_sleeping_joiner();
        }
    }

    /// Has those who wait for room in the queue look again.
    pub(super) fn wake_room(&mut self) {
        for waiter in self.waiting.drain(..) {
            waiter.wake();
        }
        self.wake_sleeping_joiner();
    }

    /// Takes a task back before it starts, and asks it to end early if it has started. Returns
    /// whether it is over, and cancelled.
    pub(super) fn cancel(&mut self, id: TaskId) -> bool {
        if self.withdraw(id) {
            self.complete(id, Err(cancelled()));
            return true;
        }
        let Some(entry) = self.tasks.get_mut(id) else { return false };
        if let Some(outcome) = entry.outcome() {
            return is_cancelled(outcome);
        }
        if let Some(Offer { worker, seq }) = entry.offer() {
            entry.is_cancel_requested = true;
            self.workers[worker].queues.request_cancel(seq.get());
        }
        false
    }

    /// Makes sure that no worker begins a task; false if one has, or it is over.
    fn withdraw(&mut self, id: TaskId) -> bool {
        let Some(entry) = self.tasks.get(id) else { return false };
        match entry.offer() {
            Some(Offer { worker, seq }) => self.workers[worker].queues.recall(seq.get()),
            None => !entry.is_done(),
        }
    }

    /// Breaks the pool: what waits can never run. What runs goes on to its own end, since its
    /// worker may still write to what it was lent.
    pub(super) fn break_for(&mut self, cause: &str) {
        let text = cause.to_owned();
        self.events
            .defer(Level::ERROR, move || tracing::error!(cause = text, "the pool is broken"));
        self.life = Lifecycle::Broken(cause.to_owned());
        for id in self.tasks.unfinished() {
            if self.withdraw(id) {
                self.complete(id, Err(Box::new(broken(cause))));
            }
        }
        self.queue.clear();
    }

    /// Takes back what has not started, and asks the rest to end early.
    pub(super) fn cancel_all(&mut self) {
        for id in self.tasks.unfinished() {
            self.cancel(id);
        }
    }

    /// Whether a worker has started the task, and it is not known to be over.
    pub(super) fn has_started(&self, id: TaskId) -> bool {
        let offer = self.tasks.get(id).and_then(Entry::offer);
        offer
            .is_some_and(|Offer { worker, seq }| self.workers[worker].queues.has_started(seq.get()))
    }

    /// Ends a task that has started, and its worker with it; does nothing if it commits first.
    pub(super) fn kill_task(&mut self, id: TaskId, cause: Cause) {
        let Some(Offer { worker, .. }) = self.tasks.get(id).and_then(Entry::offer) else { return };
        self.retire(worker, cause);
        self.drain_worker(worker);
        let Some(entry) = self.tasks.get(id) else { return };
        if entry.is_done() {
            // It was quicker. The worker has lost its offers, so it is of no more use.
            self.workers[worker].queues.stop();
        } else {
            self.workers[worker].kill();
        }
    }
}
