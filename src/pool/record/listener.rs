//! Listeners of a task's end.

use std::sync::Arc;
#[cfg(feature = "async")]
use std::task::Waker;

use crate::pool::record::callbacks::Callback;
use crate::pool::record::completion_queue::CompletionQueue;
use crate::sys::thread_parker::ThreadParker;

/// A listener is notified once, when a task is over. Notifying runs no user code: the callback
/// thread does that.
pub(crate) enum Listener {
    /// A thread that sleeps until then.
    Thread(ThreadParker),
    /// A thread that waits for several tasks, with the number of this one.
    WaitSet(Arc<CompletionQueue>, usize),
    /// A callback.
    Call(Callback),
    /// The code that polls the handle as a future.
    #[cfg(feature = "async")]
    Wake(Waker),
}

impl Listener {
    pub(crate) fn is_thread(&self, waiter: &ThreadParker) -> bool {
        matches!(self, Listener::Thread(own) if own.is_same(waiter))
    }

    pub(crate) fn is_queue(&self, queue: &Arc<CompletionQueue>) -> bool {
        matches!(self, Listener::WaitSet(own, _) if Arc::ptr_eq(own, queue))
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
