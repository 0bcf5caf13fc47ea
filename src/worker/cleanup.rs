//! Cleans up after a task.
//!
//! Text that the task printed is flushed before its result is committed, so that the text is
//! visible when the result is. Process state that the task changed (alarms, signal mask, umask,
//! working directory) is restored before the next task runs, which takes a microsecond. After a
//! long task it is restored before the commit, so that an alarm can only interrupt the task that
//! set it. After a short task it is restored when the next one begins, or when there is none yet.

use crate::process::stdio_flush::StdioFlusher;
use crate::sys::process::{self, Children};
use crate::sys::stdio_buffers;
use crate::sys::task_state::TaskState;

/// Restore after tasks that took this long together.
const RESTORE_NS: u64 = 25_000;
/// Flush the text of other threads after this long: that takes a thread.
const THREADED_NS: u64 = 100_000;
/// Stop timers of processor time after this long. They are rare, and cost more to stop than an
/// alarm.
const TIMERS_NS: u64 = 1_000_000;
/// A shorter task has made no system call, or none of consequence. Restoring would double its time,
/// so one restore serves many such tasks.
const CALL_NS: u64 = 400;
/// The number of restores between two counts of the children.
const COUNT_EVERY: u32 = 64;
/// The most zombies that a worker may have: adopted processes, or children that its tasks did not
/// wait for. No other process can reap them, and the worker cannot know which ones a task will
/// still wait for.
const ZOMBIES_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct TaskCleanup {
    /// The state to restore; `None` before the initializer has run.
    state: Option<TaskState>,
    flusher: StdioFlusher,
    /// The time of the tasks since the last restore, the last stop of timers, and the last flush.
    unrestored_ns: u64,
    timed_ns: u64,
    unwritten_ns: u64,
    /// A task since the last restore took long enough for a system call.
    is_suspect: bool,
    restored: u32,
}

impl TaskCleanup {
    /// Records the state to restore, after the initializer has run.
    pub(crate) fn begin(&mut self) {
        self.flusher.flush();
        self.state = Some(TaskState::current());
    }

    /// Cleans up after a task that ran for `elapsed_ns` and is about to be committed. Returns
    /// whether the state was restored, which takes time.
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

    /// Cleans up before the next task, or when there is none yet.
    #[inline]
    pub(crate) fn before_next(&mut self) {
        if self.is_suspect {
            self.restore();
        }
    }

    /// Cleans up everything that is pending, before the worker sleeps or ends. `has_text`: code
    /// that was no task may have printed.
    pub(crate) fn finish_pending(&mut self, has_text: bool) {
        if self.unrestored_ns > 0 || self.timed_ns > 0 {
            self.timed_ns = TIMERS_NS;
            self.restore();
        }
        if has_text || self.unwritten_ns > 0 {
            self.write_out();
        }
    }

    /// Whether this process has more zombies than it may keep.
    pub(crate) fn has_too_many_zombies(&mut self) -> bool {
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
