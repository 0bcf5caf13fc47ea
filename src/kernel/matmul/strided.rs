//! A strided matrix: its first element, shape and strides.

use std::fmt::Debug;
use std::ops::{Bound, Range, RangeBounds};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the first element of a matrix is found: by address, or by index in an array.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Position;
/// assert_eq!(7usize.moved(-3), 4);
/// ```
pub trait Position: Copy + Debug {
    /// The position `elements` later. It wraps instead of overflowing.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Position;
    /// let mut array = [0.0; 4];
    /// let start = array.as_mut_ptr();
    /// assert_eq!((start.moved(3), 5usize.moved(-5)), (start.wrapping_add(3), 0));
    /// ```
    #[must_use]
    fn moved(self, elements: isize) -> Self;
}

impl Position for usize {
    fn moved(self, elements: isize) -> usize {
        self.wrapping_add_signed(elements)
    }
}

impl<T> Position for *mut T {
    #[inline]
    fn moved(self, elements: isize) -> *mut T {
        self.wrapping_offset(elements)
    }
}

/// A strided matrix. It does not check that its elements exist.
///
/// Element (i, j) is `i * row_stride + j * col_stride` elements after `first`. Strides may be
/// negative, and zero in a matrix that is only read. Within a process `first` is an address,
/// `*mut T`; between processes it is the index in an array, `usize`.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::Strided;
/// let matrix = Strided::row_major(100, 2, 3);
/// assert_eq!(matrix.at(1, 0), 103);
/// assert_eq!(matrix.transposed().shape(), [3, 2]);
/// assert_eq!(matrix.block(1.., 1..)?.first, 104);
/// let mut array = [0.0; 6];
/// let start = array.as_mut_ptr();
/// assert_eq!(matrix.moved(-100).in_array(start).at(1, 2), start.wrapping_add(5));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strided<P> {
    /// The position of element (0, 0).
    pub first: P,
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub row_stride: isize,
    /// Elements from one column to the next.
    pub col_stride: isize,
}

impl<P: Position> Strided<P> {
    /// A matrix whose rows follow each other.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// let matrix = Strided::row_major(100, 2, 3);
    /// assert_eq!((matrix.row_stride, matrix.col_stride, matrix.at(1, 2)), (3, 1, 105));
    /// ```
    #[must_use]
    pub fn row_major(first: P, rows: usize, cols: usize) -> Strided<P> {
        // The extents of an array that has elements fit an isize.
        Strided { first, rows, cols, row_stride: cols.cast_signed(), col_stride: 1 }
    }

    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The same elements with rows and columns exchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// let matrix = Strided::row_major(0usize, 2, 3);
    /// assert_eq!(matrix.transposed().shape(), [3, 2]);
    /// assert_eq!(matrix.transposed().at(2, 1), matrix.at(1, 2));
    /// ```
    #[must_use]
    pub fn transposed(self) -> Strided<P> {
        Strided {
            first: self.first,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// The matrix `elements` later.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// assert_eq!(Strided::row_major(8usize, 2, 3).moved(-2), Strided::row_major(6, 2, 3));
    /// ```
    #[must_use]
    pub fn moved(self, elements: isize) -> Strided<P> {
        Strided { first: self.first.moved(elements), ..self }
    }

    /// The position of element (row, col), which need not exist.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// assert_eq!(Strided::row_major(100usize, 2, 3).at(1, 2), 105);
    /// ```
    #[must_use]
    pub fn at(&self, row: usize, col: usize) -> P {
        // Offsets of elements that exist fit an isize, as their bytes do. Others only wrap.
        let down = row.cast_signed().wrapping_mul(self.row_stride);
        self.first.moved(down.wrapping_add(col.cast_signed().wrapping_mul(self.col_stride)))
    }

    /// The part in these rows and columns.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a range is decreasing or ends outside the matrix.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// let block = Strided::row_major(0, 4, 5).block(1..3, 2..)?;
    /// assert_eq!((block.first, block.shape()), (7, [2, 3]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn block(
        &self,
        rows: impl RangeBounds<usize>,
        cols: impl RangeBounds<usize>,
    ) -> Result<Strided<P>> {
        let rows = range_within(&rows, self.rows, "rows of a matrix")?;
        Ok(self.part(rows, range_within(&cols, self.cols, "columns of a matrix")?))
    }

    /// [`block`](Strided::block) for rows and columns that exist.
    pub(in crate::kernel) fn part(&self, rows: Range<usize>, cols: Range<usize>) -> Strided<P> {
        debug_assert!(rows.end <= self.rows && cols.end <= self.cols);
        let first = self.at(rows.start, cols.start);
        Strided { first, rows: rows.len(), cols: cols.len(), ..*self }
    }

    /// Checks that no two elements can coincide: the longer stride must step over everything that
    /// the shorter one reaches.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if two may coincide.
    pub(crate) fn without_overlap(self) -> Result<Strided<P>> {
        let sides = [(self.row_stride, self.rows), (self.col_stride, self.cols)];
        let mut sides = sides.map(|(stride, count)| (stride.unsigned_abs(), count));
        sides.sort_unstable();
        let [(short, inner), (long, outer)] = sides;
        let reach = inner.saturating_sub(1).saturating_mul(short);
        let exists = self.rows > 0 && self.cols > 0;
        if exists && ((inner > 1 && short == 0) || (outer > 1 && long <= reach)) {
            let Strided { rows, cols, row_stride, col_stride, .. } = self;
            return Err(Error::invalid(
                "strides of a matrix to write",
                format_args!("{row_stride} and {col_stride} for {rows} x {cols}"),
                "such that no two elements coincide",
            ));
        }
        Ok(self)
    }
}

impl Strided<usize> {
    /// Checks that every element lies within an array of `len` elements.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if one lies outside.
    pub(crate) fn within(self, len: usize) -> Result<Strided<usize>> {
        if self.reach().is_some_and(|reach| reach.end <= len) {
            return Ok(self);
        }
        let Strided { first, rows, cols, row_stride, col_stride } = self;
        Err(Error::invalid(
            "a strided matrix",
            format_args!("{rows} x {cols} from {first}, strides {row_stride} and {col_stride}"),
            format!("within the {len} elements of its array"),
        ))
    }

