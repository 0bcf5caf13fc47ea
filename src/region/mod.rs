//! Spans of shared memory, and who unlinks what, when.
//!
//! | region    | made of                | creator drops it | creator is killed        | machine restarts |
//! |-----------|------------------------|------------------|--------------------------|------------------|
//! | anonymous | span of the arena      | span is reused   | the kernel frees it      | gone             |
//! | named     | file in `/dev/shm`     | unlinks the name | name stays: `reclaim`    | gone             |
//! | kept      | named, then `keep`     | name stays       | name stays               | gone             |
//! | file      | any `.npy` file        | file stays       | file stays               | file stays       |
//!
//! A name disappears from view; the bytes live on while anyone maps them. Nobody but the creator
//! unlinks by dropping a handle: not an attacher, and not a child forked from the creator.
//! A named region has its name only once it is complete, so a creator that is killed before
//! leaves nothing. The layouts are drawn in `docs/memory-layout.md`.

pub(crate) mod arena;
mod budget;
mod bytes;
pub(crate) mod dtype;
pub(crate) mod mapping;
pub(crate) mod name;
pub(crate) mod named;
pub(crate) mod npy;
pub(crate) mod racy;
mod reclaim;
mod spans;
pub(crate) mod windows;

pub use arena::{set_arena_size, set_memory_limit};
pub use dtype::Dtype;
pub use reclaim::reclaim;
pub(crate) use spans::ALIGN_BYTES;
