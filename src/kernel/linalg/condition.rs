//! An estimate of the 1-norm of an inverse.
//!
//! Hager: "Condition Estimates", SIAM J. Sci. Stat. Comput. 5 (1984), as refined by Higham:
//! "FORTRAN Codes for Estimating the One-Norm of a Real or Complex Matrix", ACM TOMS 14 (1988),
//! algorithm 4.1, which is LAPACK's `lacn2`.

use crate::kernel::matmul::Float;

/// Steps of the iteration at most. Two or three are usual.
const STEPS: usize = 5;

/// A lower bound of `scale` times the 1-norm of the inverse of an n x n matrix A, rarely less than
/// a third of it. With a scale near the norm of A, no solution overflows or underflows unless A is
/// nearly singular.
///
/// `solve(x, false)` replaces x by the solution y of `A y = x`, and `solve(x, true)` by that of
/// `A^T y = x`.
///
/// Zero for n = 0; infinity if a solution overflows.
pub(crate) fn inverse_norm_1<T: Float>(
    n: usize,
    scale: T,
    mut solve: impl FnMut(&mut [T], bool),
) -> f64 {
    if n == 0 {
        return 0.0;
    }
    let mut solve = |x: &mut [T], is_transposed| {
        for element in x.iter_mut() {
            *element = *element * scale;
        }
        solve(x, is_transposed);
    };
    let mut x = vec![T::from_f64(1.0 / n as f64); n];
    solve(&mut x, false);
    let mut estimate = sum(&x);
    let mut at = None;
    for _ in 0..STEPS {
        // The gradient of the norm, whose largest element is at the best unit vector.
        for element in &mut x {
            *element = if *element < T::ZERO { -T::ONE } else { T::ONE };
        }
        solve(&mut x, true);
        let largest = |best: usize, i: usize| if x[i].abs() > x[best].abs() { i } else { best };
        let best = (0..n).fold(0, largest);
        if at == Some(best) {
            break;
        }
        at = Some(best);
        x.fill(T::ZERO);
        x[best] = T::ONE;
        solve(&mut x, false);
        let next = sum(&x);
        if next <= estimate {
            break;
        }
        estimate = next;
    }
    // A vector that finds a large norm where cancellation has hidden it from the iteration.
    for (i, element) in x.iter_mut().enumerate() {
        let size = 1.0 + i as f64 / (n.max(2) - 1) as f64;
        *element = T::from_f64(if i % 2 == 0 { size } else { -size });
    }
    solve(&mut x, false);
    let other = 2.0 * sum(&x) / (3.0 * n as f64);
    if other > estimate { other } else { estimate }
}

/// The sum of magnitudes; infinity instead of NaN.
fn sum<T: Float>(x: &[T]) -> f64 {
    let sum: f64 = x.iter().map(|x| x.to_f64().abs()).sum();
    if sum.is_nan() { f64::INFINITY } else { sum }
}
