//! Room in a limited queue: waiting for it, doing without.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
use crate::pool::record::state::{State, WaitTarget};

/// How long to wait for room.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timeout {
    None,
    Limited(Duration),
    Endless,
}

/// A place in the queue, kept until the task has taken it.
pub(crate) struct QueuePermit<'a> {
    core: &'a Core,
}

impl Core {
    /// Waits for room in the queue and keeps it; `None` if the queue has no limit.
    pub(crate) fn reserve(&self, timeout: Timeout) -> Result<Option<QueuePermit<'_>>> {
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
        let now = Instant::now();
        let deadline = match timeout {
            Timeout::None => Some(now),
            Timeout::Limited(timeout) => now.checked_add(timeout),
            Timeout::Endless => None,
        };
        self.wait(deadline, WaitTarget::Room, take).unwrap_or_else(|| {
            Err(match timeout {
                Timeout::Limited(after) => {
                    Error::TimedOut { what: "room in the pool's queue", after }
                }
                _ => Error::Full { what: "the pool's queue", capacity: format!("{limit} tasks") },
            })
        })
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
