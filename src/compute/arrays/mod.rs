//! Computations on whole arrays and along their axes.

mod along;
mod axes;
mod axis;
mod buckets;
mod byte_groups;
mod chunks;
mod elementwise;
mod filter;
mod gather;
mod group;
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
pub use byte_groups::{ByteGroups, Group};
pub use filter::{FilterFloat, FilterInteger};
pub use gather::RowIndex;
pub use group::Groups;
pub use random::RandomFloat;
pub use sort::SortKey;
pub use stencil::Neighbours;
