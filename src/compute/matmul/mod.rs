//! Matrix products by the workers of a pool.
//!
//! `matrix` and `layout` say what arrays are as matrices, `product` what can be asked of one
//! product, `call` who computes it: the caller, if that is sooner done than waking others, else a
//! team.

mod call;
mod layout;
mod matrix;
mod product;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::{Element, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::matmul::{self, Kernel, check_shapes};
use crate::pool::Pool;
use crate::shape::Shape;
use call::{Call, Work};

pub use matrix::{Matrix, MatrixMut};
pub use product::Product;

/// What matrices are made of: `f32` or `f64`.
pub trait Scalar: matmul::Element + Element + Serialize + DeserializeOwned {}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// A product of a batch that takes one worker longer than this is shared by all of them, in
/// nanoseconds; of shorter ones, each is computed by one worker.
const SHARED_OF_BATCH_NS: f64 = 1e6;

impl Pool {
    /// `C = A * B`, computed by the workers together on the arrays themselves.
    ///
    /// A product that is too small to be worth a round trip is computed by the caller. No operand
    /// is copied, whatever its layout.
    ///
    /// With u = `EPSILON` of the type, `|error of C| <= u * (k + 4) * |A| * |B|`, elementwise.
    /// Infinities and NaN follow IEEE 754; where k = 0, C is zero. The bits are the same for any
    /// number of workers, for the caller alone, and on every processor with fused multiply-add;
    /// portable code on x86-64 rounds each product, so there they differ.
    ///
    /// # Shapes
    ///
    /// A is m x k, B is k x n, the result is m x n; any of them may be 0.
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] or [`Error::InvalidArgument`] if the shapes do not fit,
    /// [`Error::NoSpace`] if there is no memory for the result, [`Error::Task`] if a worker dies
    /// meanwhile.
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

    /// A product with factors, into an array that exists, or to be repeated after a death.
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

    /// `y = A * x`, at the speed of memory.
    ///
    /// The bits are the same for any number of workers; they may differ from those of
    /// [`matmul`](Pool::matmul), and between A and A transposed in memory, within its bound.
    ///
    /// # Shapes
    ///
    /// A is m x k, x has k elements, in one dimension or as a single column; the result has m,
    /// in one dimension.
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
        let (a, x) = (a.into(), x.into());
        let (left, right) = (a.frame.matrix("matvec")?, x.frame.column("matvec")?);
        if left.cols != right.rows {
            return Err(Error::ShapeMismatch {
                operation: "matvec",
                left: a.frame.shape(),
                right: x.frame.shape(),
                rule: "columns of the matrix must be elements of the vector",
            });
        }
        let mut y = SharedArray::for_overwrite([left.rows])?;
        let to = MatrixMut::from(&mut y);
        let call = Call {
            pool: self,
            name: "brigade::Pool::matvec",
            kernel: Kernel::best(),
            factors: (T::ONE, T::ZERO),
            a: (&a.lender, left),
            b: (&x.lender, right),
            c: (&to.source, to.elements, to.frame.column("matvec")?),
            work: Work::Product,
            retries: self.rules().retries,
        };
        call.run()?;
        Ok(y)
    }

    /// `C = A * A^T`, exactly symmetric, for half the work of [`matmul`](Pool::matmul).
    ///
    /// `Matrix::from(&a).transposed()` gives `A^T * A`. The bits are those of `matmul`.
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
        let a = a.into();
        let layout = a.frame.matrix("gram")?;
        let mut c = SharedArray::for_overwrite([layout.rows, layout.rows])?;
        let to = MatrixMut::from(&mut c);
        let call = Call {
            pool: self,
            name: "brigade::Pool::gram",
            kernel: Kernel::best(),
            factors: (T::ONE, T::ZERO),
            a: (&a.lender, layout),
            b: (&a.lender, layout.transposed()),
            c: (&to.source, to.elements, to.frame.matrix("gram")?),
            work: Work::Gram,
            retries: self.rules().retries,
        };
        call.run()?;
        Ok(c)
    }

    /// `C[i] = A[i] * B[i]` for whole stacks of matrices.
    ///
    /// Small products are computed one by each worker, large ones by all workers together. The
    /// bits are those of [`matmul`](Pool::matmul).
    ///
    /// # Shapes
    ///
    /// A is count x m x k, B is count x k x n, the result is count x m x n. Either operand may have
    /// two dimensions: then it is the same for all.
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
        let (a_count, a_step, left) = a.frame.stack("matmul_batch")?;
        let (b_count, b_step, right) = b.frame.stack("matmul_batch")?;
        check_shapes("matmul_batch", left.dims(), right.dims(), [left.rows, right.cols])?;
        if a_count.zip(b_count).is_some_and(|(left, right)| left != right) {
            let (left, right) = (a.frame.shape(), b.frame.shape());
            let rule = "both must have as many matrices";
            return Err(Error::ShapeMismatch { operation: "matmul_batch", left, right, rule });
        }
        let Some(count) = a_count.or(b_count) else {
            return self.matmul(a, b);
        };
        let (m, n) = (left.rows, right.cols);
        let mut c = SharedArray::for_overwrite(Shape::from([count, m, n]))?;
        let to = MatrixMut::from(&mut c);
        let (_, c_step, first) = to.frame.stack("matmul_batch")?;
        let is_shared = matmul::alone_ns::<T>(m, n, left.cols) >= SHARED_OF_BATCH_NS;
        let steps = [a_step, b_step, c_step];
        let calls = if is_shared { count } else { 1 };
        for index in 0..calls {
            let [a_at, b_at, c_at] = steps.map(|step| index.cast_signed().wrapping_mul(step));
            let call = Call {
                pool: self,
                name: "brigade::Pool::matmul_batch",
                kernel: Kernel::best(),
                factors: (T::ONE, T::ZERO),
                a: (&a.lender, left.moved(a_at)),
                b: (&b.lender, right.moved(b_at)),
                c: (&to.source, &mut *to.elements, first.moved(c_at)),
                work: if is_shared { Work::Product } else { Work::Batch(count, steps) },
                retries: self.rules().retries,
            };
            call.run()?;
        }
        Ok(c)
    }
}
