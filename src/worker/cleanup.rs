//! What a worker does after a task.
//!
//! What the task has printed is written out before its result is committed, so that whoever has
//! the result sees the text. What the task has changed of its process (alarms, signal mask, umask,
//! working directory) is put back before the next task runs, at the cost of a microsecond: before
//! the commit after a task that took long enough for that not to matter, so that an alarm that
//! goes off is its own; after a short one when the next begins, or when there is none yet.

use crate::process::stdio_flush::StdioFlusher;
use crate::sys::process::{self, Children};
use crate::sys::stdio_buffers;
use crate::sys::task_state::TaskState;

/// Tasks that have taken this long together pay for putting things back.
const RESTORE_NS: u64 = 25_000;
/// The same for writing out what other threads may have printed: that takes a thread.
const THREADED_NS: u64 = 100_000;
/// The same for timers of processor time, which are rare and cost more to stop than an alarm.
const TIMERS_NS: u64 = 1_000_000;
/// A task that is over sooner has made no system call, or has not done much by one. Such tasks are
/// as short as what puts things back, which is done for many of them together.
const CALL_NS: u64 = 400;
/// After how many times of putting things back the children are counted.
const COUNT_EVERY: u32 = 64;
/// Ended processes that a worker may have adopted, or that its tasks may not have waited for.
/// Nobody else can reap them, and the worker cannot know which of them a task still waits for.
const ZOMBIES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct TaskCleanup {
    /// What is put back; nothing before the initializer has run.
    state: Option<TaskState>,
    flusher: StdioFlusher,
    /// What the tasks have taken since things were put back, and since text was written out.
    unrestored_ns: u64,
    timed_ns: u64,
    unwritten_ns: u64,
    /// One of them took long enough for a system call.
    is_suspect: bool,
    restored: u32,
}

impl TaskCleanup {
    /// The initializer has run: what is now is put back from now on.
    pub(crate) fn begin(&mut self) {
        self.flusher.flush();
        self.state = Some(TaskState::current());
    }

    /// A task has run for so long, and is about to be committed. Returns whether it took time to
    /// clear up.
    pub(crate) fn task_ends(&mut self, elapsed_ns: u64) -> bool {
        if !stdio_buffers::flush_quickly() {
            self.unwritten_ns = self.unwritten_ns.saturating_add(elapsed_ns).max(1);
            if self.unwritten_ns >= THREADED_NS {
                self.write_out();
            }
        }
        self.unrestored_ns = self.unrestored_ns.saturating_add(elapsed_ns).max(1);
        self.is_suspect |= elapsed_ns >= CALL_NS;
        let is_due = self.unrestored_ns >= RESTORE_NS;
        if is_due {
            self.restore();
        }
        is_due
    }

    /// The next task begins, or there is none yet.
    #[inline]
    pub(crate) fn before_next(&mut self) {
        if self.is_suspect {
            self.restore();
        }
    }

    /// There is none for a while.
    pub(crate) fn rests(&mut self) {
        if self.unrestored_ns > 0 || self.timed_ns > 0 {
            self.timed_ns = TIMERS_NS;
            self.restore();
        }
        if self.unwritten_ns > 0 {
            self.write_out();
        }
    }

    /// Whether more processes have ended below this one than it may keep.
    pub(crate) fn is_crowded(&mut self) -> bool {
        if self.restored < COUNT_EVERY {
            return false;
        }
        self.restored = 0;
        Children::open().is_ok_and(|children| process::zombies(&children) > ZOMBIES_MAX)
    }

    fn restore(&mut self) {
        if let Some(state) = &self.state {
            state.restore();
            self.timed_ns = self.timed_ns.saturating_add(self.unrestored_ns);
            if self.timed_ns >= TIMERS_NS {
                state.stop_timers();
                self.timed_ns = 0;
            }
        }
        self.unrestored_ns = 0;
        self.is_suspect = false;
        self.restored += 1;
    }

    fn write_out(&mut self) {
        self.flusher.flush();
        self.unwritten_ns = 0;
    }
}
