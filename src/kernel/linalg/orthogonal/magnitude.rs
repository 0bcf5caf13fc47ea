//! The largest element of a matrix.
//!
//! It gives the scale of a matrix, and finds whether all elements are finite.
#![allow(unsafe_code)]

use std::slice;

use crate::kernel::matmul::{Float, Strided};
use crate::kernel::vectorized::vectorized;

/// Elements that are compared together.
const LANES: usize = 16;

vectorized! {
    /// The largest magnitude, and zero, or NaN unless all elements are finite.
    fn scan<T: Float>(x: &[T]) -> [T; 2] {
        let (chunks, rest) = x.as_chunks::<LANES>();
        let [mut most, mut zeros] = [[T::ZERO; LANES]; 2];
        for chunk in chunks {
            for lane in 0..LANES {
                let size = chunk[lane].abs();
                most[lane] = if size > most[lane] { size } else { most[lane] };
                zeros[lane] = zeros[lane] + chunk[lane] * T::ZERO;
            }
        }
        for (lane, x) in rest.iter().enumerate() {
            most[lane] = if x.abs() > most[lane] { x.abs() } else { most[lane] };
            zeros[lane] = zeros[lane] + *x * T::ZERO;
        }
        let largest = |a: T, b: T| if b > a { b } else { a };
        let zero = zeros.into_iter().fold(T::ZERO, |sum, zero| sum + zero);
        [most.into_iter().fold(T::ZERO, largest), zero]
    }
}

/// The largest magnitude of the elements, with `lower` only of those on and below the diagonal;
/// `None` if one of them is NaN or an infinity. Zero of none.
///
/// # Safety
///
/// - The matrix is valid for reading, and nothing writes to it.
pub(crate) unsafe fn magnitude<T: Float>(a: &Strided<*mut T>, lower: bool) -> Option<T> {
    let mut most = T::ZERO;
    if a.rows == 0 || a.cols == 0 {
        return Some(most);
    }
    let by_columns = a.row_stride == 1;
    let lines = if by_columns { a.cols } else { a.rows };
    let mut copy = Vec::new();
    for line in 0..lines {
        let (first, end) = match (by_columns, lower) {
            (true, true) => (line.min(a.rows), a.rows),
            (true, false) => (0, a.rows),
            (false, true) => (0, a.cols.min(line + 1)),
            (false, false) => (0, a.cols),
        };
        let at = |index| if by_columns { a.at(index, line) } else { a.at(line, index) };
        let elements = if by_columns || a.col_stride == 1 {
            // SAFETY: the elements exist and are contiguous; the caller guarantees them.
            unsafe { slice::from_raw_parts(at(first).cast_const(), end - first) }
        } else {
            copy.clear();
            // SAFETY: the elements exist, and the caller guarantees them.
            copy.extend((first..end).map(|index| unsafe { at(index).read() }));
            &copy[..]
        };
        let [size, zero] = scan(elements);
        if zero != T::ZERO {
            return None;
        }
        most = if size > most { size } else { most };
    }
    Some(most)
}
