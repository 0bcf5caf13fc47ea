//! What the features `failpoints` and `async` bring.
#![cfg(not(loom))]

mod async_handles;
#[path = "../common/mod.rs"]
mod common;
mod failpoints;
mod failpoints_arrays;
mod failpoints_equipment;
mod failpoints_logs;
mod failpoints_start;
mod points;
