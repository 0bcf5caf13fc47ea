//! Matrix products of BLAS libraries, by their C interface.

use std::ffi::c_int;

use brigade_compare::protocol::{Arguments, Repetition};

use crate::library::{function, open};
use crate::matmul::{Scalar, by_dtype, products};

const ROW_MAJOR: c_int = 101;
const NO_TRANSPOSE: c_int = 111;

/// `cblas_?gemm`: order, transpositions, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
#[rustfmt::skip]
type CblasGemm<T> = unsafe extern "C" fn(
    c_int, c_int, c_int, i64, i64, i64, T, *const T, i64, *const T, i64, T, *mut T, i64,
);

/// How fast does Intel's library multiply? The environment sets its threads.
pub(crate) fn mkl(arguments: &Arguments) -> Repetition {
    by_dtype(
        arguments,
        |arguments| cblas::<f32>(arguments, "cblas_?gemm_64"),
        |arguments| cblas::<f64>(arguments, "cblas_?gemm_64"),
    )
}

/// How fast does OpenBLAS multiply? The environment sets its threads.
pub(crate) fn openblas(arguments: &Arguments) -> Repetition {
    by_dtype(
        arguments,
        |arguments| cblas::<f32>(arguments, "scipy_cblas_?gemm64_"),
        |arguments| cblas::<f64>(arguments, "scipy_cblas_?gemm64_"),
    )
}

#[rustfmt::skip]
fn cblas<T: Scalar>(arguments: &Arguments, name: &str) -> Repetition {
    let name = name.replace('?', T::BLAS_LETTER.encode_utf8(&mut [0; 4]));
    // SAFETY: both names are the 64-bit variants of `cblas_?gemm`, whose type this is.
    let gemm: CblasGemm<T> = unsafe { function(open(arguments), &name) };
    products::<T>(arguments, move |factors, c| {
        let [m, n, k] = [factors.m, factors.n, factors.k].map(|side| side as i64);
        let (a, b) = (factors.a.as_ptr(), factors.b.as_ptr());
        // SAFETY: the slices hold m*k, k*n and m*n elements, allocated so in `products`, and the
        // leading dimensions are those of row-major matrices of these shapes.
        unsafe {
            gemm(
                ROW_MAJOR, NO_TRANSPOSE, NO_TRANSPOSE, m, n, k, T::ONE, a, k, b, n,
                T::ZERO, c.as_mut_ptr(), n,
            );
        }
    })
}
