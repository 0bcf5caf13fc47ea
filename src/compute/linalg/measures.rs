//! Norms, condition numbers, determinants and inverses.
#![allow(unsafe_code)]

use crate::array::SharedArray;
use crate::compute::linalg::lu;
use crate::compute::linalg::operands::square;
use crate::compute::matmul::{Matrix, Scalar};
use crate::error::Result;
use crate::kernel::FloatMode;
use crate::kernel::linalg::{frobenius, largest, norm_1};
use crate::pool::Pool;

/// A norm of a matrix, for [`Pool::matrix_norm`].
///
/// # Examples
///
/// ```
/// use brigade::{Norm, Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let a = SharedArray::from_fn([2, 2], |[i, j]| [[3.0, 0.0], [-4.0, 1.0]][i][j])?;
/// assert_eq!(pool.matrix_norm(&a, Norm::One)?, 7.0);
/// assert_eq!(pool.matrix_norm(&a, Norm::Inf)?, 5.0);
/// assert_eq!(pool.matrix_norm(&a, Norm::Max)?, 4.0);
/// assert_eq!(pool.matrix_norm(&a, Norm::Frobenius)?, 26f64.sqrt());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Norm {
    /// The largest sum of magnitudes of a column.
    One,
    /// The largest sum of magnitudes of a row.
    Inf,
    /// The square root of the sum of all squares.
    Frobenius,
    /// The largest magnitude of an element.
    Max,
}

impl Pool {
    /// A norm of A, computed by the calling thread. It is NaN if A has NaN, and 0 if A is empty.
    /// [`norm`](Pool::norm) is that of an array of any shape, by all workers.
    ///
    /// # Shapes
    ///
    /// A is m x n; either may be 0.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if A does not have two dimensions.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Norm, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([1, 2], |[_, j]| [3e200, -4e200][j])?;
    /// let norm = pool.matrix_norm(&a, Norm::Frobenius)?;
    /// assert!((norm - 5e200).abs() < 1e185, "{norm}");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn matrix_norm<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        norm: Norm,
    ) -> Result<f64> {
        let a = a.into().single("matrix_norm")?.local();
        if a.rows == 0 || a.cols == 0 {
            return Ok(0.0);
        }
        let (a, of): (_, unsafe fn(_) -> f64) = match norm {
            Norm::One => (a, norm_1::<T>),
            Norm::Inf => (a.transposed(), norm_1::<T>),
            Norm::Frobenius => (a, frobenius::<T>),
            Norm::Max => (a, largest::<T>),
        };
        let _mode = FloatMode::standard();
        // SAFETY: the matrix lies within its elements, which are borrowed.
        Ok(unsafe { of(a) })
    }

    /// An estimate of the condition number `||A|| ||A^-1||` in the 1-norm: the relative error of
    /// the solution of a system may be so many times that of its matrix. Infinity for a singular
    /// matrix; see [`Lu::rcond`](crate::Lu::rcond).
    ///
    /// # Shapes
    ///
    /// A is n x n.
    ///
    /// # Errors
    ///
    /// As [`Pool::lu`], and [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if A is not
    /// square.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let hilbert = SharedArray::from_fn([8, 8], |[i, j]| 1.0 / (i + j + 1) as f64)?;
    /// let cond = pool.cond(&hilbert)?;
    /// assert!((3.3e10..3.5e10).contains(&cond), "{cond}");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cond<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<f64> {
        Ok(1.0 / lu::factor(self, "cond", square("cond", a.into())?)?.rcond()?)
    }

    /// The determinant of A, by [`lu`](Pool::lu). It may overflow or underflow:
    /// [`Lu::sign_ln_det`](crate::Lu::sign_ln_det) does not.
    ///
    /// # Shapes
    ///
    /// A is n x n. The determinant of an empty matrix is 1.
    ///
    /// # Errors
    ///
    /// As [`Pool::cond`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [4.0, 4.0]][i][j])?;
    /// assert_eq!(pool.det(&a)?, -4.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn det<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<T> {
        lu::factor(self, "det", square("det", a.into())?)?.det()
    }

    /// The inverse of A, by [`lu`](Pool::lu). To solve a system, [`solve`](Pool::solve) is faster
    /// and more accurate.
    ///
    /// # Shapes
    ///
    /// A is n x n, and so is the inverse.
    ///
    /// # Errors
    ///
    /// As [`Pool::lu`] and [`Lu::inverse`](crate::Lu::inverse).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [4.0, 4.0]][i][j])?;
    /// assert_eq!(pool.inverse(&a)?.as_slice(), [-1.0, 0.5, 1.0, -0.25]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn inverse<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<SharedArray<T>> {
        lu::factor(self, "inverse", square("inverse", a.into())?)?.inverse(self)
    }
}
