//! Counting sort: keys of 8 or 16 bits.
//!
//! Knuth, TAOCP 3, 5.2, algorithm D: the values in each chunk of the keys are counted, the host
//! adds the counts, and each chunk of the result is filled with runs of equal values.

use super::key::{Key, KeyBits};

/// Number of values of a key of 8 or 16 bits.
pub(crate) const fn values<K: Key>() -> usize {
    assert!(size_of::<K>() <= 2, "keys of at most 16 bits are counted");
    1 << (8 * size_of::<K>())
}

/// Adds to `counts[v]` the number of keys whose bits are `v`.
///
/// # Panics
///
/// If `counts` does not have [`values`] elements.
pub(crate) fn count_values<K: Key>(keys: &[K], counts: &mut [u64]) {
    assert_eq!(counts.len(), values::<K>(), "a count for each value");
    let at = |key: K| usize::from(u16::narrow(key.to_bits().wide()));
    let (pairs, rest) = keys.as_chunks::<4>();
    // Four tables for bytes: a run of equal keys does not wait for one counter.
    if size_of::<K>() == 1 {
        let mut tables = [[0_u64; 256]; 4];
        for keys in pairs {
            tables.iter_mut().zip(keys).for_each(|(table, &key)| table[at(key) & 255] += 1);
        }
        for table in tables {
            counts.iter_mut().zip(table).for_each(|(count, more)| *count += more);
        }
    } else {
        pairs.as_flattened().iter().for_each(|&key| counts[at(key)] += 1);
    }
    rest.iter().for_each(|&key| counts[at(key)] += 1);
}

/// Writes a part of all keys in order, from place `first` on, computed from `counts`.
///
/// # Panics
///
/// If `counts` does not have [`values`] elements.
pub(crate) fn fill_values<K: Key>(counts: &[u64], first: u64, keys: &mut [K]) {
    assert_eq!(counts.len(), values::<K>(), "a count for each value");
    let mut skip = first;
    let mut rest = keys;
    for (value, &count) in counts.iter().enumerate() {
        let left = count.saturating_sub(skip);
        skip -= count - left;
        let run = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let (now, later) = rest.split_at_mut(run);
        now.fill(K::from_bits(K::Bits::narrow(value as u64)));
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_counted<K: Key + Ord + std::fmt::Debug>(keys: &[K], cut: usize) {
        let mut counts = vec![0; values::<K>()];
        let (low, high) = keys.split_at(cut);
        count_values(low, &mut counts);
        count_values(high, &mut counts);
        let (mut expected, mut found) = (keys.to_vec(), keys.to_vec());
        expected.sort_unstable();
        let (low, high) = found.split_at_mut(cut);
        fill_values(&counts, 0, low);
        fill_values(&counts, cut as u64, high);
        assert_eq!(found, expected);
    }

    proptest! {
        #[test]
        fn counted_keys_are_sorted(
            keys in proptest::collection::vec(any::<u16>(), 0..300),
            cut: usize,
        ) {
            let cut = cut % (keys.len() + 1);
            assert_counted(&keys, cut);
            assert_counted(&keys.iter().map(|k| k.cast_signed()).collect::<Vec<_>>(), cut);
            assert_counted(&keys.iter().map(|&k| u8::narrow(k.into())).collect::<Vec<_>>(), cut);
            let bytes = keys.iter().map(|&k| u8::narrow(k.into()).cast_signed());
            assert_counted(&bytes.collect::<Vec<_>>(), cut);
        }
    }
}
