//! The host's record of tasks and workers, behind one mutex.
//!
//! Nothing here uses the pool itself (`driver/core.rs`).

mod arming;
mod balance;
pub(crate) mod callbacks;
pub(crate) mod completion;
pub(crate) mod completion_queue;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod listener;
pub(crate) mod log_sources;
pub(crate) mod outcome;
#[cfg(feature = "async")]
pub(crate) mod permit_waiters;
pub(crate) mod permits;
pub(crate) mod pinned;
pub(crate) mod progress_clock;
pub(crate) mod publisher;
pub(crate) mod recording;
pub(crate) mod report;
pub(crate) mod run_times;
pub(crate) mod state;
pub(crate) mod state_guard;
pub(crate) mod task;
pub(crate) mod timeline;
pub(crate) mod trace_event;
pub(crate) mod trace_file;
mod worker_logs;
pub(crate) mod worker_slot;
