//! Pure arithmetic on slices: no operating system, nothing shared, correct against naive oracles.

pub mod bigint;
mod crew;
pub mod matmul;

pub use crew::{COUNTERS, Crew, Deserted, Solo};
