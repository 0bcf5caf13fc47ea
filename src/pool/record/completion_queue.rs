//! Completions, queued for a thread that waits for several tasks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pool::record::outcome::Completion;
use crate::sys::thread_parker::Waiter;

/// Where tasks report that they are over, each once.
#[derive(Default)]
pub(crate) struct CompletionQueue {
    inner: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    ended: VecDeque<(usize, Completion)>,
    /// The thread that sleeps until there is something.
    waiter: Option<Waiter>,
}

impl CompletionQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Nothing under this lock panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Task `number` is over.
    pub(crate) fn notify(&self, number: usize, ending: Completion) {
        let mut inner = self.lock();
        inner.ended.push_back((number, ending));
        if let Some(waiter) = &inner.waiter {
            waiter.wake();
        }
    }

    /// Whom to wake from now on.
    pub(crate) fn set_waiter(&self, waiter: Option<Waiter>) {
        self.lock().waiter = waiter;
    }

    /// The next task that is over and was not returned yet.
    pub(crate) fn next(&self) -> Option<(usize, Completion)> {
        self.lock().ended.pop_front()
    }
}
