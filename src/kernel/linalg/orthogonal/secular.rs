//! Roots of the secular equation.
//!
//! `1 + rho sum z_i^2 / (d_i - x) = 0`
//!
//! They are the eigenvalues of `D + rho z z^T`, and, with the squares of d for d, the squares of
//! the singular values of a matrix with first row `sqrt(rho) z` and diagonal d. A root is an offset
//! from the nearest pole, so that its distance from every pole has a small relative error.
//!
//! - Bunch, Nielsen and Sorensen, "Rank-One Modification of the Symmetric Eigenproblem", Numer.
//!   Math. 31, 1978: each step interpolates the sums left and right of the root by one pole each.
//! - Gu and Eisenstat, "A Stable and Efficient Algorithm for the Rank-One Modification of the
//!   Symmetric Eigenproblem", SIAM J. Matrix Anal. Appl. 15, 1994: z is computed again from the
//!   roots, which then are exact for it, so that vectors are orthogonal.

use crate::kernel::vectorized::vectorized;

/// Partial sums.
const LANES: usize = 8;
/// Steps of interpolation, and then of bisection, at most. A root takes about five.
const STEPS_MAX: [usize; 2] = [40, 120];

/// A secular equation. Poles increase strictly; the squares of z add up to 1, none is zero.
pub(super) struct Secular {
    pub(super) poles: Vec<f64>,
    pub(super) z: Vec<f64>,
    pub(super) rho: f64,
    /// 1 if the equation has the squares of the poles, else 0.
    pub(super) squared: f64,
}

/// A root: `offset` beyond the pole at index `origin`, or beyond the square of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SecularRoot {
    pub(super) origin: usize,
    pub(super) offset: f64,
}

/// `a - b`, or `a^2 - b^2` if `squared` is 1, with a small relative error.
#[inline(always)]
fn gap(a: f64, b: f64, squared: f64) -> f64 {
    (a - b) * (squared * (a + b) + (1.0 - squared))
}

vectorized! {
    /// The distances of the poles from `origin`.
    fn set_gaps(gaps: &mut [f64], poles: &[f64], origin: f64, squared: f64) {
        for (to, &pole) in gaps.iter_mut().zip(poles) {
            *to = gap(pole, origin, squared);
        }
    }
}

vectorized! {
    /// `sum z_i^2 / (gap_i - x)` and its derivative.
    fn sums(gaps: &[f64], z: &[f64], x: f64) -> [f64; 2] {
        let (gap_chunks, gaps) = gaps.as_chunks::<LANES>();
        let (z_chunks, z) = z.as_chunks::<LANES>();
        let [mut values, mut slopes] = [[0.0; LANES]; 2];
        for (gap, z) in gap_chunks.iter().zip(z_chunks) {
            for lane in 0..LANES {
                let ratio = z[lane] / (gap[lane] - x);
                values[lane] += ratio * z[lane];
                slopes[lane] += ratio * ratio;
            }
        }
        for (lane, (gap, z)) in gaps.iter().zip(z).enumerate() {
            let ratio = z / (gap - x);
            values[lane] += ratio * z;
            slopes[lane] += ratio * ratio;
        }
        let add = |lanes: [f64; LANES]| {
            let [a, b, c, d, e, f, g, h] = lanes;
            ((a + e) + (b + f)) + ((c + g) + (d + h))
        };
        [add(values), add(slopes)]
    }
}

vectorized! {
    /// Multiplies by `(root - pole_i) / (pole - pole_i)` for each i, where the root is `offset`
    /// beyond `origin`.
    fn multiply_ratios(
        products: &mut [f64],
        poles: &[f64],
        origin: f64,
        offset: f64,
        pole: f64,
        squared: f64,
    ) {
        for (product, &own) in products.iter_mut().zip(poles) {
            *product *= (gap(origin, own, squared) + offset) / gap(pole, own, squared);
        }
    }
}

vectorized! {
    /// `z_i / (pole_i - root)` for each i, where the root is `offset` beyond `origin`.
    fn set_ratios(
        to: &mut [f64],
        z: &[f64],
        poles: &[f64],
        origin: f64,
        offset: f64,
        squared: f64,
    ) {
        for ((to, &z), &pole) in to.iter_mut().zip(z).zip(poles) {
            *to = z / (gap(pole, origin, squared) - offset);
        }
    }
}

impl Secular {
    /// Root `j`, between poles j and j + 1, or beyond the last pole. `gaps` is memory.
    ///
    /// Every step keeps a bracket, and halves it if the interpolation leaves it, so that this ends
    /// for any numbers.
    pub(super) fn root(&self, j: usize, gaps: &mut Vec<f64>) -> SecularRoot {
        let count = self.poles.len();
        if count == 1 {
            return SecularRoot { origin: 0, offset: self.rho * self.z[0] * self.z[0] };
        }
        let is_last = j + 1 == count;
        // The poles that the interpolation uses: those around the root, or the last two.
        let left = if is_last { j - 1 } else { j };
        let mut origin = j;
        gaps.resize(count, 0.0);
        set_gaps(gaps, &self.poles, self.poles[j], self.squared);
        let width = if is_last { self.rho } else { gaps[j + 1] };
        let mut x = width / 2.0;
        let mut step = self.step(gaps, left, x);
        let mut bracket = match (step.value > 0.0, is_last) {
            (true, _) => [0.0, x],
            (false, true) => [x, width * (1.0 + 1e-14)],
            (false, false) => {
                origin = j + 1;
                x -= width;
                set_gaps(gaps, &self.poles, self.poles[origin], self.squared);
                [x, 0.0]
            }
        };
        let mut next = step.next(gaps, left, x, is_last, Model::Poles(self));
        for count in 0..STEPS_MAX[1] {
            if count >= STEPS_MAX[0] || !(bracket[0] < next && next < bracket[1]) {
                next = f64::midpoint(bracket[0], bracket[1]);
            }
            let moved = (next - x).abs();
            x = next;
            step = self.step(gaps, left, x);
            bracket[usize::from(step.value > 0.0)] = x;
            let is_close = step.value.abs() <= 4.0 * f64::EPSILON * step.magnitude;
            let is_narrow = bracket[1] - bracket[0] <= 2.0 * f64::EPSILON * x.abs();
            if is_close || is_narrow || (count > 0 && moved <= f64::EPSILON * x.abs()) {
                break;
            }
            next = step.next(gaps, left, x, is_last, Model::Slopes);
        }
        SecularRoot { origin, offset: x }
    }

