//! The Cholesky factorisation of a matrix, and what it solves.

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::operands::{
    check_finite, check_system, is_finite_matrix, solve_factored, square,
};
use crate::compute::linalg::step::{Known, Operands, Step};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::{FloatMode, matmul};
use crate::pool::Pool;

/// A Cholesky factorisation `A = L L^T`; see [`Pool::cholesky`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([3, 3], |[i, j]| if i == j { 4.0f64 } else { 1.0 })?;
/// let cholesky = pool.cholesky(&a)?;
/// for b in [[6.0, 6.0, 6.0], [4.0, 1.0, 1.0]] {
///     let x = cholesky.solve(&pool, &SharedArray::from_slice(&b)?)?;
///     assert!((4.0 * x[[0]] + x[[1]] + x[[2]] - b[0]).abs() < 1e-14);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Cholesky<T> {
    factor: SharedArray<T>,
}

/// The factorisation of `a`.
pub(super) fn factor<T: Scalar>(
    pool: &Pool,
    operation: &'static str,
    a: Matrix<'_, T>,
) -> Result<Cholesky<T>> {
    let a = square(operation, a)?;
    let size = a.place.rows;
    let mut factor = SharedArray::for_overwrite([size, size])?;
    let operands = Operands::new(vec![a.clone()], MatrixMut::from(&mut factor));
    let alone_ns = matmul::alone_ns::<T>(size, size, size) / 6.0;
    let call = LinalgCall { pool, name: "brigade::Pool::cholesky" };
    let report = call.run(Step::Cholesky, operands, alone_ns)?;
    if let Some((_, pivot)) = report.failed {
        check_finite(operation, "the matrix", &a, |i, j| j <= i)?;
        return Err(Error::NotPositiveDefinite { operation, member: None, pivot });
    }
    Ok(Cholesky { factor })
}

/// The factorisation of `a` in place.
pub(super) fn factor_in_place<T: Scalar>(pool: &Pool, a: MatrixMut<'_, T>) -> Result<()> {
    let operation = "cholesky_in_place";
    let a = square(operation, a)?;
    if !is_finite_matrix(&a.as_matrix(), true) {
        check_finite(operation, "the matrix", &a.as_matrix(), |i, j| j <= i)?;
    }
    let size = a.place.rows;
    let operands = Operands::new(Vec::new(), a);
    let alone_ns = matmul::alone_ns::<T>(size, size, size) / 6.0;
    let call = LinalgCall { pool, name: "brigade::Pool::cholesky_in_place" };
    match call.run(Step::Cholesky, operands, alone_ns)?.failed {
        Some((_, pivot)) => Err(Error::NotPositiveDefinite { operation, member: None, pivot }),
        None => Ok(()),
    }
}

impl<T: Scalar> Cholesky<T> {
    /// L, an n x n array with zeros above the diagonal.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 3.0], [3.0, 25.0]][i][j])?;
    /// assert_eq!(pool.cholesky(&a)?.factor().as_slice(), [1.0, 0.0, 3.0, 4.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn factor(&self) -> &SharedArray<T> {
        &self.factor
    }

    /// The natural logarithm of the determinant of A, which is positive.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| if i == j { 1e200 } else { 0.0 })?;
    /// assert!((pool.cholesky(&a)?.ln_det() - 400.0 * 10f64.ln()).abs() < 1e-10);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn ln_det(&self) -> f64 {
        let _mode = FloatMode::standard();
        let size = self.factor.shape().dims()[1];
        let diagonal = self.factor.as_slice().iter().step_by(size + 1);
        2.0 * diagonal.map(|pivot| pivot.to_f64().ln()).sum::<f64>()
    }

    /// The solution X of `A X = B`.
    ///
    /// The computed X solves `(A + E) X = B` with a small E: `|E| <= (3 n + 1) u |L| |L^T|`
    /// (Higham, theorem 10.4).
    ///
    /// # Shapes
    ///
    /// A is n x n. B has n elements in one dimension, or is n x k; X has the shape of B.
    ///
    /// # Errors
    ///
    /// As [`Pool::solve_spd`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[4.0, 2.0], [2.0, 10.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[8.0, 22.0])?;
    /// assert_eq!(pool.cholesky(&a)?.solve(&pool, &b)?.as_slice(), [1.0, 2.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve<'b>(&self, pool: &Pool, b: impl Into<Matrix<'b, T>>) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        let (b, factor) = (b.into(), Matrix::from(&self.factor));
        check_system("solve", &factor, &b)?;
        let call = (pool, "solve", "brigade::Cholesky::solve");
        solve_factored(call, Known::Cholesky, factor, None, b)
    }
}
