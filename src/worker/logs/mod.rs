//! Carries log records of workers to the host's subscriber.
//!
//! In a worker, `capture` is the subscriber of `tracing` and the logger of `log`. It encodes each
//! record (`record`) and stores it in the worker's ring in the arena (`ring`). It never waits: a
//! record that finds no room is dropped and counted.
//!
//! In the host, a `source` for each worker copies records out of the ring. `delivery` emits them on
//! a thread of its own; a thread that joins a task emits those of the worker whose result it took.
//! `emit` gives a record to the host's subscriber, under a callsite that `callsite` makes from the
//! worker's description. No subscriber runs under a lock of the pool, or on the supervisor.
//!
//! When a worker has ended, its source takes what the ring still holds, and lists the last records
//! of the task for the death report.

#[cfg(not(loom))]
mod callsite;
#[cfg(not(loom))]
pub(crate) mod capture;
#[cfg(not(loom))]
pub(crate) mod delivery;
#[cfg(not(loom))]
mod emit;
#[cfg(not(loom))]
pub(crate) mod level;
#[cfg(not(loom))]
mod record;
mod ring;
#[cfg(not(loom))]
pub(crate) mod source;
#[cfg(not(loom))]
pub(crate) mod task_names;
