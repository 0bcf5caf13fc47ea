//! Functions of both sides of the ring: lock, wait, notify.

use std::time::{Duration, Instant};

use super::handle::{Ring, Side};
use super::lock::RingLock;
use crate::error::{Error, Result};
use crate::sync::eventcount::{EventCount, WaitPhase};
use crate::sync::timeout::Timeout;

/// How long a call with [`Timeout::Now`] waits for a lock, which is held only during a copy. In a
/// model no result may depend on the clock.
const LOCK_TIME: Duration = Duration::from_millis(if cfg!(loom) { 3_600_000 } else { 10 });

impl<L: RingLock> Ring<L> {
    /// Takes the lock of a side.
    #[inline]
    pub(super) fn lock<'a>(&self, side: &'a Side<L>, timeout: Timeout) -> Result<L::Guard<'a>> {
        match side.lock.acquire(Timeout::Now)? {
            Some(guard) => Ok(guard),
            None => lock_contended(&side.lock, timeout),
        }
    }

    /// Calls `attempt` until it finds something, and sleeps on `notified` between calls; `None` at
    /// the timeout. The argument of `attempt` says whether to look before taking the lock, which
    /// avoids disturbing its holder. `several` returns whether more than needed was found.
    pub(super) fn wait<T>(
        &self,
        side: &Side<L>,
        notified: &EventCount,
        timeout: Timeout,
        mut attempt: impl FnMut(bool) -> Result<Option<T>>,
        several: impl FnOnce(&T) -> bool,
    ) -> Result<Option<T>> {
        let mut looks = 0;
        let attempt = |phase| {
            if phase == WaitPhase::Spinning {
                looks += 1;
                side.hint.before_look(looks);
            }
            // A single attempt takes the lock, to find the cause of a failure.
            let look_first = phase != WaitPhase::First || !matches!(timeout, Timeout::Now);
            attempt(look_first).transpose()
        };
        let found = notified.wait_for(timeout, self.watch, attempt).transpose()?;
        if let (Some(found), 1..) = (&found, looks) {
            side.hint.after_wait(looks, several(found));
        }
        Ok(found)
    }

    /// Notifies the other side, right after a lock was released.
    #[inline]
    pub(super) fn notify_unlocked(&self, count: &EventCount) {
        if L::UNLOCKS_BY_SWAP {
            count.notify_after_swap();
        } else {
            count.notify();
        }
    }

    /// The error for two impossible positions.
    #[cold]
    pub(super) fn corrupt_positions(&self, head: u64, tail: u64) -> Error {
        let found = format!("head {head} and tail {tail} with {} bytes of data", self.data_bytes);
        Error::Corrupt { what: "the ring", found }
    }
}

#[cold]
fn lock_contended<L: RingLock>(lock: &L, timeout: Timeout) -> Result<L::Guard<'_>> {
    let start = Instant::now();
    let timeout = if matches!(timeout, Timeout::Now) { LOCK_TIME.into() } else { timeout };
    let timed_out = || Error::TimedOut { what: "the ring's lock", after: start.elapsed() };
    lock.acquire(timeout)?.ok_or_else(timed_out)
}

/// The time when a wait began, if its error will need it.
pub(super) fn start_of(timeout: Timeout) -> Option<Instant> {
    matches!(timeout, Timeout::At(_)).then(Instant::now)
}

/// The error of a wait for `what` that reached its timeout; `at_once` if it did not wait at all.
#[cold]
pub(super) fn timed_out(
    timeout: Timeout,
    start: Option<Instant>,
    what: &'static str,
    at_once: impl FnOnce() -> Error,
) -> Error {
    match timeout {
        Timeout::Now => at_once(),
        _ => Error::TimedOut { what, after: start.map_or(Duration::ZERO, |start| start.elapsed()) },
    }
}

#[cold]
pub(super) fn closed() -> Error {
    Error::Closed { what: "the ring" }
}
