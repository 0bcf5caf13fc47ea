//! The LU factorisation of a matrix, and what it solves.

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::operands::{
    check_finite, check_system, is_finite, is_finite_matrix, solve_factored, solve_vector, square,
};
use crate::compute::linalg::step::{Known, Operands, Step};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::linalg::inverse_norm_1;
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
    /// The 1-norm of A is `norm * unit`.
    norm: f64,
    /// 1, or [`LARGE`] if the norm overflows.
    unit: f64,
}

/// A power of two above the number of rows of any array.
const LARGE: f64 = (1u128 << 64) as f64;

/// The bits of the exponent of an `f64`.
const EXPONENT: u64 = 0x7ff << 52;

/// The factorisation of `a`.
pub(super) fn factor<T: Scalar>(
    pool: &Pool,
    operation: &'static str,
    a: Matrix<'_, T>,
) -> Result<Lu<T>> {
    let a = a.single(operation)?;
    let (m, n) = (a.place.rows, a.place.cols);
    let size = m.min(n);
    let mut factors = SharedArray::for_overwrite([m, n])?;
    let mut pivots = SharedArray::for_overwrite([size])?;
    let output = MatrixMut::from(&mut factors);
    let lent = Some(LentArray::Written(&mut pivots));
    let operands = Operands { pivots: lent, ..Operands::new(vec![a.clone()], output) };
    if size == 0 {
        return Ok(Lu { factors, pivots, norm: 0.0, unit: 1.0 });
    }
    let alone_ns = matmul::alone_ns::<T>(m, n, size) / 3.0;
    let report =
        LinalgCall { pool, name: "brigade::Pool::lu" }.run(Step::Lu, operands, alone_ns)?;
    let (mut norm, mut unit) = (report.norm, 1.0);
    if norm == f64::INFINITY {
        check_finite(operation, "the matrix", &a, |_, _| true)?;
        unit = LARGE;
        let magnitude = |i, j| a.element(i, j).to_f64().abs() / unit;
        let column = |j| (0..m).map(|i| magnitude(i, j)).sum::<f64>();
        norm = (0..n).map(column).fold(0.0, f64::max);
    }
    check_factors(operation, &Matrix::from(&factors))?;
    Ok(Lu { factors, pivots, norm, unit })
}

/// Checks that the factors of a finite matrix are finite.
///
/// # Errors
///
/// [`Error::NotFinite`].
fn check_factors<T: Scalar>(operation: &'static str, factors: &Matrix<'_, T>) -> Result<()> {
    let (m, n) = (factors.place.rows, factors.place.cols);
    // An element that is not finite spreads: down from U, and right from L. In a square matrix it
    // reaches the diagonal, so it is enough to check that.
    if m == n && (0..m).all(|i| factors.element(i, i).to_f64().is_finite()) {
        return Ok(());
    }
    if is_finite_matrix(factors, false) {
        return Ok(());
    }
    check_finite(operation, "the factors", factors, |_, _| true)
}

/// The factorisation of `a` in place; returns the pivots.
pub(super) fn factor_in_place<T: Scalar>(
    pool: &Pool,
    a: MatrixMut<'_, T>,
) -> Result<SharedArray<u64>> {
    let operation = "lu_in_place";
    let mut a = a.single(operation)?;
    if !is_finite_matrix(&a.as_matrix(), false) {
        check_finite(operation, "the matrix", &a.as_matrix(), |_, _| true)?;
    }
    let (m, n) = (a.place.rows, a.place.cols);
    let mut pivots = SharedArray::for_overwrite([m.min(n)])?;
    if pivots.is_empty() {
        return Ok(pivots);
    }
    let lent = Some(LentArray::Written(&mut pivots));
    let operands = Operands { pivots: lent, ..Operands::new(Vec::new(), a.reborrow()) };
    let alone_ns = matmul::alone_ns::<T>(m, n, m.min(n)) / 3.0;
    LinalgCall { pool, name: "brigade::Pool::lu_in_place" }.run(Step::Lu, operands, alone_ns)?;
    check_factors(operation, &a.as_matrix())?;
    Ok(pivots)
}

/// The product of all these numbers, which overflows only if the result does.
fn product_of(first: f64, factors: impl Iterator<Item = f64>) -> f64 {
    let (mut product, mut exponent) = split(first);
    for factor in factors {
        if factor == 0.0 {
            return 0.0;
        }
        let (mantissa, power) = split(factor);
        let (scaled, carry) = split(product * mantissa);
        (product, exponent) = (scaled, exponent.saturating_add(power + carry));
    }
    // In two steps, of which only the second can overflow, underflow or round.
    let exponent = exponent.clamp(-1200, 1200);
    product * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2)
}

