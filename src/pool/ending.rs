//! How a task ends: by its result, or by somebody's will.

use crate::pool::listener::Ending;
use crate::pool::seat::Cause;
use crate::pool::state::State;
use crate::pool::task::{Outcome, TaskId, Whereabouts, cancelled, is_cancelled};

impl State {
    /// Notes what came of a task and tells who waits for it.
    pub(super) fn complete(&mut self, id: TaskId, outcome: Outcome) {
        let Some(entry) = self.tasks.get_mut(id) else { return };
        if matches!(entry.place, Whereabouts::Done(_)) {
            return;
        }
        self.counters.note(&outcome);
        let ending = Ending::of(&outcome);
        entry.place = Whereabouts::Done(outcome);
        entry.call = None;
        let listeners = std::mem::take(&mut entry.listeners);
        let mut is_awaited = !listeners.is_empty();
        if entry.detached {
            self.tasks.remove(id);
        }
        if is_awaited {
            self.tell(listeners, ending);
        }
        tracing::trace!(task = id.number(), ?ending, "task ended");
        self.unfinished -= 1;
        if self.watch_room > 0 {
            self.wake_room();
        }
        if self.unfinished == 0 && self.watch_all > 0 {
            is_awaited = true;
            for thread in self.waiting.drain(..) {
                thread.unpark();
            }
        }
        if is_awaited {
            self.wake_sleeper();
        }
    }

    /// Has those who wait for room in the queue look again.
    pub(super) fn wake_room(&mut self) {
        for thread in self.waiting.drain(..) {
            thread.unpark();
        }
        self.wake_sleeper();
    }

    /// Takes a task back before it starts, and asks it to end early if it has started. Returns
    /// whether it is over, and cancelled.
    pub(super) fn cancel(&mut self, id: TaskId) -> bool {
        let Some(entry) = self.tasks.get_mut(id) else { return false };
        match &entry.place {
            Whereabouts::Done(outcome) => return is_cancelled(outcome),
            Whereabouts::Queued => {}
            &Whereabouts::Offered { worker, seq } => {
                let lane = &mut self.seats[worker].lane;
                if !lane.recall(seq) {
                    entry.is_asked = true;
                    lane.ask(seq);
                    return false;
                }
            }
        }
        self.complete(id, Err(cancelled()));
        true
    }

    /// Takes back what has not started, and asks the rest to end early.
    pub(super) fn cancel_all(&mut self) {
        for id in self.tasks.unfinished() {
            self.cancel(id);
        }
    }

    /// Whether a worker has started the task, and it is not known to be over.
    pub(super) fn has_started(&self, id: TaskId) -> bool {
        match self.tasks.get(id).map(|entry| &entry.place) {
            Some(&Whereabouts::Offered { worker, seq }) => self.seats[worker].lane.has_begun(seq),
            _ => false,
        }
    }

    /// Ends a task that has started, and its worker with it; does nothing if it commits first.
    pub(super) fn kill_task(&mut self, id: TaskId, cause: Cause) {
        let Some(entry) = self.tasks.get(id) else { return };
        let Whereabouts::Offered { worker, .. } = entry.place else { return };
        self.condemn(worker, cause);
        self.drain_seat(worker);
        let Some(entry) = self.tasks.get(id) else { return };
        if matches!(entry.place, Whereabouts::Done(_)) {
            // It was quicker. The worker has lost its offers, so it is of no more use.
            self.seats[worker].lane.stop();
        } else {
            self.seats[worker].kill();
        }
    }
}