    /// The indices from the lowest to the highest, empty if there are no elements; `None` if one of
    /// them is negative or does not fit into a `usize`.
    fn reach(&self) -> Option<Range<usize>> {
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

    /// The matrix by address, in an array that begins at `array`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Strided;
    /// let mut array = [0.0f32; 10];
    /// let start = array.as_mut_ptr();
    /// let matrix = Strided::row_major(4usize, 2, 3).in_array(start);
    /// assert_eq!((matrix.first, matrix.shape()), (start.wrapping_add(4), [2, 3]));
    /// ```
    #[must_use]
    pub fn in_array<T>(self, array: *mut T) -> Strided<*mut T> {
        let Strided { first, rows, cols, row_stride, col_stride } = self;
        Strided { first: array.wrapping_add(first), rows, cols, row_stride, col_stride }
    }
}

/// The indices that a range selects from `len`.
fn range_within(
    range: &impl RangeBounds<usize>,
    len: usize,
    what: &'static str,
) -> Result<Range<usize>> {
    let first = match range.start_bound() {
        Bound::Included(&at) => Some(at),
        Bound::Excluded(&at) => at.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    let end = match range.end_bound() {
        Bound::Included(&at) => at.checked_add(1),
        Bound::Excluded(&at) => Some(at),
        Bound::Unbounded => Some(len),
    };
    match (first, end) {
        (Some(first), Some(end)) if first <= end && end <= len => Ok(first..end),
        _ => {
            let shown = |at: Option<usize>| at.map_or("..".to_owned(), |at| at.to_string());
            let found = format!("from {} to {}", shown(first), shown(end));
            Err(Error::invalid(what, found, format!("in order and within 0 to {len}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_reaches_exactly_its_elements() {
        let matrix = Strided { first: 7, rows: 3, cols: 2, row_stride: -3, col_stride: 1 };
        assert_eq!(matrix.reach(), Some(1..9));
        assert_eq!(Strided { first: 5, ..matrix }.reach(), None);
        assert_eq!(Strided { rows: 0, first: usize::MAX, ..matrix }.reach(), Some(0..0));
        let far = Strided { rows: usize::MAX, row_stride: isize::MAX, ..matrix };
        assert_eq!(far.reach(), None);
    }

    #[test]
    fn elements_that_share_a_place_are_refused() {
        for rows in 0..4usize {
            for cols in 0..4usize {
                for row_stride in -4..5isize {
                    for col_stride in -4..5isize {
                        let matrix = Strided { first: 100, rows, cols, row_stride, col_stride };
                        let mut places: Vec<usize> = (0..rows)
                            .flat_map(|i| (0..cols).map(move |j| matrix.at(i, j)))
                            .collect();
                        let count = places.len();
                        places.sort_unstable();
                        places.dedup();
                        // It may reject a valid matrix, but never accepts an invalid one.
                        let is_refused = matrix.without_overlap().is_err();
                        assert!(places.len() == count || is_refused, "{matrix:?}");
                        let is_usual = row_stride > 0 && col_stride > 0;
                        let nested = row_stride.unsigned_abs() >= cols * col_stride.unsigned_abs();
                        assert!(!(is_usual && nested && is_refused), "{matrix:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn ranges_outside_a_matrix_are_named() {
        let matrix = Strided::row_major(0, 3, 4);
        assert_eq!(matrix.block(1.., ..=2).unwrap().shape(), [2, 3]);
        assert_eq!(matrix.block(3.., ..).unwrap().shape(), [0, 4]);
        let refused = [matrix.block(2..4, ..), matrix.block(.., 5..), matrix.block(.., 0..=4)];
        for error in refused.map(Result::unwrap_err) {
            assert!(error.to_string().contains("within 0 to"), "{error}");
        }
        let backwards = (Bound::Included(2), Bound::Excluded(1));
        assert!(matrix.block(backwards, ..).is_err());
        assert!(matrix.block(..=usize::MAX, ..).is_err());
    }
}
