//! Shared-memory parallel compute: forked workers on zero-copy slices of big arrays.

mod atomics;
mod error;
mod exit;
mod shape;

mod array;
/// The one part of `pool/` that loom models; the rest lies over raw shared memory.
#[cfg(loom)]
#[path = "pool/claim.rs"]
mod claim;
#[cfg(not(loom))]
mod compute;
pub mod kernel;
#[cfg(not(loom))]
mod pool;
mod process;
mod region;
pub mod sync;
mod sys;

/// Points at which fault tests stop or kill a process; no part of the interface.
#[cfg(feature = "failpoints")]
#[doc(hidden)]
pub mod failpoint {
    pub use crate::sys::failpoint::{
        Action, FILE_BYTES, POINTS, Point, VARIABLE, clear, hits, set, wait_held,
    };
}

pub use array::{
    Element, Frozen, MappedArray, MappedArrayMut, NamedArray, OwnedChunk, Refused, SharedArray,
};
#[cfg(not(loom))]
pub use compute::{Matrix, Product, Scalar};
pub use error::{Death, Error, Limit, Phase, Result, TaskError};
pub use exit::ExitReason;
#[cfg(not(loom))]
pub use pool::{
    Body, Chunks, Described, Enumerated, Given, Handle, Imap, In, Lent, Nothing, Operand, Options,
    Out, ParChunks, ParMap, Plain, Pool, PoolBuilder, SharedValue, Sharing, Start, Stats,
};
pub use region::{Dtype, reclaim, set_arena_size, set_memory_limit};
pub use shape::{DIMENSIONS_MAX, Shape};
