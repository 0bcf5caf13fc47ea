//! Computations on whole arrays and along their axes.

mod filter;
mod stencil;
mod transpose;

pub use filter::{FilterFloat, FilterInteger};
pub use stencil::Neighbours;
