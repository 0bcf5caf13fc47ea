//! Backpressure: waiting for room in a pool's limited queue.

#[cfg(feature = "async")]
use std::future::Future;
#[cfg(feature = "async")]
use std::pin::Pin;
#[cfg(feature = "async")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
#[cfg(feature = "async")]
use crate::pool::record::callbacks::CallbackThread;
use crate::pool::record::state::{State, WaitTarget};

/// A reserved place in the queue. The task takes it, or dropping the permit frees it.
pub(crate) struct QueuePermit<'a> {
    core: &'a Core,
}

impl Core {
    /// Waits for room in the queue and reserves it; `None` if the queue has no limit.
    pub(crate) fn reserve(&self) -> Result<Option<QueuePermit<'_>>> {
        self.reserve_until(None, || self.full())
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] without room.
    pub(crate) fn try_reserve(&self) -> Result<Option<QueuePermit<'_>>> {
        self.reserve_until(Some(Instant::now()), || self.full())
    }

    /// The same, waiting for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there was no room in time.
    pub(crate) fn reserve_timeout(&self, after: Duration) -> Result<Option<QueuePermit<'_>>> {
        let late = || Error::TimedOut { what: "room in the pool's queue", after };
        self.reserve_until(Instant::now().checked_add(after), late)
    }

    /// The same as a future.
    #[cfg(feature = "async")]
    pub(crate) fn reserve_async(&self) -> PermitFuture<'_> {
        PermitFuture { core: self, number: None }
    }

    fn reserve_until(
        &self,
        deadline: Option<Instant>,
        late: impl FnOnce() -> Error,
    ) -> Result<Option<QueuePermit<'_>>> {
        if self.config.queue_limit.is_none() {
            return Ok(None);
        }
        self.check_ours()?;
        let take = |state: &mut State| self.take_permit(state);
        self.wait(deadline, WaitTarget::Permit, take).unwrap_or_else(|| Err(late()))
    }

    /// Reserves a place if there is room; `None` if there is none.
    fn take_permit(&self, state: &mut State) -> Option<Result<Option<QueuePermit<'_>>>> {
        if let Err(error) = self.check_open(state) {
            return Some(Err(error));
        }
        (state.available_permits() > 0).then(|| {
            state.reserved += 1;
            Ok(Some(QueuePermit { core: self }))
        })
    }

    fn full(&self) -> Error {
        let limit = self.config.queue_limit.unwrap_or_default();
        Error::Full { what: "the pool's queue", capacity: format!("{limit} tasks") }
    }
}

impl Drop for QueuePermit<'_> {
    fn drop(&mut self) {
        let mut state = self.core.lock();
        state.reserved -= 1;
        if state.is_permit_awaited() {
            state.wake_permit_waiters();
        }
    }
}

/// Waits for room in the queue and reserves it, as [`Core::reserve`].
#[cfg(feature = "async")]
pub(crate) struct PermitFuture<'a> {
    core: &'a Core,
    /// Its number among those that wait, once it has waited.
    number: Option<u64>,
}

#[cfg(feature = "async")]
impl<'a> Future for PermitFuture<'a> {
    type Output = Result<Option<QueuePermit<'a>>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let core = self.core;
        if core.config.queue_limit.is_none() {
            return Poll::Ready(Ok(None));
        }
        core.check_ours()?;
        let mut state = core.lock();
        state.drive();
        if let Some(reserved) = core.take_permit(&mut state) {
            return Poll::Ready(reserved);
        }
        drop(state);
        let callbacks = CallbackThread::current()?;
        // Cloned without the mutex, because that runs foreign code.
        let waker = context.waker().clone();
        let mut state = core.lock();
        // The wake-up for what has ended meanwhile would not come again.
        if let Some(reserved) = core.take_permit(&mut state) {
            drop(state);
            return Poll::Ready(reserved);
        }
        let old = state.permit_waiters.register(&mut self.number, waker);
        state.callbacks.get_or_insert(callbacks);
        core.watch_start(&mut state);
        drop(state);
        drop(old);
        Poll::Pending
    }
}

#[cfg(feature = "async")]
impl Drop for PermitFuture<'_> {
    /// Passes on a wake-up that it has not used.
    fn drop(&mut self) {
        // A forked child does not use the mutex, which another thread may have held.
        let Some(number) = self.number.filter(|_| self.core.is_ours()) else { return };
        let mut state = self.core.lock();
        let waker = state.permit_waiters.remove(number);
        state.wake_permit_waiters();
        drop(state);
        drop(waker);
    }
}
