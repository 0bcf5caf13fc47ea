//! Typed, shaped views of regions, and why their aliasing is sound.
//!
//! | type               | bytes live in   | who may write                    | safe slices          |
//! |--------------------|-----------------|----------------------------------|----------------------|
//! | [`SharedArray`]    | the arena       | its owner                        | yes                  |
//! | [`Frozen`]         | the arena       | nobody                           | yes, read-only       |
//! | [`OwnedChunk`]     | the arena       | its owner, host or one worker    | yes, exclusive       |
//! | [`NamedArray`]     | `/dev/shm`      | any program of this user         | no: copies, `unsafe` |
//! | [`MappedArray`]    | a file          | by contract nobody               | by contract          |
//! | [`MappedArrayMut`] | a file          | by contract only the handle      | by contract          |
//!
//! # The aliasing argument
//!
//! A `&[T]` is sound if nobody writes its bytes while it lives, a `&mut [T]` if nobody else
//! accesses them; both in this process and in all others.
//!
//! 1. *Spans are disjoint.* The arena gives each byte to at most one live `Span`
//!    (`region/spans.rs`, checked by a property test), and its memory file has no name: only this
//!    host and its workers have it. Other processes of the same user could reach it through
//!    `/proc`; no process can defend itself against that.
//! 2. *A span has one owner.* `SharedArray` is neither `Clone` nor `Serialize`, so its slices
//!    follow the borrow checker within the host. Workers reach its bytes only through a lease.
//! 3. *A loop's lease* is part of a borrow of the array that lasts for the whole call: the call
//!    returns only when each lease is returned or its holder is dead (`pool/`).
//! 4. *`Frozen`* has no way to write. Its span is kept by every handle and every lease, so it is
//!    neither written nor reused before the last of them is gone; `thaw` gives write access back
//!    only to the sole owner. Workers see it through a window in which a write is a fault.
//! 5. *`OwnedChunk`* is exclusive by construction: the right to the bytes is one value, moved from
//!    handle to lease to handle. A codec sees the handle only by shared reference (`Serialize`
//!    takes `&self`, and safe code may serialise through an `Rc`, an `Arc` or a plain reference),
//!    so two rules make the move real. Access, *even to read*, takes `&mut self`: while a slice of
//!    the chunk lives, it cannot be serialised, and while it is being serialised, no slice lives.
//!    And serialising takes the right out of the handle, under its lock: a second attempt finds
//!    none and is an error, and a later access panics. Chunks of one array are disjoint ranges,
//!    made by `into_chunks`, which consumes the array.
//! 6. *In a worker* a handle is made only by decoding a lease: an owned one at most once, a frozen
//!    one any number of times. A handle counts as live until it is dropped or serialised back. A
//!    worker with live handles after its task exits, and the host keeps back the result and the
//!    leases of that task until the worker is reaped. So a handle hidden in a `static` or in a
//!    thread never sees bytes of a later owner. A handle leaked with `mem::forget` stays live until
//!    the worker ends.
//! 7. *What a worker sends back* is only a slot number. The host looks it up among the leases of
//!    that task and rebuilds the handle from its own record, never from an offset that another
//!    process wrote.
//! 8. *Every bit pattern is a value*: elements are [`Pod`](bytemuck::Pod), so whatever a worker
//!    leaves, even a partial or stray write, is initialised memory of the type.
//!
//! `ArrayRef` lends the `&[T]` of every type that has safe slices. The caller of the `unsafe`
//! `ArrayRef::new` guarantees the points above.
//!
//! Named arrays and mapped files have writers that no borrow checker sees. Named arrays are read
//! and written by relaxed atomic copies. Such a copy may mix old and new elements, but its
//! behaviour is defined. Slices of them are `unsafe`, with exclusion as the caller's contract.
//! Mapping a file is `unsafe` once, when it is mapped.

mod array_ref;
mod array_view;
pub(crate) mod codec;
mod element;
mod frozen;
mod mapped_array;
mod named_array;
mod named_open;
mod npy_file;
mod owned_chunk;
mod send_error;
mod shared_array;
#[cfg(test)]
mod source_tests;
#[cfg(test)]
mod transfer_tests;
mod wire_handle;

pub use array_ref::ArrayRef;
pub use array_view::{ArrayView, AsArrayView};
pub use element::Element;
pub use frozen::Frozen;
pub use mapped_array::{MappedArray, MappedArrayMut};
pub use named_array::{LentNamed, NamedArray};
pub use npy_file::npy_header;
pub use owned_chunk::OwnedChunk;
pub use send_error::SendError;
pub use shared_array::SharedArray;
