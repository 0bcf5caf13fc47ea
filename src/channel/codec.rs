//! Values as messages.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::codec;
use crate::error::{Error, Result};

/// Bytes of buffer that a thread keeps between messages.
const KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// Where messages are encoded, and where they are copied to before they are decoded.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Calls `body` with a buffer that this thread keeps, empty.
pub(super) fn with_scratch<R>(body: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    // Taken: a value that sends another while it is encoded finds an empty one.
    // Gone in a destructor that runs after this thread's values: then a buffer is not kept.
    let mut buffer = SCRATCH.try_with(Cell::take).unwrap_or_default();
    buffer.clear();
    let result = body(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        let _ = SCRATCH.try_with(|scratch| scratch.set(buffer));
    }
    result
}

/// Appends the encoded value; what was there before stays if it cannot be encoded.
pub(super) fn encode_onto<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result<()> {
    let start = buffer.len();
    codec::encode_onto(buffer, value).map_err(|reason| {
        buffer.truncate(start);
        Error::Codec { what: "message", action: "encoded", reason }
    })
}

/// Decodes a message, which must be a `T` and nothing else.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(|reason| Error::Codec {
        what: "message",
        action: "decoded",
        reason,
    })
}

/// An error of the ring, in the words of what stands on it.
pub(super) fn of(owner: &'static str, error: Error) -> Error {
    match error {
        Error::Full { capacity, .. } => Error::Full { what: owner, capacity },
        Error::Empty { .. } => Error::Empty { what: owner },
        Error::Closed { what: "the ring" } => Error::Closed { what: owner },
        other => other,
    }
}
