//! Runs functions in other processes.
//!
//! A worker is a child of the fork server with its own queue pair in the arena (`queue_pair.rs`).
//! The host offers calls and drains results (`host_side.rs`). The child claims calls, runs them and
//! commits their results (`worker_side.rs`, `child.rs`, `invocation.rs`). Higher layers decide
//! which worker gets which call, and handle the calls of a dead worker.
//!
//! `src/pool/README.md` describes the protocol step by step, and argues why it is correct.

#[cfg(not(loom))]
pub(crate) mod backoff;
#[cfg(not(loom))]
pub(crate) mod call;
#[cfg(not(loom))]
pub(crate) mod child;
pub(crate) mod claim;
#[cfg(not(loom))]
mod cleanup;
#[cfg(not(loom))]
pub(crate) mod cpu_spread;
#[cfg(not(loom))]
pub(crate) mod current_task;
#[cfg(not(loom))]
pub(crate) mod death;
#[cfg(not(loom))]
pub(crate) mod grants;
#[cfg(not(loom))]
pub(crate) mod host_side;
#[cfg(not(loom))]
pub(crate) mod invocation;
#[cfg(not(loom))]
pub(crate) mod launch;
#[cfg(not(loom))]
pub(crate) mod link;
#[cfg(not(loom))]
pub(crate) mod local_state;
pub(crate) mod logs;
#[cfg(not(loom))]
pub(crate) mod pool_control;
#[cfg(not(loom))]
pub(crate) mod preload;
#[cfg(not(loom))]
pub(crate) mod queue_pair;
#[cfg(not(loom))]
pub(crate) mod settings;
#[cfg(not(loom))]
mod spin_budget;
pub(crate) mod wakeup;
#[cfg(not(loom))]
pub(crate) mod worker_side;
