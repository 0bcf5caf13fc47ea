//! The supervisor: one thread that waits for descriptors and deadlines.
//!
//! It lives while a [`Supervisor`] handle exists. All signals are blocked on it, so the host's
//! handlers run on the host's threads. Higher layers register [`Handler`]s; no user code runs here.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::panic;
use crate::sys::fork::Instance;
use crate::sys::per_process::PerProcess;
use crate::sys::poll::{Epoll, EventFd};
use crate::sys::signal;
use crate::sys::thread::{self, Thread};

/// A descriptor that the supervisor waits for, and its callbacks.
pub(crate) trait Handler: Send + Sync {
    /// The descriptor to wait for.
    fn fd(&self) -> BorrowedFd<'_>;

    /// Called when the descriptor is readable or hung up: read from it, or remove it.
    fn readable(&self);

    /// Called once when the deadline set with [`Supervisor::set_deadline`] has passed.
    fn deadline(&self);

    /// Called when any handler has panicked, which is a fault of this crate. That handler may have
    /// left its work half done.
    fn after_panic(&self, _cause: &str) {}

    /// Called before everything else after this process did not run for about this long: it was
    /// stopped, and perhaps its workers too. Handlers exclude the gap from their timings.
    fn after_gap(&self, _gap: Duration) {}
}

