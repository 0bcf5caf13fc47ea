//! Matrix products by the workers of a pool.
//!
//! The methods of [`Pool`] are here. `matrix` makes matrices of arrays, and `product` is the
//! builder of one product. `dispatch` checks the shapes and chooses between the caller, if that is
//! faster than waking workers, and a team.

mod dispatch;
mod matrix;
mod product;

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::kernel::matmul;
use crate::pool::Pool;
use dispatch::{MatmulCall, Work};

pub(super) use matrix::SharedMatrix;
pub use matrix::{Matrix, MatrixBase, MatrixMut, Scalar};
pub use product::Product;

/// All workers share a product of a batch if one worker would take longer than this for it, in
/// nanoseconds. Otherwise one worker computes it.
const SHARED_OF_BATCH_NS: f64 = 1e6;

impl Pool {
    /// `C = A * B`, computed by the workers together on the arrays themselves.
    ///
    /// The caller computes a product that is too small to be worth a round trip. No operand is
    /// copied, whatever its layout.
    ///
    /// With u = `EPSILON` of the type, `|error of C| <= u * (k + 4) * |A| * |B|`, elementwise.
    /// Infinities and NaN follow IEEE 754. If k = 0, C is zero. The bits are the same for any
    /// number of workers, for the caller alone, and on every processor with fused multiply-add;
    /// portable code on x86-64 rounds each product, so its bits differ.
    ///
    /// # Shapes
    ///
    /// A is m x k, B is k x n, the result is m x n; any of them may be 0.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] or [`Error::InvalidArgument`] if the shapes do not fit,
    /// [`Error::NoSpace`] if there is not enough memory for the result, [`Error::Task`] if a worker
    /// dies.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 3], |[i, j]| (i + j) as f64)?;
    /// let b = SharedArray::from_fn([3, 2], |[i, j]| (i * j) as f64)?;
    /// assert_eq!(pool.matmul(&a, &b)?.as_slice(), [0.0, 5.0, 0.0, 8.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn matmul<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        self.product(a, b).run()
    }

    /// A product with factors, into an existing array, or with retries after a death.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| (i + j) as f32)?;
    /// let mut c = SharedArray::from_fn([2, 2], |_| 1.0f32)?;
    /// pool.product(&a, &a).alpha(2.0).beta(-1.0).run_into(&mut c)?;
    /// assert_eq!(c.as_slice(), [1.0, 3.0, 3.0, 9.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn product<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Product<'p, T> {
        Product::new(self, a.into(), b.into())
    }

    /// `y = A * x`, which the memory bandwidth limits.
    ///
    /// The bits are the same for any number of workers. They may differ, within the error bound,
    /// from those of [`matmul`](Pool::matmul), and between A and the same matrix stored transposed.
    ///
    /// # Shapes
    ///
    /// A is m x k. x has k elements, in one dimension or as a single column. The result has m
    /// elements, in one dimension.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 3], |[i, j]| (i + j) as f64)?;
    /// let x = SharedArray::from_slice(&[1.0, 10.0, 100.0])?;
    /// assert_eq!(pool.matvec(&a, &x)?.as_slice(), [210.0, 321.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn matvec<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        x: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (a, x) = (a.into().single("matvec")?, x.into().column("matvec")?);
        let shape = [a.place.rows];
        MatmulCall::new(self, "brigade::Pool::matvec", a, x).run(Work::Product, shape)
    }

    /// `C = A * A^T`, exactly symmetric, for half the work of [`matmul`](Pool::matmul).
    ///
    /// `Matrix::from(&a).transposed()` gives `A^T * A`. The bits are those of `matmul`. Like `syrk`
    /// of BLAS it computes one triangle, strip by strip; the other is a copy.
    ///
    /// # Shapes
    ///
    /// A is m x k, the result is m x m.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 3], |[i, j]| (3 * i + j) as f32)?;
    /// assert_eq!(pool.gram(&a)?.as_slice(), [5.0, 14.0, 14.0, 50.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn gram<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<SharedArray<T>> {
        let a = a.into().single("gram")?;
        let shape = [a.place.rows, a.place.rows];
        MatmulCall::new(self, "brigade::Pool::gram", a.clone(), a.transposed())
            .run(Work::Gram, shape)
    }

    /// `C[i] = A[i] * B[i]` for whole stacks of matrices.
    ///
    /// A worker computes each small product alone, and all workers together a large one. The bits
    /// are those of [`matmul`](Pool::matmul).
    ///
    /// # Shapes
    ///
    /// A is count x m x k, B is count x k x n, the result is count x m x n. An operand of two
    /// dimensions is used for all products.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([3, 1, 2], |[i, _, j]| (2 * i + j) as f64)?;
    /// let squares = pool.matmul_batch(&a, Matrix::from(&a).transposed())?;
    /// assert_eq!(squares.shape().dims(), [3, 1, 1]);
    /// assert_eq!(squares.as_slice(), [1.0, 13.0, 41.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn matmul_batch<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (a, b) = (a.into(), b.into());
        let (a_count, a_step) = a.stack("matmul_batch")?;
        let (b_count, b_step) = b.stack("matmul_batch")?;
        if a_count.zip(b_count).is_some_and(|(left, right)| left != right) {
            let (left, right) = (a.shape(), b.shape());
            let rule = "both must have as many matrices";
            return Err(Error::ShapeMismatch { operation: "matmul_batch", left, right, rule });
        }
        let Some(count) = a_count.or(b_count) else {
            return self.matmul(a, b);
        };
        let (m, n, k) = (a.place.rows, b.place.cols, a.place.cols);
        let c_step = m.wrapping_mul(n).cast_signed();
        let call = MatmulCall::new(self, "brigade::Pool::matmul_batch", a, b);
        if matmul::alone_ns::<T>(m, n, k) < SHARED_OF_BATCH_NS {
            return call.run(Work::Batch(count, [a_step, b_step, c_step]), [count, m, n]);
        }
        let mut c = call.new_result([count, m, n])?;
        for index in 0..count.cast_signed() {
            let steps = [a_step, b_step, c_step].map(|step| index.wrapping_mul(step));
            let mut one = call.clone();
            one.gemm.a.place = one.gemm.a.place.moved(steps[0]);
            one.gemm.b.place = one.gemm.b.place.moved(steps[1]);
            let mut to = MatrixMut::from(&mut c);
            to.place = to.place.moved(steps[2]);
            one.run_into(Work::Product, to)?;
        }
        Ok(c)
    }
}
