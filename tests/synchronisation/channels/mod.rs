//! Queues and pipes between a pool's tasks and its host.
#![allow(unsafe_code)]

mod deaths;
mod handle_transfer;
mod joinable;
mod pipes;
mod queues;
mod step;

use std::time::Duration;

/// Far more than anything takes, so that a test fails only for a hang.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// A timeout for a wait that should not succeed.
pub(crate) const SHORT: Duration = Duration::from_millis(20);