thread_local! {
    static IS_SUPERVISOR: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the supervisor's thread, on which no user code may run.
pub(crate) fn is_supervisor() -> bool {
    IS_SUPERVISOR.get()
}

/// A registered handler, for [`Supervisor::remove`] and [`Supervisor::set_deadline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct HandlerId(u64);

/// The key of the eventfd that wakes the loop; tokens start above it.
const WAKE_KEY: u64 = 0;

#[derive(Default)]
struct Registry {
    handlers: HashMap<u64, Arc<dyn Handler>>,
    deadlines: HashMap<u64, Instant>,
    last_key: u64,
    stopping: bool,
}

struct EventLoop {
    epoll: Epoll,
    wake: EventFd,
    registry: Mutex<Registry>,
}

impl EventLoop {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        // No code under this lock panics in the middle of a change.
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The supervisor of this process.
pub(crate) struct Supervisor {
    event_loop: Arc<EventLoop>,
    thread: Option<Thread>,
    /// The process of the thread; a forked child has no such thread.
    made_in: Instance,
}

impl Supervisor {
    /// The supervisor of this process, started if it is not running.
    pub(crate) fn current() -> Result<Arc<Supervisor>> {
        static CURRENT: PerProcess<Mutex<Weak<Supervisor>>> = PerProcess::new(Mutex::default);
        let mut current = CURRENT.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = current.upgrade() {
            return Ok(running);
        }
        let started = Arc::new(Supervisor::start()?);
        *current = Arc::downgrade(&started);
        Ok(started)
    }

    fn start() -> Result<Supervisor> {
        let epoll = Epoll::new().map_err(|e| Error::os("epoll_create1", "the supervisor", e))?;
        let wake = EventFd::new().map_err(|e| Error::os("eventfd", "the supervisor", e))?;
        epoll
            .add(wake.as_fd(), WAKE_KEY)
            .map_err(|e| Error::os("epoll_ctl", "the supervisor", e))?;
        let event_loop = Arc::new(EventLoop { epoll, wake, registry: Mutex::default() });
        let for_thread = Arc::clone(&event_loop);
        let thread = thread::start("brigade-watch", thread::STACK_BYTES, move || run(&for_thread))
            .map_err(|e| Error::os("clone", "the supervisor's thread", e))?;
        Ok(Supervisor { event_loop, thread: Some(thread), made_in: Instance::current() })
    }

    /// Registers `handler`.
    pub(crate) fn add(&self, handler: Arc<dyn Handler>) -> Result<HandlerId> {
        let mut registry = self.event_loop.registry();
        registry.last_key += 1;
        let key = registry.last_key;
        self.event_loop
            .epoll
            .add(handler.fd(), key)
            .map_err(|e| Error::os("epoll_ctl", "a descriptor to watch", e))?;
        registry.handlers.insert(key, handler);
        Ok(HandlerId(key))
    }

    /// Removes a handler; a running call continues. Has no effect if it was removed before.
    pub(crate) fn remove(&self, token: HandlerId) {
        let mut registry = self.event_loop.registry();
        registry.deadlines.remove(&token.0);
        if let Some(handler) = registry.handlers.remove(&token.0) {
            // Fails only if the descriptor was never added, which is fine.
            let _ = self.event_loop.epoll.remove(handler.fd());
        }
    }

    /// Requests one call of the handler's `deadline` at `at`, and replaces any earlier request.
    pub(crate) fn set_deadline(&self, token: HandlerId, at: Instant) {
        let mut registry = self.event_loop.registry();
        let earliest = registry.deadlines.values().min().copied();
        registry.deadlines.insert(token.0, at);
        if earliest.is_none_or(|earliest| at < earliest) {
            self.event_loop.wake.ring();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.made_in.is_current() {
            // In a forked child there is no thread to stop or to wait for.
            if let Some(thread) = self.thread.take() {
                thread.disown();
            }
            return;
        }
        self.event_loop.registry().stopping = true;
        self.event_loop.wake.ring();
        let Some(thread) = self.thread.take() else { return };
        // A handler may hold the last handle, on the thread itself, which then ends on its own.
        if !thread.is_current() {
            thread.join();
        }
    }
}

fn run(event_loop: &EventLoop) {
    IS_SUPERVISOR.set(true);
    // After a failure the host's handlers may run on this thread too, which is harmless.
    let _ = signal::block_all();
    let mut turned = Instant::now();
    loop {
        let next = {
            let registry = event_loop.registry();
            if registry.stopping {
                return;
            }
            registry.deadlines.values().min().copied()
        };
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()).min(TURN_MAX));
        // A failed wait (out of memory) is repeated.
        let ready = event_loop.epoll.wait(timeout).unwrap_or_default();
        let now = Instant::now();
        let passed = now.saturating_duration_since(turned);
        turned = now;
        if timeout.is_some_and(|timeout| passed > timeout + GAP_MIN) {
            let all: Vec<Arc<dyn Handler>> =
                event_loop.registry().handlers.values().cloned().collect();
            for handler in all {
                call(event_loop, || handler.after_gap(passed));
            }
        }
        for key in ready {
            if key == WAKE_KEY {
                event_loop.wake.clear();
                continue;
            }
            let handler = event_loop.registry().handlers.get(&key).cloned();
            if let Some(handler) = handler {
                call(event_loop, || handler.readable());
            }
        }
        call_due(event_loop);
    }
}

/// The longest wait of the supervisor while a deadline is set. It limits the error of a measured
/// gap.
const TURN_MAX: Duration = Duration::from_secs(1);
/// A turn that exceeds its timeout by this much means that the process was stopped; a busy machine
/// delays it less.
const GAP_MIN: Duration = Duration::from_millis(500);

/// Calls a handler. If it panics, all handlers are notified, and the supervisor continues.
fn call(event_loop: &EventLoop, handler: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(handler)) else { return };
    let (message, _) = panic::take_message(payload);
    let cause = format!("the supervisor panicked, which is a bug of brigade: {message}");
    let all: Vec<Arc<dyn Handler>> = event_loop.registry().handlers.values().cloned().collect();
    for handler in all {
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| handler.after_panic(&cause))) {
            panic::take_message(again);
        }
    }
}

fn call_due(event_loop: &EventLoop) {
    let now = Instant::now();
    let due: Vec<Arc<dyn Handler>> = {
        let mut registry = event_loop.registry();
        let keys: Vec<u64> =
            registry.deadlines.iter().filter(|(_, at)| **at <= now).map(|(key, _)| *key).collect();
        keys.iter()
            .filter_map(|key| {
                registry.deadlines.remove(key);
                registry.handlers.get(key).cloned()
            })
            .collect()
    };
    for handler in due {
        call(event_loop, || handler.deadline());
    }
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor")
            .field("handlers", &self.event_loop.registry().handlers.len())
            .finish_non_exhaustive()
    }
}
