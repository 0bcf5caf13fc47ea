//! The value that `with` passes to calls over items.
#![allow(unsafe_code)]

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, TaskError};
use crate::object::transfer::{self, Lease, WireLease};
use crate::pool::driver::core::Core;
use crate::region::arena::Contents;
use crate::region::windows::Windows;
use crate::worker::call::{self, SharedInput};
use crate::worker::invocation::{CodecError, Encode};

/// A shared value, encoded, in the arena.
#[derive(Debug, Clone)]
pub(super) struct SharedValue {
    pub(super) kept: Arc<SharedInput>,
    pub(super) place: SharedPlace,
}

/// Where a worker finds the shared value of a call.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct SharedPlace {
    /// The number of the call.
    pub(super) call: u64,
    offset: u64,
    len: usize,
    /// The number of leases that precede it.
    leases: usize,
    /// It holds arrays: each task decodes it with its own leases.
    pub(super) is_given: bool,
}

impl SharedValue {
    pub(super) fn new(core: &Core, encode: Encode<'_>) -> Result<SharedValue> {
        let mut encoded = Vec::new();
        let attempt = transfer::encode_shared(|| encode(&mut encoded));
        let ((), leases) = attempt.map_err(|reason| {
            Error::Task(TaskError::Codec { what: "shared value", action: "encoded", reason })
        })?;
        // A handle of an array must not outlive its task, so such a value is not kept for the next.
        let is_given = leases.iter().any(Lease::is_of_array);
        let mut bytes = call::table(&leases);
        bytes.extend_from_slice(&encoded);
        let span = core.arena.reserve(bytes.len().max(1), Contents::Stale)?;
        span.store(&bytes);
        let (call, offset) = (core.next_call(), span.offset());
        let place = SharedPlace { call, offset, len: bytes.len(), leases: leases.len(), is_given };
        Ok(SharedValue {
            kept: Arc::new(SharedInput { _span: Some(span), leases, is_given }),
            place,
        })
    }
}

impl SharedPlace {
    /// Decodes the value, with its leases, by `decoder`.
    pub(super) fn read<R>(
        &self,
        windows: &Windows,
        decoder: impl FnOnce(&[WireLease], &[u8]) -> R,
    ) -> std::result::Result<R, CodecError> {
        // SAFETY: the host wrote the value before it offered a task with this place, and keeps it
        // unchanged in `SharedInput` until no task with it is left.
        let bytes = unsafe { windows.copy_out(self.offset, self.len) };
        let bytes = bytes.map_err(|error| CodecError::Argument(error.to_string()))?;
        let short = || CodecError::Argument("a shared value without its leases".into());
        let (leases, encoded) = call::split_table(&bytes, self.leases).ok_or_else(short)?;
        Ok(decoder(&leases, encoded))
    }
}
