//! Arrays and names: memory that processes share, and its files.
#![cfg(not(loom))]

mod arrays;
#[path = "../common/mod.rs"]
mod common;
mod mapped_bytes;
mod named;
mod npy;
mod numpy_interop;
mod regions;
