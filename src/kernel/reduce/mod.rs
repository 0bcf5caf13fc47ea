//! Reductions of whole slices and along an axis, prefix sums, histograms.
//!
//! A reduction is a [`Fold`]: a type without fields that defines how elements become partial
//! results, and how two partial results become one. [`partial`] reduces a chunk, [`axis`] reduces
//! one axis of an array. The caller cuts chunks by length alone and merges their partial results in
//! a fixed tree, so the result has the same bits on every processor and for any number of workers.

pub(crate) mod arg;
pub(crate) mod arg_axis;
pub(crate) mod axis;
mod fold;
pub(crate) mod histogram;
pub(crate) mod scan;
mod whole;

pub(crate) use fold::{All, Any, Deviations, Fold, Max, MeanSum, Min, MinMax, Sum, mean, variance};
pub(crate) use whole::{all, any, dot, partial};
