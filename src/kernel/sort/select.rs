//! Exact selection of order statistics, in passes over chunks.
//!
//! A radix selection: in each pass the chunks count digits of the keys in a few intervals of the
//! order (at first one interval of all keys), and the host continues with the subintervals that
//! hold a wanted place. When few keys are left, the chunks collect them, and the host sorts them.
//! Each pass takes 12 bits, so one or two passes are enough for most arrays, and six for any.

use serde::{Deserialize, Serialize};

use super::key::{Key, KeyBits};
use crate::kernel::vectorized::vectorized;

/// Bits of a digit.
const DIGIT_BITS: u32 = 12;

/// Counters of each interval.
const DIGITS: usize = 1 << DIGIT_BITS;

/// The most keys that are collected, unless there are more intervals.
const COLLECT_MAX: u64 = 1 << 16;

/// The bits from `low` to `low + 2^width - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct KeyInterval {
    low: u64,
    width: u32,
    /// Keys below the interval.
    below: u64,
    /// Keys in the interval.
    count: u64,
}

impl KeyInterval {
    #[inline(always)]
    fn offset(&self, bits: u64) -> Option<u64> {
        let offset = bits.wrapping_sub(self.low);
        // `offset < 2^width`, where the width may be 64.
        (self.width == u64::BITS || offset >> self.width == 0).then_some(offset)
    }

    fn shift(&self) -> u32 {
        self.width.saturating_sub(DIGIT_BITS)
    }
}

/// The state of a selection, which the host keeps and the workers read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Selection {
    /// The wanted places, ascending, without repetition.
    places: Vec<u64>,
    /// Disjoint and ascending; each holds a wanted place, and each wanted place is in one.
    intervals: Vec<KeyInterval>,
}

impl Selection {
    /// Selects from `len` keys the ones at `places` of their order by [`Key::to_bits`].
    ///
    /// # Panics
    ///
    /// If a place is not below `len`.
    pub(crate) fn new<K: Key>(len: u64, mut places: Vec<u64>) -> Self {
        places.sort_unstable();
        places.dedup();
        assert!(places.last().is_none_or(|&last| last < len), "places among {len} keys");
        let width = if size_of::<K>() == 8 { 64 } else { 8 * bytes::<K>() };
        let whole = KeyInterval { low: 0, width, below: 0, count: len };
        let intervals = if places.is_empty() { Vec::new() } else { vec![whole] };
        Self { places, intervals }
    }

    /// Whether [`collect`] is the next step, rather than [`count_digits`].
    pub(crate) fn is_narrow(&self) -> bool {
        self.candidates() <= COLLECT_MAX.max(self.intervals.len() as u64)
    }

    /// Number of keys that [`collect`] finds in all chunks.
    pub(crate) fn candidates(&self) -> u64 {
        let wide = self.intervals.iter().filter(|interval| interval.width > 0);
        wide.map(|interval| interval.count).sum()
    }

    /// Number of counters that [`count_digits`] needs.
    pub(crate) fn counters(&self) -> usize {
        self.intervals.len() * DIGITS
    }

    /// Continues with the digits that hold wanted places; `counts` are the sums over all chunks.
    ///
    /// # Panics
    ///
    /// If the counts are not those of [`count_digits`] for all keys.
    pub(crate) fn narrow(&mut self, counts: &[u64]) {
        assert_eq!(counts.len(), self.counters(), "a counter for each digit");
        let mut places = self.places.iter().copied().peekable();
        let mut narrowed = Vec::new();
        for (interval, counts) in self.intervals.iter().zip(counts.chunks_exact(DIGITS)) {
            let shift = interval.shift();
            let mut below = interval.below;
            for (digit, &count) in (0_u64..).zip(counts) {
                if places.peek().is_some_and(|&place| place < below + count) {
                    let low = interval.low + (digit << shift);
                    narrowed.push(KeyInterval { low, width: shift, below, count });
                    while places.next_if(|&place| place < below + count).is_some() {}
                }
                below += count;
            }
            assert_eq!(below, interval.below + interval.count, "all keys are counted");
        }
        assert!(places.next().is_none(), "each place is in an interval");
        self.intervals = narrowed;
    }

    /// The keys at the wanted places, in order; `candidates` are those of all chunks.
    ///
    /// # Panics
    ///
    /// If the candidates are not those that [`collect`] returns for all keys.
    pub(crate) fn finish<K: Key>(&self, mut candidates: Vec<K::Bits>) -> Vec<(u64, K)> {
        assert_eq!(candidates.len() as u64, self.candidates(), "all candidates");
        candidates.sort_unstable();
        let mut rest = candidates.as_slice();
        let mut found = Vec::with_capacity(self.places.len());
        let mut places = self.places.iter().copied().peekable();
        for interval in &self.intervals {
            let count = if interval.width == 0 { 0 } else { interval.count };
            let (own, later) = rest.split_at(usize::try_from(count).unwrap_or(usize::MAX));
            rest = later;
            let end = interval.below + interval.count;
            while let Some(place) = places.next_if(|&place| place < end) {
                let at = usize::try_from(place - interval.below).unwrap_or(usize::MAX);
                let bits = if count == 0 { K::Bits::narrow(interval.low) } else { own[at] };
                found.push((place, K::from_bits(bits)));
            }
        }
        found
    }

