//! Broadcasting of two shapes: runs of elements of both operands.
//!
//! NumPy's rules: shapes are aligned at their last axes, missing axes have length 1, and an axis of
//! length 1 is repeated. Axes along which both operands advance evenly are merged, so that runs are
//! long.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// How two row-major arrays are read to yield the elements of their common shape in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Broadcast {
    shape: Vec<usize>,
    /// The axes that remain after merging, the outermost first; at least one.
    axes: Vec<BroadcastAxis>,
}

/// An axis: its length, and how far each operand advances in one step; 0 if it is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct BroadcastAxis {
    len: usize,
    strides: [usize; 2],
}

/// A run of consecutive elements of the result; each operand advances or repeats one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ElementRun {
    /// The index of the first element of the result.
    pub(crate) out: usize,
    /// The number of elements.
    pub(crate) len: usize,
    /// The index of the first element in each operand.
    pub(crate) starts: [usize; 2],
    /// For each operand 1, or 0 if one element is repeated.
    pub(crate) strides: [usize; 2],
}

impl Broadcast {
    /// The plan for two shapes; `None` if an axis has two lengths and neither is 1.
    pub(crate) fn new(a: &[usize], b: &[usize]) -> Option<Broadcast> {
        let dimensions = a.len().max(b.len());
        let aligned = |shape: &[usize], axis: usize| {
            (axis + shape.len()).checked_sub(dimensions).map_or(1, |i| shape[i])
        };
        let mut shape = vec![0; dimensions];
        // Innermost first.
        let mut axes: Vec<BroadcastAxis> = Vec::with_capacity(dimensions + 1);
        let mut steps = [1, 1];
        for axis in (0..dimensions).rev() {
            let lens = [aligned(a, axis), aligned(b, axis)];
            let len = match lens {
                [1, len] | [len, 1] => len,
                [x, y] if x == y => x,
                _ => return None,
            };
            shape[axis] = len;
            let strides = [0, 1].map(|i| if lens[i] == 1 { 0 } else { steps[i] });
            steps = [0, 1].map(|i| steps[i] * lens[i]);
            if len == 1 {
                continue;
            }
            match axes.last_mut() {
                Some(last) if strides == last.strides.map(|stride| stride * last.len) => {
                    last.len *= len;
                }
                _ => axes.push(BroadcastAxis { len, strides }),
            }
        }
        if axes.is_empty() {
            axes.push(BroadcastAxis { len: 1, strides: [0, 0] });
        }
        axes.reverse();
        Some(Broadcast { shape, axes })
    }

    /// The common shape.
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements of the common shape.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The runs that make up a range of the result's elements, in order. Any range is allowed, so
    /// that workers can divide the result anywhere.
    ///
    /// # Panics
    ///
    /// If the range is not within the result.
    pub(crate) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = ElementRun> + '_ {
        assert!(range.start <= range.end && range.end <= self.len(), "a range of the result");
        let mut at = vec![0; self.axes.len()];
        let mut rest = range.start;
        if !range.is_empty() {
            for (at, axis) in at.iter_mut().zip(&self.axes).rev() {
                (*at, rest) = (rest % axis.len, rest / axis.len);
            }
        }
        let last = self.axes.len() - 1;
        let mut out = range.start;
        std::iter::from_fn(move || {
            if out == range.end {
                return None;
            }
            let place = |i: usize| at.iter().zip(&self.axes).map(|(at, x)| at * x.strides[i]).sum();
            let len = (self.axes[last].len - at[last]).min(range.end - out);
            let strides = self.axes[last].strides;
            let run = ElementRun { out, len, starts: [place(0), place(1)], strides };
            out += len;
            at[last] += len;
            for axis in (1..=last).rev() {
                if at[axis] < self.axes[axis].len {
                    break;
                }
                at[axis] = 0;
                at[axis - 1] += 1;
            }
            Some(run)
        })
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The index in an operand of an element of the result.
    fn operand_index(shape: &[usize], place: &[usize]) -> usize {
        let place = &place[place.len() - shape.len()..];
        shape.iter().zip(place).fold(0, |i, (&len, &at)| i * len + if len == 1 { 0 } else { at })
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        assert_eq!(Broadcast::new(&[2, 3], &[3, 2]), None);
        assert_eq!(Broadcast::new(&[2], &[0]), None);
        assert_eq!(Broadcast::new(&[1], &[0]).unwrap().shape(), [0]);
        assert_eq!(Broadcast::new(&[5, 1, 4], &[3, 1]).unwrap().shape(), [5, 3, 4]);
        assert_eq!(Broadcast::new(&[], &[]).unwrap().len(), 1);
    }

    #[test]
    fn axes_are_merged() {
        let count = |a: &[usize], b: &[usize]| {
            let plan = Broadcast::new(a, b).unwrap();
            plan.runs(0..plan.len()).count()
        };
        assert_eq!(count(&[4, 5, 6], &[4, 5, 6]), 1);
        assert_eq!(count(&[4, 5, 6], &[]), 1);
        assert_eq!(count(&[4, 5, 6], &[1, 5, 6]), 4);
        assert_eq!(count(&[4, 5, 6], &[4, 1, 1]), 4);
        assert_eq!(count(&[4, 5, 6], &[4, 5, 1]), 20);
        assert_eq!(count(&[4, 1, 5, 1], &[4, 1, 5, 1]), 1);
    }

    proptest! {
        #[test]
        fn stretches_are_the_elements_of_numpy(
            axes in prop::collection::vec((0usize..4, 0u8..4), 0..5),
            drop in 0usize..3,
            cuts in any::<[prop::sample::Index; 2]>(),
        ) {
            let side = |bit: u8| -> Vec<usize> {
                axes.iter().map(|&(len, ones)| if ones == bit { 1 } else { len }).collect()
            };
            let (a, b) = (side(1), side(2));
            let b = &b[drop.min(b.len())..];
            let plan = Broadcast::new(&a, b).unwrap();
            let shape = plan.shape().to_vec();
            let cut = cuts.map(|cut| cut.index(plan.len() + 1));
            let range = cut[0].min(cut[1])..cut[0].max(cut[1]);
            let mut next = range.start;
            for run in plan.runs(range.clone()) {
                prop_assert_eq!(run.out, next);
                for i in 0..run.len {
                    let mut rest = run.out + i;
                    let mut place = vec![0; shape.len()];
                    for (at, &len) in place.iter_mut().zip(&shape).rev() {
                        (*at, rest) = (rest % len, rest / len);
                    }
                    let index = |k: usize| run.starts[k] + i * run.strides[k];
                    prop_assert_eq!(index(0), operand_index(&a, &place));
                    prop_assert_eq!(index(1), operand_index(b, &place));
                }
                next += run.len;
            }
            prop_assert_eq!(next, range.end);
        }
    }
}
