//! Pure arithmetic on slices, correct against naive oracles.
//!
//! No operating system, and nothing shared.

pub mod bigint;
mod float;
pub mod matmul;
pub mod stencil;
mod team;
pub(crate) mod transpose;
mod vectorized;

pub(crate) use float::FloatMode;
pub use team::{COUNTERS, PeerDied, SingleThread, Team};
