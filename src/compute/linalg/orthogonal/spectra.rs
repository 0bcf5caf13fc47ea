//! Eigenvalues and singular values, with their vectors.

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::operands::square;
use crate::compute::linalg::orthogonal::qr::check_right;
use crate::compute::linalg::orthogonal::scaling::scale_of;
use crate::compute::linalg::step::{Operands, Step};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::Result;
use crate::kernel::{FloatMode, matmul};
use crate::pool::Pool;

/// The barriers of a column of a reduction take a member about this long.
const NS_A_COLUMN: f64 = 3000.0;
/// A reduction reads the matrix once or twice for each column, and takes so much longer than a
/// product of the same size. Estimated, like the constant above.
const PRODUCTS: f64 = 8.0;

/// Eigenvalues and eigenvectors of a symmetric matrix; see [`Pool::eigh`].
///
/// # Examples
///
/// ```
/// # let pool = brigade::Pool::builder().workers(1).build()?;
/// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| if i == j { 5.0 } else { 0.0 })?;
/// assert_eq!(pool.eigh(&a)?.values().as_slice(), [5.0, 5.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Eigh<T> {
    pub(super) values: SharedArray<T>,
    pub(super) vectors: SharedArray<T>,
}

impl<T> Eigh<T> {
    /// The n eigenvalues, ascending.
    #[must_use]
    pub fn values(&self) -> &SharedArray<T> {
        &self.values
    }

    /// The eigenvectors, orthonormal: column j belongs to value j. The sign of each is arbitrary.
    #[must_use]
    pub fn vectors(&self) -> &SharedArray<T> {
        &self.vectors
    }
}

/// A singular value decomposition; see [`Pool::svd`].
///
/// # Examples
///
/// ```
/// # let pool = brigade::Pool::builder().workers(1).build()?;
/// let a = brigade::SharedArray::from_fn([1, 2], |[_, j]| [3.0, 4.0][j])?;
/// let svd = pool.svd(&a)?;
/// assert!((svd.values()[[0]] - 5.0f64).abs() < 1e-14);
/// assert_eq!((svd.u().shape().dims(), svd.v().shape().dims()), (&[1, 1][..], &[2, 1][..]));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Svd<T> {
    pub(super) u: SharedArray<T>,
    pub(super) values: SharedArray<T>,
    pub(super) v: SharedArray<T>,
}

impl<T> Svd<T> {
    /// The left singular vectors, orthonormal, m x k: column j belongs to value j.
    #[must_use]
    pub fn u(&self) -> &SharedArray<T> {
        &self.u
    }

    /// The k singular values, descending, none negative.
    #[must_use]
    pub fn values(&self) -> &SharedArray<T> {
        &self.values
    }

    /// The right singular vectors, orthonormal, n x k: column j belongs to value j.
    #[must_use]
    pub fn v(&self) -> &SharedArray<T> {
        &self.v
    }
}

impl<T: Scalar> Svd<T> {
    /// The number of singular values that exceed `tolerance` times the largest one.
    ///
    /// `tolerance` is from 0 to 1. If A is known up to rounding, take max(m, n) times the rounding
    /// unit.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([3, 2], |[i, _]| i as f64)?;
    /// assert_eq!(pool.svd(&a)?.rank(3.0 * f64::EPSILON), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn rank(&self, tolerance: f64) -> usize {
        let _mode = FloatMode::standard();
        let values = self.values.as_slice();
        let least = values.first().map_or(0.0, |most| tolerance.max(0.0) * most.to_f64());
        values.iter().take_while(|value| value.to_f64() > least).count()
    }

    /// The shortest X for which each column of `A X - B` is shortest; singular values up to
    /// `tolerance` times the largest one count as zero.
    ///
    /// A may have any shape and rank. See [`rank`](Svd::rank) for the tolerance.
    ///
    /// # Shapes
    ///
    /// B has m elements in one dimension, or is m x p; X has n elements, or is n x p.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) or
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if B has another shape,
    /// [`Error::NotFinite`](crate::Error::NotFinite) if B has NaN or an infinity, or a product
    /// overflows, [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Task`](crate::Error::Task) if
    /// a worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |_| 1.0)?;
    /// let b = brigade::SharedArray::from_slice(&[1.0, 3.0])?;
    /// let x = pool.svd(&a)?.solve(&pool, &b, 1e-14)?;
    /// assert!((x[[0]] - 1.0f64).abs() < 1e-14 && (x[[1]] - 1.0f64).abs() < 1e-14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve<'b>(
        &self,
        pool: &Pool,
        b: impl Into<Matrix<'b, T>>,
        tolerance: f64,
    ) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        let (b, rows) = (b.into(), self.u.shape().dims()[0]);
        check_right("solve", [rows, self.values.len()], &b)?;
        scale_of("solve", "the right-hand side", &b, false)?;
        let is_vector = b.shape().dims().len() == 1;
        let product = |left: Matrix<'_, T>, right: Matrix<'_, T>| {
            if is_vector { pool.matvec(left, right) } else { pool.matmul(left, right) }
        };
        let rank = self.rank(tolerance);
        let u = Matrix::from(&self.u).columns(..rank)?;
        let mut parts = product(u.transposed(), b)?;
        let cols = parts.len() / rank.max(1);
        let mode = FloatMode::standard();
        for (index, part) in parts.as_mut_slice().iter_mut().enumerate() {
            *part = *part / self.values[[index / cols.max(1)]];
        }
        drop(mode);
        let x = product(Matrix::from(&self.v).columns(..rank)?, Matrix::from(&parts))?;
        scale_of("solve", "the solution", &Matrix::from(&x), false)?;
        Ok(x)
    }

    /// The pseudoinverse of A, n x m; singular values up to `tolerance` times the largest one count
    /// as zero, see [`rank`](Svd::rank).
    ///
    /// # Errors
    ///
    /// [`Error::NotFinite`](crate::Error::NotFinite) if it overflows,
    /// [`Error::NoSpace`](crate::Error::NoSpace), [`Error::Task`](crate::Error::Task) if a worker
    /// dies.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 2], |[_, j]| if j == 0 { 4.0 } else { 0.0 })?;
    /// assert_eq!(pool.svd(&a)?.pinv(&pool, 1e-15)?.as_slice(), [0.25, 0.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pinv(&self, pool: &Pool, tolerance: f64) -> Result<SharedArray<T>> {
        let (rank, n) = (self.rank(tolerance), self.v.shape().dims()[0]);
        let mode = FloatMode::standard();
        let divided = SharedArray::from_fn([n, rank], |[i, j]| self.v[[i, j]] / self.values[[j]])?;
        drop(mode);
        let u = Matrix::from(&self.u).columns(..rank)?;
        let inverse = pool.matmul(&divided, u.transposed())?;
        scale_of("pinv", "the result", &Matrix::from(&inverse), false)?;
        Ok(inverse)
    }
}

