//! Discrete Fourier transforms of the lanes of an array.
//!
//! A lane is the elements along one axis. The transforms of single lanes, of any length, are those
//! of the crates `rustfft` and `realfft` (`plan`). The rest is here: lanes that are not contiguous
//! (`lanes`), one long lane in two passes (`four_step`), long lanes of reals (`packed_real`).
//!
//! With `W = exp(-2 pi i / n)`, the forward transform is `X[k] = sum over j of x[j] W^(j k)`, the
//! inverse has `1/W` instead of `W`; both times a factor of the caller's.

mod float;
mod four_step;
mod lanes;
mod packed_real;
mod pass;
mod plan;
#[cfg(test)]
mod tests;

pub use float::FftFloat;
pub(crate) use four_step::{FirstStep, FourStepSplit};
pub(crate) use lanes::Lanes;
pub(crate) use packed_real::PackedReal;
pub(crate) use pass::{BLOCKS_MIN, Pass};
pub(crate) use plan::TransformKind;
