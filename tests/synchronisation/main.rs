//! Locks and similar primitives, queues and pipes between processes.
#![cfg(not(loom))]

mod channels;
#[path = "../common/mod.rs"]
mod common;
mod kill_points;
mod primitives;
mod tracer;
