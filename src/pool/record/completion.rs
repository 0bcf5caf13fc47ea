//! How a task ends: by its result, or by a request.

use std::sync::Arc;

use tracing::Level;

use crate::sys::thread_parker::ThreadParker;

use crate::pool::record::callbacks::Callback;
use crate::pool::record::completion_queue::CompletionQueue;
use crate::pool::record::listener::Listener;
use crate::pool::record::outcome::Completion;
use crate::pool::record::outcome::{Outcome, broken, cancelled, is_cancelled};
use crate::pool::record::state::{Lifecycle, State};
use crate::pool::record::task::{Offer, TaskRecord, TaskState};
use crate::pool::record::worker_slot::RetireCause;
use crate::worker::call::TaskId;

impl State {
    /// Records the outcome of a task and notifies its listeners.
    #[inline]
    pub(crate) fn complete(&mut self, id: TaskId, outcome: Outcome) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        if entry.is_done() {
            return;
        }
        self.counters.note(&outcome);
        let ending = Completion::of(&outcome);
        entry.state = TaskState::Done(outcome);
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
        if self.is_permit_awaited() {
            self.wake_permit_waiters();
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

    /// Recalls a task before it starts, or requests that it end early if it has started. Returns
    /// whether it is over and cancelled.
    pub(crate) fn cancel(&mut self, id: TaskId) -> bool {
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
            self.workers[worker].host_side.request_cancel(seq.get());
        }
        false
    }

    /// Ensures that no worker starts a task; false if one has, or if the task is over.
    fn withdraw(&mut self, id: TaskId) -> bool {
        let Some(entry) = self.tasks.get(id) else { return false };
        match entry.offer() {
            Some(Offer { worker, seq }) => self.workers[worker].host_side.recall(seq.get()),
            None => !entry.is_done(),
        }
    }

    /// Breaks the pool: queued tasks can never run. Running tasks run to their end, because their
    /// workers may still write to what they were lent.
    pub(crate) fn break_for(&mut self, cause: &str) {
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

    /// Recalls tasks that have not started, and requests that the others end early.
    pub(crate) fn cancel_all(&mut self) {
        for id in self.tasks.unfinished() {
            self.cancel(id);
        }
    }

    /// Whether a worker has started the task, and the task is not known to be over.
    pub(crate) fn has_started(&self, id: TaskId) -> bool {
        let offer = self.tasks.get(id).and_then(TaskRecord::offer);
        offer.is_some_and(|Offer { worker, seq }| {
            self.workers[worker].host_side.has_started(seq.get())
        })
    }

    /// Ends a task that has started, and its worker with it; does nothing if it commits first.
    pub(crate) fn kill_task(&mut self, id: TaskId, cause: RetireCause) {
        let Some(Offer { worker, .. }) = self.tasks.get(id).and_then(TaskRecord::offer) else {
            return;
        };
        self.retire(worker, cause);
        self.drain_worker(worker);
        let Some(entry) = self.tasks.get(id) else { return };
        if entry.is_done() {
            // The task committed first. The worker has lost its offers, so it is stopped.
            self.workers[worker].host_side.stop();
        } else {
            self.workers[worker].kill();
        }
    }
}

impl State {
    /// Adds a listener to a task; returns it if the task is over or removed.
    pub(crate) fn listen(&mut self, id: TaskId, listener: Listener) -> Option<Listener> {
        match self.tasks.get_mut(id) {
            Some(entry) if !entry.is_done() => {
                entry.cold_mut().listeners.push(listener);
                self.listeners += 1;
                None
            }
            _ => Some(listener),
        }
    }

    /// Removes the listeners of a task that `which` selects.
    pub(crate) fn unlisten(
        &mut self,
        id: TaskId,
        mut which: impl FnMut(&mut Listener) -> bool,
    ) -> Vec<Listener> {
        let entry = self.tasks.get_mut(id);
        let Some(cold) = entry.and_then(|entry| entry.cold.as_mut()) else { return Vec::new() };
        let removed: Vec<Listener> =
            cold.listeners.extract_if(.., |listener| which(listener)).collect();
        self.listeners -= removed.len();
        removed
    }

    /// Removes this thread from the listeners of a task.
    pub(crate) fn unlisten_thread(&mut self, id: TaskId, thread: &ThreadParker) {
        self.unlisten(id, |listener| listener.is_thread(thread));
    }

    /// Removes `queue` from the listeners of a task.
    pub(crate) fn unlisten_queue(&mut self, id: TaskId, queue: &Arc<CompletionQueue>) {
        self.unlisten(id, |listener| listener.is_queue(queue));
    }

    /// Notifies the listeners of a task that it is over.
    pub(crate) fn notify(&mut self, listeners: Vec<Listener>, ending: Completion) {
        self.listeners -= listeners.len();
        for listener in listeners {
            match listener {
                Listener::Thread(waiter) => waiter.wake(),
                Listener::WaitSet(queue, number) => queue.notify(number, ending),
                Listener::Call(callback) => self.call(callback),
                #[cfg(feature = "async")]
                Listener::Wake(waker) => self.call(Callback::wake(waker)),
            }
        }
    }

    /// Passes a callback to the callback thread.
    pub(crate) fn call(&mut self, callback: Callback) {
        self.callbacks_due += usize::from(callback.is_counted());
        // The thread exists: adding the listener started it.
        if let Some(callbacks) = &self.callbacks {
            callbacks.push(callback);
        }
    }
}