/// A number m of magnitude 1 to 2, and e, with `x = m 2^e`. `x` is finite and not zero.
fn split(x: f64) -> (f64, i32) {
    let (normal, offset) =
        if x.abs() < f64::MIN_POSITIVE { (x * 2f64.powi(64), 1087) } else { (x, 1023) };
    let bits = normal.to_bits();
    let mantissa = f64::from_bits(bits & !EXPONENT | 1023 << 52);
    (mantissa, ((bits & EXPONENT) >> 52) as i32 - offset)
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
        let _mode = FloatMode::standard();
        self.diagonal().position(|pivot| pivot == T::ZERO)
    }

    /// The diagonal of U.
    fn diagonal(&self) -> impl Iterator<Item = T> {
        let cols = self.factors.shape().dims()[1];
        let diagonal = self.factors.as_slice().iter().step_by(cols + 1);
        diagonal.take(self.pivots.len()).copied()
    }

    /// The determinant of A: infinite or 0 only if it is beyond the range of the type;
    /// [`sign_ln_det`](Lu::sign_ln_det) has no such limit. That of an empty matrix is 1.
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
        let _mode = FloatMode::standard();
        let sign = if self.swaps_are_odd() { -1.0 } else { 1.0 };
        Ok(T::from_f64(product_of(sign, self.diagonal().map(T::to_f64))))
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
        square("sign_ln_det", Matrix::from(&self.factors))?;
        let _mode = FloatMode::standard();
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
        self.norm * self.unit
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
        self.solve_as(pool, Known::Lu, b.into())
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
        self.solve_as(pool, Known::LuTransposed, b.into())
    }

    /// The inverse of A. To solve a system, [`solve`](Lu::solve) is faster and more accurate.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if A is not square, [`Error::Singular`] if it is singular,
    /// [`Error::NotFinite`] if the inverse overflows, [`Error::NoSpace`], [`Error::Task`] if a
    /// worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| [[0.0, 2.0], [4.0, 1.0]][i][j])?;
    /// assert_eq!(pool.lu(&a)?.inverse(&pool)?.as_slice(), [-0.125, 0.25, 0.5, 0.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn inverse(&self, pool: &Pool) -> Result<SharedArray<T>> {
        let operation = "inverse";
        let factors = square(operation, Matrix::from(&self.factors))?;
        self.check_regular(operation)?;
        let size = factors.place.rows;
        let mut x = SharedArray::for_overwrite([size, size])?;
        let output = MatrixMut::from(&mut x);
        let pivots = Some(LentArray::Read(&self.pivots));
        let operands = Operands { pivots, ..Operands::new(vec![factors], output) };
        let alone_ns = matmul::alone_ns::<T>(size, size, size) * 2.0 / 3.0;
        LinalgCall { pool, name: "brigade::Lu::inverse" }.run(Step::Invert, operands, alone_ns)?;
        if !is_finite(x.as_slice()) {
            check_finite(operation, "the inverse", &Matrix::from(&x), |_, _| true)?;
        }
        Ok(x)
    }

    /// An estimate of the reciprocal of the condition number in the 1-norm,
    /// `1 / (||A|| ||A^-1||)`: about 1 for a matrix that is far from singular, less than `EPSILON`
    /// for one that is singular to working precision, 0 for one that is singular, 1 for an empty
    /// one.
    ///
    /// The estimate of `||A^-1||` takes a few solutions, in the calling thread, and is rarely more
    /// than three times too small (Hager 1984; Higham 1988, algorithm 4.1).
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] if A is not square.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| [[4.0, 0.0], [0.0, 0.5]][i][j])?;
    /// assert_eq!(pool.lu(&a)?.rcond()?, 0.125);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn rcond(&self) -> Result<f64> {
        let factors = square("rcond", Matrix::from(&self.factors))?;
        if factors.place.rows == 0 {
            return Ok(1.0);
        }
        if self.singular_pivot().is_some() {
            return Ok(0.0);
        }
        let _mode = FloatMode::standard();
        // A power of two near the norm. Twice it, and its reciprocal, are normal numbers.
        let least = T::MIN_POSITIVE.to_f64();
        let near = (self.norm_1() / 4.0).clamp(least, 0.125 / least);
        let scale = T::from_f64(f64::from_bits(near.to_bits() & EXPONENT));
        let inverse = inverse_norm_1(factors.place.rows, scale, |x: &mut [T], is_transposed| {
            let known = if is_transposed { Known::LuTransposed } else { Known::Lu };
            solve_vector(known, factors.clone(), &self.pivots, x);
        });
        Ok(scale.to_f64() / self.unit / self.norm / inverse)
    }

    /// Checks that no pivot is zero.
    ///
    /// # Errors
    ///
    /// [`Error::Singular`].
    fn check_regular(&self, operation: &'static str) -> Result<()> {
        self.singular_pivot()
            .map_or(Ok(()), |pivot| Err(Error::Singular { operation, member: None, pivot }))
    }

    fn solve_as(&self, pool: &Pool, known: Known, b: Matrix<'_, T>) -> Result<SharedArray<T>> {
        let (operation, factors) = ("solve", Matrix::from(&self.factors));
        check_system(operation, &factors, &b)?;
        self.check_regular(operation)?;
        let call = (pool, operation, "brigade::Lu::solve");
        solve_factored(call, known, factors, Some(&self.pivots), b)
    }
}
