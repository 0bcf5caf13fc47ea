//! The index of the least or the greatest element.

use bytemuck::{Pod, Zeroable};

use super::fold::{Fold, Max, Min};
use super::whole::partial;
use crate::kernel::number::Number;

/// Elements whose extreme is found before its position: they stay in the first-level cache.
const BLOCK: usize = 2048;

/// The index and the value of the extreme of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Arg {
    /// The index, or `NOWHERE` for no elements.
    pub(crate) index: u64,
    /// The element there, by [`Number::to_bits_u64`].
    pub(crate) bits: u64,
}

impl Arg {
    /// The index in the partial result of no elements.
    pub(crate) const NOWHERE: u64 = u64::MAX;
    /// The partial result of no elements.
    pub(crate) const EMPTY: Arg = Arg { index: Arg::NOWHERE, bits: 0 };

    #[inline(always)]
    pub(super) fn new<T: Number>(index: usize, element: T) -> Arg {
        Arg { index: index as u64, bits: element.to_bits_u64() }
    }
}

/// [`Min`] or [`Max`], with the order of elements by which it selects.
pub(crate) trait Extreme<T: Number>: Fold<T, Param = (), Lane = T, Partial = T> {
    /// Whether `a` precedes `b`, regardless of their indices. NaN precedes all others.
    fn beats(a: T, b: T) -> bool;
}

impl<T: Number> Extreme<T> for Min {
    #[inline(always)]
    fn beats(a: T, b: T) -> bool {
        (a < b) | (a.is_nan() & !b.is_nan())
    }
}

impl<T: Number> Extreme<T> for Max {
    #[inline(always)]
    fn beats(a: T, b: T) -> bool {
        (a > b) | (a.is_nan() & !b.is_nan())
    }
}

/// Whether the element equals `value`, or both are NaN.
#[inline(always)]
pub(super) fn is_same<T: Number>(element: T, value: T) -> bool {
    (element == value) | (element.is_nan() & value.is_nan())
}

/// The first extreme of a chunk whose first element has the index `base`; the first NaN if there is
/// one.
///
/// The extreme of each block is found first; only the block that holds it is searched.
pub(crate) fn partial_arg<T: Number, F: Extreme<T>>(fold: F, chunk: &[T], base: usize) -> Arg {
    let mut best: Option<(usize, T)> = None;
    for (number, block) in chunk.chunks(BLOCK).enumerate() {
        let value = partial(fold, block, ());
        if best.is_none_or(|(_, found)| F::beats(value, found)) {
            best = Some((number * BLOCK, value));
        }
        if value.is_nan() {
            break;
        }
    }
    let Some((start, value)) = best else { return Arg::EMPTY };
    let block = &chunk[start..];
    let offset = block.iter().position(|&x| is_same(x, value)).unwrap_or(0);
    Arg::new(base + start + offset, block[offset])
}

/// The extreme of two chunks in any order; of equal elements, the one with the lower index.
#[inline(always)]
pub(crate) fn merge_arg<T: Number, F: Extreme<T>>(_fold: F, a: Arg, b: Arg) -> Arg {
    if a.index == Arg::NOWHERE || b.index == Arg::NOWHERE {
        return if a.index == Arg::NOWHERE { b } else { a };
    }
    let (x, y) = (T::from_bits_u64(a.bits), T::from_bits_u64(b.bits));
    if F::beats(x, y) || (!F::beats(y, x) && a.index < b.index) { a } else { b }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, one element after the other.
    fn oracle(data: &[f64], beats: fn(f64, f64) -> bool) -> u64 {
        let mut best = 0;
        for (i, &x) in data.iter().enumerate() {
            if !data[best].is_nan() && (x.is_nan() || beats(x, data[best])) {
                best = i;
            }
        }
        best as u64
    }

    #[test]
    fn no_element_is_nowhere() {
        assert_eq!(partial_arg(Min, &[0f32; 0], 7), Arg::EMPTY);
    }

    #[test]
    fn infinities_alone_are_found() {
        assert_eq!(partial_arg(Min, &[f64::INFINITY; 3], 4).index, 4);
        assert_eq!(partial_arg(Min, &[255u8; 3], 4).index, 4);
    }

    proptest! {
        #[test]
        fn the_first_extreme_is_found(
            small in prop::collection::vec(-3i32..3, 1..6000),
            nans in prop::collection::vec(any::<prop::sample::Index>(), 0..2),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut data: Vec<f64> = small.iter().map(|&x| f64::from(x) * 0.5).collect();
            for nan in nans {
                let i = nan.index(data.len());
                data[i] = f64::NAN;
            }
            let cut = cut.index(data.len() + 1);
            let (low, high) = data.split_at(cut);
            let parts = [partial_arg(Min, low, 0), partial_arg(Min, high, cut)];
            let least = merge_arg::<f64, Min>(Min, parts[0], parts[1]);
            prop_assert_eq!(least.index, oracle(&data, |a, b| a < b));
            prop_assert_eq!(least, merge_arg::<f64, Min>(Min, parts[1], parts[0]));
            let parts = [partial_arg(Max, low, 0), partial_arg(Max, high, cut)];
            let greatest = merge_arg::<f64, Max>(Max, parts[0], parts[1]);
            prop_assert_eq!(greatest.index, oracle(&data, |a, b| a > b));
        }
    }
}
