//! Systems with refinement, triangular systems, and stacks of small systems.

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::lu;
use crate::compute::linalg::operands::{
    check_finite, check_members, check_system, is_finite, is_finite_matrix, solve_factored,
};
use crate::compute::linalg::step::{Known, Operands, Step};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::linalg::Triangle;
use crate::kernel::matmul;
use crate::pool::Pool;

/// The least time of a small system, in nanoseconds: 8 x 8 take about 500.
const SYSTEM_NS: f64 = 300.0;

/// A system `A X = B` to solve; see [`Pool::system`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1.0, 2.0], [3.0, 4.0]][i][j])?;
/// let b = SharedArray::from_slice(&[5.0, 11.0])?;
/// assert_eq!(pool.system(&a, &b).refine(1).run()?.as_slice(), [1.0, 2.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a system is solved by `run`"]
pub struct System<'p, T> {
    pool: &'p Pool,
    a: Matrix<'p, T>,
    b: Matrix<'p, T>,
    refinements: u32,
}

impl<T: Scalar> System<'_, T> {
    /// Refines the solution so many times: computes the residual, solves for a correction, and adds
    /// it. Default: 0. It stops earlier if a step overflows, and keeps the solution before that.
    ///
    /// The residual is computed in the type itself. One step is enough for a small backward error
    /// in each component, if A is not too badly conditioned or scaled (Skeel 1980; Higham, section
    /// 12.2).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| [[1e-20, 1.0], [1.0, 1.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[1.0, 2.0])?;
    /// assert_eq!(pool.system(&a, &b).refine(2).run()?.as_slice(), [1.0, 1.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn refine(mut self, steps: u32) -> Self {
        self.refinements = steps;
        self
    }

    /// Solves the system.
    ///
    /// # Errors
    ///
    /// As [`Pool::solve`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 1], |_| 4.0)?;
    /// let b = brigade::SharedArray::from_slice(&[2.0])?;
    /// assert_eq!(pool.system(&a, &b).run()?.as_slice(), [0.5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<SharedArray<T>> {
        let System { pool, a, b, refinements } = self;
        check_system("solve", &a, &b)?;
        let lu = lu::factor(pool, "solve", a.clone())?;
        let mut x = lu.solve(pool, b.clone())?;
        let (rows, cols) = (b.place.rows, b.place.cols);
        for _ in 0..refinements {
            let solution = Matrix::strided(&x, 0, [rows, cols], [cols.cast_signed(), 1])?;
            // Not `B - A X` in place: that would not be repeated after a death.
            let product = pool.matmul(a.clone(), solution)?;
            let residual = {
                let _mode = FloatMode::standard();
                SharedArray::from_fn([rows, cols], |[i, j]| b.element(i, j) - product[[i, j]])?
            };
            let mut refined = match lu.solve(pool, &residual) {
                Err(Error::NotFinite { .. }) => break,
                correction => correction?,
            };
            let _mode = FloatMode::standard();
            for (element, &known) in refined.as_mut_slice().iter_mut().zip(x.as_slice()) {
                *element = known + *element;
            }
            if !is_finite(refined.as_slice()) {
                break;
            }
            x.as_mut_slice().copy_from_slice(refined.as_slice());
        }
        Ok(x)
    }
}

