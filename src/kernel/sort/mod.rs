//! Sorting, selection and search, as phases over chunks.
//!
//! Each phase is a function of slices, and each size depends on lengths alone.

pub(crate) mod counting;
pub(crate) mod key;
pub(crate) mod local;
pub(crate) mod partition;
pub(crate) mod plan;
pub(crate) mod quantile;
pub(crate) mod search;
pub(crate) mod select;
#[cfg(test)]
mod serial;
pub(crate) mod sorted;
pub(crate) mod splitters;
pub(crate) mod top_k;
pub(crate) mod unique;
