//! Who hears of a task's end, and how.

use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::Waker;

use crate::error::Result;
use crate::pool::callbacks::{Callback, Callbacks};
use crate::pool::core::Core;
use crate::pool::state::{Lifecycle, State};
use crate::pool::task::{Outcome, is_cancelled};
use crate::pool::wait_set::CompletionQueue;
use crate::sys::thread_parker::Waiter;
use crate::worker::call::TaskId;

/// Somebody who is told once when a task is over. Telling runs no code of the user: that is left
/// to the callback thread.
pub(super) enum Listener {
    /// A thread that sleeps until then.
    Thread(Waiter),
    /// A thread that waits for several tasks, of which this one has that number.
    WaitSet(Arc<CompletionQueue>, usize),
    /// A callback.
    Call(Callback),
    /// Whoever polls the handle as a future.
    #[cfg(feature = "async")]
    Wake(Waker),
}

/// How a task has ended, for those who only count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// With a value, or cancelled.
    Quiet,
    /// With any other error.
    Failed,
}

impl Completion {
    pub(super) fn of(outcome: &Outcome) -> Completion {
        match outcome {
            Ok(_) => Completion::Quiet,
            Err(_) if is_cancelled(outcome) => Completion::Quiet,
            Err(_) => Completion::Failed,
        }
    }
}

impl Listener {
    fn is_thread(&self, waiter: &Waiter) -> bool {
        matches!(self, Listener::Thread(own) if own.is(waiter))
    }

    fn is_gather(&self, queue: &Arc<CompletionQueue>) -> bool {
        matches!(self, Listener::WaitSet(own, _) if Arc::ptr_eq(own, queue))
    }
}

impl State {
    /// Adds a listener to a task; gives it back if the task is over, or forgotten.
    pub(super) fn listen(&mut self, id: TaskId, listener: Listener) -> Option<Listener> {
        match self.tasks.get_mut(id) {
            Some(entry) if !entry.is_done() => {
                entry.cold_mut().listeners.push(listener);
                self.listeners += 1;
                None
            }
            _ => Some(listener),
        }
    }

    /// Removes the listeners of a task that `which` chooses.
    pub(super) fn unlisten(
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

    /// Forgets that this thread waits for a task.
    pub(super) fn unlisten_thread(&mut self, id: TaskId, thread: &Waiter) {
        self.unlisten(id, |listener| listener.is_thread(thread));
    }

    /// Forgets that `gather` waits for a task.
    pub(super) fn unlisten_gather(&mut self, id: TaskId, queue: &Arc<CompletionQueue>) {
        self.unlisten(id, |listener| listener.is_gather(queue));
    }

    /// Tells those who listened to a task that it is over.
    pub(super) fn notify(&mut self, listeners: Vec<Listener>, ending: Completion) {
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

    /// Hands a callback to the callback thread.
    fn call(&mut self, callback: Callback) {
        self.callbacks_due += usize::from(callback.is_counted());
        // There is a thread: whoever added the listener has started it.
        if let Some(callbacks) = &self.callbacks {
            callbacks.push(callback);
        }
    }
}

impl Core {
    /// Has a callback run on the callback thread when the task is over; soon, if it is.
    pub(super) fn call_at_end(&self, id: TaskId, callback: Callback) -> Result<()> {
        let callbacks = Callbacks::current()?;
        let mut state = self.lock();
        state.callbacks.get_or_insert(callbacks);
        state.drain();
        match state.listen(id, Listener::Call(callback)) {
            None => self.watch_start(&mut state),
            Some(Listener::Call(callback)) => {
                state.call(callback);
                if state.life == Lifecycle::Closed {
                    // Nobody comes who would let the thread go.
                    state.callbacks = None;
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// A callback of this pool has run.
    pub(super) fn callback_done(&self) {
        let mut state = self.lock();
        state.callbacks_due -= 1;
        if state.callbacks_due == 0 {
            drop(state);
            self.changed.notify_all();
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Listener::Thread(_) => "Thread",
            Listener::WaitSet(..) => "CompletionQueue",
            Listener::Call(_) => "Call",
            #[cfg(feature = "async")]
            Listener::Wake(_) => "Wake",
        })
    }
}
