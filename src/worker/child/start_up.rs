//! What a worker runs before its first task.

use super::{EXIT_SETUP, Worker, set_crash_message};
use crate::error::Error;
use crate::sys::process;
use crate::worker::call;
use crate::worker::invocation;

impl Worker {
    /// Makes the worker's state, if it should have one and has none.
    pub(super) fn ensure_state(&mut self) {
        if self.cache.state.is_none()
            && let Some(maker) = self.config.state.take()
        {
            self.initialise("function that makes the state", &maker);
            self.config.state = Some(maker);
        }
    }

    /// Makes the state again after a task has panicked. Meanwhile a task that waits does not time
    /// out, as at the start.
    pub(super) fn rebuild_state(&mut self) {
        if self.cache.state.is_none() && self.config.state.is_some() {
            self.queues.set_rebuilding();
            self.ensure_state();
            self.queues.set_ready();
        }
    }

    /// Runs the initializer, or the function that makes the state. If it fails, this process ends
    /// with the reason as its crash message.
    pub(super) fn initialise(
        &mut self,
        what: &str,
        (function, leases, payload): &(u64, usize, Vec<u8>),
    ) {
        let mut out = Vec::new();
        self.cache.is_starting = true;
        let status = match call::split_table(payload, *leases) {
            Some((leases, encoded)) => self.run_job(*function, encoded, &leases, &mut out),
            None => Err(Error::Corrupt { what: "a worker's config", found: "no leases".into() }),
        };
        self.cache.is_starting = false;
        let ended = status.map_err(|error| error.to_string());
        if let Err(text) = ended.and_then(|status| invocation::completed(status, &out)) {
            set_crash_message(&format!("the {what} failed: {text}"));
            process::exit_now(EXIT_SETUP);
        }
    }
}
