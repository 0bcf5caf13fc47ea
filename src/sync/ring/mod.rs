//! A lock-protected ring of messages: many producers, many consumers.
//!
//! Messages are byte strings of any length up to the ring's capacity. They are popped in the order
//! in which they were pushed. One lock excludes producers from each other, another one consumers.
//! So a producer waits for consumers only when there is no room, and a consumer for producers only
//! when there is no message.
//!
//! Guarantees: a message is committed by one store. If its producer dies before that store, the
//! message does not exist; after it, the message is complete. If a consumer dies before it has
//! stored the new head, the next consumer gets the message; after it, the message is gone. So a
//! ring needs no repair after a death. Only its locks must be freed, which is what a sweep does.
//! If a process overwrites the shared words, a call returns a message of the length with which it
//! was pushed, or [`Error::Corrupt`](crate::Error::Corrupt). It neither crashes nor loops forever.
//!
//! Not guaranteed: whether a dead consumer has processed a message that it had popped. A process
//! that overwrites shared words can make messages disappear or change their bytes.
//!
//! # Design
//!
//! `head` and `tail` count the bytes that were ever consumed and produced, in multiples of 8. The
//! bytes `head..tail` (modulo the size) hold records: a word with the length, then the message,
//! padded to 8 (see `record.rs`). A record may wrap around the end.
//!
//! 1. A producer takes the push lock, loads `tail`, and compares `tail - head` with the room that
//!    it needs. It tries its private copy of `head` first: an old `head` only makes the ring look
//!    fuller.
//! 2. It writes the record after `tail`, where no consumer reads.
//! 3. It stores the new `tail` (Release): the commit.
//! 4. It unlocks, and notifies `filled` if consumers sleep.
//! 5. A consumer takes the pop lock, loads `head`, then `tail` (Acquire, pairs with 3) unless its
//!    private copy shows a message already. Position, word and length are checked against private
//!    geometry before the message is copied.
//! 6. It copies the message, then stores the new `head` (Release, pairs with 1): the room is free.
//! 7. It unlocks, and notifies `drained` if producers sleep.
//!
//! The first attempt of a push or a pop runs in registers, and gives up without a reason in every
//! unusual case (`room_fast`, `message_fast`). The second attempt, out of line, waits and reports
//! errors. Where unlocking is a read-modify-write, it is also the fence that the notification needs
//! (see `eventcount.rs`). `spin_hint.rs` decides how long a wait pauses before its first attempt.
//!
//! A death in steps 1-2 or 5-6 leaves a lock held. One in 3-4 or 6-7 may also leave a sleeper. The
//! sweep frees the lock and wakes the sleeper.
//!
//! | file | what |
//! |---|---|
//! | `header`, `record`, `commit_count`, `data` | the contents of shared memory |
//! | `handle`, `close` | [`Ring`]: creation, attaching, geometry, counts; closing |
//! | `wait` | used by both sides: lock, wait, errors |
//! | `push`, `reservation` | producers: messages that are copied in, or written in place |
//! | `pop`, `message` | consumers: messages that are copied out, or read in place |
#![cfg_attr(loom, allow(dead_code, reason = "models use only a part"))]

mod batch;
mod close;
mod commit_count;
mod data;
mod error;
mod handle;
mod header;
mod lock;
mod message;
mod pop;
mod push;
mod record;
mod reservation;
mod spin_hint;
#[cfg(all(test, not(loom)))]
mod tests;
mod wait;

pub use batch::MessageBatch;
pub use error::{BatchError, PushError};
pub use handle::Ring;
#[cfg(any(loom, feature = "raw-sync"))]
pub(super) use header::LockKind;
#[cfg(loom)]
pub(super) use header::RingHeader;
#[cfg(not(loom))]
pub(crate) use header::{HEADER_BYTES, message_count};
#[cfg(all(feature = "raw-sync", not(loom)))]
pub(super) use header::{LockSpace, check_header, write_header};
pub use lock::RingLock;
pub use message::Message;
pub use reservation::Reservation;
