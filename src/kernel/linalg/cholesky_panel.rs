//! The Cholesky factorisation of one panel, by recursion on its columns.
#![allow(unsafe_code)]

use std::ops::Range;

use super::columns::{divide, subtract_combination};
use super::panel::Panel;
use super::product::subtract_product;
use crate::kernel::matmul::Float;

/// Columns that are factored one after the other.
const COLUMNS: usize = 8;

/// Factors a panel whose first rows are the block on the diagonal: column j, from row j on,
/// becomes that of L. What lies above the diagonal is unspecified.
///
/// It stops at a column whose pivot is not positive, and leaves that pivot on the diagonal.
///
/// # Panics
///
/// If there are fewer rows than columns.
pub(super) fn factor_panel<T: Float>(panel: &mut Panel<T>) {
    assert!(panel.cols() <= panel.rows(), "a panel is at least as high as wide");
    factor(panel, 0..panel.cols());
}

/// Factors the columns `cols`, from which those to their left have been subtracted. Returns
/// whether all pivots are positive.
fn factor<T: Float>(panel: &mut Panel<T>, cols: Range<usize>) -> bool {
    if cols.len() <= COLUMNS {
        return factor_columns(panel, cols);
    }
    let middle = cols.start + (cols.len() / 2).next_multiple_of(COLUMNS);
    let (left, right) = (cols.start..middle, middle..cols.end);
    if !factor(panel, left.clone()) {
        return false;
    }
    let rest = middle..panel.rows();
    let below = panel.part(rest.clone(), left.clone());
    let across = panel.part(right.clone(), left).transposed();
    let to = panel.part(rest, right.clone());
    // SAFETY: they are parts of the panel, which this function borrows; `to` has other columns.
    unsafe { subtract_product(below, across, to) };
    factor(panel, right)
}

/// Factors a few columns: each is updated by those to its left, and then divided.
fn factor_columns<T: Float>(panel: &mut Panel<T>, cols: Range<usize>) -> bool {
    let (first, rows) = (cols.start, panel.rows());
    let (elements, stride) = panel.columns();
    for j in cols {
        let (before, column) = elements.split_at_mut(j * stride);
        let (left, column) = (&before[first * stride..], &mut column[j..rows]);
        if j > first {
            let mut factors = [T::ZERO; COLUMNS];
            for (k, factor) in factors.iter_mut().enumerate().take(j - first) {
                *factor = left[k * stride + j];
            }
            subtract_combination(column, &left[j..], stride, &factors[..j - first]);
        }
        // NaN is not positive either.
        let is_positive = column[0] > T::ZERO && column[0].to_f64() < f64::INFINITY;
        if !is_positive {
            return false;
        }
        column[0] = column[0].sqrt();
        let (root, below) = column.split_at_mut(1);
        divide(below, root[0]);
    }
    true
}
