//! Object memory: the memory of shared primitives.
//!
//! A [`Memory`] is a range of bytes that several processes see, with a header, a table of the
//! processes that use it, a directory of its futex words, and the body in which a primitive (a
//! queue, a lock) makes its words. Its handles in a process are clones of each other. They cross to
//! workers inside the codec of a task (`transfer/`).
//!
//! Guarantees: the bytes stay while any handle or lease of them exists. Every process that uses
//! them is in the table from its first handle to its last. When it dies, it is removed and its
//! locks are freed. In a forked child a handle is inert: getting its bytes is an error, dropping it
//! changes nothing.
//!
//! It does not define the contents of the body, and does not protect it from a process that
//! overwrites it. A reader of the body loads each word once, checks it against private values, and
//! only then uses it.
//!
//! # What happens when
//!
//! | event | what follows |
//! |---|---|
//! | created | a span of the arena is zeroed; header, table, then the primitive's words are made |
//! | lent to a worker | the lease keeps the span; the worker attaches and claims an entry |
//! | the last handle of a worker goes | its entry is free; the host may drop its lease |
//! | the worker keeps a handle | its entry stays; the host keeps the span until it is reaped |
//! | the worker dies | once it is reaped the host sweeps: its locks come free, sleepers wake |
//! | the last handle and lease are dropped | the span goes back to the arena |
//!
//! A waiter in another process does not rely on the host's sweep: its sleep is divided into slices
//! ([`Watch::Waiters`](crate::sync::Watch)), and after each it checks whether the owner that it
//! waits for lives. The sweep is prompt, the slices are certain.

mod handle;
mod header;
mod kind;
mod listing;
mod memory;
mod named;
pub(crate) mod snapshot;
pub(crate) mod source;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;

pub(crate) use handle::{ObjectHandle, Primitive, body_error, check_body, named_object};
pub(crate) use kind::Kind;
pub use listing::{Holder, LockState, Participant, RegionInfo, RegionKind, RegionState, regions};
#[cfg(test)]
use memory::Backing;
pub(crate) use memory::{Memory, Spec};
