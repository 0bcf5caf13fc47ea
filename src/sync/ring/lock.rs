//! The lock of a side of the ring.

use crate::error::Result;
use crate::sync::lock::{LockGuard, RobustLock};
use crate::sync::timeout::Timeout;

/// A lock that can protect a side of a ring. Implemented by this crate's locks only: rings over
/// others cannot be made.
///
/// If a lock fails to exclude because its word was overwritten, messages may be lost, but the safe
/// functions of the ring stay sound: they treat all that they read as hostile.
pub trait RingLock: Send + Sync {
    /// Holds the lock until it is dropped.
    type Guard<'a>
    where
        Self: 'a;

    /// Whether dropping a guard always ends with a read-modify-write of shared memory. On x86-64
    /// that is the fence that the ring would otherwise need after it.
    const UNLOCKS_BY_SWAP: bool = false;

    /// Takes the lock; `None` if it was held until the timeout. [`Timeout::Now`] does not wait.
    ///
    /// # Errors
    ///
    /// Whatever keeps the lock from working.
    fn acquire(&self, timeout: Timeout) -> Result<Option<Self::Guard<'_>>>;
}

impl RingLock for RobustLock {
    type Guard<'a> = LockGuard<'a>;

    const UNLOCKS_BY_SWAP: bool = true;

    #[inline]
    fn acquire(&self, timeout: Timeout) -> Result<Option<LockGuard<'_>>> {
        Ok(self.lock_within(timeout))
    }
}
