//! The QR factorisation of a matrix, and what it solves.

use crate::array::SharedArray;
use crate::compute::linalg::job::LinalgCall;
use crate::compute::linalg::lent_array::LentArray;
use crate::compute::linalg::operands::solve_factored;
use crate::compute::linalg::orthogonal::scaling::{rescaled, scale_if_extreme, scale_of};
use crate::compute::linalg::step::{Known, Operands, Step};
use crate::compute::matmul::{Matrix, MatrixMut, Scalar};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::linalg::orthogonal::{Carver, QrMemory, Transpose};
use crate::kernel::linalg::{Triangle, inverse_norm_1};
use crate::kernel::matmul;
use crate::pool::Pool;
use crate::shape::Shape;

/// A QR factorisation `A = Q R`; see [`Pool::qr`].
///
/// Q is kept as a product of reflectors, which [`apply_q`](Qr::apply_q) and
/// [`apply_qt`](Qr::apply_qt) multiply by without computing Q.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let a = SharedArray::from_fn([3, 2], |[i, j]| (i * i + j) as f64)?;
/// let qr = pool.qr(&a)?;
/// let product = pool.matmul(&qr.q(&pool)?, &qr.r()?)?;
/// for (x, y) in product.as_slice().iter().zip(a.as_slice()) {
///     assert!((x - y).abs() < 1e-14);
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Qr<T> {
    /// The shape of A.
    shape: [usize; 2],
    /// The memory has Q and R of A times this power of two.
    scale: f64,
    /// As [`QrMemory`] is cut from it: R comes first, column after column.
    memory: SharedArray<T>,
}

/// The factorisation of `a`.
pub(super) fn factor<T: Scalar>(
    pool: &Pool,
    operation: &'static str,
    a: Matrix<'_, T>,
) -> Result<Qr<T>> {
    let a = a.single(operation)?;
    let scale = scale_if_extreme(operation, "the matrix", &a)?;
    let shape @ [m, n] = a.place.shape();
    let step = Step::Qr(scale);
    if m == 0 {
        return Ok(Qr { shape, scale, memory: SharedArray::for_overwrite([0])? });
    }
    let mut memory = SharedArray::for_overwrite([step.memory_needed::<T>(shape)[0]])?;
    let lent = Some(LentArray::Written(&mut memory));
    let operands = Operands { inputs: vec![a], outputs: Vec::new(), pivots: None, memory: lent };
    let call = LinalgCall { pool, name: "brigade::Pool::qr" };
    call.run(step, operands, shared_ns::<T>(m, n, m.min(n)))?;
    Ok(Qr { shape, scale, memory })
}

/// The time of a step, as far as it decides about a team: half of it are barriers and panels.
fn shared_ns<T: Scalar>(m: usize, n: usize, k: usize) -> f64 {
    matmul::alone_ns::<T>(m, n, k) / 2.0
}

/// Checks that B has one dimension or two, and the rows of a matrix of this shape.
///
/// # Errors
///
/// [`Error::InvalidArgument`] or [`Error::ShapeMismatch`].
pub(super) fn check_right<T>(
    operation: &'static str,
    shape: [usize; 2],
    b: &Matrix<'_, T>,
) -> Result<()> {
    let right = b.shape();
    if !matches!(right.dims().len(), 1 | 2) {
        let found = format!("a right-hand side of shape {right}");
        return Err(Error::invalid(operation, found, "one or two dimensions"));
    }
    if b.place.rows != shape[0] {
        let rule = "the right-hand side must have as many rows as the matrix";
        let left = shape.into();
        return Err(Error::ShapeMismatch { operation, left, right, rule });
    }
    Ok(())
}

