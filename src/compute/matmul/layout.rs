//! Where the elements of a matrix lie in an array.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::kernel::matmul::Strided;

/// Where the elements of a matrix are among those of an array; counted in elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// The place of element (0, 0).
    pub(super) first: usize,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: isize,
    pub(super) col_stride: isize,
}

impl Layout {
    pub(super) fn row_major(rows: usize, cols: usize) -> Layout {
        // An extent of an array that has elements fits an isize.
        Layout { first: 0, rows, cols, row_stride: cols.cast_signed(), col_stride: 1 }
    }

    pub(super) fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    pub(super) fn transposed(self) -> Layout {
        Layout {
            first: self.first,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// The part of these rows and columns, which exist.
    pub(super) fn part(self, rows: Range<usize>, cols: Range<usize>) -> Layout {
        let down = rows.start.cast_signed().wrapping_mul(self.row_stride);
        let across = cols.start.cast_signed().wrapping_mul(self.col_stride);
        // Wraps only if the part is empty: then there is no first element.
        let first = self.first.wrapping_add_signed(down.wrapping_add(across));
        Layout { first, rows: rows.len(), cols: cols.len(), ..self }
    }

    /// The same layout `elements` further on, where a matrix is known to be.
    pub(super) fn moved(self, elements: isize) -> Layout {
        Layout { first: self.first.wrapping_add_signed(elements), ..self }
    }

    /// The places from the lowest to the highest, empty if there are no elements; `None` if one
    /// of them is negative or does not fit a `usize`.
    pub(super) fn reach(&self) -> Option<Range<usize>> {
        if self.rows == 0 || self.cols == 0 {
            return Some(0..0);
        }
        let steps = |count: usize, stride: isize| (count as i128 - 1) * stride as i128;
        let (down, across) = (steps(self.rows, self.row_stride), steps(self.cols, self.col_stride));
        let first = self.first as i128;
        let lowest = first + down.min(0) + across.min(0);
        let highest = first + down.max(0) + across.max(0);
        Some(usize::try_from(lowest).ok()?..usize::try_from(highest).ok()?.checked_add(1)?)
    }

    /// Whether two elements may share a place: the longer stride has to step over everything
    /// that the shorter one reaches.
    pub(super) fn may_coincide(&self) -> bool {
        let sides = [(self.row_stride, self.rows), (self.col_stride, self.cols)];
        let mut sides = sides.map(|(stride, count)| (stride.unsigned_abs(), count));
        sides.sort_unstable();
        let [(short, inner), (long, outer)] = sides;
        let reach = inner.saturating_sub(1).saturating_mul(short);
        let exists = self.rows > 0 && self.cols > 0;
        exists && ((inner > 1 && short == 0) || (outer > 1 && long <= reach))
    }

    /// The matrix, in an array that begins at `start`.
    pub(super) fn strided<T>(&self, start: *mut T) -> Strided<T> {
        Strided {
            data: start.wrapping_add(self.first),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_reaches_exactly_its_elements() {
        let layout = Layout { first: 7, rows: 3, cols: 2, row_stride: -3, col_stride: 1 };
        assert_eq!(layout.reach(), Some(1..9));
        assert_eq!(Layout { first: 5, ..layout }.reach(), None);
        assert_eq!(Layout { rows: 0, first: usize::MAX, ..layout }.reach(), Some(0..0));
        let far = Layout { rows: usize::MAX, row_stride: isize::MAX, ..layout };
        assert_eq!(far.reach(), None);
    }

    #[test]
    fn a_layout_coincides_if_some_two_of_its_elements_do() {
        for rows in 0..4usize {
            for cols in 0..4usize {
                for row_stride in -4..5isize {
                    for col_stride in -4..5isize {
                        let layout = Layout { first: 100, rows, cols, row_stride, col_stride };
                        let place = |i: usize, j: usize| {
                            i.cast_signed() * row_stride + j.cast_signed() * col_stride
                        };
                        let mut places: Vec<isize> =
                            (0..rows).flat_map(|i| (0..cols).map(move |j| place(i, j))).collect();
                        let count = places.len();
                        places.sort_unstable();
                        places.dedup();
                        // It may be careful, never careless.
                        assert!(places.len() == count || layout.may_coincide(), "{layout:?}");
                        let is_usual = row_stride > 0 && col_stride > 0;
                        let nested = row_stride.unsigned_abs() >= cols * col_stride.unsigned_abs();
                        if is_usual && nested {
                            assert!(!layout.may_coincide(), "{layout:?}");
                        }
                    }
                }
            }
        }
    }
}
