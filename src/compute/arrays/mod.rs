//! Computations on whole arrays and along their axes.

mod along;
mod axes;
mod axis;
mod buckets;
mod chunks;
mod elementwise;
mod filter;
mod gather;
mod histogram;
mod order;
mod random;
mod reduce;
mod scan;
mod select;
mod sort;
mod stencil;
mod transpose;

pub use crate::kernel::sort::search::Side;
pub use axes::Axes;
pub use filter::{FilterFloat, FilterInteger};
pub use gather::RowIndex;
pub use random::RandomFloat;
pub use sort::SortKey;
pub use stencil::Neighbours;
