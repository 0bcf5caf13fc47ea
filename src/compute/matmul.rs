//! Matrix product by a team of workers.
#![allow(unsafe_code)]

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::source::Source;
use crate::array::{Element, Frozen, MappedArray, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::matmul::{
    self, Kernel, MatMut, MatRef, SCRATCH_ALIGN_BYTES, Strided, check_shapes, scratch_bytes,
    worth_sharing,
};
use crate::pool::{Job, JobError, Pool, TeamJob, TeamOrders, take_part};
use crate::region::arena::Contents;
use crate::shape::Shape;
use crate::sys::mmap::Access;

/// What matrices are made of: `f32` or `f64`.
pub trait Scalar: matmul::Element + Element + Serialize + DeserializeOwned {}

impl Scalar for f32 {}
impl Scalar for f64 {}

/// A matrix to multiply: an array of two dimensions, as it is or transposed.
///
/// Made by [`from`](From::from) from `&SharedArray`, `&Frozen` and `&MappedArray`, and by
/// [`transposed`](Matrix::transposed). No element is copied.
#[derive(Debug, Clone)]
pub struct Matrix<'a, T> {
    source: std::result::Result<Source, String>,
    elements: &'a [T],
    shape: Shape,
    is_transposed: bool,
}

impl<'a, T> Matrix<'a, T> {
    /// The same matrix with rows and columns exchanged.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Matrix, Pool, SharedArray};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let a = SharedArray::from_fn([3, 2], |[i, j]| (2 * i + j) as f64)?;
    /// let gram = pool.matmul(Matrix::from(&a).transposed(), &a)?;
    /// assert_eq!(gram.as_slice(), [20.0, 26.0, 26.0, 35.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn transposed(mut self) -> Matrix<'a, T> {
        self.is_transposed = !self.is_transposed;
        self
    }

    /// Rows and columns as they are multiplied.
    fn dims(&self, operation: &'static str) -> Result<[usize; 2]> {
        match *self.shape.dims() {
            [rows, cols] if self.is_transposed => Ok([cols, rows]),
            [rows, cols] => Ok([rows, cols]),
            _ => Err(Error::invalid(
                operation,
                format_args!("given an array of shape {}", self.shape),
                "given arrays of two dimensions",
            )),
        }
    }

    fn strides(&self) -> (isize, isize) {
        // An extent of an array that exists fits an isize.
        let cols = self.shape.dims().last().copied().unwrap_or(1).cast_signed();
        if self.is_transposed { (1, cols) } else { (cols, 1) }
    }
}

impl<'a, T: Scalar> Matrix<'a, T> {
    fn view(&self) -> Result<MatRef<'a, T>> {
        let dims = self.shape.dims();
        let view = MatRef::row_major(self.elements, dims[0], dims[1])?;
        Ok(if self.is_transposed { view.transposed() } else { view })
    }

    /// The matrix for a team's members.
    fn lent(&self, dims: [usize; 2]) -> Result<Lent> {
        let source = self
            .source
            .clone()
            .map_err(|value| Error::invalid("an operand", value, "an array of this process"))?;
        let (row_stride, col_stride) = self.strides();
        Ok(Lent { source, dims, row_stride, col_stride })
    }
}

impl<'a, T: Scalar> From<&'a SharedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a SharedArray<T>) -> Matrix<'a, T> {
        let (source, shape) = (Ok(array.source()), array.shape().clone());
        Matrix { source, elements: array.as_slice(), shape, is_transposed: false }
    }
}

impl<'a, T: Scalar> From<&'a Frozen<T>> for Matrix<'a, T> {
    fn from(array: &'a Frozen<T>) -> Matrix<'a, T> {
        let source = array.source().ok_or_else(|| "an array lent to a task".to_owned());
        let shape = array.shape().clone();
        Matrix { source, elements: array.as_slice(), shape, is_transposed: false }
    }
}

impl<'a, T: Scalar> From<&'a MappedArray<T>> for Matrix<'a, T> {
    fn from(array: &'a MappedArray<T>) -> Matrix<'a, T> {
        let (source, shape) = (Ok(array.source()), array.shape().clone());
        Matrix { source, elements: array.as_slice(), shape, is_transposed: false }
    }
}

/// A matrix as a team's members find it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Lent {
    source: Source,
    dims: [usize; 2],
    row_stride: isize,
    col_stride: isize,
}

/// What the members of a team are told of a product.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Orders<T> {
    kernel: String,
    factors: (T, T),
    a: Lent,
    b: Lent,
    c: Lent,
    /// Offset of the scratch memory in the arena, and its size.
    scratch: (u64, usize),
}

/// `C = alpha * A * B + beta * C`, before it is run; see [`Pool::product`].
#[must_use = "a product is computed by `run` or `run_into`"]
pub struct Product<'p, T> {
    pool: &'p Pool,
    a: Matrix<'p, T>,
    b: Matrix<'p, T>,
    alpha: T,
    beta: T,
    retries: u32,
}

impl Pool {
    /// `A * B`, computed by the workers together on the arrays themselves.
    ///
    /// A product that is too small to be worth a round trip is computed by the caller. The bits
    /// are the same for any number of workers.
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
        let (a, b) = (a.into(), b.into());
        let (alpha, beta) = (T::ONE, T::ZERO);
        Product { pool: self, a, b, alpha, beta, retries: self.rules().retries }
    }
}

