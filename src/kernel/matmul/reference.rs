//! The matrix product by its definition: the oracle of the tests.

use super::gemm::Gemm;
use super::kernel::Float;
use super::views::{MatMut, MatRef};
use crate::error::Result;
use crate::kernel::FloatMode;

/// `C = alpha * A * B + beta * C`, one element after the other, each summed in the order of k.
///
/// It is the oracle of the tests, and takes hundreds of times longer than [`gemm`](super::gemm).
///
/// # Errors
///
/// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch) if the shapes do not fit.
///
/// # Examples
///
/// ```
/// use brigade::kernel::matmul::{MatMut, MatRef, naive};
/// let row = [1.0, 2.0, 3.0];
/// let mut c = [10.0];
/// let a = MatRef::row_major(&row, 1, 3)?;
/// naive(1.0, a, a.transposed(), 1.0, MatMut::row_major(&mut c, 1, 1)?)?;
/// assert_eq!(c, [24.0]);
/// # Ok::<(), brigade::Error>(())
/// ```
pub fn naive<T: Float>(
    alpha: T,
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    beta: T,
    mut c: MatMut<'_, T>,
) -> Result<()> {
    Gemm::<T>::new(a.as_strided(), b.as_strided(), c.as_strided())
        .check_shapes("matrix product")?;
    let _mode = FloatMode::standard();
    let [m, n] = c.shape();
    for i in 0..m {
        for j in 0..n {
            let mut sum = T::ZERO;
            for p in 0..a.shape()[1] {
                if let (Some(x), Some(y)) = (a.get(i, p), b.get(p, j)) {
                    sum = sum + x * y;
                }
            }
            if let Some(element) = c.get_mut(i, j) {
                let product = alpha * sum;
                *element = if beta == T::ZERO { product } else { product + beta * *element };
            }
        }
    }
    Ok(())
}
