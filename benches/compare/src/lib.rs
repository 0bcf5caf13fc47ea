//! Code shared by the contenders of a comparison.

pub mod arrays;
pub mod data;
pub mod protocol;
pub mod stopwatch;
pub mod stream;
