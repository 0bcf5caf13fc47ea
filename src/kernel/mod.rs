//! Pure arithmetic on slices, tested against naive oracles.
//!
//! No operating system, and nothing shared.

#[cfg(all(feature = "bigint", not(loom)))]
pub mod bigint;
pub(crate) mod elementwise;
#[cfg(all(feature = "fft", not(loom)))]
pub(crate) mod fft;
mod float;
pub(crate) mod gather;
#[cfg(not(loom))]
pub(crate) mod group;
#[cfg(all(feature = "linalg", not(loom)))]
pub(crate) mod linalg;
#[cfg(all(feature = "linalg", not(loom)))]
pub mod matmul;
pub(crate) mod number;
pub(crate) mod random;
pub(crate) mod reduce;
#[cfg(not(loom))]
pub(crate) mod sort;
pub mod stencil;
mod team;
#[cfg(all(test, feature = "linalg", not(loom)))]
mod thread_team;
pub(crate) mod transpose;
mod vectorized;

pub(crate) use float::FloatMode;
pub use team::{COUNTERS, PeerDied, SingleThread, Team};
