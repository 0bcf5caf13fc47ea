//! Values as bytes; arrays in them are leases.
//!
//! The bytes are postcard's. The decoder does not trust them, and the encoder accepts any value:
//! [`Bounds`](bounds::Bounds) limits the depth and the work of both.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::object::transfer;

mod bounds;
mod decoder;
mod encoder;
#[cfg(test)]
mod tests;

pub(crate) use bounds::EMPTY_MAX;
use decoder::Decoder;
pub(crate) use encoder::Encoder;

/// Writes a value at the end of a buffer, as [`encode_onto`] does: an argument whose type does not
/// matter to what sends it.
pub(crate) type Encode<'a> = &'a mut dyn FnMut(&mut Vec<u8>) -> Result<(), String>;

/// Encodes a value at the end of `out`.
///
/// # Errors
///
/// The reason why it cannot be encoded, as text.
pub(crate) fn encode_onto<T: Serialize + ?Sized>(
    out: &mut Vec<u8>,
    value: &T,
) -> Result<(), String> {
    Encoder::new(out).encode(value)
}

/// Decodes a value that must fill `bytes` exactly.
///
/// # Errors
///
/// The reason why they cannot be decoded, as text.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match decode_first(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(left_over(rest)),
    }
}

/// Decodes the value that `bytes` begin with, and returns what follows it.
///
/// # Errors
///
/// The reason why they cannot be decoded, as text.
#[inline]
pub(crate) fn decode_first<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    let mut decoder = Decoder::new(bytes);
    match decoder.decode() {
        Ok(value) => Ok((value, decoder.rest())),
        Err(error) => Err(transfer::explain(&error)),
    }
}

/// Decodes `count` values that must fill `bytes` exactly, and appends them to `values`.
///
/// # Errors
///
/// The reason why they cannot be decoded, as text.
pub(crate) fn decode_all<T: DeserializeOwned>(
    bytes: &[u8],
    count: u64,
    values: &mut Vec<T>,
) -> Result<(), String> {
    let mut decoder = Decoder::new(bytes);
    for _ in 0..count {
        values.push(decoder.decode().map_err(|error| transfer::explain(&error))?);
    }
    match decoder.rest() {
        [] => Ok(()),
        rest => Err(left_over(rest)),
    }
}

fn left_over(rest: &[u8]) -> String {
    format!("{} bytes were left over", rest.len())
}
