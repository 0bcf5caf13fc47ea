//! Matrices and big numbers computed by teams of workers.
#![cfg(not(loom))]

mod arrays;
mod bigint;
mod bigint_gmp;
#[path = "../common/mod.rs"]
mod common;
mod fft;
mod linalg;
mod matmul;
mod orthogonal;
