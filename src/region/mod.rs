//! Spans of shared memory, and which process removes which name.
//!
//! | region    | made of                | last handle goes | all its programs die     | machine restarts |
//! |-----------|------------------------|------------------|--------------------------|------------------|
//! | anonymous | span of the arena      | span is reused   | the kernel frees it      | gone             |
//! | named     | file in `/dev/shm`     | name is removed  | name stays: `reclaim`    | gone             |
//! | kept      | named, then `keep`     | name stays       | name stays               | gone             |
//! | raw       | any file in `/dev/shm` | name stays       | name stays               | gone             |
//! | file      | any `.npy` file        | file stays       | file stays               | file stays       |
//!
//! The bytes of a removed name live on while any process maps them. Each handle holds a shared
//! `flock`; a handle that can convert it to an exclusive one when it is dropped is the last. An
//! array made by `named` goes earlier, with its creator. A child forked from a holder removes
//! nothing. A named region has its name only once it is complete, so a creator that is killed
//! before that leaves nothing. Without an explicit request, only files with the fingerprint of a
//! region (`fingerprint.rs`) are removed. `docs/internals/memory-layout.md` draws the layouts.

pub(crate) mod arena;
pub(crate) mod atomic_copy;
mod budget;
pub(crate) mod dtype;
mod fingerprint;
pub(crate) mod host_arena;
pub(crate) mod mapping;
pub(crate) mod name;
pub(crate) mod named_region;
pub(crate) mod npy;
pub(crate) mod reclaim;
mod settings;
mod spans;
pub(crate) mod windows;

pub use dtype::Dtype;
pub use host_arena::set_memory_cache;
pub use reclaim::reclaim;
pub use settings::{set_arena_size, set_available_memory, set_memory_limit};
pub(crate) use spans::ALIGN_BYTES;
