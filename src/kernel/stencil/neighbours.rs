//! Stencils by a function of the neighbourhood.

use std::ops::Range;

use super::Boundary;

/// The neighbourhood of an element, as the function of [`map_neighbours`] sees it.
#[derive(Debug)]
pub(crate) struct Neighbours<'a, T> {
    input: &'a [T],
    shape: [usize; 3],
    reach: [usize; 3],
    boundary: Boundary<T>,
    place: [usize; 3],
    /// The element's place in the input.
    index: usize,
    /// Whether every neighbour within the reach lies in the array.
    interior: bool,
}

impl<T: Copy + Default> Neighbours<'_, T> {
    /// The place of the element: plane, row and column.
    #[inline]
    pub(crate) fn place(&self) -> [usize; 3] {
        self.place
    }

    /// The element itself.
    #[inline]
    pub(crate) fn centre(&self) -> T {
        self.input[self.index]
    }

    /// The element at an offset of planes, rows and columns; `None` beyond an end under
    /// [`Boundary::Shrink`].
    ///
    /// # Panics
    ///
    /// If the offset is beyond the declared reach.
    #[inline]
    pub(crate) fn get(&self, offset: [isize; 3]) -> Option<T> {
        let within = offset.iter().zip(self.reach).all(|(o, reach)| o.unsigned_abs() <= reach);
        assert!(within, "{offset:?} is beyond the reach {:?}", self.reach);
        if self.interior {
            let [_, m, n] = self.shape.map(usize::cast_signed);
            let step = (offset[0] * m + offset[1]) * n + offset[2];
            Some(self.input[self.index.wrapping_add_signed(step)])
        } else {
            self.get_at_border(offset)
        }
    }

    /// As [`get`](Neighbours::get), but zero where there is no element.
    #[inline]
    pub(crate) fn value(&self, offset: [isize; 3]) -> T {
        self.get(offset).unwrap_or_default()
    }

    #[cold]
    fn get_at_border(&self, offset: [isize; 3]) -> Option<T> {
        let mut index = 0;
        for ((x, n), offset) in self.place.into_iter().zip(self.shape).zip(offset) {
            let place = x.cast_signed().saturating_add(offset);
            match (self.boundary.index(place, n), self.boundary) {
                (Some(i), _) => index = index * n + i,
                (None, Boundary::Constant(value)) => return Some(value),
                (None, _) => return None,
            }
        }
        Some(self.input[index])
    }
}

