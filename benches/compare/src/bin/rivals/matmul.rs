//! Matrix products of Rust crates.

use brigade_compare::data::{Real, check_product, fill};
use brigade_compare::protocol::{Arguments, Repetition};
use brigade_compare::stopwatch::seconds_a_call;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

/// Signature of `sgemm` and `dgemm` in matrixmultiply.
#[rustfmt::skip]
type Gemm<T> = unsafe fn(
    usize, usize, usize, T, *const T, isize, isize, *const T, isize, isize, T, *mut T, isize, isize,
);

/// A type that every rival multiplies.
pub(crate) trait Scalar: Real + faer::traits::ComplexField {
    const BLAS_LETTER: char;
    const ONE: Self;
    const ZERO: Self;
    const MATRIXMULTIPLY: Gemm<Self>;
}

impl Scalar for f32 {
    const BLAS_LETTER: char = 's';
    const ONE: f32 = 1.0;
    const ZERO: f32 = 0.0;
    const MATRIXMULTIPLY: Gemm<f32> = ::matrixmultiply::sgemm;
}

impl Scalar for f64 {
    const BLAS_LETTER: char = 'd';
    const ONE: f64 = 1.0;
    const ZERO: f64 = 0.0;
    const MATRIXMULTIPLY: Gemm<f64> = ::matrixmultiply::dgemm;
}

/// The factors of a product.
pub(crate) struct Factors<T> {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) a: Vec<T>,
    pub(crate) b: Vec<T>,
}

/// Measures `multiply`, whose first product is checked.
pub(crate) fn products<T: Scalar>(
    arguments: &Arguments,
    mut multiply: impl FnMut(&Factors<T>, &mut [T]) + 'static,
) -> Repetition {
    let [m, k, n] = ["m", "k", "n"].map(|side| arguments.number::<usize>(side));
    let mut factors = Factors { m, k, n, a: vec![T::ZERO; m * k], b: vec![T::ZERO; k * n] };
    fill(&mut factors.a, 1);
    fill(&mut factors.b, 2);
    let mut c = vec![T::ZERO; m * n];
    multiply(&factors, &mut c);
    check_product(&factors.a, &factors.b, &c, [m, k, n]);
    let budget = arguments.budget();
    Box::new(move || {
        let seconds = seconds_a_call(budget, || multiply(&factors, &mut c));
        vec![("gflops", 2e-9 * (m * k * n) as f64 / seconds)]
    })
}

/// The one of two set-ups that fits the argument `dtype`.
pub(crate) fn by_dtype(
    arguments: &Arguments,
    single: fn(&Arguments) -> Repetition,
    double: fn(&Arguments) -> Repetition,
) -> Repetition {
    match arguments.text("dtype") {
        "f32" => single(arguments),
        "f64" => double(arguments),
        other => panic!("dtype={other} is neither f32 nor f64"),
    }
}

/// How fast does faer multiply?
pub(crate) fn faer(arguments: &Arguments) -> Repetition {
    by_dtype(arguments, faer_typed::<f32>, faer_typed::<f64>)
}

fn faer_typed<T: Scalar>(arguments: &Arguments) -> Repetition {
    let parallelism = match arguments.number("workers") {
        1 => Par::Seq,
        threads => Par::rayon(threads),
    };
    products::<T>(arguments, move |factors, c| {
        let a = MatRef::from_row_major_slice(&factors.a, factors.m, factors.k);
        let b = MatRef::from_row_major_slice(&factors.b, factors.k, factors.n);
        let c = MatMut::from_row_major_slice_mut(c, factors.m, factors.n);
        matmul(c, Accum::Replace, a, b, T::ONE, parallelism);
    })
}

/// How fast does gemm multiply?
pub(crate) fn gemm(arguments: &Arguments) -> Repetition {
    by_dtype(arguments, gemm_typed::<f32>, gemm_typed::<f64>)
}

#[rustfmt::skip]
fn gemm_typed<T: Scalar>(arguments: &Arguments) -> Repetition {
    let parallelism = match arguments.number("workers") {
        1 => ::gemm::Parallelism::None,
        threads => ::gemm::Parallelism::Rayon(threads),
    };
    products::<T>(arguments, move |factors, c| {
        let Factors { m, k, n, a, b } = factors;
        let ([m, n, k], [wide, deep]) = ([*m, *n, *k], [*n as isize, *k as isize]);
        // SAFETY: the slices hold m*n, m*k and k*n elements, allocated so in `products`, and the
        // strides are those of row-major matrices of these shapes.
        unsafe {
            ::gemm::gemm(
                m, n, k, c.as_mut_ptr(), 1, wide, false, a.as_ptr(), 1, deep, b.as_ptr(), 1, wide,
                T::ZERO, T::ONE, false, false, false, parallelism,
            );
        }
    })
}

/// How fast does matrixmultiply multiply? The environment sets its threads.
pub(crate) fn matrixmultiply(arguments: &Arguments) -> Repetition {
    by_dtype(arguments, matrixmultiply_typed::<f32>, matrixmultiply_typed::<f64>)
}

#[rustfmt::skip]
fn matrixmultiply_typed<T: Scalar>(arguments: &Arguments) -> Repetition {
    products::<T>(arguments, |factors, c| {
        let Factors { m, k, n, a, b } = factors;
        let ([m, n, k], [wide, deep]) = ([*m, *n, *k], [*n as isize, *k as isize]);
        // SAFETY: as for gemm above.
        unsafe {
            T::MATRIXMULTIPLY(
                m, k, n, T::ONE, a.as_ptr(), deep, 1, b.as_ptr(), wide, 1,
                T::ZERO, c.as_mut_ptr(), wide, 1,
            );
        }
    })
}
