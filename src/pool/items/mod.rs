//! Many items through one function: `map`, `imap`, `imap_unordered`, `starmap`.
//!
//! Items travel in batches, each of them a task. A worker decodes the value of `with` once for a
//! call (`shared_value.rs`); the host takes items from the caller's iterator as far ahead as keeps
//! the workers busy (`pipeline.rs`).

mod batch;
mod map;
mod options;
mod pipeline;
mod shared_value;
mod tuple_fn;

pub use options::Options;
pub use pipeline::Imap;
