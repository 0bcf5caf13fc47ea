//! The messages between rank 0 and the others.

use serde::{Deserialize, Serialize};

use crate::encoded::Encoded;
use crate::farm::failure::Failure;

/// The encoded result of an item, or why there is none.
pub(crate) type Outcome = Result<Encoded, Failure>;

/// Items of this many bytes or more are long.
pub(crate) const LONG_BYTES: usize = 256 << 10;

/// An item in an order. Only workers decode items, and only rank 0 decodes results.
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
    Done(Vec<(usize, Outcome)>),
    /// The answer to `Stop`, and the last message of a farm.
    Stopped,
}
