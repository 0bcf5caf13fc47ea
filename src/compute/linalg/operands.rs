//! Checks of what a call of linear algebra gets and returns.
#![allow(unsafe_code)]

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::step::{Known, Operands, Step};
use crate::compute::matmul::{Matrix, MatrixBase, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::linalg::orthogonal::magnitude;
use crate::kernel::linalg::{self, MatrixFactors, Pivots};
use crate::kernel::matmul::{self, Strided};
use crate::kernel::{FloatMode, SingleThread};
use crate::pool::Pool;

/// A single matrix that is square.
///
/// # Errors
///
/// [`Error::InvalidArgument`] if it does not have two dimensions, [`Error::ShapeMismatch`] if it is
/// not square.
pub(super) fn square<E>(operation: &'static str, a: MatrixBase<E>) -> Result<MatrixBase<E>> {
    let a = a.single(operation)?;
    let (rows, cols) = (a.place.rows, a.place.cols);
    if rows != cols {
        let rule = "the matrix must be square";
        let (left, right) = (a.shape(), [rows, rows].into());
        return Err(Error::ShapeMismatch { operation, left, right, rule });
    }
    Ok(a)
}

/// Checks that A is square, and that B has one dimension or two, and as many rows.
///
/// # Errors
///
/// [`Error::InvalidArgument`] or [`Error::ShapeMismatch`].
pub(super) fn check_system<T>(
    operation: &'static str,
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
) -> Result<()> {
    let a = square(operation, a.clone())?;
    let (left, right) = (a.shape(), b.shape());
    if !matches!(right.dims().len(), 1 | 2) {
        let found = format!("a right-hand side of shape {right}");
        return Err(Error::invalid(operation, found, "one or two dimensions"));
    }
    if a.place.rows != b.place.rows {
        let rule = "the right-hand side must have as many rows as the matrix";
        return Err(Error::ShapeMismatch { operation, left, right, rule });
    }
    Ok(())
}

/// Checks that every element that `is_read` selects is finite.
///
/// # Errors
///
/// [`Error::NotFinite`] with the first position in which one is not.
#[cold]
pub(super) fn check_finite<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
    is_read: impl Fn(usize, usize) -> bool,
) -> Result<()> {
    let place = a.clone().local();
    if place.cols == 0 {
        return Ok(());
    }
    for i in 0..place.rows {
        for j in (0..place.cols).filter(|&j| is_read(i, j)) {
            // SAFETY: the element lies within those of the matrix, which borrows them.
            let element = unsafe { place.at(i, j).read() };
            if !element.to_f64().is_finite() {
                let position = if a.shape().dims().len() == 1 { vec![i] } else { vec![i, j] };
                return Err(Error::NotFinite { operation, what, position });
            }
        }
    }
    Ok(())
}

/// [`check_finite`] for each of `count` matrices, `step` elements apart.
///
/// # Errors
///
/// As [`check_finite`]; the first index is that of the matrix. In an array of two dimensions each
/// row is a vector.
#[cold]
pub(super) fn check_members<T: Scalar>(
    operation: &'static str,
    what: &'static str,
    a: &Matrix<'_, T>,
    (count, step): (usize, isize),
    rank: usize,
) -> Result<()> {
    for member in 0..count {
        let place = a.place.moved(member.cast_signed().wrapping_mul(step));
        let found = check_finite(operation, what, &a.clone().at(place), |_, _| true);
        if let Err(Error::NotFinite { mut position, .. }) = found {
            position.insert(0, member);
            position.truncate(rank);
            return Err(Error::NotFinite { operation, what, position });
        }
    }
    Ok(())
}

/// Solves `A X = B`, by factors of A; checks that B and X are finite.
///
/// # Errors
///
/// [`Error::NotFinite`], [`Error::NoSpace`], [`Error::Task`].
pub(super) fn solve_factored<T: Scalar>(
    (pool, operation, name): (&Pool, &'static str, &'static str),
    known: Known,
    factors: Matrix<'_, T>,
    pivots: Option<&SharedArray<u64>>,
    b: Matrix<'_, T>,
) -> Result<SharedArray<T>> {
    let mut x = SharedArray::for_overwrite(b.shape())?;
    let (size, count) = (b.place.rows, b.place.cols);
    // Strips of columns are shared, so the columns of one strip are not.
    let is_one_strip = count <= linalg::STRIP_COLUMNS_MIN;
    let alone_ns = if is_one_strip { 0.0 } else { matmul::alone_ns::<T>(size, count, size) };
    let output = MatrixMut::from(&mut x);
    let pivots = pivots.map(LentArray::Read);
    let operands = Operands { pivots, ..Operands::new(vec![factors, b.clone()], output) };
    LinalgCall { pool, name }.run(Step::Solve(known), operands, alone_ns)?;
    if !is_finite(x.as_slice()) {
        check_finite(operation, "the right-hand side", &b, |_, _| true)?;
        check_finite(operation, "the solution", &Matrix::from(&x), |_, _| true)?;
    }
    Ok(x)
}

/// Solves `A x = b` for one vector, which x replaces, in the calling thread, by L and U of A or of
/// its transpose.
///
/// # Panics
///
/// If the sizes do not fit.
pub(super) fn solve_vector<T: Scalar>(
    known: Known,
    factors: Matrix<'_, T>,
    pivots: &SharedArray<u64>,
    x: &mut [T],
) {
    let places = factors.local();
    assert_eq!([places.rows, places.cols, pivots.len()], [x.len(); 3], "a matrix of this size");
    let b = Strided::row_major(x.as_mut_ptr(), x.len(), 1);
    let pivots = Pivots(pivots.as_slice().as_ptr().cast_mut());
    let factors = match known {
        Known::LuTransposed => MatrixFactors::LuTransposed(places, pivots),
        _ => MatrixFactors::Lu(places, pivots),
    };
    // SAFETY: the sizes fit, checked above; factors and pivots are borrowed, and `x` exclusively.
    unsafe { linalg::solve(factors, b, b, &SingleThread::default()) };
}

/// Whether no element of a matrix is NaN or an infinity; with `lower`, none from the diagonal down.
pub(super) fn is_finite_matrix<T: Scalar>(a: &Matrix<'_, T>, lower: bool) -> bool {
    let _mode = FloatMode::standard();
    // SAFETY: the place lies within the elements, checked in `MatrixBase`, which are borrowed.
    unsafe { magnitude(&a.clone().local(), lower) }.is_some()
}

/// Whether no element is NaN or an infinity.
pub(super) fn is_finite<T: Scalar>(x: &[T]) -> bool {
    // A product with zero is NaN unless the element is finite, and NaN spreads through a sum.
    let zero = |sum: T, &element: &T| sum + element * T::ZERO;
    x.chunks(1024).all(|part| part.iter().fold(T::ZERO, zero) == T::ZERO)
}
