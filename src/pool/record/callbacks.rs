//! The one thread of a host that runs callbacks.
//!
//! It starts with the first callback, and ends when all pools that had one are gone and all
//! callbacks have run. Callbacks run one after the other, in the order in which their tasks ended.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tracing::Level;

use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::process::{diagnostics, panic};
use crate::sys::fork::Instance;
use crate::sys::per_process::PerProcess;
use crate::sys::thread;

/// User code that is run once.
pub(crate) struct Callback {
    run: Box<dyn FnOnce() + Send>,
    /// Called after a callback that the pool counts has run.
    done: Option<Box<dyn FnOnce() + Send>>,
}

impl Callback {
    /// A callback; `done` is called after it has run, even if it panicked.
    pub(crate) fn new(
        run: impl FnOnce() + Send + 'static,
        done: impl FnOnce() + Send + 'static,
    ) -> Callback {
        Callback { run: Box::new(run), done: Some(Box::new(done)) }
    }

    /// A callback that no pool waits for.
    pub(crate) fn uncounted(run: impl FnOnce() + Send + 'static) -> Callback {
        Callback { run: Box::new(run), done: None }
    }

    /// Wakes a future, so that it is polled again.
    #[cfg(feature = "async")]
    pub(crate) fn wake(waker: std::task::Waker) -> Callback {
        Callback::uncounted(|| waker.wake())
    }

    /// Whether the pool counts it.
    pub(crate) fn is_counted(&self) -> bool {
        self.done.is_some()
    }

    fn run(self) {
        let Callback { run, done } = self;
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            let (message, _) = panic::take_message(payload);
            diagnostics::event(Level::ERROR, move || {
                tracing::error!(message, "a callback panicked");
            });
        }
        if let Some(done) = done {
            done();
        }
    }
}

/// Keeps the callback thread alive; the thread ends with the last of these.
pub(crate) struct CallbackThread {
    made_in: Instance,
}

#[derive(Default)]
struct CallbackQueue {
    inner: Mutex<PendingCallbacks>,
    /// Notified when there is something to run, and when a `CallbackThread` is dropped.
    changed: Condvar,
}

#[derive(Default)]
struct PendingCallbacks {
    users: usize,
    has_thread: bool,
    callbacks: VecDeque<Callback>,
}

static QUEUE: PerProcess<CallbackQueue> = PerProcess::new(CallbackQueue::default);

thread_local! {
    static IS_CALLBACK_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the callback thread, which cannot wait for other callbacks.
pub(crate) fn is_callback_thread() -> bool {
    IS_CALLBACK_THREAD.get()
}

impl CallbackQueue {
    fn lock(&self) -> MutexGuard<'_, PendingCallbacks> {
        // No code under this lock panics in the middle of a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallbackThread {
    /// The callback thread of this process, started if it is not running.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if the system has no room for a thread.
    pub(crate) fn current() -> Result<CallbackThread> {
        let mut inner = QUEUE.get().lock();
        if !inner.has_thread {
            thread::start("brigade-call", thread::STACK_BYTES, run_all)
                .map_err(|e| Error::os("clone", "the callback thread", e))?;
            inner.has_thread = true;
        }
        inner.users += 1;
        Ok(CallbackThread { made_in: Instance::current() })
    }

    /// Queues a callback behind those that were pushed before.
    pub(crate) fn push(&self, callback: Callback) {
        let queue = QUEUE.get();
        queue.lock().callbacks.push_back(callback);
        queue.changed.notify_one();
    }
}

impl Drop for CallbackThread {
    fn drop(&mut self) {
        // A forked child has no such thread.
        if self.made_in.is_current() {
            let queue = QUEUE.get();
            queue.lock().users -= 1;
            queue.changed.notify_one();
        }
    }
}

impl std::fmt::Debug for CallbackThread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CallbackThread").finish_non_exhaustive()
    }
}

fn run_all() {
    IS_CALLBACK_THREAD.set(true);
    let queue = QUEUE.get();
    let mut inner = queue.lock();
    loop {
        if let Some(callback) = inner.callbacks.pop_front() {
            drop(inner);
            FloatMode::reset();
            callback.run();
            inner = queue.lock();
        } else if inner.users == 0 {
            // Under the lock, so that the next caller starts another thread.
            inner.has_thread = false;
            return;
        } else {
            inner = queue.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
