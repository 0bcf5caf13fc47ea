//! Futex wait and wake on words shared between processes.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

/// Sleeps while `word` is `expected`, at most for `timeout` (CLOCK_MONOTONIC).
///
/// Returns for any reason or none: woken, the word differs, the time is over, a signal came.
/// The caller looks at the word and the clock again.
pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    // Flags::empty() is the shared kind of futex. Errors are the reasons to return early.
    let _ = futex::wait(word, Flags::empty(), expected, timeout.as_ref());
}

/// Wakes up to `count` sleepers on `word` and returns how many there were.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
    // Fails only for an address that is not mapped, and `word` is a reference.
    futex::wake(word, Flags::empty(), count).unwrap_or(0)
}
