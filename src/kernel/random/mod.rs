//! Random numbers by index.
//!
//! Each chunk of an array can be generated separately.
//!
//! Every element is a function of the key and its index, so the numbers do not depend on chunks,
//! workers or processors. [`Stream`] describes the words of each index.

mod normal;
mod philox;
pub(crate) mod shuffle;
mod uniform;

pub(crate) use normal::{fill_normal, fill_normal_f32};
pub(crate) use philox::Stream;
pub(crate) use uniform::{fill_range, fill_uniform, fill_uniform_f32, span};
