//! Room in a limited queue: waiting for it, doing without.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::SendError;
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::core::Core;
use crate::pool::handle::Handle;
use crate::pool::state::{State, WaitTarget};

impl Pool {
    /// As [`submit`](Pool::submit), but never waits for room: a full pool gives the argument back.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if as many tasks wait as
    /// [`queue_limit`](crate::PoolBuilder::queue_limit) allows; else as [`submit`](Pool::submit).
    /// Either way the argument comes with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// let hangs = pool.submit(|()| loop { std::thread::park() }, ())?;
    /// let waits = pool.submit(|n: u8| n, 1)?;
    /// let refused = pool.try_submit(|n: u8| n, 2).unwrap_err();
    /// assert!(matches!((refused.value, *refused.error), (2, Error::Full { .. })));
    /// hangs.kill(Duration::ZERO)?;
    /// # waits.join()?;
    /// # hangs.join().map(|()| ()).unwrap_err();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_submit<F, A, R>(
        &self,
        function: F,
        argument: A,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_or_refuse(function, argument, Timeout::None)
    }

    /// As [`submit`](Pool::submit), but waits for room no longer than `timeout`.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if there was no room in time; else as [`submit`](Pool::submit). Either
    /// way the argument comes with it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(1).queue_limit(1).build()?;
    /// let task = pool.submit_timeout(|n: u8| n + 1, 1, Duration::from_secs(1))?;
    /// assert_eq!(task.join()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn submit_timeout<F, A, R>(
        &self,
        function: F,
        argument: A,
        timeout: Duration,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        self.submit_or_refuse(function, argument, Timeout::Limited(timeout))
    }

    fn submit_or_refuse<F, A, R>(
        &self,
        function: F,
        argument: A,
        timeout: Timeout,
    ) -> std::result::Result<Handle<R>, SendError<A>>
    where
        F: Fn(A) -> R + Copy + Send + 'static,
        A: Serialize + DeserializeOwned,
        R: Serialize + DeserializeOwned,
    {
        let submitted = self
            .core
            .reserve(timeout)
            .and_then(|_room| self.submit_by(self.core.rules(), function, &argument));
        match submitted {
            Ok(handle) => {
                // As in `submit`.
                drop(argument);
                Ok(handle)
            }
            Err(error) => Err(SendError::new(argument, error)),
        }
    }
}

/// How long to wait for room.
#[derive(Debug, Clone, Copy)]
pub(super) enum Timeout {
    None,
    Limited(Duration),
    Endless,
}

/// A place in the queue, kept until the task has taken it.
pub(super) struct QueuePermit<'a> {
    core: &'a Core,
}

impl Core {
    /// Waits for room in the queue and keeps it; `None` if the queue has no limit.
    pub(super) fn reserve(&self, timeout: Timeout) -> Result<Option<QueuePermit<'_>>> {
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
