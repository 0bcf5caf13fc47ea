//! Moves tasks from workers that have not started them.

use std::time::{Duration, Instant};

use crate::pool::record::progress_clock::Waiting;
use crate::pool::record::state::State;
use crate::pool::record::worker_slot::WorkerSlot;

impl State {
    /// Moves tasks that wait behind others to idle workers.
    pub(crate) fn balance(&mut self) {
        if !self.queue.is_empty() {
            return;
        }
        loop {
            let Some(to) = self.workers.iter().position(WorkerSlot::is_idle) else { return };
            let fullest = (0..self.workers.len()).max_by_key(|&i| self.workers[i].host_side.live());
            let Some(from) = fullest.filter(|&i| self.workers[i].host_side.live() > 1) else {
                return;
            };
            let count = self.workers[from].host_side.live() / 2;
            let mut recalled = self.workers[from].host_side.recall_latest(count);
            if recalled.is_empty() {
                return;
            }
            while let Some(id) = recalled.pop() {
                if self.workers[to].host_side.has_slot() && self.offer(to, id) {
                    continue;
                }
                self.requeue_first(id);
            }
            self.workers[to].host_side.wake();
        }
    }

    /// Whether a worker has tasks and has started none of them.
    pub(crate) fn has_unstarted(&mut self) -> bool {
        let now = Instant::now();
        let mut found = false;
        // All slots are visited, because each call starts a clock.
        for slot in &mut self.workers {
            found |= matches!(slot.waiting_since(now), Some((Waiting::ToStart { .. }, _)));
        }
        found
    }

    /// Wakes each worker that has not started a task for `timeout`. If another worker is idle,
    /// recalls its tasks: it may be stopped, or slow to start.
    pub(crate) fn recall_unstarted(&mut self, timeout: Duration) {
        let now = Instant::now();
        let has_idle = self.workers.iter().any(WorkerSlot::is_idle);
        for index in 0..self.workers.len() {
            match self.workers[index].waiting_since(now) {
                Some((Waiting::ToStart { .. }, since))
                    if now.saturating_duration_since(since) >= timeout => {}
                _ => continue,
            }
            // It may sleep although its word says that it does not.
            self.workers[index].host_side.wake_anyway();
            if has_idle {
                // A pinned task stays with its worker, so that its timeout counts.
                let count = self.workers[index].host_side.live() - self.unstarted_pinned(index);
                for id in self.workers[index].host_side.recall_latest(count) {
                    self.requeue_first(id);
                }
            }
        }
    }
}
