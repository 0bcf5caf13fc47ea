//! Waiting until every worker is ready.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
use crate::pool::record::config::Start;
use crate::pool::record::state::State;

impl Core {
    pub(crate) fn wait_ready(&self, timeout: Duration) -> Result<()> {
        // A timeout that the clock cannot represent has no end.
        let deadline = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        loop {
            self.check_open(&state)?;
            // Without processes the initializer ran when the pool was built.
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
    /// Whether as many workers are ready as there should be.
    fn is_ready(&self) -> bool {
        let available = self.workers.iter().filter(|slot| slot.takes_offers() || slot.is_dormant());
        available.filter(|slot| slot.host_side.is_ready()).count() >= self.target
    }

    /// The error of a pool that is not ready in time.
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
