//! The owner table: the process of a lock's token.
//!
//! Each process claims an entry before its first lock, and gets a token that no other process of
//! this table ever has; if it leaves and comes back, it may get the same again. A lock word holds
//! the token of its owner, so taking a lock and recording its owner are one store. After a death,
//! [`OwnerTable::sweep`] finds the words that the dead process held.
//!
//! It does not distinguish threads of one process (a lock does exclude them from each other), and
//! does not follow a `fork` (the child must claim an entry of its own).

mod claim;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
pub(crate) mod report;
mod sweep;
mod table;

pub use claim::Owner;
#[cfg(not(loom))]
pub(crate) use claim::ReusableToken;
pub use table::OwnerTable;
#[cfg(all(test, loom))]
pub(in crate::sync) use table::{OwnerEntry, TableHeader};
