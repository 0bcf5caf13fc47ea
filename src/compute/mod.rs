//! Whole computations: check shapes, choose a team, dispatch, combine.

mod arrays;
#[cfg(feature = "bigint")]
mod bigint;
#[cfg(feature = "fft")]
mod fft;
#[cfg(feature = "linalg")]
mod linalg;
#[cfg(feature = "linalg")]
mod matmul;

pub use arrays::{
    Axes, ByteGroups, FilterFloat, FilterInteger, Group, Groups, Neighbours, RandomFloat, RowIndex,
    Side, SortKey,
};
#[cfg(feature = "bigint")]
pub use bigint::SharedBigUint;
#[cfg(feature = "fft")]
pub use fft::{ConvolveMode, Fft, FftNorm};
#[cfg(feature = "linalg")]
pub use linalg::{Cholesky, Eigh, Lu, Norm, Qr, Svd, System};
#[cfg(feature = "linalg")]
pub use matmul::{Matrix, MatrixBase, MatrixMut, Product, Scalar};
