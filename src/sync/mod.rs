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
mod ring;

pub use directory::WordKind;
pub use event::{Event, EventWord, Reset};
pub use lock::{LockGuard, LockWord, RobustLock};
pub use owner::{Owner, OwnerTable, Token};
pub use patience::Watch;
pub use ring::{Batch, BatchError, Message, PushError, Reserved, Ring, RingLock};
