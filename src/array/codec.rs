//! Values as bytes, arrays among them as leases.

use postcard::ser_flavors::Flavor;
use postcard::{Deserializer, Serializer};
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
    Encoder::new(out).encode(value)
}

/// Encodes values one after the other at the end of a buffer.
pub(crate) struct Encoder<'a>(Serializer<Appended<'a>>);

impl<'a> Encoder<'a> {
    #[inline]
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Encoder<'a> {
        Encoder(Serializer { output: Appended(out) })
    }

    /// Encodes one more; what it has written stays if it fails.
    #[inline]
    pub(crate) fn encode<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), String> {
        value.serialize(&mut self.0).map_err(|error| handoff::explain(&error))
    }

    /// The buffer.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        self.0.output.0
    }
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

/// Decodes `count` values that must fill `bytes` exactly, and appends them to `values`.
///
/// # Errors
///
/// Why they cannot be decoded, in words.
pub(crate) fn decode_all<T: DeserializeOwned>(
    bytes: &[u8],
    count: u64,
    values: &mut Vec<T>,
) -> Result<(), String> {
    let mut deserializer = Deserializer::from_bytes(bytes);
    for _ in 0..count {
        let value = T::deserialize(&mut deserializer);
        values.push(value.map_err(|error| handoff::explain(&error))?);
    }
    match deserializer.finalize() {
        Ok([]) => Ok(()),
        Ok(rest) => Err(format!("{} bytes were left over", rest.len())),
        Err(error) => Err(handoff::explain(&error)),
    }
}
