//! Queues and pipes between a pool's tasks and its host.
#![allow(unsafe_code)]

mod deaths;
mod joinable;
mod pipes;
mod queues;
mod step;
mod travel;

use std::time::Duration;

/// Far more than anything takes, so that a test fails for a hang only.
pub(crate) const LONG: Duration = Duration::from_secs(20);
/// A wait that is to end without success.
pub(crate) const SHORT: Duration = Duration::from_millis(20);
