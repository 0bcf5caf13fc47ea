//! The only functions by which tests let time pass.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::gettid;
use serde::{Deserialize, Serialize};

/// Waits until `condition` holds, checking repeatedly; returns whether it held in time.
pub(crate) fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !condition() {
        if start.elapsed() > patience {
            return false;
        }
        // Leaves the processor to the processes for which it waits.
        thread::park_timeout(Duration::from_millis(1));
    }
    true
}

/// Waits until `condition` holds; the watchdog ends the test if it never does.
pub(crate) fn wait_for(condition: impl FnMut() -> bool) {
    wait_until(Duration::MAX, condition);
}

/// Lets time pass: the duration of a task's work, or the moment of a kill in a race. It orders
/// nothing: a test that calls this must pass for any duration.
pub(crate) fn spend(duration: Duration) {
    let start = Instant::now();
    while let Some(left) = duration.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

/// As [`spend`], in milliseconds.
pub(crate) fn spend_millis(millis: u64) {
    spend(Duration::from_millis(millis));
}

/// The id of a thread by which other processes find it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct ThreadId {
    process: u32,
    thread: i32,
}

impl ThreadId {
    /// The calling thread.
    pub(crate) fn current() -> ThreadId {
        ThreadId { process: std::process::id(), thread: gettid().as_raw() }
    }

    /// The first thread of a process.
    pub(crate) fn main_of(process: u32) -> ThreadId {
        ThreadId { process, thread: process.cast_signed() }
    }

    /// Whether the thread sleeps in the kernel until it is woken.
    pub(crate) fn is_blocked(self) -> bool {
        let path = format!("/proc/{}/task/{}/stat", self.process, self.thread);
        let stat = fs::read_to_string(path).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S'))
    }

    /// Waits until the thread sleeps in the kernel.
    pub(crate) fn wait_until_blocked(self) {
        wait_for(|| self.is_blocked());
    }
}
