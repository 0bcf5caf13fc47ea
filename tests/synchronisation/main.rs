//! Locks, events and values between tasks, threads and the host.

#[path = "../common/mod.rs"]
mod common;
mod conformance;
mod deaths;
mod handles;
mod step;
