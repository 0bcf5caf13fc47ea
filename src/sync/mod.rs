//! Locks, events and rings over memory handed in.

#[cfg(all(test, not(loom)))]
mod arena;
mod directory;
mod event;
mod eventcount;
mod lock;
#[cfg(all(test, loom))]
mod model;
mod owner;
mod patience;
#[cfg(all(feature = "raw-sync", not(loom)))]
mod raw_sync;
mod ring;

pub use event::{Event, EventWord, Reset};
pub use lock::{LockGuard, LockWord, RobustLock};
pub use owner::{Owner, OwnerTable, Token};
pub use patience::Watch;
#[cfg(all(feature = "raw-sync", not(loom)))]
pub use raw_sync::RawSyncLock;
pub use ring::{Batch, BatchError, Message, PushError, Reserved, Ring, RingLock};
