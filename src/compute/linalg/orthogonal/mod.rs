//! QR, eigenvalues and singular values by the workers of a pool.
//!
//! The methods of [`Pool`] are here, their results in `qr` and `spectra`. `linalg/job.rs` carries a
//! step to a team, or computes it in the caller if that is faster than waking workers.

mod qr;
mod scaling;
mod spectra;

use crate::array::SharedArray;
use crate::compute::matmul::{Matrix, Scalar};
use crate::error::Result;
use crate::pool::Pool;

pub use qr::Qr;
pub use spectra::{Eigh, Svd};

impl Pool {
    /// `A = Q R`: Q has orthonormal columns, R is zero below its diagonal.
    ///
    /// Householder reflectors, applied in blocks (Schreiber and Van Loan, SIAM J. Sci. Stat.
    /// Comput. 10, 1989); panels by recursion (Elmroth and Gustavson, IBM J. Res. Dev. 44, 2000).
    /// Elements on R's diagonal may be negative. The errors `|A - Q R|` and `|I - Q^T Q|` are of
    /// the order of m times the rounding unit, relative to the norms. The bits are the same for
    /// any number of workers.
    ///
    /// # Shapes
    ///
    /// A is m x n, with k = min(m, n): Q is m x k, R is k x n. Any of them may be 0. The result
    /// keeps m (n + k) elements until it is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if A does not have two dimensions,
    /// [`Error::NotFinite`](crate::Error::NotFinite) if it has NaN or an infinity,
    /// [`Error::NoSpace`](crate::Error::NoSpace) if there is not enough memory,
    /// [`Error::Task`](crate::Error::Task) if a worker dies.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 1], |[i, _]| [3.0, 4.0][i])?;
    /// let qr = pool.qr(&a)?;
    /// assert_eq!(qr.r()?.as_slice(), [-5.0]);
    /// let q = qr.q(&pool)?;
    /// assert!((q[[0, 0]] + 0.6f64).abs() < 1e-15 && (q[[1, 0]] + 0.8f64).abs() < 1e-15);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn qr<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<Qr<T>> {
        qr::factor(self, "qr", a.into())
    }

    /// The X for which each column of `A X - B` is shortest, by [`qr`](Pool::qr).
    ///
    /// A must have full rank. It is refused if a column, or R with columns scaled to length 1, is
    /// singular up to `4 n + sqrt(m)` times the rounding unit; the latter is found by an estimate
    /// of the condition number. The error names a column that depends on others: leave it out, or
    /// use [`Svd::solve`]. Rounding can hide a dependence of long columns, most in `f32`: use
    /// [`Svd::rank`] to decide the rank.
    ///
    /// # Shapes
    ///
    /// A is m x n with m >= n. B has m elements in one dimension, or is m x k; X has n elements, or
    /// is n x k.
    ///
    /// # Errors
    ///
    /// As [`Pool::qr`] for A and B, [`Error::NotFinite`](crate::Error::NotFinite) also if X
    /// overflows, [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if B does not
    /// have m rows, [`Error::InvalidArgument`](crate::Error::InvalidArgument) if m < n,
    /// [`Error::RankDeficient`](crate::Error::RankDeficient) if A does not have full rank.
    ///
    /// # Examples
    ///
    /// A line through three points:
    ///
    /// ```
    /// use brigade::{Error, Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([3, 2], |[i, j]| if j == 0 { 1.0 } else { i as f64 })?;
    /// let b = SharedArray::from_slice(&[1.0, 3.0, 5.0])?;
    /// let line = pool.lstsq(&a, &b)?;
    /// assert!((line[[0]] - 1.0f64).abs() < 1e-14 && (line[[1]] - 2.0f64).abs() < 1e-14);
    /// let twice = SharedArray::from_fn([3, 2], |[i, _]| i as f64)?;
    /// assert!(matches!(pool.lstsq(&twice, &b), Err(Error::RankDeficient { column: 1, .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lstsq<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
        b: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        let (a, b) = (a.into().single("lstsq")?, b.into());
        qr::check_right("lstsq", a.place.shape(), &b)?;
        qr::factor(self, "lstsq", a)?.solve_as(self, "lstsq", b)
    }

    /// Eigenvalues and eigenvectors of a symmetric matrix: `A V = V D`.
    ///
    /// Only the diagonal of A and the elements below it are read. Reduction to tridiagonal form
    /// (Dongarra, Sorensen and Hammarling, J. Comput. Appl. Math. 27, 1989), then divide and
    /// conquer (Gu and Eisenstat, SIAM J. Matrix Anal. Appl. 16, 1995). The errors `|A V - V D|`
    /// and `|I - V^T V|` are of the order of n times the rounding unit, relative to the norms,
    /// also if eigenvalues are repeated. The bits are the same for any number of workers.
    ///
    /// # Shapes
    ///
    /// A is n x n, there are n values, and the vectors are the columns of an n x n array. The call
    /// needs memory for about 2 n^2 further elements, and for 2 n^2 of `f64`.
    ///
    /// # Errors
    ///
    /// As [`Pool::qr`], also if a value overflows, and
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if A is not square.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([2, 2], |[i, j]| if i == j { 2.0 } else { 1.0 })?;
    /// let eigh = pool.eigh(&a)?;
    /// let [small, large] = [eigh.values()[[0]], eigh.values()[[1]]];
    /// assert!((small - 1.0f64).abs() < 1e-15 && (large - 3.0f64).abs() < 1e-15);
    /// // The second vector is (1, 1) / sqrt(2), or its opposite.
    /// assert!((eigh.vectors()[[0, 1]] - eigh.vectors()[[1, 1]]).abs() < 1e-15);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn eigh<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<Eigh<T>> {
        spectra::eigh(self, a.into())
    }

    /// The eigenvalues of a symmetric matrix, ascending; see [`eigh`](Pool::eigh).
    ///
    /// It needs as much memory as `eigh` without its result, and saves only the last product: the
    /// vectors of the tridiagonal matrix are computed.
    ///
    /// # Errors
    ///
    /// As [`Pool::eigh`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let diagonal = |[i, j]: [usize; 2]| if i == j { 3.0 - i as f64 } else { 0.0 };
    /// let a = brigade::SharedArray::from_fn([3, 3], diagonal)?;
    /// assert_eq!(pool.eigvalsh(&a)?.as_slice(), [1.0, 2.0, 3.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn eigvalsh<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        Ok(spectra::eigenvalues(self, "eigvalsh", a.into(), false)?.0)
    }

    /// The singular value decomposition: `A = U S V^T`.
    ///
    /// A matrix that is not square is factored by [`qr`](Pool::qr) first (Chan, ACM Trans. Math.
    /// Softw. 8, 1982). Then reduction to bidiagonal form, and divide and conquer (Gu and
    /// Eisenstat, "A Divide-and-Conquer Algorithm for the Bidiagonal SVD", SIAM J. Matrix Anal.
    /// Appl. 16, 1995). The errors `|A - U S V^T|`, `|I - U^T U|` and `|I - V^T V|` are of the
    /// order of max(m, n) times the rounding unit, relative to the norms. So a singular value that
    /// is much smaller than the largest one has few correct digits. The bits are the same for any
    /// number of workers.
    ///
    /// # Shapes
    ///
    /// A is m x n, with k = min(m, n): U is m x k, V is n x k, and there are k values. The call
    /// needs memory for about 3 k^2 further elements, and for 4 k^2 of `f64`; if m is not n, also
    /// for two matrices of the size of A.
    ///
    /// # Errors
    ///
    /// As [`Pool::qr`], also if a value overflows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([3, 2], |[i, j]| if i == j { (i + 1) as f64 } else { 0.0 })?;
    /// let svd = pool.svd(&a)?;
    /// assert_eq!(svd.values().as_slice(), [2.0, 1.0]);
    /// assert_eq!((svd.u()[[1, 0]] * svd.v()[[1, 0]], svd.u()[[2, 0]]), (1.0, 0.0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn svd<'p, T: Scalar>(&'p self, a: impl Into<Matrix<'p, T>>) -> Result<Svd<T>> {
        spectra::svd(self, a.into())
    }

    /// The singular values, descending; see [`svd`](Pool::svd).
    ///
    /// It needs as much memory as `svd` without its result, and saves only the last products: the
    /// vectors of the bidiagonal matrix are computed.
    ///
    /// # Errors
    ///
    /// As [`Pool::svd`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let pool = brigade::Pool::builder().workers(1).build()?;
    /// let a = brigade::SharedArray::from_fn([2, 2], |[i, j]| if i == j { -3.0 } else { 0.0 })?;
    /// assert_eq!(pool.singular_values(&a)?.as_slice(), [3.0, 3.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn singular_values<'p, T: Scalar>(
        &'p self,
        a: impl Into<Matrix<'p, T>>,
    ) -> Result<SharedArray<T>> {
        Ok(spectra::singular_values(self, "singular_values", a.into(), false)?.0)
    }
}