    /// The equation at `x`.
    fn step(&self, gaps: &[f64], left: usize, x: f64) -> Step {
        let [below, below_slope] = sums(&gaps[..=left], &self.z[..=left], x);
        let [above, above_slope] = sums(&gaps[left + 1..], &self.z[left + 1..], x);
        let constant = 1.0 / self.rho;
        let magnitude = constant + below.abs() + above.abs();
        let value = constant + below + above;
        Step {
            value,
            magnitude,
            constant,
            sums: [below, above],
            slopes: [below_slope, above_slope],
        }
    }

    /// The part `to` of the z for which `roots` are exact, from index `first`, times `sqrt(rho)`.
    pub(super) fn weights(&self, roots: &[SecularRoot], first: usize, to: &mut [f64]) {
        let poles = &self.poles[first..first + to.len()];
        let count = self.poles.len();
        let last = roots[count - 1];
        for (to, &pole) in to.iter_mut().zip(poles) {
            *to = gap(self.poles[last.origin], pole, self.squared) + last.offset;
        }
        for (j, root) in roots[..count - 1].iter().enumerate() {
            let origin = self.poles[root.origin];
            // Each factor is below 1: the poles up to j lie on the other side of root j.
            let split = (j + 1).clamp(first, first + to.len()) - first;
            let (up_to_j, beyond) = to.split_at_mut(split);
            let (offset, squared) = (root.offset, self.squared);
            multiply_ratios(up_to_j, &poles[..split], origin, offset, self.poles[j + 1], squared);
            multiply_ratios(beyond, &poles[split..], origin, offset, self.poles[j], squared);
        }
        for (to, z) in to.iter_mut().zip(&self.z[first..]) {
            *to = to.abs().sqrt().copysign(*z);
        }
    }

    /// The vector of a root, not normalised: `z_i / (d_i - root)`, of the weights z.
    pub(super) fn vector(&self, root: SecularRoot, weights: &[f64], to: &mut [f64]) {
        let origin = self.poles[root.origin];
        set_ratios(to, weights, &self.poles, origin, root.offset, self.squared);
    }

    /// The eigenvalue, or the singular value.
    pub(super) fn value(&self, root: SecularRoot) -> f64 {
        let pole = self.poles[root.origin];
        if self.squared == 0.0 {
            return pole + root.offset;
        }
        let length = pole.mul_add(pole, root.offset).max(0.0).sqrt();
        if pole == 0.0 { length } else { pole + root.offset / (pole + length) }
    }
}

/// The equation at one point: the constant, and the sums left and right of the root.
struct Step {
    value: f64,
    /// The sum of all magnitudes, which bounds the rounding error of the value.
    magnitude: f64,
    constant: f64,
    sums: [f64; 2],
    slopes: [f64; 2],
}

/// How the equation is interpolated.
enum Model<'a> {
    /// By the terms of both poles, and a constant for all others.
    Poles(&'a Secular),
    /// By one pole for each sum, with its value and slope.
    Slopes,
}

impl Step {
    /// The root of the interpolation at `x`, which may lie anywhere, or be NaN.
    fn next(&self, gaps: &[f64], left: usize, x: f64, is_last: bool, model: Model<'_>) -> f64 {
        let [a, b] = [gaps[left], gaps[left + 1]];
        let [weight_a, weight_b] = match model {
            Model::Poles(secular) => [secular.z[left].powi(2), secular.z[left + 1].powi(2)],
            Model::Slopes => [self.slopes[0] * (a - x).powi(2), self.slopes[1] * (b - x).powi(2)],
        };
        let rest = |sum: f64, weight: f64, gap: f64| sum - weight / (gap - x);
        let c = self.constant + rest(self.sums[0], weight_a, a) + rest(self.sums[1], weight_b, b);
        // c (a - x) (b - x) + weight_a (b - x) + weight_b (a - x) = 0
        let linear = c * (a + b) + weight_a + weight_b;
        let absolute = c * a * b + weight_a * b + weight_b * a;
        let discriminant = linear.mul_add(linear, -4.0 * c * absolute).max(0.0).sqrt();
        match (is_last, linear > 0.0) {
            (false, true) => 2.0 * absolute / (linear + discriminant),
            (false, false) => (linear - discriminant) / (2.0 * c),
            (true, true) => (linear + discriminant) / (2.0 * c),
            (true, false) => 2.0 * absolute / (linear - discriminant),
        }
    }
}