impl<T: Scalar> Qr<T> {
    /// R of the scaled matrix, in the memory.
    fn r_matrix(&self) -> Result<Matrix<'_, T>> {
        let [m, n] = self.shape;
        let r = QrMemory::<T>::carve(&mut Carver::new(std::ptr::null_mut()), m, n).r;
        let strides = [1, r.stride().cast_signed()];
        Matrix::strided(&self.memory, 0, [m.min(n), n], strides)
    }

    /// R, a k x n array with zeros below the diagonal, where k = min(m, n).
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::NotFinite`] if an element of R overflows.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 2], |[_, j]| j as f64 - 2.0)?;
    /// assert_eq!(pool.qr(&a)?.r()?.as_slice(), [-2.0, -1.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn r(&self) -> Result<SharedArray<T>> {
        let place = self.r_matrix()?.place;
        let _mode = FloatMode::standard();
        let elements = self.memory.as_slice();
        let element = |i, j| rescaled(elements[place.at(i, j)], 1.0, self.scale);
        let r = SharedArray::from_fn(place.shape(), |[i, j]| element(i, j))?;
        if self.scale != 1.0 {
            scale_of("r", "R", &Matrix::from(&r), false)?;
        }
        Ok(r)
    }

    /// Q, an m x k array with orthonormal columns, where k = min(m, n).
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], [`Error::Task`] if a worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 1], |_| -2.0)?;
    /// assert_eq!(pool.qr(&a)?.q(&pool)?.as_slice(), [1.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn q(&self, pool: &Pool) -> Result<SharedArray<T>> {
        let [m, n] = self.shape;
        let q = SharedArray::for_overwrite([m, m.min(n)])?;
        Ok(self.apply(pool, ("q", "brigade::Qr::q"), Transpose::No, None, q)?.0)
    }

    /// Q B, with all m columns of Q, of which [`q`](Qr::q) returns the first k.
    ///
    /// # Shapes
    ///
    /// B has m elements in one dimension, or is m x p; the result has the same shape.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] or [`Error::InvalidArgument`] if B has another shape,
    /// [`Error::NotFinite`], [`Error::NoSpace`], [`Error::Task`] if a worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 1], |[i, _]| [3.0, 4.0][i])?;
    /// let qr = pool.qr(&a)?;
    /// let b = SharedArray::from_slice(&[-5.0, 0.0])?;
    /// let x = qr.apply_q(&pool, &b)?;
    /// assert!((x[[0]] - 3.0f64).abs() < 1e-14 && (x[[1]] - 4.0f64).abs() < 1e-14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn apply_q<'b>(&self, pool: &Pool, b: impl Into<Matrix<'b, T>>) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        let b = b.into();
        let x = self.new_product("apply_q", self.shape[0], &b)?;
        let call = ("apply_q", "brigade::Qr::apply_q");
        let (x, scale) = self.apply(pool, call, Transpose::No, Some(b), x)?;
        unscaled(call.0, x, 1.0, scale)
    }

    /// `Q^T B`, with all m columns of Q.
    ///
    /// # Shapes
    ///
    /// As [`apply_q`](Qr::apply_q).
    ///
    /// # Errors
    ///
    /// As [`apply_q`](Qr::apply_q).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 1], |[i, _]| [3.0, 4.0][i])?;
    /// let x = pool.qr(&a)?.apply_qt(&pool, &a)?;
    /// assert!((x[[0, 0]] + 5.0f64).abs() < 1e-14 && x[[1, 0]].abs() < 1e-14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn apply_qt<'b>(&self, pool: &Pool, b: impl Into<Matrix<'b, T>>) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        let b = b.into();
        let x = self.new_product("apply_qt", self.shape[0], &b)?;
        let call = ("apply_qt", "brigade::Qr::apply_qt");
        let (x, scale) = self.apply(pool, call, Transpose::Yes, Some(b), x)?;
        unscaled(call.0, x, 1.0, scale)
    }

    /// The X for which each column of `A X - B` is shortest; see [`Pool::lstsq`].
    ///
    /// # Errors
    ///
    /// As [`Pool::lstsq`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 1], |_| 1.0)?;
    /// let mean = pool.qr(&a)?.solve(&pool, &SharedArray::from_slice(&[1.0, 3.0])?)?;
    /// assert!((mean[[0]] - 2.0f64).abs() < 1e-14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn solve<'b>(&self, pool: &Pool, b: impl Into<Matrix<'b, T>>) -> Result<SharedArray<T>>
    where
        T: 'b,
    {
        self.solve_as(pool, "solve", b.into())
    }

    /// [`solve`](Qr::solve), for a call of this name.
    pub(super) fn solve_as(
        &self,
        pool: &Pool,
        operation: &'static str,
        b: Matrix<'_, T>,
    ) -> Result<SharedArray<T>> {
        let [m, n] = self.shape;
        if m < n {
            let found = format!("a matrix of {m} rows and {n} columns");
            let expected = "at least as many rows as columns; `svd` takes any";
            return Err(Error::invalid(operation, found, expected));
        }
        let x = self.new_product(operation, n, &b)?;
        let r = self.r_matrix()?;
        if let Some(column) = self.dependent_column(&r) {
            return Err(Error::RankDeficient { operation, column });
        }
        let call = (operation, "brigade::Qr::solve");
        let (x, scale) = self.apply(pool, call, Transpose::Yes, Some(b), x)?;
        let known = Known::Triangular(Triangle::Upper);
        let x = solve_factored((pool, call.0, call.1), known, r, None, Matrix::from(&x))?;
        unscaled(operation, x, self.scale, scale)
    }

    /// A column of A that others determine, up to rounding.
    ///
    /// The part of a column that is orthogonal to those before it is on the diagonal of R. If no
    /// such part vanishes, but R with columns of length 1 is singular up to rounding, it is the
    /// column with the least part.
    fn dependent_column(&self, r: &Matrix<'_, T>) -> Option<usize> {
        let _mode = FloatMode::standard();
        let (elements, [m, n]) = (self.memory.as_slice(), self.shape);
        let at = |i, j| elements[r.place.at(i, j)].to_f64();
        // A dot product of m rounded elements has an error of about sqrt(m) units.
        let tolerance = (4.0 * n as f64 + (m as f64).sqrt()) * T::EPSILON.to_f64();
        let length = |j| (0..=j).fold(0.0f64, |length, i| length.hypot(at(i, j)));
        let lengths: Vec<f64> = (0..n).map(length).collect();
        let part = |j: usize| at(j, j).abs() / lengths[j];
        if let Some(j) = (0..n).find(|&j| lengths[j] == 0.0 || part(j) <= tolerance) {
            return Some(j);
        }
        let estimate = inverse_norm_1(n, 1.0, |x: &mut [f64], is_transposed| {
            for step in 0..n {
                let j = if is_transposed { step } else { n - 1 - step };
                let element = |i| at(i, j) / lengths[j];
                if is_transposed {
                    let sum = (0..j).fold(x[j], |sum, i| sum - element(i) * x[i]);
                    x[j] = sum / element(j);
                } else {
                    x[j] /= element(j);
                    (0..j).for_each(|i| x[i] -= element(i) * x[j]);
                }
            }
        });
        let least = (0..n).min_by(|&i, &j| part(i).total_cmp(&part(j)));
        least.filter(|_| estimate * tolerance >= 1.0)
    }

    /// An array for `rows` rows of the product of Q and B, after a check of B's shape.
    fn new_product(
        &self,
        operation: &'static str,
        rows: usize,
        b: &Matrix<'_, T>,
    ) -> Result<SharedArray<T>> {
        check_right(operation, self.shape, b)?;
        let is_vector = b.shape().dims().len() == 1;
        let shape = if is_vector { [rows].into() } else { Shape::from([rows, b.place.cols]) };
        SharedArray::for_overwrite(shape)
    }

    /// Q or its transpose times `b`, or times the identity, to `product`; and the power of two by
    /// which it is multiplied.
    fn apply(
        &self,
        pool: &Pool,
        (operation, name): (&'static str, &'static str),
        transpose: Transpose,
        b: Option<Matrix<'_, T>>,
        mut product: SharedArray<T>,
    ) -> Result<(SharedArray<T>, f64)> {
        if self.shape[0] == 0 {
            return Ok((product, 1.0));
        }
        let scale = match &b {
            Some(b) => scale_if_extreme(operation, "the right-hand side", b)?,
            None => 1.0,
        };
        let [m, n] = self.shape;
        let output = MatrixMut::from(&mut product);
        let alone_ns = shared_ns::<T>(m, output.place.cols, m.min(n));
        let memory = Some(LentArray::Read(&self.memory));
        let inputs = b.into_iter().collect();
        let operands = Operands { memory, ..Operands::new(inputs, output) };
        let step = Step::Apply(self.shape, transpose, scale);
        LinalgCall { pool, name }.run(step, operands, alone_ns)?;
        Ok((product, scale))
    }
}

/// `x up / down`, for powers of two.
///
/// # Errors
///
/// [`Error::NotFinite`] if an element overflows.
fn unscaled<T: Scalar>(
    operation: &'static str,
    mut x: SharedArray<T>,
    up: f64,
    down: f64,
) -> Result<SharedArray<T>> {
    if up != down {
        let _mode = FloatMode::standard();
        x.as_mut_slice().iter_mut().for_each(|x| *x = rescaled(*x, up, down));
        scale_of(operation, "the result", &Matrix::from(&x), false)?;
    }
    Ok(x)
}
