//! Completions, queued for a thread that waits for several tasks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pool::record::outcome::Completion;
use crate::sys::thread_parker::ThreadParker;

/// A queue in which each task reports once that it is over.
#[derive(Default)]
pub(crate) struct CompletionQueue {
    inner: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    ended: VecDeque<(usize, Completion)>,
    /// The thread that sleeps until the queue has an entry.
    waiter: Option<ThreadParker>,
}

impl CompletionQueue {
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // No code under this lock panics in the middle of a change.
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

    /// Sets the thread to wake from now on.
    pub(crate) fn set_waiter(&self, waiter: Option<ThreadParker>) {
        self.lock().waiter = waiter;
    }

    /// The next task that is over and was not returned yet.
    pub(crate) fn next(&self) -> Option<(usize, Completion)> {
        self.lock().ended.pop_front()
    }
}
