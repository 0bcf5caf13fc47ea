//! Backpressure: waiting for room in a pool's limited queue.

#[cfg(feature = "async")]
use std::task::{Context, Poll, Waker};
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

    /// The same for a future: without room, its waker is called when there may be some.
    #[cfg(feature = "async")]
    pub(crate) fn poll_reserve(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<QueuePermit<'_>>>> {
        let Some(limit) = self.config.queue_limit else { return Poll::Ready(Ok(None)) };
        let callbacks = self.check_ours().and_then(|()| CallbackThread::current());
        let callbacks = match callbacks {
            Ok(callbacks) => callbacks,
            Err(error) => return Poll::Ready(Err(error)),
        };
        // Cloned, and dropped if it is not needed, without the mutex: both run foreign code.
        let mut waker = Some(context.waker().clone());
        let mut state = self.lock();
        state.drive();
        if let Some(reserved) = self.take_room(limit, &mut state) {
            return Poll::Ready(reserved);
        }
        let is_known = |waker: &mut Waker| state.room_wakers.iter().any(|old| old.will_wake(waker));
        if let Some(waker) = waker.take_if(|waker| !is_known(waker)) {
            state.room_wakers.push(waker);
            state.waiting_for_room += 1;
        }
        state.callbacks.get_or_insert(callbacks);
        self.watch_start(&mut state);
        Poll::Pending
    }

    fn reserve_until(
        &self,
        deadline: Option<Instant>,
        no_room: impl FnOnce() -> Error,
    ) -> Result<Option<QueuePermit<'_>>> {
        let Some(limit) = self.config.queue_limit else { return Ok(None) };
        self.check_ours()?;
        let take = |state: &mut State| self.take_room(limit, state);
        self.wait(deadline, WaitTarget::Room, take).unwrap_or_else(|| Err(no_room()))
    }

    /// Reserves a place if there is room; `None` if there is none.
    fn take_room(
        &self,
        limit: usize,
        state: &mut State,
    ) -> Option<Result<Option<QueuePermit<'_>>>> {
        if let Err(error) = self.check_open(state) {
            return Some(Err(error));
        }
        let has_room = state.unfinished + state.reserved < state.target.saturating_add(limit);
        has_room.then(|| {
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
        if state.waiting_for_room > 0 {
            state.wake_room();
        }
    }
}
