//! Whether a ring is ready, and how it is closed.

use std::time::Duration;

use super::handle::Ring;
use super::header::{CLOSED, DRAINING, OPEN};
use super::lock::RingLock;
use crate::atomics::Ordering;
use crate::error::{Error, Result};
use crate::sync::timeout::Timeout;

/// How long [`Ring::close`] waits for a producer that holds the push lock.
const CLOSE_TIME: Duration = Duration::from_secs(1);

impl<L: RingLock> Ring<L> {
    /// Whether a consumer would not have to wait: there is a message, or the ring is closed.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// assert!(!ring.is_ready());
    /// ring.push("a", Timeout::Never)?;
    /// assert!(ring.is_ready());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // The state first; see `attempt_message`.
        let state = self.state();
        state != OPEN || !self.is_empty()
    }

    /// Waits until [`is_ready`](Ring::is_ready), and returns whether it is. Another consumer may
    /// take the message first.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// assert!(!ring.poll(Timeout::Now));
    /// ring.push("a", Timeout::Never)?;
    /// assert!(ring.poll(Timeout::Never));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn poll(&self, timeout: impl Into<Timeout>) -> bool {
        let attempt = |_| self.is_ready().then_some(());
        self.filled().wait_for(timeout.into(), self.watch, attempt).is_some()
    }

    /// Closes the ring for producers. Messages in it can still be popped; after the last one,
    /// consumers get [`Error::Closed`] too. Every message whose push has returned is kept.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if producers held their lock for a second, which a lock that is not
    /// robust may do forever. Try again, or [`close_now`](Ring::close_now).
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push("last", Timeout::Never)?;
    /// ring.close()?;
    /// assert!(ring.push("late", Timeout::Never).is_err());
    /// assert_eq!(ring.pop(Timeout::Never)?, b"last");
    /// assert!(matches!(ring.pop(Timeout::Never), Err(brigade::Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        // Under the lock, so that no producer is between its check of `closed` and its commit.
        let Some(guard) = self.push.lock.acquire(CLOSE_TIME.into())? else {
            return Err(Error::TimedOut { what: "the ring's lock", after: CLOSE_TIME });
        };
        self.set_state(DRAINING);
        drop(guard);
        self.notify_all();
        Ok(())
    }

    /// As [`close`](Ring::close), but does not wait for producers. For when none are left.
    pub(crate) fn close_without_producers(&self) {
        self.set_state(DRAINING);
        self.notify_all();
    }

    /// Closes the ring for both sides, at once. Messages in it are lost.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push("lost", Timeout::Never)?;
    /// ring.close_now();
    /// assert!(ring.is_closed());
    /// assert!(matches!(ring.pop(Timeout::Never), Err(brigade::Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn close_now(&self) {
        self.set_state(CLOSED);
        self.notify_all();
    }

    /// Whether the ring was closed, in either way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state() != OPEN
    }

    fn set_state(&self, state: u32) {
        // Release pairs with the Acquire in `state`.
        self.header().common.0.closed.fetch_max(state, Ordering::Release);
    }

    #[inline]
    pub(super) fn state(&self) -> u32 {
        self.header().common.0.closed.load(Ordering::Acquire)
    }

    fn notify_all(&self) {
        self.filled().notify();
        self.drained().notify();
    }
}
