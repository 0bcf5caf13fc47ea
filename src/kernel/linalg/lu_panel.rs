//! The LU factorisation of a few columns.

use std::ops::Range;

use super::columns::{divide, first_largest, subtract_combination};
use super::panel::Panel;
use crate::kernel::matmul::Float;

/// Factors a panel that has at least as many rows as columns: `P A = L U` in place. Column j is
/// eliminated by the first element of the largest magnitude, in row `pivots[j]`, which is swapped
/// with row j.
///
/// Each column is updated by those to its left, and then eliminated. One whose pivot is zero is
/// left as it is.
///
/// # Panics
///
/// If there are fewer rows or pivots than columns.
pub(super) fn factor_panel<T: Float>(panel: &mut Panel<T>, pivots: &mut [usize]) {
    let (rows, cols) = (panel.rows(), panel.cols());
    assert!(cols <= rows, "a panel is at least as high as wide");
    for j in 0..cols {
        let (elements, stride) = panel.columns();
        let (left, column) = elements.split_at_mut(j * stride);
        let column = &mut column[..rows];
        // The part of U: a unit lower triangular system.
        for i in 1..j {
            for k in 0..i {
                column[i] = column[i] - left[k * stride + i] * column[k];
            }
        }
        let (solved, rest) = column.split_at_mut(j);
        if j > 0 {
            subtract_combination(rest, &left[j..], stride, solved);
        }
        let pivot = j + first_largest(rest);
        pivots[j] = pivot;
        let value = column[pivot];
        swap_rows(panel, 0..cols, j, pivot);
        if value != T::ZERO {
            let (elements, stride) = panel.columns();
            divide(&mut elements[j * stride + j + 1..j * stride + rows], value);
        }
    }
}

/// Swaps two rows in the columns `cols`.
fn swap_rows<T: Float>(panel: &mut Panel<T>, cols: Range<usize>, row: usize, other: usize) {
    if row != other {
        let (elements, stride) = panel.columns();
        for column in cols {
            elements.swap(column * stride + row, column * stride + other);
        }
    }
}
