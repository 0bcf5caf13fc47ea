//! Freivalds' test: is C the product of A and B?
//!
//! For a random vector x of signs, C x and A (B x) agree if C = A B, and almost never otherwise.
//! Computing both takes a few passes over the matrices instead of a product.
//!
//! # Tolerance
//!
//! Let u be half an ulp of 1 in the elements' type, and g(n, u) = n u / (1 - n u), which bounds the
//! relative error of n roundings. However the terms of an element of C are grouped, with or without
//! fused operations, |C - A B|_ij <= g(k, u) (|A| |B|)_ij <= g(k, u) |a_i| |b_j|, with Euclidean
//! norms of row i of A and column j of B (Cauchy and Schwarz). The signs of x are independent of
//! these errors, so by Hoeffding their sum over a group of columns exceeds
//! t g(k, u) |a_i| |B|, with the Frobenius norm of those columns, with probability 2 exp(-t^2 / 2).
//! The test's own roundings, in `f64`, are bounded by 2 g(k + w, u64) sqrt(w) |a_i| |B|, with w
//! columns in the group. The sum of both is the tolerance of row i.
//!
//! Columns are taken in `GROUPS` groups, because the tolerance grows with the root of a group's
//! width, and a single wrong element is all the harder to see.

use super::random::Random;

/// Groups of columns, each with its own random vectors.
const GROUPS: usize = 16;
/// Vectors for each group.
const ROUNDS: u64 = 2;
/// The probability that the test rejects a correct product.
const FALSE_ALARM: f64 = 1e-12;

/// The number of random vectors that one test uses.
pub(crate) const VECTORS: u64 = GROUPS as u64 * ROUNDS;

/// The result of the test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Verdict {
    /// C is the product, within rounding.
    Holds,
    /// C is wrong in this row: C x and A (B x) differ by more than rounding explains.
    Fails { row: usize, difference: f64, tolerance: f64 },
    /// An element is infinite or NaN, so nothing can be concluded.
    NotFinite,
}

/// Tests whether `c` (m by n) is `a` (m by k) times `b` (k by n), all in row-major order, for
/// elements with half an ulp of `unit` at 1.
pub(crate) fn test<T: Copy + Into<f64>>(
    [m, k, n]: [usize; 3],
    a: &[T],
    b: &[T],
    c: &[T],
    unit: f64,
) -> Verdict {
    assert_eq!((a.len(), b.len(), c.len()), (m * k, k * n, m * n), "the sizes of the matrices");
    let width = n.div_ceil(GROUPS).max(1);
    let norms = group_norms(b, n, width);
    let events = 2.0 * (m.max(1) * GROUPS) as f64 * ROUNDS as f64;
    let t = (2.0 * (events / FALSE_ALARM).ln()).sqrt();
    let own = 2.0 * bound(k + width, f64::EPSILON / 2.0) * (width as f64).sqrt();
    let factor = t * bound(k, unit) + own;
    // Products that underflow lose up to this much, whatever the norms.
    let floor = (k * width) as f64 * f64::from(f32::MIN_POSITIVE).min(unit * unit);
    for round in 0..ROUNDS {
        let mut random = Random::new(round);
        let signs: Vec<f64> = (0..n).map(|_| random.sign()).collect();
        let bx = times_signs(b, n, width, &signs);
        for i in 0..m {
            let row = &a[i * k..][..k];
            let abx = row_times(row, &bx);
            let cx = grouped(&c[i * n..][..n], width, &signs);
            let norm = row.iter().map(|&a| a.into() * a.into()).sum::<f64>().sqrt();
            for group in 0..GROUPS {
                let tolerance = factor * norm * norms[group] + floor;
                let difference = (cx[group] - abx[group]).abs();
                if !tolerance.is_finite() || !abx[group].is_finite() {
                    return Verdict::NotFinite;
                }
                // Also true for NaN.
                if !matches!(difference.partial_cmp(&tolerance), Some(order) if order.is_le()) {
                    return Verdict::Fails { row: i, difference, tolerance };
                }
            }
        }
    }
    Verdict::Holds
}

/// g(n, u).
fn bound(n: usize, unit: f64) -> f64 {
    let nu = n as f64 * unit;
    if nu < 1.0 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// The sums of `row` times signs, for each group of `width` columns.
fn grouped<T: Copy + Into<f64>>(row: &[T], width: usize, signs: &[f64]) -> [f64; GROUPS] {
    let mut sums = [0.0; GROUPS];
    for ((row, signs), sum) in row.chunks(width).zip(signs.chunks(width)).zip(&mut sums) {
        *sum = row.iter().zip(signs).map(|(&element, sign)| element.into() * sign).sum();
    }
    sums
}

/// B x for each group.
fn times_signs<T: Copy + Into<f64>>(
    b: &[T],
    n: usize,
    width: usize,
    signs: &[f64],
) -> Vec<[f64; GROUPS]> {
    b.chunks(n.max(1)).map(|row| grouped(row, width, signs)).collect()
}

/// A row of A times B x, for each group.
fn row_times<T: Copy + Into<f64>>(row: &[T], bx: &[[f64; GROUPS]]) -> [f64; GROUPS] {
    let mut sums = [0.0; GROUPS];
    for (&element, bx) in row.iter().zip(bx) {
        let element = element.into();
        for (sum, bx) in sums.iter_mut().zip(bx) {
            *sum += element * bx;
        }
    }
    sums
}

/// The Frobenius norm of each group of columns.
fn group_norms<T: Copy + Into<f64>>(b: &[T], n: usize, width: usize) -> [f64; GROUPS] {
    let mut squares = [0.0; GROUPS];
    for row in b.chunks(n.max(1)) {
        for (row, sum) in row.chunks(width).zip(&mut squares) {
            *sum += row.iter().map(|&b| b.into() * b.into()).sum::<f64>();
        }
    }
    squares.map(f64::sqrt)
}
