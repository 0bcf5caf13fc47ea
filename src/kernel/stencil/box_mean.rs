//! Box filters of integer images, by running sums.
//!
//! M. J. McDonnell, "Box-filtering techniques", 1981: a sum for each column slides down, by one
//! addition and one subtraction, and a sum of columns slides along the row. The time does not
//! depend on the size of the box.
//!
//! Integers only: their sums are exact, so a result does not depend on where a sum began. In
//! floating point, rounding errors would accumulate along an axis, a NaN or an infinity would never
//! leave the sum, and bits would depend on the ranges of the workers. A box filter of floats is a
//! [`separable_2d`](super::separable_2d) with equal weights.

use std::ops::Range;

use super::Boundary;
use super::rows::{outside_row, rows_around};
use crate::kernel::vectorized::vectorized;

/// Elements of an image for box filters.
#[expect(unnameable_types, reason = "seals `FilterInteger`: no other crate can name it")]
pub trait BoxElement: Copy + Default + 'static {
    /// The type of the sum of a box, which wraps.
    type Sum: Copy + Default + 'static;
    /// The sum of this element alone.
    fn widen(self) -> Self::Sum;
    /// `x + y`, wrapping.
    fn add(x: Self::Sum, y: Self::Sum) -> Self::Sum;
    /// `x - y`, wrapping.
    fn sub(x: Self::Sum, y: Self::Sum) -> Self::Sum;
    /// `sum / area`, rounded to the nearest integer, halves up.
    fn mean(sum: Self::Sum, area: u32) -> Self;
}

macro_rules! box_element {
    ($($element:ty, $sum:ty;)+) => {$(
        impl BoxElement for $element {
            type Sum = $sum;
            #[inline]
            fn widen(self) -> $sum {
                <$sum>::from(self)
            }
            #[inline]
            fn add(x: $sum, y: $sum) -> $sum {
                x.wrapping_add(y)
            }
            #[inline]
            fn sub(x: $sum, y: $sum) -> $sum {
                x.wrapping_sub(y)
            }
            #[inline]
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a mean of elements is within their range"
            )]
            fn mean(sum: $sum, area: u32) -> $element {
                // Exact: both are integers below 2^53, because the area is at most AREA_MAX. So the
                // quotient rounds to an integer only if it is one.
                let area = f64::from(area);
                ((2.0 * sum as f64 + area) / (2.0 * area)).floor() as $element
            }
        }
    )+};
}

box_element! {
    u8, u32;
    i8, i32;
    u16, u32;
    i16, i32;
    u32, u64;
    i32, i64;
}

/// The greatest number of elements of a box whose mean is computed: a sum of 2^16 `u16` fits into a
/// `u32`, and twice a sum of 2^16 `u32`, 2^49, is exact in an `f64`.
pub(crate) const AREA_MAX: usize = 1 << 16;

/// The rows `rows` of the means of the boxes of `size` rows and columns, rounded to the nearest
/// integer, halves up. (`scipy.ndimage.uniform_filter` truncates the fraction after each axis.)
///
/// # Panics
///
/// If `rows` is not within the shape, or `input` or `out` has another size; if the box is empty
/// or has more than 2^16 elements.
pub(crate) fn box_mean_2d<T: BoxElement>(
    out: &mut [T],
    input: &[T],
    shape: [usize; 2],
    rows: Range<usize>,
    size: [usize; 2],
    boundary: Boundary<T>,
) {
    let n = shape[1];
    assert_eq!(out.len(), rows.len() * n);
    let area = size[0].checked_mul(size[1]).filter(|&area| area <= AREA_MAX);
    let area = area.and_then(|area| u32::try_from(area).ok());
    let area = area.expect("a box for means has at most 65536 elements");
    let mut sums = vec![T::Sum::default(); n];
    for_each_row(input, shape, &rows, size, boundary, |row, columns| {
        sum_along::<T>(&mut sums, columns, size[1]);
        means(&mut out[row * n..][..n], &sums, area);
    });
}

/// Calls `each` with each output row's index in the range and the sums of its columns, including
/// those beyond the ends.
fn for_each_row<T: BoxElement>(
    input: &[T],
    [m, n]: [usize; 2],
    rows: &Range<usize>,
    size: [usize; 2],
    boundary: Boundary<T>,
    mut each: impl FnMut(usize, &[T::Sum]),
) {
    assert!(rows.end <= m && input.len() == m * n);
    assert!(size[0] > 0 && size[1] > 0, "a box has at least one element");
    if rows.is_empty() || n == 0 {
        return;
    }
    let reach = size.map(|size| [size / 2, size - 1 - size / 2]);
    let outside = outside_row(n, boundary);
    let window = rows_around(input, [m, n], rows, reach[0], boundary, &outside);
    let mut columns = vec![T::Sum::default(); n + size[1] - 1];
    let row = reach[1][0]..reach[1][0] + n;
    for entering in &window[..size[0] - 1] {
        add_row::<T>(&mut columns[row.clone()], entering);
    }
    let outside =
        (0..size[0]).fold(T::Sum::default(), |s, _| T::add(s, boundary.outside().widen()));
    for r in 0..rows.len() {
        add_row::<T>(&mut columns[row.clone()], window[r + size[0] - 1]);
        for i in (0..row.start).chain(row.end..columns.len()) {
            let column = i.cast_signed() - row.start.cast_signed();
            columns[i] = boundary.index(column, n).map_or(outside, |c| columns[row.start + c]);
        }
        each(r, &columns);
        subtract_row::<T>(&mut columns[row.clone()], window[r]);
    }
}