    /// Calls `each` for each key that is in an interval, with the interval's number and the key's
    /// offset.
    #[inline(always)]
    fn for_each_inside<K: Key>(&self, keys: &[K], mut each: impl FnMut(usize, u64, K::Bits)) {
        if let [interval] = &self.intervals[..] {
            for key in keys {
                let bits = key.to_bits();
                if let Some(offset) = interval.offset(bits.wide()) {
                    each(0, offset, bits);
                }
            }
            return;
        }
        for key in keys {
            let bits = key.to_bits();
            let above = self.intervals.partition_point(|interval| interval.low <= bits.wide());
            let Some(at) = above.checked_sub(1) else { continue };
            if let Some(offset) = self.intervals[at].offset(bits.wide()) {
                each(at, offset, bits);
            }
        }
    }
}

fn bytes<K>() -> u32 {
    u32::try_from(size_of::<K>()).unwrap_or(u32::MAX)
}

vectorized! {
    /// Adds to `counts` the digits of the keys of a chunk that are in an interval.
    ///
    /// # Panics
    ///
    /// If there are not [`Selection::counters`] counters.
    pub(crate) fn count_digits<K: Key>(
        selection: &Selection,
        keys: &[K],
        counts: &mut [u64],
    ) {
        assert_eq!(counts.len(), selection.counters(), "a counter for each digit");
        let shifts: Vec<u32> = selection.intervals.iter().map(KeyInterval::shift).collect();
        selection.for_each_inside(keys, |interval, offset, _| {
            // An offset has at most `shift + DIGIT_BITS` bits.
            let digit = usize::from(u16::narrow(offset >> shifts[interval]));
            counts[interval * DIGITS + digit] += 1;
        });
    }
}

vectorized! {
    /// Appends the bits of the keys of a chunk that may be at a wanted place.
    pub(crate) fn collect<K: Key>(
        selection: &Selection,
        keys: &[K],
        candidates: &mut Vec<K::Bits>,
    ) {
        selection.for_each_inside(keys, |interval, _, bits| {
            if selection.intervals[interval].width > 0 {
                candidates.push(bits);
            }
        });
    }
}

vectorized! {
    /// Whether a key is NaN.
    pub(crate) fn any_nan<K: Key>(keys: &[K]) -> bool {
        // Blocks, so that there is no branch within.
        keys.chunks(1024).any(|keys| keys.iter().fold(false, |any, key| any | key.is_nan()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kernel::sort::serial::tests::shapes;
    use proptest::prelude::*;

    /// A whole selection in one thread.
    pub(in super::super) fn select<K: Key>(keys: &[K], places: Vec<u64>) -> Vec<(u64, K)> {
        let mut selection = Selection::new::<K>(keys.len() as u64, places);
        let mut passes = 0;
        while !selection.is_narrow() {
            let mut counts = vec![0; selection.counters()];
            keys.chunks(1 << 15).for_each(|keys| count_digits(&selection, keys, &mut counts));
            selection.narrow(&counts);
            passes += 1;
        }
        assert!(passes <= 6);
        let mut candidates = Vec::new();
        keys.chunks(1 << 15).for_each(|keys| collect(&selection, keys, &mut candidates));
        selection.finish(candidates)
    }

    fn assert_selects<K: Key>(keys: &[K], places: &[u64]) {
        let mut sorted: Vec<K::Bits> = keys.iter().map(|key| key.to_bits()).collect();
        sorted.sort_unstable();
        let mut wanted = places.to_vec();
        wanted.sort_unstable();
        wanted.dedup();
        let found = select(keys, places.to_vec());
        assert_eq!(found.iter().map(|found| found.0).collect::<Vec<_>>(), wanted);
        for (place, key) in found {
            assert!(key.to_bits() == sorted[usize::try_from(place).unwrap()]);
        }
    }

    #[test]
    fn order_statistics_of_all_shapes_are_exact() {
        let n = COLLECT_MAX + 3001;
        let words = crate::kernel::sort::serial::words(usize::try_from(n).unwrap());
        for keys in shapes(&words) {
            for places in [vec![], vec![0], vec![n - 1], vec![n / 2, 0, n / 2, n / 2 + 1, n - 1]] {
                assert_selects(&keys, &places);
                assert_selects(
                    &keys.iter().map(|&k| f64::from_bits(k)).collect::<Vec<_>>(),
                    &places,
                );
                assert_selects(
                    &keys.iter().map(|&k| i16::narrow_from(k)).collect::<Vec<_>>(),
                    &places,
                );
                assert_selects(&keys.iter().map(|&k| u32::narrow(k)).collect::<Vec<_>>(), &places);
            }
        }
    }

    trait NarrowFrom {
        fn narrow_from(wide: u64) -> Self;
    }

    impl NarrowFrom for i16 {
        fn narrow_from(wide: u64) -> Self {
            u16::narrow(wide).cast_signed()
        }
    }

    proptest! {
        #[test]
        fn order_statistics_of_few_keys_are_exact(
            keys in proptest::collection::vec(any::<u64>(), 1..90),
            places in proptest::collection::vec(any::<u64>(), 0..9),
        ) {
            let places: Vec<u64> = places.iter().map(|p| p % keys.len() as u64).collect();
            assert_selects(&keys, &places);
            assert_selects(&keys.iter().map(|&k| u8::narrow(k)).collect::<Vec<_>>(), &places);
        }

        #[test]
        fn a_nan_is_found(len in 1_usize..3000, at: usize) {
            let mut keys = vec![1.0_f32; len];
            prop_assert!(!any_nan(&keys));
            keys[at % len] = -f32::NAN;
            prop_assert!(any_nan(&keys));
        }
    }
}
