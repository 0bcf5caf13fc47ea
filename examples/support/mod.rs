//! Support code of the examples: arguments, timing, checks, output.

#![allow(dead_code, reason = "each example compiles all of this and uses its part")]

pub(crate) mod arguments;
pub(crate) mod digest;
pub(crate) mod freivalds;
pub(crate) mod kernels;
pub(crate) mod modular;
pub(crate) mod picture;
pub(crate) mod random;
pub(crate) mod report;
pub(crate) mod timing;