vectorized! {
    fn add_row<T: BoxElement>(sums: &mut [T::Sum], row: &[T]) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum = T::add(*sum, x.widen());
        }
    }
}

vectorized! {
    fn subtract_row<T: BoxElement>(sums: &mut [T::Sum], row: &[T]) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            *sum = T::sub(*sum, x.widen());
        }
    }
}

vectorized! {
    fn means<T: BoxElement>(out: &mut [T], sums: &[T::Sum], area: u32) {
        for (out, &sum) in out.iter_mut().zip(sums) {
            *out = T::mean(sum, area);
        }
    }
}

/// `out[i]` is the sum of `columns[i..i + width]`.
fn sum_along<T: BoxElement>(out: &mut [T::Sum], columns: &[T::Sum], width: usize) {
    let mut sum = columns[..width].iter().fold(T::Sum::default(), |sum, &x| T::add(sum, x));
    let Some((first, others)) = out.split_first_mut() else {
        return;
    };
    *first = sum;
    for ((out, &entering), &leaving) in others.iter_mut().zip(&columns[width..]).zip(columns) {
        sum = T::add(sum, T::sub(entering, leaving));
        *out = sum;
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use super::*;
    use crate::kernel::stencil::naive::BOUNDARIES;
    use proptest::prelude::*;

    /// The sum of each box, element by element.
    fn naive(
        input: &[i64],
        [m, n]: [usize; 2],
        [k, l]: [usize; 2],
        boundary: Boundary<i64>,
    ) -> Vec<i64> {
        let read = |r: isize, c: isize| match (boundary.index(r, m), boundary.index(c, n)) {
            (Some(r), Some(c)) => input[r * n + c],
            _ => boundary.outside(),
        };
        let at = |i: usize| {
            let (top, left) =
                ((i / n) as isize - (k / 2) as isize, (i % n) as isize - (l / 2) as isize);
            let terms = (0..k as isize).flat_map(|r| (0..l as isize).map(move |c| (r, c)));
            terms.map(|(r, c)| read(top + r, left + c)).sum()
        };
        (0..m * n).map(at).collect()
    }

    fn check<T: BoxElement + PartialEq + std::fmt::Debug + TryFrom<i64> + Into<i64>>(
        bits: &[i64],
        shape: [usize; 2],
        size: [usize; 2],
        boundary: Boundary<i64>,
        rows: Range<usize>,
    ) {
        let cast = |x: i64| T::try_from(x).ok().unwrap();
        let input: Vec<T> = bits.iter().map(|&x| cast(x)).collect();
        let expected = naive(bits, shape, size, boundary);
        let expected = &expected[rows.start * shape[1]..rows.end * shape[1]];
        let boundary = boundary.map(cast);
        let mut means = vec![T::default(); expected.len()];
        box_mean_2d(&mut means, &input, shape, rows, size, boundary);
        let area = (size[0] * size[1]) as i64;
        for (mean, sum) in means.into_iter().zip(expected) {
            assert_eq!(mean.into(), (2 * sum + area).div_euclid(2 * area));
        }
    }

    proptest! {
        #[test]
        fn boxes_agree_with_the_naive_oracle(
            shape in (0..12_usize, 0..40_usize),
            size in (1..6_usize, 1..9_usize),
            boundary in 0..BOUNDARIES.len(),
            values in prop::collection::vec(any::<u32>(), 480),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let ([m, n], size) = ([shape.0, shape.1], [size.0, size.1]);
            let boundary = BOUNDARIES[boundary].map(|_| 100);
            let place = |f: f64| (f * (m + 1) as f64) as usize;
            let rows = place(cut.0.min(cut.1))..place(cut.0.max(cut.1));
            let of = |f: fn(u32) -> i64| values[..m * n].iter().map(|&x| f(x)).collect::<Vec<_>>();
            check::<u8>(&of(|x| (x as u8).into()), [m, n], size, boundary, rows.clone());
            check::<i16>(&of(|x| (x as i16).into()), [m, n], size, boundary, rows.clone());
            check::<i32>(&of(|x| x.cast_signed().into()), [m, n], size, boundary, rows);
        }
    }

    #[test]
    fn a_mean_of_the_largest_elements_is_exact() {
        let mut out = [0_u16; 4];
        box_mean_2d(&mut out, &[u16::MAX; 4], [2, 2], 0..2, [256, 256], Boundary::Clamp);
        assert_eq!(out, [u16::MAX; 4]);
        let mut out = [0_u32; 4];
        box_mean_2d(&mut out, &[u32::MAX; 4], [2, 2], 0..2, [256, 256], Boundary::Wrap);
        assert_eq!(out, [u32::MAX; 4]);
        let mut out = [0_i32; 4];
        box_mean_2d(&mut out, &[i32::MIN; 4], [2, 2], 0..2, [256, 256], Boundary::Wrap);
        assert_eq!(out, [i32::MIN; 4]);
    }
}
