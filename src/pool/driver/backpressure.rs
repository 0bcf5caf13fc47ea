//! Backpressure: waiting for room in a pool's limited queue.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
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

    fn reserve_until(
        &self,
        deadline: Option<Instant>,
        no_room: impl FnOnce() -> Error,
    ) -> Result<Option<QueuePermit<'_>>> {
        let Some(limit) = self.config.queue_limit else { return Ok(None) };
        self.check_ours()?;
        let take = |state: &mut State| {
            if let Err(error) = self.check_open(state) {
                return Some(Err(error));
            }
            let has_room = state.unfinished + state.reserved < state.target.saturating_add(limit);
            has_room.then(|| {
                state.reserved += 1;
                Ok(Some(QueuePermit { core: self }))
            })
        };
        self.wait(deadline, WaitTarget::Room, take).unwrap_or_else(|| Err(no_room()))
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
