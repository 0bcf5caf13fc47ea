//! Values as bytes, arrays among them as leases.

use postcard::ser_flavors::Flavor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::handoff;

/// Encodes a value at the end of `out`.
///
/// # Errors
///
/// Why it cannot be encoded, in words.
pub(crate) fn encode_onto<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> Result<(), String> {
    postcard::serialize_with_flavor(value, Appended(out)).map_err(|error| handoff::explain(&error))
}

/// An encoded number is at most this long, in bytes.
const SHORT_BYTES: usize = 10;

/// The end of a buffer, for the codec.
struct Appended<'a>(&'a mut Vec<u8>);

impl Flavor for Appended<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > SHORT_BYTES {
            self.0.extend_from_slice(bytes);
            return Ok(());
        }
        // Most of what comes is one encoded number: a call to copy it takes longer than this.
        self.0.extend(bytes.iter().copied());
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes a value that must fill `bytes` exactly.
///
/// # Errors
///
/// Why they cannot be decoded, in words.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes were left over", rest.len())),
        Err(error) => Err(handoff::explain(&error)),
    }
}
