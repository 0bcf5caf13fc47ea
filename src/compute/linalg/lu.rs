//! The LU factorisation of a matrix, and what it solves.

use crate::array::SharedArray;
use crate::compute::linalg::job::{LinalgCall, Operands, PivotArray, Step, System};
use crate::compute::linalg::operands::{check_finite, check_system, solve_factored, square};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::matmul;
use crate::pool::Pool;

/// An LU factorisation `P A = L U`; see [`Pool::lu`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([3, 3], |[i, j]| if i == j { 4.0f64 } else { 1.0 })?;
/// let lu = pool.lu(&a)?;
/// for b in [[6.0, 6.0, 6.0], [4.0, 1.0, 1.0]] {
///     let x = lu.solve(&pool, &SharedArray::from_slice(&b)?)?;
///     assert!((4.0 * x[[0]] + x[[1]] + x[[2]] - b[0]).abs() < 1e-14);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Lu<T> {
    factors: SharedArray<T>,
    pivots: SharedArray<u64>,
    /// The 1-norm of A.
    norm: f64,
}

/// The factorisation of `a`.
pub(super) fn factor<T: Scalar>(pool: &Pool, a: Matrix<'_, T>) -> Result<Lu<T>> {
    let a = a.single("lu")?;
    let (m, n) = (a.place.rows, a.place.cols);
    let size = m.min(n);
    let mut factors = SharedArray::for_overwrite([m, n])?;
    let mut pivots = SharedArray::for_overwrite([size])?;
    let operands = Operands {
        inputs: vec![a.clone()],
        output: MatrixMut::from(&mut factors),
        pivots: Some(PivotArray::Written(&mut pivots)),
    };
    let alone_ns = matmul::alone_ns::<T>(m, n, size) / 3.0;
    let report = LinalgCall::new(pool, "brigade::Pool::lu").run(Step::Lu, operands, alone_ns)?;
    if report.norm == f64::INFINITY {
        check_finite("lu", "the matrix", &a, |_, _| true)?;
    }
    Ok(Lu { factors, pivots, norm: report.norm })
}

impl<T: Scalar> Lu<T> {
    /// Both factors in one m x n array: U is its diagonal and what lies above, L what lies below
    /// the diagonal, where it has ones.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| [[2.0, 1.0], [1.0, 3.0]][i][j])?;
    /// assert_eq!(pool.lu(&a)?.factors().as_slice(), [2.0, 1.0, 0.5, 2.5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn factors(&self) -> &SharedArray<T> {
        &self.factors
    }

    /// The row swaps: step i swapped row i with row `pivots[i]`, which is not above it.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([3, 1], |[i, _]| [1.0, 7.0, -7.0][i])?;
    /// assert_eq!(pool.lu(&a)?.pivots(), [1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn pivots(&self) -> &[u64] {
        self.pivots.as_slice()
    }

    /// The index of the first zero on the diagonal of U: A is singular if there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([3, 3], |[i, j]| (i + j) as f64)?;
    /// assert_eq!(pool.lu(&a)?.singular_pivot(), Some(2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn singular_pivot(&self) -> Option<usize> {
        self.diagonal().position(|pivot| pivot == T::ZERO)
    }

    /// The diagonal of U.
    fn diagonal(&self) -> impl Iterator<Item = T> {
        let cols = self.factors.shape().dims()[1];
        let diagonal = self.factors.as_slice().iter().step_by(cols + 1);
        diagonal.take(self.pivots.len()).copied()
    }

    /// The determinant of A. It may overflow or underflow; [`sign_ln_det`](Lu::sign_ln_det) does
    /// not. That of an empty matrix is 1.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if A is not square.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| [[0.0, 2.0], [3.0, 1.0]][i][j])?;
    /// assert_eq!(pool.lu(&a)?.det()?, -6.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn det(&self) -> Result<T> {
        square("det", Matrix::from(&self.factors))?;
        let sign = if self.swaps_are_odd() { -T::ONE } else { T::ONE };
        Ok(self.diagonal().fold(sign, |product, pivot| product * pivot))
    }

    /// The sign of the determinant, 1, -1 or 0, and the natural logarithm of its magnitude, which
    /// is minus infinity for 0.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if A is not square.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| if i == j { -1e200 } else { 0.0 })?;
    /// let (sign, ln) = pool.lu(&a)?.sign_ln_det()?;
    /// assert_eq!((sign, ln), (1.0, 2.0 * 1e200f64.ln()));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sign_ln_det(&self) -> Result<(f64, f64)> {
        square("det", Matrix::from(&self.factors))?;
        let sign = if self.swaps_are_odd() { -1.0 } else { 1.0 };
        Ok(self.diagonal().fold((sign, 0.0), |(sign, ln), pivot| {
            let pivot = pivot.to_f64();
            let of_pivot = if pivot == 0.0 { 0.0 } else { pivot.signum() };
            (sign * of_pivot, ln + pivot.abs().ln())
        }))
    }

    fn swaps_are_odd(&self) -> bool {
        let swapped = |&(row, &pivot): &(usize, &u64)| row as u64 != pivot;
        self.pivots().iter().enumerate().filter(swapped).count() % 2 == 1
    }

    /// The 1-norm of A, its largest sum of magnitudes of a column.
    #[must_use]
    pub fn norm_1(&self) -> f64 {
        self.norm
    }

    /// The solution X of `A X = B`.
    ///
    /// The computed X solves `(A + E) X = B` with a small E: `|E| <= 3 n u |L| |U|` (Higham,
    /// theorem 9.4).
    ///
    /// # Shapes
    ///
    /// A is n x n. B has n elements in one dimension, or is n x k; X has the shape of B.
    ///
    /// # Errors
    ///
    /// As [`Pool::solve`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [3.0, 4.0]][i][j])?;
    /// let b = SharedArray::from_fn([2, 2], |[i, j]| [[5.0, 1.0], [11.0, 3.0]][i][j])?;
    /// assert_eq!(pool.lu(&a)?.solve(&pool, &b)?.as_slice(), [1.0, 1.0, 2.0, 0.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve<'b>(&self, pool: &Pool, b: impl Into<Matrix<'b, T>>) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        self.solve_as(pool, System::Lu, b.into())
    }

    /// The solution X of `A^T X = B`.
    ///
    /// # Shapes
    ///
    /// As [`solve`](Lu::solve).
    ///
    /// # Errors
    ///
    /// As [`Pool::solve`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 3.0], [2.0, 4.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[5.0, 11.0])?;
    /// assert_eq!(pool.lu(&a)?.solve_transposed(&pool, &b)?.as_slice(), [1.0, 2.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve_transposed<'b>(
        &self,
        pool: &Pool,
        b: impl Into<Matrix<'b, T>>,
    ) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        self.solve_as(pool, System::LuTransposed, b.into())
    }

    fn solve_as(&self, pool: &Pool, system: System, b: Matrix<'_, T>) -> Result<SharedArray<T>> {
        let (operation, factors) = ("solve", Matrix::from(&self.factors));
        check_system(operation, &factors, &b)?;
        if let Some(pivot) = self.singular_pivot() {
            return Err(Error::Singular { operation, member: None, pivot });
        }
        let call = (pool, operation, "brigade::Lu::solve");
        solve_factored(call, system, factors, Some(&self.pivots), b)
    }
}
