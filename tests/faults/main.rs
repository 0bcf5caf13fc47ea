//! Workers, servers and hosts that die, are stopped, or are attacked.
#![cfg(not(loom))]

mod attack;
mod batch;
#[path = "../common/mod.rs"]
mod common;
mod environments;
#[cfg(feature = "failpoints")]
mod failpoints;
#[cfg(feature = "failpoints")]
mod failpoints_logs;
#[cfg(feature = "failpoints")]
mod failpoints_start;
mod host_death;
mod model;
mod replacement;
mod signals;
mod soak;
mod worker_death;
