//! One product to compute: its factors, operands and result.

use serde::{Deserialize, Serialize};

use super::kernel::{Float, Kernel};
use super::strided::{Position, Strided};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// One product `C = alpha * A * B + beta * C`, as BLAS calls it.
///
/// A and B are operands of type `M`, C is one of type `C`. Every member of a team passes the same
/// product to [`multiply`](super::multiply), with operands by address.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{Gemm, Strided};
/// let (a, b) = (Strided::row_major(0, 2, 3), Strided::row_major(6, 3, 4));
/// let product = Gemm { beta: 0.5, ..Gemm::new(a, b, Strided::row_major(18, 2, 4)) };
/// assert_eq!((product.alpha, product.sizes()), (1.0, (2, 4, 3)));
/// assert!(product.check_shapes("product").is_ok());
/// let turned = Gemm { b: b.transposed(), ..product };
/// assert!(turned.check_shapes("product").is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Gemm<T, M = Strided<*mut T>, C = M> {
    /// The instruction set, the same for all members.
    pub kernel: Kernel,
    /// The factor of the product.
    pub alpha: T,
    /// The left operand, m x k.
    pub a: M,
    /// The right operand, k x n.
    pub b: M,
    /// The factor of the old C; if it is zero, C is not read.
    pub beta: T,
    /// The result, m x n.
    pub c: C,
}

impl<T: Float, M, C> Gemm<T, M, C> {
    /// `C = A * B` with the best kernel: alpha is 1 and beta is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::{Gemm, Kernel, Strided};
    /// let matrix = |rows, cols| Strided::row_major(0usize, rows, cols);
    /// let product = Gemm::<f32, _>::new(matrix(2, 3), matrix(3, 4), matrix(2, 4));
    /// assert_eq!((product.kernel, product.alpha, product.beta), (Kernel::best(), 1.0, 0.0));
    /// ```
    #[must_use]
    pub fn new(a: M, b: M, c: C) -> Gemm<T, M, C> {
        Gemm { kernel: Kernel::best(), alpha: T::ONE, a, b, beta: T::ZERO, c }
    }

    /// The same product of operands by reference.
    pub(crate) fn as_ref(&self) -> Gemm<T, &M, &C> {
        let Gemm { kernel, alpha, a, b, beta, c } = self;
        Gemm { kernel: *kernel, alpha: *alpha, a, b, beta: *beta, c }
    }

    /// The same product with A and B changed by `operand`, and C by `result`.
    pub(crate) fn map<N, D>(
        self,
        mut operand: impl FnMut(M) -> N,
        result: impl FnOnce(C) -> D,
    ) -> Gemm<T, N, D> {
        let Gemm { kernel, alpha, a, b, beta, c } = self;
        Gemm { kernel, alpha, a: operand(a), b: operand(b), beta, c: result(c) }
    }

    /// The same product with A and B changed by `operand`, and C by `result`, which can fail.
    pub(crate) fn try_map<N, D>(
        self,
        mut operand: impl FnMut(M) -> Result<N>,
        result: impl FnOnce(C) -> Result<D>,
    ) -> Result<Gemm<T, N, D>> {
        let Gemm { kernel, alpha, a, b, beta, c } = self;
        Ok(Gemm { kernel, alpha, a: operand(a)?, b: operand(b)?, beta, c: result(c)? })
    }
}

impl<T, P: Position> Gemm<T, Strided<P>> {
    /// m, n and k.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.c.rows, self.c.cols, self.a.cols)
    }

    /// Checks that A is m x k, B is k x n and C is m x n.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] with the two shapes that do not fit, for the operation named.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::{Gemm, Strided};
    /// let matrix = |rows, cols| Strided::row_major(0usize, rows, cols);
    /// let fits = Gemm::<f64, _>::new(matrix(2, 3), matrix(3, 4), matrix(2, 4));
    /// assert!(fits.check_shapes("product").is_ok());
    /// let wrong = Gemm::<f64, _>::new(matrix(2, 3), matrix(2, 4), matrix(2, 4));
    /// assert!(wrong.check_shapes("product").is_err());
    /// ```
    pub fn check_shapes(&self, operation: &'static str) -> Result<()> {
        let product = check_operands(operation, self.a.shape(), self.b.shape())?;
        let rule = "the result has the rows of the left and the columns of the right operand";
        check(product == self.c.shape(), operation, product, self.c.shape(), rule)
    }

    /// The same product as `C^T = alpha * B^T * A^T + beta * C^T`.
    fn transposed(self) -> Gemm<T, Strided<P>> {
        Gemm { a: self.b.transposed(), b: self.a.transposed(), c: self.c.transposed(), ..self }
    }

    /// The same product in the micro-kernel's orientation. A single row becomes a column. Otherwise
    /// the rows of C are contiguous, if either its rows or its columns are; otherwise those of A,
    /// if possible. An element's sum is the same in both orientations.
    pub(super) fn oriented(self) -> Gemm<T, Strided<P>> {
        let by_rows = self.c.col_stride == 1;
        let by_columns = self.c.row_stride == 1;
        if self.c.cols == 1 {
            self
        } else if self.c.rows == 1 {
            self.transposed()
        } else if by_columns || (!by_rows && self.a.row_stride == 1) {
            self
        } else if by_rows || self.b.col_stride == 1 {
            self.transposed()
        } else {
            self
        }
    }
}

/// The shape of the product of A and B.
///
/// # Errors
///
/// [`Error::ShapeMismatch`] if A does not have as many columns as B has rows.
pub(crate) fn check_operands(
    operation: &'static str,
    a: [usize; 2],
    b: [usize; 2],
) -> Result<[usize; 2]> {
    let rule = "columns of the left must be rows of the right";
    check(a[1] == b[0], operation, a, b, rule)?;
    Ok([a[0], b[1]])
}

fn check(
    fits: bool,
    operation: &'static str,
    left: [usize; 2],
    right: [usize; 2],
    rule: &'static str,
) -> Result<()> {
    if fits {
        return Ok(());
    }
    let (left, right) = (Shape::from(left), Shape::from(right));
    Err(Error::ShapeMismatch { operation, left, right, rule })
}
