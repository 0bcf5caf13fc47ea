//! Whole computations: check shapes, choose who works, dispatch, combine.

mod bigint;
mod factorial;
mod matmul;

pub use bigint::SharedBigUint;
pub use matmul::{Matrix, Product, Scalar};
