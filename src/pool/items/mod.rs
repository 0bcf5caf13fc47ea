//! Many items through one function: `map`, `imap`, `imap_unordered`, `starmap`.
//!
//! Items are sent in batches, each of them a task. A worker decodes the value of `with` once for
//! each call (`shared_value.rs`). The host takes only as many items from the caller's iterator as
//! keep the workers busy (`pipeline.rs`).

mod batch;
mod map;
mod options;
mod pipeline;
mod shared_value;
mod tuple_fn;

pub use options::Options;
pub use pipeline::{Imap, Indexed};
