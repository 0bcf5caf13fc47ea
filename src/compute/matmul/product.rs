//! What can be asked of one product.

use crate::array::SharedArray;
use crate::compute::matmul::dispatch::{Call, Work};
use crate::compute::matmul::matrix::{Matrix, MatrixMut, Scalar};
use crate::error::Result;
use crate::kernel::matmul::{Gemm, Kernel};
use crate::pool::Pool;

/// `C = alpha * A * B + beta * C`, before it is run; see [`Pool::product`].
#[must_use = "a product is computed by `run` or `run_into`"]
pub struct Product<'p, T> {
    pool: &'p Pool,
    /// Without C, which `run` makes and `run_into` is given.
    gemm: Gemm<T, Matrix<'p, T>, ()>,
    retries: u32,
}

impl<'p, T: Scalar> Product<'p, T> {
    pub(super) fn new(pool: &'p Pool, a: Matrix<'p, T>, b: Matrix<'p, T>) -> Product<'p, T> {
        Product { pool, gemm: Gemm::new(a, b, ()), retries: pool.rules().retries }
    }

    /// The factor of `A * B`. Default: 1.
    pub fn alpha(mut self, alpha: T) -> Self {
        self.gemm.alpha = alpha;
        self
    }

    /// The factor of C as it was; 0 overwrites it without reading. Default: 0.
    pub fn beta(mut self, beta: T) -> Self {
        self.gemm.beta = beta;
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
        self.gemm.kernel = kernel;
        self
    }

    /// Computes the product again, up to `retries` times, if a worker dies meanwhile. Default:
    /// the pool's. Has no effect with `beta` other than 0, because C is half changed then.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The product as a new array. `beta` has no effect: there was nothing before.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    pub fn run(mut self) -> Result<SharedArray<T>> {
        self.gemm = self.gemm.try_map(|operand| operand.single("matmul"), Ok)?;
        self.gemm.beta = T::ZERO;
        let mut c = SharedArray::for_overwrite([self.gemm.a.place.rows, self.gemm.b.place.cols])?;
        self.run_into(&mut c)?;
        Ok(c)
    }

    /// The product into an array, or a part of one, that exists.
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
        let gemm = self.gemm.try_map(|operand| operand.single("matmul"), |()| Ok(c))?;
        let (work, name) = (Work::Product, "brigade::Pool::matmul");
        Call { pool: self.pool, name, work, gemm, retries: self.retries }.run()
    }
}

impl<T> std::fmt::Debug for Product<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product")
            .field("a", &self.gemm.a.shape())
            .field("b", &self.gemm.b.shape())
            .finish_non_exhaustive()
    }
}
