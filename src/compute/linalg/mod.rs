//! Linear systems, factorisations and inverses by the workers of a pool.
//!
//! The factorisations, and what they solve, are methods of [`Pool`] in this file; their results are
//! in `lu` and `cholesky`. `systems` has other systems, `measures` norms, condition numbers,
//! determinants and inverses. `operands` checks shapes and finds what is not finite. `job` carries
//! one step to a team, or computes it in the caller if that is faster than waking workers.
//! `orthogonal` has factorisations by orthogonal matrices.

mod cholesky;
mod job;
mod lent_array;
mod lu;
mod measures;
mod operands;
mod orthogonal;
mod step;
mod systems;

use crate::array::SharedArray;
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::Result;
use crate::pool::Pool;

pub use cholesky::Cholesky;
pub use lu::Lu;
pub use measures::Norm;
pub use orthogonal::{Eigh, Qr, Svd};
pub use systems::System;

impl Pool {
    /// `P A = L U`: the LU factorisation with partial pivoting, computed by the workers together.
    ///
    /// Each pivot is the element of the largest magnitude in its column, the first of several. A
    /// singular matrix has factors too: then U has a zero on its diagonal, and [`Lu::solve`]
    /// returns an error. Golub and Van Loan, "Matrix Computations", section 3.4.
    ///
    /// The factors satisfy `|P A - L U| <= n u |L| |U|`, elementwise, with u = `EPSILON` of the
    /// type (Higham, "Accuracy and Stability of Numerical Algorithms", theorem 9.3). The bits are
    /// the same for any number of workers.
    ///
    /// # Shapes
    ///
    /// A is m x n; either may be 0.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if A does not have two dimensions,
    /// [`Error::NotFinite`](crate::Error::NotFinite) if it has NaN or an infinity, or if its
    /// factors overflow,
    /// [`Error::NoSpace`](crate::Error::NoSpace) if there is not enough memory for them,
    /// [`Error::Task`](crate::Error::Task) if a worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut a = SharedArray::from_slice(&[1.0, 2.0, 4.0, 2.0])?;
    /// a.reshape([2, 2])?;
    /// let lu = pool.lu(&a)?;
    /// // Rows 0 and 1 are swapped: [4, 2; 1, 2] = [1, 0; 0.25, 1] [4, 2; 0, 1.5].
    /// assert_eq!(lu.pivots(), [1, 1]);
    /// assert_eq!(lu.factors().as_slice(), [4.0, 2.0, 0.25, 1.5]);
    /// assert_eq!(lu.det()?, -6.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lu<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<Lu<T>> {
        lu::factor(self, "lu", a.into())
    }

    /// The solution X of `A X = B`, by [`lu`](Pool::lu).
    ///
    /// # Shapes
    ///
    /// A is n x n. B has n elements in one dimension, or is n x k; X has the shape of B.
    ///
    /// # Errors
    ///
    /// As [`Pool::lu`], and [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if the shapes do
    /// not fit, [`Error::Singular`](crate::Error::Singular) if A is singular,
    /// [`Error::NotFinite`](crate::Error::NotFinite) if B has NaN or an infinity, or X overflows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [3.0, 4.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[5.0, 11.0])?;
    /// assert_eq!(pool.solve(&a, &b)?.as_slice(), [1.0, 2.0]);
    /// let zero = SharedArray::<f64>::zeroed([2, 2])?;
    /// assert!(matches!(pool.solve(&zero, &b), Err(Error::Singular { pivot: 0, .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (a, b) = (a.into(), b.into());
        operands::check_system("solve", &a, &b)?;
        lu::factor(self, "solve", a)?.solve(self, b)
    }

    /// `A = L L^T`: the Cholesky factorisation of a symmetric positive definite matrix, for half
    /// the work of [`lu`](Pool::lu).
    ///
    /// Only the diagonal of A and the elements below it are read. Golub and Van Loan, section 4.2.
    /// The bits are the same for any number of workers.
    ///
    /// # Shapes
    ///
    /// A is n x n.
    ///
    /// # Errors
    ///
    /// As [`Pool::lu`], and [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if A is not
    /// square,
    /// [`Error::NotPositiveDefinite`](crate::Error::NotPositiveDefinite) if it is not positive
    /// definite.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut a = SharedArray::from_slice(&[4.0, 2.0, 2.0, 10.0])?;
    /// a.reshape([2, 2])?;
    /// assert_eq!(pool.cholesky(&a)?.factor().as_slice(), [2.0, 0.0, 1.0, 3.0]);
    /// a[[1, 1]] = 1.0;
    /// assert!(matches!(pool.cholesky(&a), Err(Error::NotPositiveDefinite { pivot: 1, .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cholesky<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<Cholesky<T>> {
        cholesky::factor(self, "cholesky", a.into())
    }

    /// [`lu`](Pool::lu) in place: both factors replace A, see [`Lu::factors`]. Returns the pivots,
    /// see [`Lu::pivots`].
    ///
    /// # Errors
    ///
    /// As [`Pool::lu`]; if the factors overflow or a worker died, the contents of A are
    /// unspecified. The call is not repeated after a death.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [4.0, 2.0]][i][j])?;
    /// assert_eq!(pool.lu_in_place(&mut a)?.as_slice(), [1, 1]);
    /// assert_eq!(a.as_slice(), [4.0, 2.0, 0.25, 1.5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lu_in_place<'p, T: Scalar>(
        &'p self,
        a: impl Into<MatrixMut<'p, T>>,
    ) -> Result<SharedArray<u64>> {
        lu::factor_in_place(self, a.into())
    }

    /// [`cholesky`](Pool::cholesky) in place: L replaces A, with zeros above the diagonal.
    ///
    /// # Errors
    ///
    /// As [`Pool::cholesky`]; after an error the contents of A are unspecified, unless its shape
    /// was wrong or an element not finite. If a worker died, the call is not repeated.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut a = SharedArray::from_fn([2, 2], |[i, j]| [[4.0, 2.0], [2.0, 10.0]][i][j])?;
    /// pool.cholesky_in_place(&mut a)?;
    /// assert_eq!(a.as_slice(), [2.0, 0.0, 1.0, 3.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn cholesky_in_place<'p, T: Scalar>(
        &'p self,
        a: impl Into<MatrixMut<'p, T>>,
    ) -> Result<()> {
        cholesky::factor_in_place(self, a.into())
    }

    /// The solution X of `A X = B` for a symmetric positive definite A, by
    /// [`cholesky`](Pool::cholesky).
    ///
    /// # Shapes
    ///
    /// As [`Pool::solve`].
    ///
    /// # Errors
    ///
    /// As [`Pool::cholesky`] and [`Pool::solve`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[4.0, 2.0], [2.0, 10.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[8.0, 22.0])?;
    /// assert_eq!(pool.solve_spd(&a, &b)?.as_slice(), [1.0, 2.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve_spd<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (a, b) = (a.into(), b.into());
        operands::check_system("solve_spd", &a, &b)?;
        cholesky::factor(self, "solve_spd", a)?.solve(self, b)
    }
}
