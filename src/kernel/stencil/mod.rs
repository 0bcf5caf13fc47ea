//! Filters: what they read beyond the ends of an axis.

mod boundary;

pub use boundary::Boundary;
