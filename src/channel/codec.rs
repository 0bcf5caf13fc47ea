//! Values as messages.

use std::cell::Cell;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::handoff;
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
    let mut buffer = SCRATCH.take();
    buffer.clear();
    let result = body(&mut buffer);
    if buffer.capacity() <= KEPT_BYTES {
        SCRATCH.set(buffer);
    }
    result
}

/// Appends the encoded value; what was there before stays if it cannot be encoded.
pub(super) fn encode_onto<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> Result<()> {
    let start = buffer.len();
    let writer = Appended(buffer);
    match postcard::serialize_with_flavor(value, writer) {
        Ok(()) => Ok(()),
        Err(error) => {
            buffer.truncate(start);
            let reason = handoff::explain(&error);
            Err(Error::Codec { what: "message", action: "encoded", reason })
        }
    }
}

/// The end of a buffer, as postcard writes to it.
struct Appended<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Appended<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a message, which must be a `T` and nothing else.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let reason = match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => return Ok(value),
        Ok((_, rest)) => format!("{} bytes were left over", rest.len()),
        Err(error) => handoff::explain(&error),
    };
    Err(Error::Codec { what: "message", action: "decoded", reason })
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
