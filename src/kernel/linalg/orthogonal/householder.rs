//! Reflectors of Householder, and arithmetic on columns.
//!
//! A reflector is `H = I - tau v v^T` with `v[0] = 1`. It maps one vector to a multiple of the
//! first unit vector (Golub and Van Loan, "Matrix Computations", 4th edition, section 5.1).

use crate::kernel::matmul::Float;
use crate::kernel::vectorized::vectorized;

/// Partial sums of a dot product.
const LANES: usize = 16;

vectorized! {
    /// The dot product of two columns of the same length.
    pub(super) fn dot<T: Float>(x: &[T], y: &[T]) -> T {
        let (x_chunks, x_rest) = x.as_chunks::<LANES>();
        let (y_chunks, y_rest) = y.as_chunks::<LANES>();
        let mut sums = [T::ZERO; LANES];
        for (x, y) in x_chunks.iter().zip(y_chunks) {
            for lane in 0..LANES {
                sums[lane] = sums[lane] + x[lane] * y[lane];
            }
        }
        for (lane, (&x, &y)) in x_rest.iter().zip(y_rest).enumerate() {
            sums[lane] = sums[lane] + x * y;
        }
        let mut half = LANES / 2;
        while half > 0 {
            for lane in 0..half {
                sums[lane] = sums[lane] + sums[lane + half];
            }
            half /= 2;
        }
        sums[0]
    }
}

vectorized! {
    /// `y = y + factor x`
    pub(super) fn add_multiple<T: Float>(y: &mut [T], factor: T, x: &[T]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = *y + factor * x;
        }
    }
}

vectorized! {
    /// `x = factor x`
    pub(super) fn scale<T: Float>(x: &mut [T], factor: T) {
        for x in x {
            *x = *x * factor;
        }
    }
}

/// The largest magnitude, zero of none.
pub(super) fn largest<T: Float>(x: &[T]) -> T {
    x.iter().fold(T::ZERO, |most, x| if x.abs() > most { x.abs() } else { most })
}

/// The Euclidean length, without overflow or underflow of the squares.
pub(super) fn norm<T: Float>(x: &[T]) -> T {
    let squares = dot(x, x);
    // Squares below this may have lost bits to underflow.
    let least = T::MIN_POSITIVE / (T::EPSILON * T::EPSILON);
    let infinite = T::ONE / T::ZERO;
    if squares >= least && squares < infinite {
        return squares.sqrt();
    }
    let most = largest(x);
    if most == T::ZERO {
        return T::ZERO;
    }
    let sum = x.iter().fold(T::ZERO, |sum, &x| sum + (x / most) * (x / most));
    most * sum.sqrt()
}

/// Makes the reflector that maps `x` to `(beta, 0, 0, ...)`: replaces `x` by v and returns beta and
/// tau. Beta has the sign opposite to `x[0]`, so that nothing cancels; tau is 0 if only `x[0]` is
/// not zero.
///
/// # Panics
///
/// If `x` is empty.
pub(super) fn reflector<T: Float>(x: &mut [T]) -> (T, T) {
    if x[1..].iter().all(|&x| x == T::ZERO) {
        return (std::mem::replace(&mut x[0], T::ONE), T::ZERO);
    }
    let mut length = norm(x);
    // Elements near the least normal number have few bits; v and tau are exact for a multiple of x
    // (LAPACK, `larfg`).
    let least = T::MIN_POSITIVE / T::EPSILON;
    let unit = if length < least { least } else { T::ONE };
    if length < least {
        scale(x, T::ONE / least);
        length = norm(x);
    }
    let alpha = std::mem::replace(&mut x[0], T::ONE);
    let beta = if alpha > T::ZERO { -length } else { length };
    scale(&mut x[1..], T::ONE / (alpha - beta));
    (beta * unit, (beta - alpha) / beta)
}
