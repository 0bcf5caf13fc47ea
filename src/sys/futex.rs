//! Futex wait and wake on words shared between processes.

#[cfg(not(loom))]
pub(crate) use kernel::{wait, wake};
#[cfg(loom)]
pub(crate) use model::{wait, wake};

/// Wakes every sleeper on a word.
pub(crate) const ALL: u32 = i32::MAX.unsigned_abs();

#[cfg(not(loom))]
mod kernel {
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
}

/// The kernel's futex as loom sees it: one lock, under which a waiter compares and falls asleep.
///
/// The kernel takes the lock of a hash bucket where this takes the one mutex, so both order a
/// wake-up against the comparison. Time does not pass in a model: a wait with a timeout is a
/// wait without.
#[cfg(loom)]
mod model {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::atomics::{AtomicU32, mortal};

    loom::lazy_static! {
        static ref BUCKET: (Mutex<u64>, Condvar) = (Mutex::new(0), Condvar::new());
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, _timeout: Option<Duration>) {
        if !mortal::step() {
            return;
        }
        let wakes = BUCKET.0.lock().expect("no model thread dies with the bucket");
        if word.peek() != expected {
            return;
        }
        // One condition variable for all words: a wake-up of another word is a spurious one.
        drop(BUCKET.1.wait(wakes).expect("no model thread dies with the bucket"));
    }

    pub(crate) fn wake(_word: &AtomicU32, _count: u32) -> usize {
        if !mortal::step() {
            return 0;
        }
        let mut wakes = BUCKET.0.lock().expect("no model thread dies with the bucket");
        *wakes += 1;
        BUCKET.1.notify_all();
        0
    }
}