impl<T: Scalar> Product<'_, T> {
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

    /// Computes the product again, up to `retries` times, if a worker dies meanwhile. Default:
    /// the pool's. Has no effect with `beta` other than 0, because C is half changed then.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The product as a new array.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`].
    pub fn run(mut self) -> Result<SharedArray<T>> {
        let [m, _] = self.a.dims("matmul")?;
        let [k, n] = self.b.dims("matmul")?;
        check_shapes("matmul", self.a.dims("matmul")?, [k, n], [m, n])?;
        self.beta = T::ZERO;
        let mut c = SharedArray::for_overwrite([m, n])?;
        self.run_into(&mut c)?;
        Ok(c)
    }

    /// The product into `c`.
    ///
    /// # Errors
    ///
    /// As [`Pool::matmul`]; if a worker died, the contents of `c` are unspecified.
    pub fn run_into(self, c: &mut SharedArray<T>) -> Result<()> {
        let (a, b) = (self.a.dims("matmul")?, self.b.dims("matmul")?);
        let [m, n] = match *c.shape().dims() {
            [m, n] => [m, n],
            _ => [usize::MAX, 0],
        };
        check_shapes("matmul", a, b, [m, n])?;
        if !self.pool.has_workers() || !worth_sharing::<T>(m, n, a[1]) {
            let c = MatMut::row_major(c.as_mut_slice(), m, n)?;
            return matmul::gemm(self.alpha, self.a.view()?, self.b.view()?, self.beta, c);
        }
        self.run_shared(c, a, b)
    }

    fn run_shared(self, c: &mut SharedArray<T>, a: [usize; 2], b: [usize; 2]) -> Result<()> {
        let (m, n, k) = (a[0], b[1], a[1]);
        let mut rules = self.pool.rules();
        rules.retries = if self.beta == T::ZERO { self.retries } else { 0 };
        let core = self.pool.core();
        let job = TeamJob { core, name: "brigade::Pool::matmul", members_max: usize::MAX, rules };
        let scratch_len = scratch_bytes::<T>(m, n, k, job.members_max());
        // Windows begin at a multiple of 2 MiB, so aligning the offset aligns the address.
        let scratch = core.arena().reserve(scratch_len + SCRATCH_ALIGN_BYTES, Contents::Stale)?;
        let scratch_at = scratch.offset().next_multiple_of(SCRATCH_ALIGN_BYTES as u64);
        let orders = Orders {
            kernel: Kernel::best().to_string(),
            factors: (self.alpha, self.beta),
            a: self.a.lent(a)?,
            b: self.b.lent(b)?,
            c: Lent {
                source: c.source(),
                dims: [m, n],
                row_stride: n.cast_signed(),
                col_stride: 1,
            },
            scratch: (scratch_at, scratch_len),
        };
        job.run(multiply::<T>, |out| crate::pool::encode_onto(out, &orders))
    }
}

/// One member's part, in a worker.
fn multiply<T: Scalar>(job: &mut Job<'_>) -> std::result::Result<(), JobError> {
    let (team, orders) = job.argument::<(TeamOrders, Orders<T>)>()?;
    take_part(job, team, |job, member| {
        let find = |lent: &Lent, access| -> Result<(Strided<T>, _)> {
            let resolved = job.station.resolver.resolve(job.windows, &lent.source, access)?;
            let [rows, cols] = lent.dims;
            let (row_stride, col_stride) = (lent.row_stride, lent.col_stride);
            let data = resolved.as_ptr().cast();
            Ok((Strided { data, rows, cols, row_stride, col_stride }, resolved))
        };
        let refuse = |error: Error| JobError::Argument(error.to_string());
        let (a, _a) = find(&orders.a, Access::ReadOnly).map_err(refuse)?;
        let (b, _b) = find(&orders.b, Access::ReadOnly).map_err(refuse)?;
        let (c, _c) = find(&orders.c, Access::ReadWrite).map_err(refuse)?;
        let kernel = Kernel::named(&orders.kernel)
            .ok_or_else(|| JobError::Argument(format!("no kernel {}", orders.kernel)))?;
        let (offset, len) = orders.scratch;
        let scratch = job.windows.write(offset, len).map_err(refuse)?;
        debug_assert!(scratch.addr().is_multiple_of(SCRATCH_ALIGN_BYTES));
        let (alpha, beta) = orders.factors;
        let product = matmul::Product { kernel, alpha, a, b, beta, c };
        // SAFETY: the host checked the shapes and borrows A, B and C, C alone for writing, until
        // no task of the job is left; the sources are as long as the arrays, whose shapes and
        // strides these are; the scratch memory is a span of this job, as long as
        // `scratch_bytes` says for `members_max`, aligned by `run_shared`; all members are told
        // the same.
        Ok(unsafe { matmul::multiply(&product, scratch, team.members_max, member) })
    })
}

impl<T> std::fmt::Debug for Product<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product")
            .field("a", &self.a.shape)
            .field("b", &self.b.shape)
            .finish_non_exhaustive()
    }
}
