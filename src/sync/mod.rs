//! Locks, events and rings in shared memory.
//!
//! Everything here works between processes that share a mapping, between threads, and on the heap
//! under loom. The shared parts of a primitive are atomics in memory that the caller passes to an
//! `unsafe` constructor. A handle keeps the geometry in private memory and is safe to use. Values
//! in shared memory are loaded once, checked, copied, and only then used.
//!
//! | primitive | shared words | writer | if a participant dies |
//! |---|---|---|---|
//! | [`OwnerTable`] | owners, directory | claimers, sweepers | its entry stays until swept |
//! | [`RobustLock`] | token and two flags | lockers | the next guard is `recovered` |
//! | [`RawEvent`] | set, count, WAITERS | setters, waiters | it is set and all wake, or not set |
//! | [`Ring`] | head, tail, two locks | both sides | a message is whole or absent |
//! | `RawBarrier` | state, a slot a member | members | it breaks, at the latest in the next phase |
//! | `RawSemaphore` | a slot a permit | holders | its permits come free, `recovered` |
//! | `RawReentrantLock` | a lock, count, holder | its holder | free, however often it was taken |
//! | `RawRwLock` | a gate, a slot a reader | both sides | free; a writer's death is reported |
//! | `RawOnce` | a lock, the state | first caller | the next runs it again, informed |
//! | `RawCondvar` | a slot a waiter, a count | both sides | all waiters wake and test again |
//! | `Unacked` | a count a consumer | consumers | its messages count as lost |
//! | `Endpoints` | a slot a holder | holders | its slots come free |
//! | `RawSyncLock` | a pthread mutex | lockers | every later attempt times out |
//!
//! # Examples
//!
//! A table and a ring, here in the memory of this process. Between processes the same bytes lie in
//! a shared mapping, and each process attaches with its own owner.
//!
//! ```
//! use std::ptr::NonNull;
//! use brigade::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
//!
//! #[repr(C, align(128))]
//! struct Region([u8; 4096]);
//! let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
//!
//! // SAFETY: the region is aligned, large enough, never freed, and used for nothing else.
//! let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
//! let owner = Owner::claim(&table, Watch::Waiters)?;
//! // SAFETY: as above; the table takes less than 1024 bytes.
//! let ring = unsafe { Ring::create(place.add(1024), 100, &owner) }?;
//!
//! ring.push("to whom it may concern", Timeout::Never)?;
//! assert_eq!(ring.pop(Timeout::Never)?, b"to whom it may concern");
//! # Ok::<(), brigade::Error>(())
//! ```
//!
//! # How a death is noticed
//!
//! 1. A process claims an entry of the owner table ([`Owner::claim`]) and gets a token.
//! 2. Locks and slots hold the token of their owner: taking one and recording its owner are one
//!    store, so the holder of a lock is always known.
//! 3. Each futex word is in the table's directory before its first use.
//! 4. When the process is certainly dead, [`OwnerTable::sweep`] swaps its tokens to OWNER_DIED.
//!    Then it wakes the sleepers of every word in the directory, because the dead process may have
//!    been about to. A word whose condition is elsewhere is also changed, since a waiter may have
//!    tested the condition and not yet slept.
//! 5. Only then the entry is free again. A token is never given to another process.
//!
//! Why that suffices: a process changes shared memory by single stores. Before the store that
//! commits, the others see the old state and a lock or slot with a token, which step 4 frees. After
//! it, they see the new state, and only a wake-up can be missing, which step 4 gives to all. A
//! sweeper that dies leaves the entry, and the next sweep repeats everything. Two concurrent
//! sweepers do the same things twice, which changes nothing.

mod barrier;
pub(crate) mod block_table;
mod condvar;
mod directory;
mod endpoints;
mod event;
mod eventcount;
mod lock;
mod lock_word;
#[cfg(all(test, loom))]
mod model;
mod once;
mod owner;
#[cfg(all(feature = "raw-sync", not(loom)))]
mod raw_sync;
mod reentrant;
mod ring;
mod rwlock;
mod semaphore;
mod slot_table;
mod slots;
pub(crate) mod team;
#[cfg(all(test, not(loom)))]
mod test_memory;
mod thread;
mod timeout;
mod unacked;

#[cfg(not(loom))]
pub(crate) use endpoints::{
    ClaimInTransit, ENDPOINT_ENTRIES, EndpointClaim, EndpointWords, Endpoints, PipeSide, Serials,
};
pub use event::{EventWord, RawEvent, Reset};
#[cfg(not(loom))]
pub(crate) use eventcount::WaitPhase;
pub use lock::{RobustLock, RobustLockGuard};
pub use lock_word::{LockWord, Token};
pub use owner::{Owner, OwnerTable};
#[cfg(not(loom))]
pub(crate) use owner::{ReusableToken, report};
#[cfg(all(feature = "raw-sync", not(loom)))]
pub use raw_sync::RawSyncLock;
pub use ring::{BatchError, Message, MessageBatch, PushError, Reservation, Ring, RingLock};
#[cfg(not(loom))]
pub(crate) use ring::{HEADER_BYTES as RING_HEADER_BYTES, message_count};
#[cfg(not(loom))]
pub(crate) use timeout::{Backoff, CHECK_INTERVAL};
pub use timeout::{Timeout, Watch};
#[cfg(not(loom))]
pub(crate) use unacked::{UNACKED_ENTRIES, Unacked, UnackedWords};

/// The parts of the types of `shared`. Public only for the fault tests, which step through their
/// instructions over memory of their own.
#[doc(hidden)]
pub mod raw {
    pub use super::barrier::{BarrierPart, PARTIES_MAX, RawBarrier, RawMember};
    pub use super::condvar::{CondvarPart, RawCondvar};
    pub use super::once::{OnceWords, RawOnce};
    pub use super::reentrant::{RawReentrantGuard, RawReentrantLock, ReentrantWords};
    pub use super::rwlock::{RawReadGuard, RawRwLock, RawWriteGuard, RwLockPart};
    pub use super::semaphore::{PERMITS_MAX, RawPermit, RawSemaphore, SemaphorePart};
    pub use super::slot_table::SlotPrimitive;
}
