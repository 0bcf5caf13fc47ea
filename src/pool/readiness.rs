//! Waiting until every worker has come through its start-up.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::pool::core::{Core, Start};
use crate::pool::state::State;

impl Pool {
    /// Waits until every worker has run its [initializer](crate::PoolBuilder::initializer) and can
    /// take tasks, at most for `timeout`.
    ///
    /// [`build`](crate::PoolBuilder::build) returns when the workers are forked: what their
    /// initializers do then is not known yet. Tasks may be submitted without waiting for it.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if workers end before they are ready, again and again: the cause has what
    /// the initializer returned, or its panic. After `timeout`, [`Error::Spawn`] with the cause if
    /// a worker has failed so far, else [`Error::TimedOut`]. [`Error::Closed`] if the pool has
    /// ended, and in a process that was forked from the pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool};
    /// let ready = Pool::builder().workers(2).initializer(|()| Ok(()), ()).build()?;
    /// ready.wait_ready(Duration::from_secs(60))?;
    ///
    /// let fails = |()| Err("there is no licence".to_owned());
    /// if let Ok(pool) = Pool::builder().workers(1).initializer(fails, ()).build() {
    ///     let error = pool.wait_ready(Duration::from_secs(60)).unwrap_err();
    ///     assert!(matches!(error, Error::Broken { .. }));
    ///     assert!(error.to_string().contains("there is no licence"));
    /// }
    /// # Ok::<(), Error>(())
    /// ```
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        self.core.check_ours()?;
        self.core.wait_ready(timeout)
    }
}

impl Core {
    fn wait_ready(&self, timeout: Duration) -> Result<()> {
        // A timeout that no clock can count is for ever.
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        loop {
            self.check_open(&state)?;
            // Without processes the initializer has run when the pool was built.
            if self.config.start == Start::InProcess || state.is_ready() {
                return Ok(());
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                return Err(state.unready(timeout));
            }
            state.waiting_for_ready += 1;
            state = self.wait_changed(state, deadline);
            state.waiting_for_ready -= 1;
        }
    }
}

impl State {
    /// Whether as many workers as there should be have come through their start-up.
    fn is_ready(&self) -> bool {
        let stands = self.workers.iter().filter(|slot| slot.takes_offers() || slot.is_dormant());
        stands.filter(|slot| slot.queues.is_ready()).count() >= self.target
    }

    /// What is to be said of a pool that is not ready in time.
    fn unready(&self, after: Duration) -> Error {
        match &self.start_failure {
            Some(cause) => Error::Spawn {
                what: "all workers",
                reason: format!(
                    "not all are ready after {after:?}, and the last failure is: {cause}"
                ),
            },
            None => Error::TimedOut { what: "the start of all workers", after },
        }
    }
}
