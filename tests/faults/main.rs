//! Workers, servers and hosts that die, are stopped, or are attacked.
#![cfg(not(loom))]

mod attack;
mod batch;
mod broadcast;
#[path = "../common/mod.rs"]
mod common;
mod environments;
mod host_death;
mod model;
mod preload;
mod replacement;
mod signals;
mod soak;
mod worker_death;
