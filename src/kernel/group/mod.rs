//! Aggregates of values by key.
//!
//! There are a table of small integers, and hash tables of integers and of bytes.
//!
//! A group is five words, whatever the type of its values, so that tables are plain data: in shared
//! memory, or as bytes of a message. The caller adds elements in order, and merges tables in a
//! fixed tree, so the result has the same bits for any number of workers.

mod bytes;
mod dense;
mod integers;
mod slots;
mod words;

pub(crate) use bytes::BytesTable;
pub(crate) use dense::{add_dense, first_outside};
pub(crate) use integers::IntegerTable;
pub(crate) use words::{Aggregates, GroupWords, merge};
