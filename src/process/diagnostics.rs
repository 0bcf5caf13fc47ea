//! Events for `tracing`, emitted where subscribers cannot cause deadlocks.
//!
//! A subscriber is user code. It may call a pool, block, or panic. So an event is recorded where it
//! happens, possibly under a lock, and emitted later without the lock: by the thread that recorded
//! it, or, for the supervisor, by a separate thread. A panic of a subscriber is caught there.

use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::Level;
use tracing::level_filters::LevelFilter;

use crate::process::{panic, supervisor};
use crate::sys::per_process::PerProcess;
use crate::sys::thread;

/// Emits one event.
type Emit = Box<dyn FnOnce() + Send>;

/// Events that were recorded and not yet emitted.
#[derive(Default)]
pub(crate) struct DeferredEvents {
    events: Vec<Emit>,
    /// What a thread that takes a result has to do; it guards its calls of a subscriber itself.
    duties: Vec<Emit>,
}

impl DeferredEvents {
    /// Records an event of this level. Runs no code of a subscriber.
    #[inline]
    pub(crate) fn defer(&mut self, level: Level, emit: impl FnOnce() + Send + 'static) {
        // An atomic of `tracing`; its macros may call the subscriber.
        if level <= LevelFilter::current() {
            self.events.push(Box::new(emit));
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.duties.is_empty()
    }

    /// Records what this thread has to do without the mutex, if it is not the supervisor.
    pub(crate) fn defer_duty(&mut self, duty: impl FnOnce() + Send + 'static) {
        self.duties.push(Box::new(duty));
    }

    /// Emits the events. Call it without any lock.
    pub(crate) fn emit(self) {
        if self.is_empty() {
            return;
        }
        match supervisor::is_supervisor() {
            true => hand_over(self.events),
            false => {
                self.events.into_iter().for_each(guard);
                self.duties.into_iter().for_each(|duty| duty());
            }
        }
    }
}

/// Emits one event of this level. Call it without any lock.
pub(crate) fn event(level: Level, emit: impl FnOnce() + Send + 'static) {
    let mut events = DeferredEvents::default();
    events.defer(level, emit);
    events.emit();
}

thread_local! {
    static IS_EMITTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs a subscriber.
pub(crate) fn is_emitting() -> bool {
    IS_EMITTING.get()
}

/// Runs `event`, which calls a subscriber, and catches its panic. Events that a subscriber causes
/// on its own thread are dropped: emitting them would cause further ones, without end.
pub(crate) fn guard(event: impl FnOnce()) {
    if IS_EMITTING.replace(true) {
        return;
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(event)) {
        // The hook has printed it.
        panic::take_message(payload);
    }
    IS_EMITTING.set(false);
}

/// The supervisor's events, for the thread that emits them.
#[derive(Default)]
struct EventQueue {
    events: VecDeque<Emit>,
    /// Dropped events, because the subscriber is too slow.
    lost: u64,
    has_thread: bool,
}

/// The most events that may wait for a slow subscriber.
const QUEUE_MAX: usize = 4096;

static QUEUE: PerProcess<Mutex<EventQueue>> = PerProcess::new(Mutex::default);

fn queue() -> MutexGuard<'static, EventQueue> {
    // No code under this lock panics in the middle of a change.
    QUEUE.get().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Emits events on a separate thread, which ends when there are none left.
fn hand_over(events: Vec<Emit>) {
    let mut queue = queue();
    for event in events {
        if queue.events.len() < QUEUE_MAX {
            queue.events.push_back(event);
        } else {
            queue.lost += 1;
        }
    }
    if !queue.has_thread {
        queue.has_thread = thread::start("brigade-log", thread::STACK_BYTES, emit_all).is_ok();
    }
}

fn emit_all() {
    loop {
        let mut queue = queue();
        let lost = std::mem::take(&mut queue.lost);
        let Some(event) = queue.events.pop_front() else {
            // Under the lock: the next message starts another thread.
            queue.has_thread = false;
            return;
        };
        drop(queue);
        if lost > 0 {
            guard(move || tracing::warn!(lost, "events were left out: slow subscriber"));
        }
        guard(event);
    }
}

impl std::fmt::Debug for DeferredEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DeferredEvents").field(&self.events.len()).finish()
    }
}
