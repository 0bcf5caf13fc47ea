//! Linear stencils: a list of offsets and weights.

use std::ops::Range;

use super::rows::outside_row;
use super::weighted::sum_rows;
use super::{Boundary, Real};

/// A list of offsets and weights: `out[x]` is the sum over taps of `weight input[x + offset]`, in
/// the order of the list, as in `scipy.ndimage.correlate` with the same footprint.
///
/// Arrays have three axes [p, m, n]; the leading axes of arrays with fewer have length 1. A line is
/// a row along the last axis; there are `p m` of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stencil<T> {
    offsets: Vec<[isize; 3]>,
    weights: Vec<T>,
    /// The columns that a tap reads before and after its own.
    reach: [usize; 2],
}

impl<T: Real> Stencil<T> {
    /// The stencil with these taps.
    pub(crate) fn new(taps: &[([isize; 3], T)]) -> Self {
        let (offsets, weights): (Vec<_>, Vec<_>) = taps.iter().copied().unzip();
        let reach = |sign: isize| {
            let reach = offsets.iter().map(|o| usize::try_from(o[2].saturating_mul(sign)));
            reach.map(|reach| reach.unwrap_or(0)).max().unwrap_or(0)
        };
        let reach = [reach(-1), reach(1)];
        Self { offsets, weights, reach }
    }

    /// Correlation with a full array of weights of shape `shape`, row-major, with its centre at
    /// `shape / 2`. Weights of zero are left out, as in SciPy.
    ///
    /// # Panics
    ///
    /// If the number of weights is not that of the shape.
    pub(crate) fn correlate(weights: &[T], shape: [usize; 3]) -> Self {
        assert_eq!(weights.len(), shape.iter().product::<usize>());
        let from_centre = |x: usize, n: usize| x.cast_signed() - (n / 2).cast_signed();
        Self::full(weights.iter().copied(), shape, from_centre)
    }

    /// Convolution, as in `scipy.ndimage.convolve`: correlation with the weights reversed along
    /// each axis, with the same centre.
    ///
    /// # Panics
    ///
    /// If the number of weights is not that of the shape.
    pub(crate) fn convolve(weights: &[T], shape: [usize; 3]) -> Self {
        assert_eq!(weights.len(), shape.iter().product::<usize>());
        let from_centre =
            |x: usize, n: usize| x.cast_signed() - (n.saturating_sub(1) / 2).cast_signed();
        Self::full(weights.iter().rev().copied(), shape, from_centre)
    }

    fn full(
        weights: impl Iterator<Item = T>,
        [_, l, k]: [usize; 3],
        from_centre: impl Fn(usize, usize) -> isize,
    ) -> Self {
        let weights: Vec<T> = weights.collect();
        let p = weights.len().checked_div(l * k).unwrap_or(0);
        let offset = |i: usize| {
            let places = [i / (l * k), i / k % l, i % k];
            [from_centre(places[0], p), from_centre(places[1], l), from_centre(places[2], k)]
        };
        let taps = weights.iter().enumerate().filter(|&(_, &w)| w != T::default());
        Self::new(&taps.map(|(i, &w)| (offset(i), w)).collect::<Vec<_>>())
    }

    /// The lines `lines` of the output.
    ///
    /// # Panics
    ///
    /// If `lines` is not within the shape, or `input` or `out` has another size.
    pub(crate) fn lines(
        &self,
        out: &mut [T],
        input: &[T],
        shape: [usize; 3],
        lines: Range<usize>,
        boundary: Boundary<T>,
    ) {
        let [p, m, n] = shape;
        assert!(lines.end <= p * m && input.len() == p * m * n && out.len() == lines.len() * n);
        if out.is_empty() {
            return;
        }
        let outside = outside_row(n, boundary);
        let mut rows = Vec::with_capacity(self.offsets.len());
        for (line, out) in lines.zip(out.chunks_exact_mut(n)) {
            self.read_rows(&mut rows, input, shape, line, boundary, &outside);
            self.line(out, &rows, 0..n, boundary);
        }
    }

    /// The elements `columns` of the output of a one-dimensional array; only the last offset of a
    /// tap is used.
    ///
    /// # Panics
    ///
    /// If `columns` is not within the input, or `out` has another length.
    pub(crate) fn columns(
        &self,
        out: &mut [T],
        input: &[T],
        columns: Range<usize>,
        boundary: Boundary<T>,
    ) {
        assert!(columns.end <= input.len() && out.len() == columns.len());
        self.line(out, &vec![input; self.offsets.len()], columns, boundary);
    }

    /// For each tap, the line of the input that output line `line` reads.
    fn read_rows<'a>(
        &self,
        rows: &mut Vec<&'a [T]>,
        input: &'a [T],
        [p, m, n]: [usize; 3],
        line: usize,
        boundary: Boundary<T>,
        outside: &'a [T],
    ) {
        rows.clear();
        rows.extend(self.offsets.iter().map(|offset| {
            let plane = boundary.index((line / m).cast_signed().saturating_add(offset[0]), p);
            let row = boundary.index((line % m).cast_signed().saturating_add(offset[1]), m);
            match (plane, row) {
                (Some(plane), Some(row)) => &input[(plane * m + row) * n..][..n],
                _ => outside,
            }
        }));
    }

    /// Computes the outputs `columns` of one line, from the input line of each tap.
    fn line(&self, out: &mut [T], rows: &[&[T]], columns: Range<usize>, boundary: Boundary<T>) {
        let Some(n) = rows.first().map(|row| row.len()) else {
            return out.fill(T::default());
        };
        let first = self.reach[0].clamp(columns.start, columns.end);
        let last = n.saturating_sub(self.reach[1]).clamp(first, columns.end);
        if first < last {
            let shifted = rows.iter().zip(&self.offsets);
            let shifted = shifted.map(|(row, o)| &row[first.wrapping_add_signed(o[2])..]);
            let inner = &mut out[first - columns.start..last - columns.start];
            sum_rows(inner, &shifted.collect::<Vec<_>>(), 0, &self.weights);
        }
        for column in (columns.start..first).chain(last..columns.end) {
            out[column - columns.start] = self.element(rows, column, boundary);
        }
    }

    fn element(&self, rows: &[&[T]], column: usize, boundary: Boundary<T>) -> T {
        let terms = rows.iter().zip(&self.offsets).zip(&self.weights).map(|((row, offset), &w)| {
            let place = column.cast_signed().saturating_add(offset[2]);
            w * boundary.index(place, row.len()).map_or(boundary.outside(), |i| row[i])
        });
        terms.reduce(|sum, term| sum + term).unwrap_or_default()
    }
}
