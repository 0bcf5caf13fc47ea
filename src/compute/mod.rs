//! Whole computations: check shapes, choose a team, dispatch, combine.

mod arrays;
mod bigint;
mod combination;
mod decimal;
mod factorial;
#[cfg(feature = "fft")]
mod fft;
mod linalg;
mod matmul;
mod multiply;
mod multiply_all;
mod progress;
mod team_call;

pub use arrays::{
    Axes, ByteGroups, FilterFloat, FilterInteger, Group, Groups, Neighbours, RandomFloat, RowIndex,
    Side, SortKey,
};
pub use bigint::SharedBigUint;
#[cfg(feature = "fft")]
pub use fft::{ConvolveMode, Fft, FftNorm};
pub use linalg::{Cholesky, Lu};
pub use matmul::{Matrix, MatrixBase, MatrixMut, Product, Scalar};
