//! Computations on whole arrays and along their axes.

mod along;
mod axis;
mod chunks;
mod elementwise;
mod filter;
mod histogram;
mod random;
mod reduce;
mod scan;
mod stencil;
mod transpose;

pub use filter::{FilterFloat, FilterInteger};
pub use random::Float;
pub use stencil::Neighbours;
