//! Permutations of the axes of an array.
//!
//! Axes that stay neighbours are merged, and axes of length 1 dropped. Then either the last axis of
//! the output is the last of the input, and the array is copied in runs; or the last two axes span
//! planes, each of which is a strided transpose.

use std::ops::Range;

use super::Word;
use super::matrix::transpose_strided;

const CACHE_LINE_BYTES: usize = 64;

/// Axes that are not a permutation of `0..dimensions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadAxes {
    /// The index of the first bad axis in the list, or the length of a list of another length.
    pub(crate) position: usize,
    /// The number of axes of the array.
    pub(crate) dimensions: usize,
}

/// An axis of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PermutedAxis {
    len: usize,
    /// Elements of the input between neighbours along it.
    stride: usize,
}

/// How to permute the axes of a row-major array: axis `d` of the output is axis `axes[d]` of the
/// input, as in `numpy.transpose`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permutation {
    axes: Vec<PermutedAxis>,
    len: usize,
}

impl Permutation {
    /// The permutation of an array of this shape.
    ///
    /// # Errors
    ///
    /// [`BadAxes`] if `axes` does not have each of the axes once.
    pub(crate) fn new(shape: &[usize], axes: &[usize]) -> Result<Self, BadAxes> {
        let dimensions = shape.len();
        if axes.len() != dimensions {
            return Err(BadAxes { position: axes.len(), dimensions });
        }
        let bad = |d: usize| axes[d] >= dimensions || axes[..d].contains(&axes[d]);
        if let Some(position) = (0..dimensions).find(|&d| bad(d)) {
            return Err(BadAxes { position, dimensions });
        }
        let len = shape.iter().product();
        let mut merged: Vec<PermutedAxis> = Vec::with_capacity(dimensions);
        if len > 0 {
            for &axis in axes.iter().filter(|&&axis| shape[axis] > 1) {
                let next =
                    PermutedAxis { len: shape[axis], stride: shape[axis + 1..].iter().product() };
                match merged.last_mut() {
                    Some(last) if last.stride == next.len * next.stride => {
                        *last = PermutedAxis { len: last.len * next.len, stride: next.stride };
                    }
                    _ => merged.push(next),
                }
            }
        }
        Ok(Self { axes: merged, len })
    }

    /// The approximate number of elements of the output, of `size` bytes each, that are best
    /// permuted at a time, for chunks of about `target` elements: whole tiles of rows, or of the
    /// outermost axis that is longer than the number of elements in a cache line.
    pub(crate) fn chunk_len(&self, size: usize, target: usize) -> usize {
        let line = CACHE_LINE_BYTES / size.clamp(1, CACHE_LINE_BYTES);
        let mut place = self.len.max(1);
        for axis in &self.axes {
            place /= axis.len;
            if axis.len > line {
                let tile = 2 * line;
                let least = if axis.len >= 8 * tile { tile } else { line };
                return (target / place / tile * tile).max(least) * place;
            }
        }
        target
    }

    /// The number of elements of the array.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Computes the elements `range` of the output, in row-major order. Any range is correct;
    /// ranges that begin and end along its first axis are fastest.
    ///
    /// # Panics
    ///
    /// If `range` is not within the array, or `input` or `out` has another size.
    pub(crate) fn permute<T: Word>(&self, out: &mut [T], input: &[T], range: Range<usize>) {
        assert!(range.end <= self.len && input.len() == self.len && out.len() == range.len());
        if !out.is_empty() {
            part(out, input, &self.axes, range);
        }
    }
}

/// Computes the elements `range` of the output of these axes: partial places of the first axis at
/// both ends, and its whole places between them.
fn part<T: Word>(out: &mut [T], input: &[T], axes: &[PermutedAxis], range: Range<usize>) {
    let Some((&first, inner)) = axes.split_first() else {
        return out.copy_from_slice(&input[..1]);
    };
    let size: usize = inner.iter().map(|axis| axis.len).product();
    let (start, end) = (range.start.div_ceil(size), range.end / size);
    if start > end {
        // The range lies within one place of the first axis.
        let place = end * size;
        return part(
            out,
            &input[end * first.stride..],
            inner,
            range.start - place..range.end - place,
        );
    }
    let (head, rest) = out.split_at_mut(start * size - range.start);
    let (middle, tail) = rest.split_at_mut((end - start) * size);
    if !head.is_empty() {
        let input = &input[(start - 1) * first.stride..];
        part(head, input, inner, size - head.len()..size);
    }
    if !middle.is_empty() {
        let axes: Vec<PermutedAxis> = [PermutedAxis { len: end - start, ..first }]
            .into_iter()
            .chain(inner.iter().copied())
            .collect();
        whole(middle, &input[start * first.stride..], &axes);
    }
    if !tail.is_empty() {
        let len = tail.len();
        part(tail, &input[end * first.stride..], inner, 0..len);
    }
}

