//! Futex wait and wake on words shared between processes.

#[cfg(not(loom))]
pub(crate) use kernel::{wait, wait_any, wake};
#[cfg(loom)]
pub(crate) use model::{wait, wake};

/// Wakes every sleeper on a word.
pub(crate) const ALL: u32 = i32::MAX.unsigned_abs();

#[cfg(not(loom))]
mod kernel {
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::thread::futex::{self, Flags, Timespec};
    use rustix::time::ClockId;

    use crate::sys::clock;

    /// Sleeps while `word` is `expected`, at most for `timeout` (CLOCK_MONOTONIC).
    ///
    /// Returns when it is woken, the word differs, the time is over, or a signal arrives; also
    /// spuriously. The caller checks the word and the clock again.
    pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // `Flags::empty()` is a shared futex. Errors are reasons to return early.
        let _ = futex::wait(word, Flags::empty(), expected, timeout.as_ref());
    }

    /// Sleeps for at most `timeout`. Not `std::thread::park_timeout`, which would consume a wake-up
    /// that is meant for other code of this thread.
    fn sleep(timeout: Duration) {
        wait(&AtomicU32::new(0), 0, Some(timeout));
    }

    /// Words that one call can sleep on.
    const WORDS_MAX: usize = 128;

    /// How long to sleep if the kernel cannot sleep on several words (before 5.16), or there are
    /// too many.
    const POLL_INTERVAL: Duration = Duration::from_millis(1);

    /// Sleeps while each word has the value beside it, at most for `timeout`.
    ///
    /// May return early, as [`wait`].
    pub(crate) fn wait_any(words: &[(&AtomicU32, u32)], timeout: Duration) {
        if words.len() <= 1 {
            match words {
                [(word, expected)] => wait(word, *expected, Some(timeout)),
                _ => sleep(timeout),
            }
            return;
        }
        let waiters: Vec<futex::Wait> = words
            .iter()
            .take(WORDS_MAX)
            .map(|(word, expected)| {
                let mut wait = futex::Wait::new();
                wait.val = u64::from(*expected);
                wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
                wait.flags = futex::WaitFlags::SIZE_U32;
                wait
            })
            .collect();
        let timeout = if words.len() > WORDS_MAX { timeout.min(POLL_INTERVAL) } else { timeout };
        let end = Duration::from_nanos(clock::now_ns()) + timeout;
        let end = Timespec {
            tv_sec: i64::try_from(end.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: end.subsec_nanos().into(),
        };
        let flags = futex::WaitvFlags::empty();
        let outcome = futex::waitv(&waiters, flags, Some(&end), ClockId::Monotonic);
        if matches!(outcome, Err(Errno::NOSYS | Errno::INVAL)) {
            sleep(timeout.min(POLL_INTERVAL));
        }
    }

    /// Wakes up to `count` sleepers on `word` and returns how many there were.
    pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
        // Fails only for an address that is not mapped, and `word` is a reference.
        futex::wake(word, Flags::empty(), count).unwrap_or(0)
    }
}

/// A model of the kernel's futex for loom: one mutex, under which a waiter compares and sleeps.
///
/// The kernel locks a hash bucket where this locks the mutex, so both order a wake-up against the
/// comparison (fact F1 of `docs/internals/assumptions.md`). Sleepers are woken in the order in
/// which they came. Time does not pass in a model: a wait with a timeout may end at any moment,
/// even after it has consumed a wake-up.
#[cfg(loom)]
mod model {
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    use crate::atomics::{AtomicU32, mortal};

    #[derive(Default)]
    struct Bucket {
        tickets: u64,
        /// Address of the word, and the sleeper's ticket.
        sleepers: Vec<(usize, u64)>,
    }

    loom::lazy_static! {
        static ref BUCKET: (Mutex<Bucket>, Condvar) = Default::default();
    }

    const UNPOISONED: &str = "no model thread dies with the bucket";

    fn address(word: &AtomicU32) -> usize {
        std::ptr::from_ref(word).addr()
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        if !mortal::step() {
            return;
        }
        let mut bucket = BUCKET.0.lock().expect(UNPOISONED);
        if word.peek() != expected {
            return;
        }
        bucket.tickets += 1;
        let ticket = bucket.tickets;
        bucket.sleepers.push((address(word), ticket));
        if timeout.is_some() {
            drop(bucket);
            loom::thread::yield_now();
            bucket = BUCKET.0.lock().expect(UNPOISONED);
            bucket.sleepers.retain(|(_, sleeper)| *sleeper != ticket);
            return;
        }
        while bucket.sleepers.iter().any(|(_, sleeper)| *sleeper == ticket) {
            bucket = BUCKET.1.wait(bucket).expect(UNPOISONED);
        }
    }

    pub(crate) fn wake(word: &AtomicU32, count: u32) -> usize {
        if !mortal::step() {
            return 0;
        }
        let mut bucket = BUCKET.0.lock().expect(UNPOISONED);
        let before = bucket.sleepers.len();
        for _ in 0..count {
            let Some(first) = bucket.sleepers.iter().position(|(at, _)| *at == address(word))
            else {
                break;
            };
            bucket.sleepers.remove(first);
        }
        BUCKET.1.notify_all();
        before - bucket.sleepers.len()
    }
}
