//! Values as messages.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::codec;
use crate::error::{Error, Result};

/// The most bytes of buffer that a thread keeps between messages.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// The buffer in which messages are encoded, and to which they are copied before decoding.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `body` with an empty buffer, which this thread keeps afterwards.
pub(super) fn with_scratch<R>(body: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // Taken out: a value that sends another while it is encoded gets an empty one. In a destructor
    // after this thread's values are gone, no buffer is kept.
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = body(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
    result
}

/// Appends the encoded value; on an error the buffer is unchanged.
pub(super) fn encode_onto<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result<()> {
    let start = buffer.len();
    codec::encode_onto(buffer, value).map_err(|reason| {
        buffer.truncate(start);
        Error::Codec { what: "message", action: "encoded", reason }
    })
}

/// Decodes a message, which must be exactly one `T`.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|reason| Error::Codec {
        what: "message",
        action: "decoded",
        reason,
    })
}

/// Replaces the ring's name in an error by that of its owner.
pub(super) fn of(owner: &'static str, error: Error) -> Error {
    match error {
        Error::Full { capacity, .. } => Error::Full { what: owner, capacity },
        Error::Empty { .. } => Error::Empty { what: owner },
        Error::Closed { what: "the ring" } => Error::Closed { what: owner },
        other => other,
    }
}
