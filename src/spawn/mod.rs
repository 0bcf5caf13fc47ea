//! One-off processes: functions in processes of their own.
//!
//! A one-off process is a worker (`worker/`) that is offered one call and leaves after it.
//!
//! 1. [`ProcessBuilder::spawn`] encodes the call, offers it in a queue pair, and asks the fork
//!    server for the worker. The record (`record.rs`) is the host's side of all that follows.
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
