//! Shared-memory parallel compute: forked workers on zero-copy slices of big arrays.

mod atomics;
mod error;
mod exit;
mod shape;

pub mod kernel;
mod array;
mod process;
mod region;
pub mod sync;
mod sys;

pub use error::{Death, Error, Limit, Phase, Result, TaskError};
pub use exit::ExitReason;
pub use shape::{DIMENSIONS_MAX, Shape};
