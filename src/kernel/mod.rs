//! Pure arithmetic on slices: no operating system, nothing shared, correct against naive oracles.

pub mod bigint;
pub mod matmul;
