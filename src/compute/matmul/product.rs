//! What can be asked of one product.

use crate::array::SharedArray;
use crate::compute::matmul::Scalar;
use crate::compute::matmul::call::{Call, Work};
use crate::compute::matmul::matrix::{Matrix, MatrixMut};
use crate::error::Result;
use crate::kernel::matmul::{Kernel, check_shapes};
use crate::pool::Pool;

/// `C = alpha * A * B + beta * C`, before it is run; see [`Pool::product`].
#[must_use = "a product is computed by `run` or `run_into`"]
pub struct Product<'p, T> {
    pool: &'p Pool,
    a: Matrix<'p, T>,
    b: Matrix<'p, T>,
    alpha: T,
    beta: T,
    kernel: Kernel,
    retries: u32,
}

impl<'p, T: Scalar> Product<'p, T> {
    pub(super) fn new(pool: &'p Pool, a: Matrix<'p, T>, b: Matrix<'p, T>) -> Product<'p, T> {
        let (alpha, beta, kernel) = (T::ONE, T::ZERO, Kernel::best());
        Product { pool, a, b, alpha, beta, kernel, retries: pool.rules().retries }
    }

    /// The factor of `A * B`. Default: 1.
    pub fn alpha(mut self, alpha: T) -> Self {
        self.alpha = alpha;
        self
    }

    /// The factor of C as it was; 0 overwrites it without reading. Default: 0.
    pub fn beta(mut self, beta: T) -> Self {
        self.beta = beta;
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
        self.kernel = kernel;
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
        let a = self.a.frame.matrix("matmul")?.dims();
        let b = self.b.frame.matrix("matmul")?.dims();
        check_shapes("matmul", a, b, [a[0], b[1]])?;
        self.beta = T::ZERO;
        let mut c = SharedArray::for_overwrite([a[0], b[1]])?;
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
        let c = c.into();
        let a = self.a.frame.matrix("matmul")?;
        let b = self.b.frame.matrix("matmul")?;
        let to = c.frame.matrix("matmul")?;
        check_shapes("matmul", a.dims(), b.dims(), to.dims())?;
        let call = Call {
            pool: self.pool,
            name: "brigade::Pool::matmul",
            kernel: self.kernel,
            factors: (self.alpha, self.beta),
            a: (&self.a.lender, a),
            b: (&self.b.lender, b),
            c: (&c.source, c.elements, to),
            work: Work::Product,
            retries: self.retries,
        };
        call.run()
    }
}

impl<T> std::fmt::Debug for Product<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product")
            .field("a", &self.a.frame.shape())
            .field("b", &self.b.frame.shape())
            .finish_non_exhaustive()
    }
}
