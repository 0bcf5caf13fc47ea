//! The builder of one product.

use crate::array::SharedArray;
use crate::compute::matmul::dispatch::{MatmulCall, Work};
use crate::compute::matmul::matrix::{Matrix, MatrixMut, Scalar};
use crate::error::Result;
use crate::kernel::matmul::Kernel;
use crate::pool::Pool;

/// A product `C = alpha * A * B + beta * C` to compute; see [`Pool::product`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(1).build()?;
/// let a = SharedArray::from_fn([2, 2], |[i, j]| (2 * i + j) as f64)?;
/// let square = pool.product(&a, &a).alpha(0.5).retries(1).run()?;
/// assert_eq!(square.as_slice(), [1.0, 1.5, 3.0, 5.5]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a product is computed by `run` or `run_into`"]
pub struct Product<'p, T> {
    call: MatmulCall<'p, T>,
}

impl<'p, T: Scalar> Product<'p, T> {
    pub(super) fn new(pool: &'p Pool, a: Matrix<'p, T>, b: Matrix<'p, T>) -> Product<'p, T> {
        Product { call: MatmulCall::new(pool, "brigade::Pool::matmul", a, b) }
    }

    /// The factor of `A * B`. Default: 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 1], |_| 3.0)?;
    /// assert_eq!(pool.product(&a, &a).alpha(2.0).run()?.as_slice(), [18.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn alpha(mut self, alpha: T) -> Self {
        self.call.gemm.alpha = alpha;
        self
    }

    /// The factor of the old C; 0 overwrites C without reading it. Default: 0.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 1], |_| 3.0)?;
    /// let mut c = brigade::SharedArray::from_fn([1, 1], |_| 10.0)?;
    /// pool.product(&a, &a).beta(0.5).run_into(&mut c)?;
    /// assert_eq!(c.as_slice(), [14.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn beta(mut self, beta: T) -> Self {
        self.call.gemm.beta = beta;
        self
    }

    /// The micro-kernel. Default: [`Kernel::best`], which the environment variable
    /// `BRIGADE_KERNEL` can choose.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::kernel::matmul::Kernel;
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| (i + j) as f64)?;
    /// for kernel in Kernel::all() {
    ///     assert_eq!(pool.product(&a, &a).kernel(kernel).run()?.as_slice(), [1.0, 2.0, 2.0, 5.0]);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.call.gemm.kernel = kernel;
        self
    }

    /// Computes the product again, up to `retries` times, if a worker dies. Default: the pool's. It
    /// has no effect with `beta` other than 0, because a failed attempt has changed a part of C.
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([1, 1], |_| 3.0)?;
    /// assert_eq!(pool.product(&a, &a).retries(2).run()?.as_slice(), [9.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.call.task_options.retries = retries;
        self
    }

    /// Computes the product as a new array. `beta` has no effect, because there was no C.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 1], |[i, _]| (i + 1) as f64)?;
    /// let b = brigade::SharedArray::from_fn([1, 1], |_| 4.0)?;
    /// assert_eq!(pool.product(&a, &b).run()?.as_slice(), [4.0, 8.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run(self) -> Result<SharedArray<T>> {
        let call = self.single()?;
        let shape = [call.gemm.a.place.rows, call.gemm.b.place.cols];
        call.run(Work::Product, shape)
    }

    /// Computes the product into an existing array, or a part of one.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`]; if a worker died, the contents of `c` are unspecified.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{MatrixMut, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| (2 * i + j) as f64)?;
    /// let mut c = SharedArray::from_fn([2, 4], |_| 1.0)?;
    /// pool.product(&a, &a).run_into(MatrixMut::from(&mut c).columns(2..)?)?;
    /// assert_eq!(c.as_slice(), [1.0, 1.0, 2.0, 3.0, 1.0, 1.0, 6.0, 11.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn run_into<'c>(self, c: impl Into<MatrixMut<'c, T>>) -> Result<()>
    where
        T: 'c,
    {
        let c = c.into().single("matmul")?;
        self.single()?.run_into(Work::Product, c)
    }

    /// The call, if both operands are single matrices.
    fn single(self) -> Result<MatmulCall<'p, T>> {
        let gemm = self.call.gemm.try_map(|operand| operand.single("matmul"), Ok)?;
        Ok(MatmulCall { gemm, ..self.call })
    }
}

impl<T> std::fmt::Debug for Product<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product")
            .field("a", &self.call.gemm.a.shape())
            .field("b", &self.call.gemm.b.shape())
            .finish_non_exhaustive()
    }
}
