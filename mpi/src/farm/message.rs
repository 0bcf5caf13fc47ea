//! The messages between rank 0 and the others.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::farm::failure::Failure;

/// An encoded item or result. Only workers decode items, and only rank 0 decodes results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Encoded(pub(crate) Vec<u8>);

/// Items of this many bytes or more are long.
pub(crate) const LONG_BYTES: usize = 256 << 10;

/// An item in an order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Item {
    Short(Encoded),
    /// So many bytes follow the order, and go straight into memory of the pool that runs them.
    Long(usize),
}

/// From rank 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Items, the first of them at a position and the others behind it. The bytes of long ones
    /// follow in their order.
    Run(usize, Vec<Item>),
    /// No more items will come, and no result is wanted.
    Stop,
}

/// From another rank.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// Results, with the positions of their items.
    Done(Vec<(usize, Result<Encoded, Failure>)>),
    /// The answer to `Stop`, and the last message of a farm.
    Stopped,
}

impl Serialize for Encoded {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Encoded {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Encoded, D::Error> {
        from.deserialize_byte_buf(Bytes)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Encoded;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Encoded, E> {
        Ok(Encoded(bytes.to_vec()))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Encoded, E> {
        Ok(Encoded(bytes))
    }
}
