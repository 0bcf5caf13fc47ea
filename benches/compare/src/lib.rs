//! What every contender of a comparison shares.

pub mod data;
pub mod protocol;
pub mod stopwatch;
pub mod stream;
