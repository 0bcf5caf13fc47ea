//! The LU factorisation of one panel.
//!
//! With partial pivoting, by Toledo's recursion on its columns: factor the left half, update the
//! right half by a triangular solve and a product, factor the right half. A few columns are
//! factored one after the other, each updated by those before it.
#![allow(unsafe_code)]

use std::ops::Range;

use super::columns::{divide, first_largest, subtract_combination};
use super::panel::Panel;
use super::product::subtract_product;
use super::triangular::{Triangle, solve};
use crate::kernel::matmul::Float;

/// Columns that are factored one after the other.
const COLUMNS: usize = 8;

/// Factors a panel that has at least as many rows as columns: `P A = L U` in place. Column j is
/// eliminated by the first element of the largest magnitude, in row `pivots[j]`, which is swapped
/// with row j.
///
/// A column whose pivot is zero is left as it is.
///
/// # Panics
///
/// If there are fewer rows or pivots than columns.
pub(super) fn factor_panel<T: Float>(panel: &mut Panel<T>, pivots: &mut [usize]) {
    assert!(panel.cols() <= panel.rows(), "a panel is at least as high as wide");
    factor(panel, 0..panel.cols(), pivots);
}

/// Factors the columns `cols`, whose elements above row `cols.start` are complete.
fn factor<T: Float>(panel: &mut Panel<T>, cols: Range<usize>, pivots: &mut [usize]) {
    if cols.len() <= COLUMNS {
        factor_columns(panel, cols, pivots);
        return;
    }
    let middle = cols.start + (cols.len() / 2).next_multiple_of(COLUMNS);
    let (left, right) = (cols.start..middle, middle..cols.end);
    factor(panel, left.clone(), pivots);
    swap_rows(panel, right.clone(), left.clone(), pivots);
    let rest = middle..panel.rows();
    let corner = panel.part(left.clone(), left.clone());
    let above = panel.part(left.clone(), right.clone());
    // SAFETY: both are parts of the panel, which this function borrows, with different columns.
    unsafe { solve(Triangle::UnitLower, corner, above) };
    let (below, to) = (panel.part(rest.clone(), left.clone()), panel.part(rest, right.clone()));
    // SAFETY: they are parts of the panel, which this function borrows, and do not overlap.
    unsafe { subtract_product(below, above, to) };
    factor(panel, right.clone(), pivots);
    swap_rows(panel, left, right, pivots);
}

/// Swaps rows in the columns `cols` by the pivots of the columns `by`.
fn swap_rows<T: Float>(
    panel: &mut Panel<T>,
    cols: Range<usize>,
    by: Range<usize>,
    pivots: &[usize],
) {
    let rows = panel.rows();
    let (elements, stride) = panel.columns();
    for column in elements.chunks_mut(stride).take(cols.end).skip(cols.start) {
        let column = &mut column[..rows];
        for (row, &pivot) in pivots.iter().enumerate().take(by.end).skip(by.start) {
            column.swap(row, pivot);
        }
    }
}

/// Factors a few columns: each is updated by those to its left, and then eliminated.
fn factor_columns<T: Float>(panel: &mut Panel<T>, cols: Range<usize>, pivots: &mut [usize]) {
    let (first, rows) = (cols.start, panel.rows());
    for j in cols.clone() {
        let (elements, stride) = panel.columns();
        let (before, column) = elements.split_at_mut(j * stride);
        let (left, column) = (&before[first * stride..], &mut column[..rows]);
        // The part of U: a unit lower triangular system.
        for i in first + 1..j {
            for k in first..i {
                column[i] = column[i] - left[(k - first) * stride + i] * column[k];
            }
        }
        let (solved, rest) = column.split_at_mut(j);
        if j > first {
            subtract_combination(rest, &left[j..], stride, &solved[first..]);
        }
        let pivot = j + first_largest(rest);
        pivots[j] = pivot;
        let (swapped, value) = (pivot != j, column[pivot]);
        if swapped {
            swap_rows(panel, cols.clone(), j..j + 1, pivots);
        }
        if value != T::ZERO {
            let (elements, stride) = panel.columns();
            divide(&mut elements[j * stride + j + 1..j * stride + rows], value);
        }
    }
}
