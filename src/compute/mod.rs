//! Whole computations: check shapes, choose who works, dispatch, combine.

mod matmul;

pub use matmul::{Matrix, Product, Scalar};
