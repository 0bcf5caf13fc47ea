//! The Cholesky factorisation of a few columns.

use super::columns::{divide, subtract_combination};
use super::panel::{LEAF, Panel};
use crate::kernel::matmul::Float;

/// Factors a panel whose first rows are the block on the diagonal: column j, from row j on,
/// becomes that of L. What lies above the diagonal is unspecified.
///
/// Each column is updated by those to its left, and then divided. It stops at a column whose pivot
/// is not positive, leaves that pivot on the diagonal, and returns false.
///
/// # Panics
///
/// If there are fewer rows than columns, or more than [`LEAF`] columns.
pub(super) fn factor_panel<T: Float>(panel: &mut Panel<T>) -> bool {
    let (rows, cols) = (panel.rows(), panel.cols());
    assert!(cols <= rows, "a panel is at least as high as wide");
    let (elements, stride) = panel.columns();
    for j in 0..cols {
        let (left, column) = elements.split_at_mut(j * stride);
        let column = &mut column[j..rows];
        if j > 0 {
            let mut factors = [T::ZERO; LEAF];
            for (k, factor) in factors.iter_mut().enumerate().take(j) {
                *factor = left[k * stride + j];
            }
            subtract_combination(column, &left[j..], stride, &factors[..j]);
        }
        if !is_pivot(column[0]) {
            return false;
        }
        column[0] = column[0].sqrt();
        let (root, below) = column.split_at_mut(1);
        divide(below, root[0]);
    }
    true
}

/// Whether a pivot is positive and finite. NaN is neither.
pub(super) fn is_pivot<T: Float>(pivot: T) -> bool {
    pivot > T::ZERO && pivot.to_f64() < f64::INFINITY
}
