//! One long transform as many short ones.
//!
//! Two passes over memory (D. H. Bailey, "FFTs in external or hierarchical memory", 1990). Of
//! `n = a b` elements, with `j = b r + c` and `k = p + a q`:
//!
//! ```text
//! X[p + a q] = sum over c of W_b^(c q)  W_n^(c p)  sum over r of W_a^(r p) x[b r + c]
//! ```
//!
//! 1. The input is a matrix of `a` rows and `b` columns. Each column `c` is transformed, multiplied
//!    by the twiddle factors `W_n^(c p)`, and becomes row `c` of a matrix of `b` rows.
//! 2. Each column of that matrix is transformed in place: an ordinary pass. Its element `[q, p]` is
//!    `X[p + a q]`, so the results are in order.

use rustfft::num_complex::Complex;
use serde::{Deserialize, Serialize};

use crate::kernel::fft::float::FftFloat;
use crate::kernel::fft::lanes::Lanes;
use crate::kernel::fft::pass::Pass;
use crate::kernel::fft::plan::TransformKind;

/// Shorter lanes, in elements, fit into a second-level cache, or nearly so.
const LONG: usize = 1 << 16;
/// A split whose shorter side is shorter than this gains nothing.
const SIDE_MIN: usize = 16;

/// A long lane as a matrix of `a` rows and `b` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FourStepSplit {
    pub(crate) a: usize,
    pub(crate) b: usize,
}

impl FourStepSplit {
    /// The split of a lane of `len` elements, if it is long and its length has fitting divisors.
    pub(crate) fn of(len: usize) -> Option<FourStepSplit> {
        if len < LONG { None } else { FourStepSplit::nearly_square(len) }
    }

    /// `a` is the greatest divisor up to the square root.
    pub(super) fn nearly_square(len: usize) -> Option<FourStepSplit> {
        let a = (SIDE_MIN..=len.isqrt()).rev().find(|&a| len.is_multiple_of(a))?;
        Some(FourStepSplit { a, b: len / a })
    }

    /// The pass of the second step, in place, over `outer` lanes.
    pub(crate) fn second_pass(self, kind: TransformKind, outer: usize, scale: f64) -> Pass {
        Pass { kind, len: self.b, scale, outer, in_len: self.b, inner: self.a }
    }

    /// The pass over columns of the first step, for `outer` lanes.
    fn first_pass(self, kind: TransformKind, outer: usize) -> Pass {
        Pass { kind, len: self.a, scale: 1.0, outer, in_len: self.a, inner: self.b }
    }

    /// The rows of the first step's output that are computed at a time.
    pub(crate) fn rows<T>(self) -> usize {
        self.first_pass(TransformKind::Forward, 1).tile(size_of::<Complex<T>>())[1]
    }
}

/// The first step.
pub(crate) struct FirstStep<T> {
    split: FourStepSplit,
    lanes: Lanes<T>,
    twiddles: FourStepTwiddles,
    factors: Vec<Complex<T>>,
}

impl<T: FftFloat> FirstStep<T> {
    /// The first step of transforms of kind `Forward` or `Inverse`.
    pub(crate) fn new((split, kind): (FourStepSplit, TransformKind)) -> FirstStep<T> {
        let lanes = Lanes::new(split.first_pass(kind, 1));
        let twiddles = FourStepTwiddles::new(split.a * split.b, kind == TransformKind::Inverse);
        FirstStep { split, lanes, twiddles, factors: Vec::new() }
    }

    /// The rows that are best computed at a time: [`FourStepSplit::rows`].
    pub(crate) fn rows(&self) -> usize {
        self.split.rows::<T>()
    }

    /// Computes rows of the output, from row `first` on. The input has any number of lanes, each
    /// of which gives `b` rows of `a` elements.
    pub(crate) fn run(&mut self, input: &[Complex<T>], mut first: usize, out: &mut [Complex<T>]) {
        let FourStepSplit { a, b } = self.split;
        let mut out = out;
        while !out.is_empty() {
            let (lane, column) = (first / b, first % b);
            let width = (b - column).min(out.len() / a);
            let (rows, rest) = out.split_at_mut(width * a);
            self.lanes.reserve(width);
            let matrix = &input[lane * a * b..][..a * b];
            for (i, row) in matrix.chunks_exact(b).enumerate() {
                self.lanes.load_row(i, &row[column..][..width]);
            }
            self.lanes.transform(width);
            for (c, row) in rows.chunks_exact_mut(a).enumerate() {
                self.twiddles.powers(column + c, a, &mut self.factors);
                multiply_rows(row, self.lanes.result(c), &self.factors);
            }
            first += width;
            out = rest;
        }
    }
}

/// `W^m` for `m` below `n`: the product of two of `2 sqrt(n)` stored powers.
pub(super) struct FourStepTwiddles {
    /// `W^m` for `m` below `2^bits`.
    low: Vec<Complex<f64>>,
    bits: u32,
    /// `W^(m 2^bits)`.
    high: Vec<Complex<f64>>,
}

impl FourStepTwiddles {
    pub(super) fn new(n: usize, is_inverse: bool) -> FourStepTwiddles {
        let low_len = n.isqrt().next_power_of_two();
        let unit = |m: usize| {
            let turn = std::f64::consts::TAU * (m as f64 / n as f64);
            Complex::new(turn.cos(), if is_inverse { turn.sin() } else { -turn.sin() })
        };
        FourStepTwiddles {
            bits: low_len.trailing_zeros(),
            low: (0..low_len).map(unit).collect(),
            high: (0..n.div_ceil(low_len)).map(|m| unit(m * low_len)).collect(),
        }
    }

    /// `W^m`, for `m < n`.
    pub(super) fn power(&self, m: usize) -> Complex<f64> {
        self.high[m >> self.bits] * self.low[m & (self.low.len() - 1)]
    }

    /// `W^(c p)` for `p` below [`RUN`], and then for its multiples below `a`.
    fn powers<T: FftFloat>(&self, c: usize, a: usize, out: &mut Vec<Complex<T>>) {
        let near = 0..RUN.min(a);
        let far = (0..a).step_by(RUN);
        out.clear();
        out.extend(near.chain(far).map(|p| {
            let power = self.power(c * p);
            Complex::new(T::of_f64(power.re), T::of_f64(power.im))
        }));
    }
}

/// The elements of a column that share a far factor.
const RUN: usize = 64;

/// `row[p] = column[p] W^(c p)`, of the factors of `FourStepTwiddles::powers`.
fn multiply_rows<T: FftFloat>(
    row: &mut [Complex<T>],
    column: &[Complex<T>],
    factors: &[Complex<T>],
) {
    let (near, far) = factors.split_at(RUN.min(row.len()));
    let runs = row.chunks_mut(RUN).zip(column.chunks(RUN));
    for ((row, column), &far) in runs.zip(far) {
        for ((y, &x), &near) in row.iter_mut().zip(column).zip(near) {
            *y = x * (near * far);
        }
    }
}
