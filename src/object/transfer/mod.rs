//! How handles cross from host to worker and back.
//!
//! A handle is serialised as a slot: the index of a *lease* in a table that travels beside the
//! payload, with whatever the handle adds for a check. Only the table says which bytes that means,
//! and the host reads only its own copy of it, so no payload can invent a range.
//!
//! 1. Host, [`encode`]: each handle met leaves a [`Lease`] here and its slot in the payload.
//! 2. Worker, [`decode`]: each slot becomes a handle on the worker's windows, frozen ones any
//!    number of times, owned ones once.
//! 3. Worker, [`encode_back`]: a handle of this task becomes its slot again, and is dead.
//! 4. Host, [`redeem`]: a slot becomes the handle that step 1 took, owned ones once.
//!
//! Outside of these calls a handle refuses to be serialised. Dropping a lease means that no
//! worker has the bytes any more: a chunk's right returns to the handle that it left, if that
//! still exists. In a pool without processes, step 2 is a [`redeem`] and step 3 an [`encode`].
//!
//! Object memory (queues, locks) travels by the same steps, but a worker may keep its handle: the
//! memory says itself which processes use it, and the host drops a lease of it when the worker has
//! given its handles up, or is reaped ([`Lease::object`]).
//!
//! A value that several workers are given ([`encode_shared`]) holds no chunks: two workers would
//! write to them. One that a worker keeps for longer than a task ([`decode_kept`]) holds frozen
//! arrays only if the host keeps their leases as long as the worker lives; they do not count as
//! live handles then, and go back with no task.

mod context;
mod lease;
mod leased_bytes;
mod wire_object;

pub(crate) use context::*;
pub(crate) use lease::*;
pub(crate) use leased_bytes::*;
pub(crate) use wire_object::*;