/// The time of a decomposition of an m x n matrix by one worker, as far as it decides about a team.
fn shared_ns<T: Scalar>(m: usize, n: usize) -> f64 {
    // Half of the time of QR, and of the product by Q: see `qr`.
    let of_tall = if m > n { matmul::alone_ns::<T>(m, n, n) } else { 0.0 };
    of_tall + PRODUCTS * matmul::alone_ns::<T>(n, n, n) - NS_A_COLUMN * n as f64
}

/// Values, and the matrices of vectors that were asked for.
type Spectrum<T> = (SharedArray<T>, Vec<SharedArray<T>>);

/// Eigenvalues and eigenvectors.
pub(super) fn eigh<T: Scalar>(pool: &Pool, a: Matrix<'_, T>) -> Result<Eigh<T>> {
    let (values, mut vectors) = eigenvalues(pool, "eigh", a, true)?;
    Ok(Eigh { values, vectors: vectors.remove(0) })
}

/// Eigenvalues, and eigenvectors if they are asked for.
pub(super) fn eigenvalues<T: Scalar>(
    pool: &Pool,
    operation: &'static str,
    a: Matrix<'_, T>,
    with_vectors: bool,
) -> Result<Spectrum<T>> {
    let a = square(operation, a)?;
    let step = Step::Eigh(scale_of(operation, "the matrix", &a, true)?);
    let shape @ [n, _] = a.place.shape();
    let mut memory = SharedArray::for_overwrite([step.memory_needed::<T>(shape)[0]])?;
    let mut vectors = Vec::new();
    if with_vectors {
        vectors.push(SharedArray::for_overwrite(shape)?);
    }
    let outputs = vectors.iter_mut().map(MatrixMut::from).collect();
    let lent = Some(LentArray::Written(&mut memory));
    let operands = Operands { inputs: vec![a], outputs, pivots: None, memory: lent };
    let call = LinalgCall { pool, name: "brigade::Pool::eigh" };
    call.run(step, operands, shared_ns::<T>(n, n))?;
    Ok((values(operation, &memory, n)?, vectors))
}

/// Singular values and vectors.
pub(super) fn svd<T: Scalar>(pool: &Pool, a: Matrix<'_, T>) -> Result<Svd<T>> {
    let (values, mut vectors) = singular_values(pool, "svd", a, true)?;
    let u = vectors.remove(0);
    Ok(Svd { u, values, v: vectors.remove(0) })
}

/// Singular values, and U and V if they are asked for.
pub(super) fn singular_values<T: Scalar>(
    pool: &Pool,
    operation: &'static str,
    a: Matrix<'_, T>,
    with_vectors: bool,
) -> Result<Spectrum<T>> {
    let a = a.single(operation)?;
    let step = Step::Svd(scale_of(operation, "the matrix", &a, false)?);
    let is_wide = a.place.rows < a.place.cols;
    // The kernel decomposes tall matrices: A^T = V S U^T.
    let a = if is_wide { a.transposed() } else { a };
    let shape @ [m, n] = a.place.shape();
    let mut memory = SharedArray::for_overwrite([step.memory_needed::<T>(shape)[0]])?;
    let mut vectors = Vec::new();
    for rows in [m, n].into_iter().filter(|_| with_vectors) {
        vectors.push(SharedArray::for_overwrite([rows, n])?);
    }
    let outputs = vectors.iter_mut().map(MatrixMut::from).collect();
    let lent = Some(LentArray::Written(&mut memory));
    let operands = Operands { inputs: vec![a], outputs, pivots: None, memory: lent };
    let call = LinalgCall { pool, name: "brigade::Pool::svd" };
    call.run(step, operands, shared_ns::<T>(m, n))?;
    if is_wide {
        vectors.reverse();
    }
    Ok((values(operation, &memory, n)?, vectors))
}

/// The values, from the beginning of the memory.
///
/// # Errors
///
/// [`Error::NotFinite`](crate::Error::NotFinite) if one overflows.
fn values<T: Scalar>(
    operation: &'static str,
    memory: &SharedArray<T>,
    n: usize,
) -> Result<SharedArray<T>> {
    let values = SharedArray::from_slice(&memory.as_slice()[..n])?;
    scale_of(operation, "the result", &Matrix::from(&values), false)?;
    Ok(values)
}
