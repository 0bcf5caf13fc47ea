//! Locks, events and values between tasks, threads and the host.

mod conformance;
mod deaths;
mod handles;
mod step;
