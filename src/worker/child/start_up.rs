//! What a worker runs before its first task.

use super::{EXIT_SETUP, Status, Worker, set_crash_message};
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
        let text = match status {
            Ok(Status::Value) => {
                match invocation::decode::<std::result::Result<(), String>>(&out) {
                    Ok(Ok(())) => return,
                    Ok(Err(text)) | Err(text) => text,
                }
            }
            Ok(Status::Panicked) => {
                let (message, at) = invocation::decode(&out).unwrap_or_default();
                let (message, at): (String, String) = (message, at);
                format!("it panicked at {at}: {message}")
            }
            Ok(_) => String::from_utf8_lossy(&out).into_owned(),
            Err(error) => error.to_string(),
        };
        set_crash_message(&format!("the {what} failed: {text}"));
        process::exit_now(EXIT_SETUP);
    }
}
