//! What protects a side of a ring.

use std::time::Instant;

use crate::error::{Error, Result};
use crate::sync::lock::{LockGuard, RobustLock};
use crate::sync::timeout::Timeout;

/// A lock that can protect a side of a ring.
///
/// A lock that fails to exclude costs messages, but not soundness: the ring treats all it reads
/// as hostile.
pub trait RingLock: Send + Sync {
    /// Holds the lock until it is dropped.
    type Guard<'a>
    where
        Self: 'a;

    /// Whether dropping a guard always ends with a compare-and-swap on shared memory, or any other
    /// read-modify-write: on x86-64 that is the fence which the ring would else need after it.
    const UNLOCKS_BY_SWAP: bool = false;

    /// Takes the lock if nobody holds it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the lock from working.
    fn try_acquire(&self) -> Result<Option<Self::Guard<'_>>>;

    /// Waits for the lock, up to `deadline` if there is one.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it was held all the time; whatever keeps the lock from working.
    fn acquire(&self, deadline: Option<Instant>) -> Result<Self::Guard<'_>>;
}

impl RingLock for RobustLock {
    type Guard<'a> = LockGuard<'a>;

    const UNLOCKS_BY_SWAP: bool = true;

    #[inline]
    fn try_acquire(&self) -> Result<Option<LockGuard<'_>>> {
        Ok(self.try_lock())
    }

    #[cold]
    fn acquire(&self, deadline: Option<Instant>) -> Result<LockGuard<'_>> {
        let start = Instant::now();
        let timeout = deadline.map_or(Timeout::Never, Timeout::At);
        self.lock_within(timeout)
            .ok_or_else(|| Error::TimedOut { what: "the ring's lock", after: start.elapsed() })
    }
}
