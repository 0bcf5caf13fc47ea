//! One-off processes: each runs one function in a separate process.
//!
//! A one-off process is a worker (`worker/`) that gets one call and exits after it.
//!
//! 1. [`ProcessBuilder::spawn`] encodes the call, offers it in a queue pair, and requests the
//!    worker from the fork server. The record (`record.rs`) is the host's side of all later steps.
//! 2. The worker runs the call and commits its result.
//! 3. The fork server reaps the worker and reports it. Only then is the result drained, are leases
//!    ended and spans freed. A result that was committed counts, whatever ended the process.

mod builder;
mod listing;
mod process;
mod record;

pub use builder::ProcessBuilder;
pub use listing::{ActiveProcess, active_processes};
pub use process::Process;
