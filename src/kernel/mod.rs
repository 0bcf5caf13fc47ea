//! Pure arithmetic on slices, correct against naive oracles.
//!
//! No operating system, and nothing shared.

pub mod bigint;
mod crew;
mod float;
pub mod matmul;

pub use crew::{COUNTERS, Crew, Deserted, Solo};
pub(crate) use float::FloatMode;
