//! Filters: an output is a function of its neighbourhood.
//!
//! Every function computes a range of the output from the whole input, which it only reads. The
//! bits of an output element do not depend on the range.

mod boundary;
mod box_mean;
#[cfg(test)]
mod naive;
mod neighbours;
mod row;
mod rows;
mod separable;
mod sobel;
mod sparse;
mod taps;
mod weighted;

pub use boundary::Boundary;
pub(crate) use box_mean::{AREA_MAX, BoxElement, box_mean_2d};
pub(crate) use neighbours::{Neighbours, map_neighbours};
pub(crate) use row::correlate_1d;
pub(crate) use separable::{separable_2d, separable_3d};
pub(crate) use sobel::{sobel_2d, sobel_magnitude_2d};
pub(crate) use sparse::Stencil;
pub(crate) use taps::{Taps, gaussian_weights};
pub(crate) use weighted::Real;
