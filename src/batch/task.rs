//! One attempt at a key, in a worker.

use std::sync::Arc;
use std::time::Instant;

use serde::de::{Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::batch::key::Key;
use crate::sys::peak_memory::PeakMemory;

/// A value that every task of a batch gets, kept once in the host.
pub(super) struct Shared<W>(pub(super) Arc<W>);

impl<W> Clone for Shared<W> {
    fn clone(&self) -> Shared<W> {
        Shared(Arc::clone(&self.0))
    }
}

impl<W: Serialize> Serialize for Shared<W> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, W: Deserialize<'de>> Deserialize<'de> for Shared<W> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<W>, D::Error> {
        W::deserialize(deserializer).map(|value| Shared(Arc::new(value)))
    }
}

/// What a task takes: the shared value, its key, and whether its memory is to be measured.
pub(super) type Argument<W> = (Shared<W>, Key, bool);

/// What the function of a task returned.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(super) struct Returned {
    /// The size of the output, or an error's text.
    pub(super) result: Result<u64, String>,
    pub(super) elapsed_ns: u64,
    /// Memory that the task has needed, in bytes, if that was measured.
    pub(super) memory_bytes: Option<u64>,
}

/// Runs a batch's function.
pub(super) fn run<W>(
    function: impl FnOnce(&W, &Key) -> Result<u64, String>,
    (value, key, measures): Argument<W>,
) -> Returned {
    let peak = if measures { PeakMemory::begin() } else { None };
    let start = Instant::now();
    let result = function(&value.0, &key);
    let elapsed_ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    Returned { result, elapsed_ns, memory_bytes: peak.and_then(PeakMemory::grown_bytes) }
}