/// `out[x] = f(neighbourhood of x)` for the lines `lines` of an array of [p, m, n] elements
/// (leading axes have length 1 if it has fewer), and of each line the columns `columns`. `f` reads
/// at most `reach` places away.
///
/// # Panics
///
/// If `lines` and `columns` are not within the shape, or `input` or `out` has another size; if `f`
/// reads beyond the reach.
pub(crate) fn map_neighbours<T: Copy + Default, U>(
    out: &mut [U],
    input: &[T],
    shape: [usize; 3],
    (lines, columns): (Range<usize>, Range<usize>),
    (reach, boundary): ([usize; 3], Boundary<T>),
    f: impl Fn(&Neighbours<'_, T>) -> U,
) {
    let [p, m, n] = shape;
    assert!(lines.end <= p * m && columns.end <= n && input.len() == p * m * n);
    assert_eq!(out.len(), lines.len() * columns.len());
    if out.is_empty() {
        return;
    }
    let inside = |x: usize, n: usize, reach: usize| reach <= x && x < n.saturating_sub(reach);
    for (line, out) in lines.zip(out.chunks_exact_mut(columns.len())) {
        let (plane, row) = (line / m, line % m);
        let inner = inside(plane, p, reach[0]) && inside(row, m, reach[1]);
        let first = if inner { reach[2] } else { n }.clamp(columns.start, columns.end);
        let last = n.saturating_sub(reach[2]).clamp(first, columns.end);
        let at = |column: usize, interior: bool| Neighbours {
            input,
            shape,
            reach,
            boundary,
            place: [plane, row, column],
            index: line * n + column,
            interior,
        };
        let (left, rest) = out.split_at_mut(first - columns.start);
        let (middle, right) = rest.split_at_mut(last - first);
        for (i, out) in middle.iter_mut().enumerate() {
            *out = f(&at(first + i, true));
        }
        for (i, out) in left.iter_mut().enumerate() {
            *out = f(&at(columns.start + i, false));
        }
        for (i, out) in right.iter_mut().enumerate() {
            *out = f(&at(last + i, false));
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use super::*;
    use crate::kernel::stencil::naive::{BOUNDARIES, assert_same};
    use crate::kernel::stencil::{Real, Stencil};
    use proptest::prelude::*;

    /// Each tap by the boundary's index, in three dimensions.
    fn naive(
        input: &[f64],
        [p, m, n]: [usize; 3],
        taps: &[([isize; 3], f64)],
        boundary: Boundary<f64>,
    ) -> Vec<f64> {
        let shape = [p, m, n];
        let at = |i: usize| {
            let x = [i / (m * n), i / n % m, i % n];
            let term = |(offset, w): &([isize; 3], f64)| {
                let places = [0, 1, 2]
                    .map(|axis| boundary.index(x[axis].cast_signed() + offset[axis], shape[axis]));
                w * match places {
                    [Some(a), Some(b), Some(c)] => input[(a * m + b) * n + c],
                    _ => boundary.outside(),
                }
            };
            taps.iter().map(term).reduce(|sum, term| sum + term).unwrap_or(0.0)
        };
        (0..input.len()).map(at).collect()
    }

    fn taps() -> impl Strategy<Value = Vec<([isize; 3], f64)>> {
        let offset = (-2..3_isize, -2..3_isize, -4..5_isize).prop_map(|(a, b, c)| [a, b, c]);
        prop::collection::vec((offset, -2.0..2.0), 0..12)
    }

    proptest! {
        #[test]
        fn both_forms_of_stencil_agree_with_the_naive_oracle(
            shape in (0..5_usize, 0..6_usize, 0..70_usize),
            taps in taps(),
            boundary in 0..BOUNDARIES.len(),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let (p, m, n) = shape;
            let shape = [p, m, n];
            let boundary = BOUNDARIES[boundary];
            let input: Vec<f64> = (0..p * m * n).map(|i| (i as f64 * 0.7).sin()).collect();
            let expected = naive(&input, shape, &taps, boundary);
            let place = |f: f64| (f * (p * m + 1) as f64) as usize;
            let lines = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let expected = &expected[lines.start * n..lines.end * n];
            let mut out = vec![f64::NAN; lines.len() * n];
            Stencil::new(&taps).lines(&mut out, &input, shape, lines.clone(), boundary);
            assert_same(&out, expected);
            out.fill(f64::NAN);
            let part = (lines, 0..n);
            map_neighbours(&mut out, &input, shape, part, ([2, 2, 4], boundary), |x| {
                let terms = taps.iter().map(|&(offset, w)| w * x.value(offset));
                terms.reduce(|sum, term| sum + term).unwrap_or(0.0)
            });
            assert_same(&out, expected);
        }

        #[test]
        fn a_range_of_a_row_agrees_with_the_line(
            n in 0..90_usize, taps in taps(), cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let input: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
            let taps: Vec<_> = taps.iter().map(|t| ([0, 0, t.0[2]], t.1)).collect();
            let stencil = Stencil::new(&taps);
            let mut whole = vec![0.0; n];
            stencil.lines(&mut whole, &input, [1, 1, n], 0..1, Boundary::Mirror);
            let place = |f: f64| (f * (n + 1) as f64) as usize;
            let range = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let mut out = vec![0.0; range.len()];
            stencil.columns(&mut out, &input, range.clone(), Boundary::Mirror);
            assert_same(&out, &whole[range.clone()]);
            let weighted = |x: &Neighbours<'_, f64>| {
                let terms = taps.iter().map(|&(offset, w)| w * x.value(offset));
                terms.reduce(|sum, term| sum + term).unwrap_or(0.0)
            };
            let how = ([0, 0, 4], Boundary::Mirror);
            let part = (0..1, range.clone());
            map_neighbours(&mut out, &input, [1, 1, n], part, how, weighted);
            assert_same(&out, &whole[range]);
        }
    }

    /// `correlate` and `convolve` of `arange(12.).reshape(3, 4) ** 2`, mode reflect, SciPy 1.17.
    #[test]
    fn full_kernels_are_those_of_scipy() {
        let input: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        let weights = [1.0, 2.0, 0.0, -1.0, 3.0, 5.0];
        let run = |stencil: &Stencil<f64>| {
            let mut out = vec![0.0; 12];
            stencil.lines(&mut out, &input, [1, 3, 4], 0..3, Boundary::Reflect);
            out
        };
        for (shape, correlate, convolve) in super::super::naive::SCIPY_FULL {
            assert_eq!(run(&Stencil::correlate(&weights, shape)), correlate, "{shape:?}");
            assert_eq!(run(&Stencil::convolve(&weights, shape)), convolve, "{shape:?}");
        }
    }

    #[test]
    fn a_function_sees_its_place_and_the_smaller_window() {
        let input = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let mut out = [0; 6];
        let how = ([0, 1, 1], Boundary::Shrink);
        map_neighbours(&mut out, &input, [1, 2, 3], (0..2, 0..3), how, |x| {
            assert_eq!(x.centre(), input[x.place()[1] * 3 + x.place()[2]]);
            let offsets = (-1..2).flat_map(|r| (-1..2).map(move |c| [0, r, c]));
            offsets.filter_map(|offset| x.get(offset)).count()
        });
        assert_eq!(out, [4, 6, 4, 4, 6, 4]);
    }

    #[test]
    #[should_panic(expected = "beyond the reach")]
    fn a_function_that_reads_beyond_its_reach_panics() {
        let how = ([0, 0, 1], Boundary::Clamp);
        map_neighbours(&mut [0.0; 4], &[0.0; 4], [1, 1, 4], (0..1, 0..4), how, |x| {
            x.value([0, 0, 2])
        });
    }

    #[test]
    fn the_order_of_addition_is_that_of_the_list() {
        let order = |taps: &[([isize; 3], f32)]| {
            let mut out = [0.0; 3];
            Stencil::new(taps).lines(&mut out, &[1.0; 3], [1, 1, 3], 0..1, Boundary::Wrap);
            out[0]
        };
        let taps = [([0, 0, 0], 1e30_f32), ([0, 0, 1], 1.0), ([0, 0, -1], -1e30)];
        assert_eq!(order(&taps), 0.0);
        assert_eq!(order(&[taps[0], taps[2], taps[1]]), 1.0);
        assert_eq!(f32::from_f64(0.5).sqrt(), 0.5_f32.sqrt());
    }
}
