//! One thread that waits for several tasks, of several pools.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Instant;

use crate::pool::core::Core;
use crate::pool::listener::{Ending, Listener};
use crate::pool::state::Watch;
use crate::pool::task::TaskId;

/// Where tasks report that they are over, each once.
pub(super) struct Gather {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    ended: VecDeque<(usize, Ending)>,
    /// The thread that sleeps until there is something.
    waiter: Option<Thread>,
}

impl Gather {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Task `number` is over.
    pub(super) fn tell(&self, number: usize, ending: Ending) {
        let mut inner = self.lock();
        inner.ended.push_back((number, ending));
        if let Some(waiter) = &inner.waiter {
            waiter.unpark();
        }
    }

    /// Whom to wake from now on.
    pub(super) fn set_waiter(&self, waiter: Option<Thread>) {
        self.lock().waiter = waiter;
    }

    fn next(&self) -> Option<(usize, Ending)> {
        self.lock().ended.pop_front()
    }
}

/// Tasks of one pool, with their numbers.
type Numbered = Vec<(usize, TaskId)>;

/// Tasks that are waited for together.
pub(super) struct Gathering {
    gather: Arc<Gather>,
    /// Each pool once.
    pools: Vec<(Arc<Core>, Numbered)>,
}

impl Gathering {
    /// Begins to wait for tasks; those that are over already report at once, in the order given.
    pub(super) fn new<'a>(
        tasks: impl Iterator<Item = (usize, &'a Arc<Core>, TaskId)>,
    ) -> Gathering {
        let mut pools: Vec<(Arc<Core>, Numbered)> = Vec::new();
        for (number, core, id) in tasks {
            match pools.iter_mut().find(|(known, _)| Arc::ptr_eq(known, core)) {
                Some((_, tasks)) => tasks.push((number, id)),
                None => pools.push((Arc::clone(core), vec![(number, id)])),
            }
        }
        let gather = Arc::new(Gather { inner: Mutex::default() });
        for (core, tasks) in &pools {
            let mut state = core.lock();
            state.drive();
            for &(number, id) in tasks {
                let entry = state.tasks.get(id);
                let ending =
                    entry.map_or(Some(Ending::Quiet), |entry| entry.outcome().map(Ending::of));
                match ending {
                    Some(ending) => gather.tell(number, ending),
                    None => {
                        state.listen(id, Listener::Gather(Arc::clone(&gather), number));
                    }
                }
            }
            core.watch_over(&mut state);
        }
        Gathering { gather, pools }
    }

    /// The number of the next task that is over and has not been returned yet; `None` after
    /// `deadline`. There must be one.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<(usize, Ending)> {
        if let Some(ended) = self.gather.next() {
            return Some(ended);
        }
        if let [(core, _)] = &self.pools[..] {
            // The thread does the pool's work meanwhile.
            let watch = Watch::Gather(&self.gather);
            return core.wait(deadline, watch, |_| self.gather.next());
        }
        self.gather.set_waiter(Some(thread::current()));
        let ended = loop {
            let ended = self.gather.next();
            let now = Instant::now();
            if ended.is_some() || deadline.is_some_and(|at| now >= at) {
                break ended;
            }
            match deadline {
                None => thread::park(),
                Some(at) => thread::park_timeout(at - now),
            }
        };
        self.gather.set_waiter(None);
        ended
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        for (core, tasks) in self.pools.iter().filter(|(core, _)| core.is_ours()) {
            let mut state = core.lock();
            for &(_, id) in tasks {
                state.unlisten_gather(id, &self.gather);
            }
        }
    }
}
