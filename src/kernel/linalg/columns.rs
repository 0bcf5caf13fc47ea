//! Arithmetic on contiguous columns.

use crate::kernel::matmul::Float;
use crate::kernel::vectorized::vectorized;

/// Rows that are held in registers at a time.
const ROWS: usize = 32;

vectorized! {
    /// `y = y - x[0] c[0] - x[1] c[1] - ..`, in this order, where column `c[j]` begins at element
    /// `j * stride` of `columns`.
    ///
    /// # Panics
    ///
    /// If a column is shorter than `y`.
    pub(super) fn subtract_combination<T: Float>(
        y: &mut [T],
        columns: &[T],
        stride: usize,
        x: &[T],
    ) {
        let len = y.len();
        let mut first = 0;
        while first < len {
            if let Some(rows) = y[first..].first_chunk_mut::<ROWS>() {
                let mut sums = *rows;
                for (j, &factor) in x.iter().enumerate() {
                    let column = columns[j * stride + first..].first_chunk::<ROWS>();
                    let column = column.expect("a column is as long as `y`");
                    for (sum, &element) in sums.iter_mut().zip(column) {
                        *sum = *sum - factor * element;
                    }
                }
                *rows = sums;
                first += ROWS;
            } else {
                for (j, &factor) in x.iter().enumerate() {
                    let column = &columns[j * stride + first..j * stride + len];
                    for (sum, &element) in y[first..].iter_mut().zip(column) {
                        *sum = *sum - factor * element;
                    }
                }
                first = len;
            }
        }
    }
}

vectorized! {
    /// The index of the first element of the largest magnitude; 0 if there is none but NaN.
    pub(super) fn first_largest<T: Float>(x: &[T]) -> usize {
        let mut largest = [T::ZERO; ROWS];
        let chunks = x.chunks_exact(ROWS);
        for element in chunks.remainder() {
            largest[0] = if element.abs() > largest[0] { element.abs() } else { largest[0] };
        }
        for chunk in chunks {
            for (most, element) in largest.iter_mut().zip(chunk) {
                *most = if element.abs() > *most { element.abs() } else { *most };
            }
        }
        let most = largest.into_iter().fold(T::ZERO, |most, x| if x > most { x } else { most });
        x.iter().position(|x| x.abs() == most).unwrap_or(0)
    }
}

vectorized! {
    /// `x = x / divisor`: by its reciprocal, unless that may overflow or is subnormal.
    pub(super) fn divide<T: Float>(x: &mut [T], divisor: T) {
        let factor = T::ONE / divisor;
        if divisor.abs() >= T::MIN_POSITIVE && factor.abs() >= T::MIN_POSITIVE {
            for element in x {
                *element = *element * factor;
            }
        } else {
            for element in x {
                *element = *element / divisor;
            }
        }
    }
}
