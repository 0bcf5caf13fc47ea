//! The lock of a side of the ring.

use crate::error::Result;
use crate::sync::lock::{RobustLock, RobustLockGuard};
use crate::sync::timeout::Timeout;

/// A lock that can protect a side of a ring. Implemented only by this crate's locks: rings over
/// others cannot be made.
///
/// If a lock fails to exclude because its word was overwritten, messages may be lost. The safe
/// functions of the ring stay sound, because they check everything that they read.
///
/// # Examples
///
/// ```
/// use brigade::sync::{Ring, RingLock, Timeout};
///
/// /// The number of messages that `ring` yields without waiting.
/// fn drain<L: RingLock>(ring: &Ring<L>) -> usize {
///     std::iter::from_fn(|| ring.pop(Timeout::Now).ok()).count()
/// }
///
/// let queue = brigade::Queue::<()>::new(8)?;
/// let ring = queue.raw()?;
/// ring.push("a", Timeout::Never)?;
/// ring.push("b", Timeout::Never)?;
/// assert_eq!(drain(ring), 2);
/// # Ok::<(), brigade::Error>(())
/// ```
pub trait RingLock: Send + Sync {
    /// Holds the lock until it is dropped.
    type Guard<'a>
    where
        Self: 'a;

    /// Whether dropping a guard always ends with a read-modify-write of shared memory. On x86-64
    /// that replaces the fence that the ring would otherwise need.
    const UNLOCKS_BY_SWAP: bool = false;

    /// Takes the lock; `None` if it was held until the timeout. [`Timeout::Now`] does not wait.
    ///
    /// # Errors
    ///
    /// An error of the lock itself.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// use brigade::sync::{RingLock, Timeout};
    /// let guard = lock.acquire(Timeout::Now)?;
    /// assert!(guard.is_some());
    /// assert!(lock.acquire(Timeout::Now)?.is_none());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    fn acquire(&self, timeout: Timeout) -> Result<Option<Self::Guard<'_>>>;
}

impl RingLock for RobustLock {
    type Guard<'a> = RobustLockGuard<'a>;

    const UNLOCKS_BY_SWAP: bool = true;

    #[inline]
    fn acquire(&self, timeout: Timeout) -> Result<Option<RobustLockGuard<'_>>> {
        Ok(self.lock_within(timeout))
    }
}
