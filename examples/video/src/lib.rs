//! Filters of y4m video, computed by worker processes.
//!
//! [`pipeline::run`] reads frames, has them filtered by a pool and writes them, all three at the
//! same time. The frames lie in a ring of shared arrays: they are read into it, filtered in it and
//! written from it.

pub mod bands;
pub mod error;
pub mod filter;
pub mod frames;
pub mod header;
pub mod input;
pub mod output;
pub mod picture;
pub mod pipeline;
