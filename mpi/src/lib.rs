//! [brigade] on several machines: MPI ranks with pools.
//!
//! Start one rank a node. Every rank runs the same program, makes a [`Cluster`], and makes the
//! same calls in the same order. MPI moves the bytes; the workers of each rank's pool compute. No
//! user function runs in a rank itself, so a crash of a task is no crash of a rank: it is an error
//! of that task, with the rank, the node and the cause.
//!
//! [`Cluster::map`] and [`Cluster::imap_unordered`] run a function over many items,
//! [`Cluster::run_batch`] over keys whose outcomes are in a journal. [`DistArray`] is an array
//! whose rows are distributed over the ranks.

mod array;
mod backoff;
mod batch;
mod cluster;
mod collective;
mod encoded;
mod error;
mod exchange;
mod executable;
mod factorial;
mod farm;
mod launcher;
mod link;
mod outgoing;
mod product;

pub use array::DistArray;
pub use cluster::Cluster;
pub use error::{Error, Result};
pub use farm::failure::{DeathReport, Failure};
pub use farm::{Done, Imap};
