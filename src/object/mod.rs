//! Object memory: what a shared primitive lies in.
//!
//! A [`Memory`] is a stretch of bytes that several processes see, with a header, a table of the
//! processes that use it, a directory of its futex words, and the body that a primitive (a queue,
//! a lock) makes its words in. Handles of it are clones of one another in a process, and cross
//! into workers inside the codec of a task (`transfer/`).
//!
//! Guarantees: the bytes stay while any handle or lease of them does. Every process that uses
//! them is in the table from its first handle to its last, and is taken out of it, and its locks
//! are freed, when it dies. In a forked child a handle is inert: asking it for its
//! bytes is an error, dropping it changes nothing.
//!
//! It neither defines what the body means, nor protects it from a process that writes over it. A
//! reader of the body loads each word once, checks it against private knowledge, and only then
//! uses it.
//!
//! # What happens when
//!
//! | event | what follows |
//! |---|---|
//! | created | a span of the arena is zeroed; header, table, then the primitive's words are made |
//! | lent to a worker | the lease keeps the span; the worker attaches and claims an entry |
//! | the worker's last handle goes | its entry is free; the host may drop what it kept for it |
//! | the worker keeps a handle | its entry stays; the host keeps the span until it is reaped |
//! | the worker dies | once it is reaped the host sweeps: its locks come free, sleepers wake |
//! | the last handle and lease go | the span goes back to the arena |
//!
//! A waiter in another process does not rely on the host's sweep: its sleep is cut into slices
//! ([`Watch::Waiters`](crate::sync::Watch)), and after each it looks whether the owner that it
//! waits for still lives. The sweep is the prompt way, the slices are the certain one.

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
