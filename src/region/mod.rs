//! Regions: spans of shared memory, and who unlinks what, in each ending.

pub(crate) mod arena;
mod budget;
mod bytes;
mod spans;
pub(crate) mod windows;

pub use arena::{set_arena_size, set_memory_limit};