/// Computes all of the output of these axes.
fn whole<T: Word>(out: &mut [T], input: &[T], axes: &[PermutedAxis]) {
    let Some((last, outer)) = axes.split_last() else {
        return out.copy_from_slice(&input[..1]);
    };
    let unit = axes.iter().position(|axis| axis.stride == 1);
    match unit {
        Some(unit) if unit + 1 < axes.len() => {
            // Planes of the last axis and of `unit`, whose elements are neighbours in the input.
            let step: usize = axes[unit + 1..].iter().map(|axis| axis.len).product();
            let shape = [last.len, axes[unit].len];
            let outer: Vec<(PermutedAxis, usize)> = with_steps(axes)
                .enumerate()
                .filter(|&(d, _)| d != unit && d + 1 < axes.len())
                .map(|(_, axis)| axis)
                .collect();
            for_each_place(&outer, [0, 0], &mut |[to, from]| {
                transpose_strided(&mut out[to..], step, &input[from..], last.stride, shape);
            });
        }
        _ => {
            let outer: Vec<(PermutedAxis, usize)> = with_steps(axes).take(outer.len()).collect();
            for_each_place(&outer, [0, 0], &mut |[to, from]| {
                let out = &mut out[to..to + last.len];
                if last.stride == 1 {
                    out.copy_from_slice(&input[from..from + last.len]);
                } else {
                    // Elements are neighbours along no axis: a cut left only one place of that
                    // axis.
                    let input = input[from..].iter().step_by(last.stride);
                    out.iter_mut().zip(input).for_each(|(out, &x)| *out = x);
                }
            });
        }
    }
}

/// Each axis, with the number of elements of the output between neighbours along it.
fn with_steps(axes: &[PermutedAxis]) -> impl Iterator<Item = (PermutedAxis, usize)> {
    let step = |d: usize| axes[d + 1..].iter().map(|axis| axis.len).product();
    axes.iter().enumerate().map(move |(d, &axis)| (axis, step(d)))
}

/// Calls `each` with the places in the output and in the input, in row-major order.
fn for_each_place(
    axes: &[(PermutedAxis, usize)],
    [to, from]: [usize; 2],
    each: &mut impl FnMut([usize; 2]),
) {
    let Some((&(axis, step), inner)) = axes.split_first() else {
        return each([to, from]);
    };
    for i in 0..axis.len {
        for_each_place(inner, [to + i * step, from + i * axis.stride], each);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small numbers")]

    use super::*;
    use proptest::prelude::*;

    /// Place by place, by division.
    fn naive(input: &[u16], shape: &[usize], axes: &[usize]) -> Vec<u16> {
        let stride = |axis: usize| shape[axis + 1..].iter().product::<usize>();
        let at = |mut i: usize| {
            let mut from = 0;
            for &axis in axes.iter().rev() {
                from += i % shape[axis] * stride(axis);
                i /= shape[axis];
            }
            input[from]
        };
        (0..input.len()).map(at).collect()
    }

    proptest! {
        #[test]
        fn any_part_of_any_permutation_agrees_with_the_naive_oracle(
            shape in prop::collection::vec(prop_oneof![0..3_usize, 1..9_usize, 1..20_usize], 0..5),
            order in prop::collection::vec(any::<u32>(), 5),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let len: usize = shape.iter().product();
            let mut axes: Vec<usize> = (0..shape.len()).collect();
            axes.sort_by_key(|&axis| order[axis]);
            let input: Vec<u16> = (0..len).map(|i| i as u16).collect();
            let expected = naive(&input, &shape, &axes);
            let permutation = Permutation::new(&shape, &axes).unwrap();
            prop_assert_eq!(permutation.len(), len);
            let place = |f: f64| (f * (len + 1) as f64) as usize;
            for range in [0..len, place(cut.0.min(cut.1))..place(cut.0.max(cut.1))] {
                let mut out = vec![u16::MAX; range.len()];
                permutation.permute(&mut out, &input, range.clone());
                prop_assert_eq!(&out, &expected[range]);
            }
        }
    }

    #[test]
    fn neighbouring_axes_are_merged() {
        let axes = |shape: &[usize], axes: &[usize]| Permutation::new(shape, axes).unwrap().axes;
        assert_eq!(axes(&[2, 3, 4], &[0, 1, 2]), [PermutedAxis { len: 24, stride: 1 }]);
        let transpose = [PermutedAxis { len: 4, stride: 1 }, PermutedAxis { len: 6, stride: 4 }];
        assert_eq!(axes(&[2, 1, 3, 4], &[3, 1, 0, 2]), transpose);
        assert_eq!(axes(&[1, 1], &[1, 0]), []);
    }

    #[test]
    fn axes_that_are_no_permutation_are_refused() {
        let refused = |axes: &[usize]| Permutation::new(&[2, 3], axes).unwrap_err().position;
        assert_eq!(refused(&[0]), 1);
        assert_eq!(refused(&[0, 2]), 1);
        assert_eq!(refused(&[1, 1]), 1);
        assert_eq!(refused(&[7, 0]), 0);
    }
}
