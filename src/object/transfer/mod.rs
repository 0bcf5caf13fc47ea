//! How handles cross from host to worker and back.
//!
//! A handle is serialised as a slot: the index of a *lease* in a table that is sent beside the
//! payload, together with values for a check. Only the table determines the bytes of a slot, and
//! the host reads only its own copy of it. So no payload can forge a range.
//!
//! 1. Host, [`encode`]: each handle leaves a [`Lease`] here and its slot in the payload.
//! 2. Worker, [`decoding`]: each slot becomes a handle on the worker's windows, frozen ones any
//!    number of times, owned ones once.
//! 3. Worker, [`encoding_back`]: a handle of this task becomes its slot again, and cannot be used
//!    after.
//! 4. Host, [`redeeming`]: a slot becomes the handle that step 1 took, owned ones once.
//!
//! Outside of these calls a handle refuses to be serialised. A lease is dropped when no worker has
//! the bytes any more: a chunk's right returns to the handle that it left, if that still exists. In
//! a pool without processes, step 2 is [`redeeming`] and step 3 an [`encode`].
//!
//! Object memory (queues, locks) uses the same steps, but a worker may keep its handle: the memory
//! records which processes use it. The host drops a lease of it when the worker has dropped its
//! handles, or is reaped ([`Lease::object`]).
//!
//! Elements may also cross by value, as copies (`by_value.rs`): a `Packed` vector in both
//! directions, and a `SharedArray` that a task has made, as its result.
//!
//! A value for several workers ([`encode_shared`]) contains no chunks: two workers would write to
//! them. A value that a worker keeps for longer than a task ([`decoding_kept`]) contains frozen
//! arrays only if the host keeps their leases as long as the worker lives. Those do not count as
//! live handles, and no task returns them.

mod by_value;
mod context;
mod lease;
mod leased_bytes;
mod wire_object;

pub(crate) use by_value::*;
pub(crate) use context::*;
pub(crate) use lease::*;
pub(crate) use leased_bytes::*;
pub(crate) use wire_object::*;
