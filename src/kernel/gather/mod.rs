//! Rows and elements by index, by mask and by condition.

mod compress;
mod select;
mod take;

pub(crate) use compress::{compress_rows, count_true};
pub(crate) use select::select;
pub(crate) use take::{Index, first_outside, take_rows};
