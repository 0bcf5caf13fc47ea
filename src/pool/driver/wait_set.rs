//! One thread that waits for several tasks, of several pools.

use std::sync::Arc;
use std::time::Instant;

use crate::pool::driver::core::Core;
use crate::pool::record::completion_queue::CompletionQueue;
use crate::pool::record::listener::Listener;
use crate::pool::record::outcome::Completion;
use crate::pool::record::state::WaitTarget;
use crate::sys::thread_parker::ThreadParker;
use crate::worker::call::TaskId;

/// Tasks of one pool, with their numbers.
type Numbered = Vec<(usize, TaskId)>;

/// Tasks that are waited for together.
pub(crate) struct WaitSet {
    queue: Arc<CompletionQueue>,
    /// Each pool once.
    pools: Vec<(Arc<Core>, Numbered)>,
}

impl WaitSet {
    /// Begins to wait for tasks. Those that have ended already are queued at once, in the given
    /// order.
    pub(crate) fn new<'a>(tasks: impl Iterator<Item = (usize, &'a Arc<Core>, TaskId)>) -> WaitSet {
        let mut pools: Vec<(Arc<Core>, Numbered)> = Vec::new();
        for (number, core, id) in tasks {
            match pools.iter_mut().find(|(known, _)| Arc::ptr_eq(known, core)) {
                Some((_, tasks)) => tasks.push((number, id)),
                None => pools.push((Arc::clone(core), vec![(number, id)])),
            }
        }
        let queue = Arc::new(CompletionQueue::default());
        for (core, tasks) in &pools {
            let mut state = core.lock();
            state.drive();
            for &(number, id) in tasks {
                let entry = state.tasks.get(id);
                let ending = entry.map_or(Some(Completion::NotFailed), |entry| {
                    entry.outcome().map(Completion::of)
                });
                match ending {
                    Some(ending) => queue.notify(number, ending),
                    None => {
                        state.listen(id, Listener::WaitSet(Arc::clone(&queue), number));
                    }
                }
            }
            core.watch_start(&mut state);
        }
        WaitSet { queue, pools }
    }

    /// The number of the next ended task that was not returned yet; `None` after `deadline`. There
    /// must be such a task, or one that has not ended.
    pub(crate) fn next(&self, deadline: Option<Instant>) -> Option<(usize, Completion)> {
        if let Some(ended) = self.queue.next() {
            return Some(ended);
        }
        if let [(core, _)] = &self.pools[..] {
            // This thread drives the pool meanwhile.
            let watch = WaitTarget::WaitSet(&self.queue);
            return core.wait(deadline, watch, |_| self.queue.next());
        }
        let ended = loop {
            let waiter = ThreadParker::new();
            self.queue.set_waiter(Some(waiter.clone()));
            let ended = self.queue.next();
            if ended.is_some() || deadline.is_some_and(|at| Instant::now() >= at) {
                break ended;
            }
            waiter.wait_until(deadline);
        };
        self.queue.set_waiter(None);
        ended
    }
}

impl Drop for WaitSet {
    fn drop(&mut self) {
        for (core, tasks) in self.pools.iter().filter(|(core, _)| core.is_ours()) {
            let mut state = core.lock();
            for &(_, id) in tasks {
                state.unlisten_queue(id, &self.queue);
            }
        }
    }
}
