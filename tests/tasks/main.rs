//! Pools and their tasks, without unexpected deaths.
#![cfg(not(loom))]

mod array_transfer;
mod batch;
mod batch_output;
mod batch_run;
mod by_value;
mod chunk_recovery;
#[path = "../common/mod.rs"]
mod common;
mod completed;
mod futures;
mod handles;
mod logs;
mod loops;
mod map;
mod pool;
mod pools;
mod progress;
mod recycling;
mod resize;
mod shutdown;
mod state;
mod teams;
mod timeline;