impl<T> std::fmt::Debug for System<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("System")
            .field("a", &self.a.shape())
            .field("b", &self.b.shape())
            .field("refinements", &self.refinements)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// The system `A X = B`, to be solved with options; [`solve`](Pool::solve) has none.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| if i == j { 2.0 } else { 0.0 })?;
    /// assert_eq!(pool.system(&a, &a).refine(1).run()?.as_slice(), [1.0, 0.0, 0.0, 1.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn system<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> System<'p, T> {
        System { pool: self, a: a.into(), b: b.into(), refinements: 0 }
    }

    /// The solution X of `T X = B` for a triangular T, by substitution in blocks.
    ///
    /// Workers share the columns of B. For the transpose of T, pass
    /// `Matrix::from(&t).transposed()` and the other triangle. The computed X solves
    /// `(T + E) X = B` with `|E| <= n u |T|`, column by column (Higham, theorem 8.5).
    ///
    /// # Shapes
    ///
    /// T is n x n. B has n elements in one dimension, or is n x k; X has the shape of B.
    ///
    /// # Errors
    ///
    /// As [`Pool::solve`]: [`Error::Singular`] if the diagonal of T has a zero,
    /// [`Error::NotFinite`] if the part of T that is read or B has NaN or an infinity, or if X
    /// overflows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray, Triangle};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let t = SharedArray::from_fn([2, 2], |[i, j]| [[2.0, 0.0], [1.0, 4.0]][i][j])?;
    /// let b = SharedArray::from_slice(&[4.0, 8.0])?;
    /// let turned = Matrix::from(&t).transposed();
    /// assert_eq!(pool.triangular_solve(Triangle::Upper, turned, &b)?.as_slice(), [1.0, 2.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn triangular_solve<'p, T: Scalar>(
        &'p self,
        triangle: Triangle,
        t: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (operation, t, b) = ("triangular_solve", t.into(), b.into());
        check_system(operation, &t, &b)?;
        let lower = if triangle.is_lower() { t.clone() } else { t.clone().transposed() };
        if !is_finite_matrix(&lower, true) {
            check_finite(operation, "the matrix", &t, |i, j| triangle.reads(i, j))?;
        }
        let mode = FloatMode::standard();
        let is_zero = |&i: &usize| t.element(i, i) == T::ZERO;
        if let Some(pivot) = (0..t.place.rows).find(|i| !triangle.is_unit() && is_zero(i)) {
            return Err(Error::Singular { operation, member: None, pivot });
        }
        drop(mode);
        let call = (self, operation, "brigade::Pool::triangular_solve");
        solve_factored(call, Known::Triangular(triangle), t, None, b)
    }

    /// The solutions of `A[i] X[i] = B[i]` for a stack of systems, each computed by one worker.
    ///
    /// It is for many systems that are too small to share; [`solve`](Pool::solve) shares a large
    /// one.
    ///
    /// # Shapes
    ///
    /// A is count x n x n. B is count x n, a vector for each system, or count x n x k; X has the
    /// shape of B.
    ///
    /// # Errors
    ///
    /// As [`Pool::solve`]. [`Error::Singular`] has the index of the first singular matrix.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let mut a = SharedArray::from_fn([3, 1, 1], |[i, _, _]| (i + 1) as f64)?;
    /// let b = SharedArray::from_fn([3, 1], |[i, _]| (6 * (i + 1)) as f64)?;
    /// assert_eq!(pool.solve_batch(&a, &b)?.as_slice(), [6.0, 6.0, 6.0]);
    /// a[[2, 0, 0]] = 0.0;
    /// let error = pool.solve_batch(&a, &b).unwrap_err();
    /// assert!(matches!(error, Error::Singular { member: Some(2), pivot: 0, .. }));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve_batch<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (operation, a, b) = ("solve_batch", a.into(), b.into());
        let (count, a_step) = check_stack(operation, &a, &b)?;
        let shape = b.shape();
        let (size, cols) = (a.place.rows, if shape.dims().len() == 2 { 1 } else { b.place.cols });
        // A vector for each system is one of its columns.
        let (b, b_step) = match b.stack(operation)? {
            (Some(_), step) => (b, step),
            (None, _) => (b.clone().first_row_as_column(), b.place.row_stride),
        };
        let rank = shape.dims().len();
        let mut x = SharedArray::for_overwrite(shape)?;
        if count == 0 || size == 0 {
            return Ok(x);
        }
        let all = MatrixMut::from(&mut x);
        let output = all.at(matmul::Strided::row_major(0, size, cols));
        let x_step = size.wrapping_mul(cols).cast_signed();
        let step = Step::Batch(count, [a_step, b_step, x_step]);
        let one_ns = matmul::alone_ns::<T>(size, size + cols, size).max(SYSTEM_NS);
        let operands = Operands::new(vec![a.clone(), b.clone()], output);
        let call = LinalgCall { pool: self, name: "brigade::Pool::solve_batch" };
        let report = call.run(step, operands, one_ns * count as f64)?;
        if report.norm == f64::INFINITY {
            check_members(operation, "the matrices", &a, (count, a_step), 3)?;
        }
        if let Some((member, pivot)) = report.failed {
            return Err(Error::Singular { operation, member: Some(member), pivot });
        }
        if !is_finite(x.as_slice()) {
            check_members(operation, "the right-hand sides", &b, (count, b_step), rank)?;
            let all = Matrix::from(&x);
            let all = all.at(matmul::Strided::row_major(0, size, cols));
            check_members(operation, "the solutions", &all, (count, x_step), rank)?;
        }
        Ok(x)
    }
}

/// The number of systems, and the elements from one matrix to the next.
fn check_stack<T>(
    operation: &'static str,
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
) -> Result<(usize, isize)> {
    let (left, right) = (a.shape(), b.shape());
    let (Some(count), step) = a.stack(operation)? else {
        let found = format!("matrices of shape {left}");
        return Err(Error::invalid(operation, found, "three dimensions: a stack of matrices"));
    };
    let fits = match *right.dims() {
        [members, rows] | [members, rows, _] => members == count && rows == a.place.rows,
        _ => false,
    };
    if a.place.rows != a.place.cols || !fits {
        let rule = "matrices must be square, with a right-hand side of as many rows for each";
        return Err(Error::ShapeMismatch { operation, left, right, rule });
    }
    Ok((count, step))
}
