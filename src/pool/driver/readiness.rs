//! Waiting until every worker has come through its start-up.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::pool::driver::core::Core;
use crate::pool::record::config::Start;
use crate::pool::record::state::State;

impl Core {
    pub(crate) fn wait_ready(&self, timeout: Duration) -> Result<()> {
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
