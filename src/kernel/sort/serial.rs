//! Test oracle: whole sorts in one thread, by all phases.
//!
//! The partition and the sort of a bucket are stable, so no size influences the result.

#![allow(unsafe_code)]

use std::ops::Range;

use bytemuck::Pod;

use super::key::Key;
use super::local::{Pairs, Target, sort_bucket, sort_pairs};
use super::partition::{Destination, bucket_range, places_from_counts, scatter};
use super::plan::SortPlan;
use super::sorted::is_sorted;
use super::splitters::{Splitters, count};

/// Pseudorandom words (xorshift64*, Vigna, 2016).
pub(super) fn words(n: usize) -> Vec<u64> {
    let mut x = 0x1234_5678_9ABC_DEF1_u64;
    let next = |_| {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    (0..n).map(next).collect()
}

fn sort_by_plan<K: Key>(keys: &mut [K], scratch: &mut [K], plan: SortPlan) {
    assert_eq!(keys.len(), scratch.len(), "as much scratch as keys");
    if is_sorted(keys, None) {
        return;
    }
    let scratch: &mut [K::Bits] = bytemuck::cast_slice_mut(scratch);
    let mut values = vec![(); plan.len];
    let values = values.as_mut_slice();
    let to = (&mut *scratch, &mut *values);
    let buckets = partition(keys, Key::to_bits, std::iter::repeat(()), plan, to);
    for range in buckets {
        sort_bucket(&scratch[range.clone()], &mut keys[range], &mut Vec::new());
    }
}

fn argsort_by_plan<K: Key>(keys: &[K], indices: &mut [u64], plan: SortPlan) {
    let n = keys.len();
    assert_eq!(indices.len(), n, "as many indices as keys");
    let mut ranks = vec![bytemuck::Zeroable::zeroed(); n];
    let mut unsorted = vec![0; n];
    let buckets = partition(keys, Key::rank, 0_u64.., plan, (&mut ranks, &mut unsorted));
    let mut spare = vec![bytemuck::Zeroable::zeroed(); n];
    for range in buckets {
        let from = Pairs::new(&mut ranks[range.clone()], &mut unsorted[range.clone()]);
        let to = Pairs::new(&mut spare[range.clone()], &mut indices[range]);
        sort_pairs(from, to, Target::Second);
    }
}

fn sort_by_key_by_plan<K: Key, V: Pod>(keys: &mut [K], values: &mut [V], plan: SortPlan) {
    assert_eq!(keys.len(), values.len(), "as many values as keys");
    let (mut keys_from, mut values_from) = (keys.to_vec(), values.to_vec());
    let to = (&mut keys_from[..], &mut values_from[..]);
    let buckets = partition(keys, |key| key, values.iter().copied(), plan, to);
    for range in buckets {
        let from = Pairs::new(&mut keys_from[range.clone()], &mut values_from[range.clone()]);
        let to = Pairs::new(&mut keys[range.clone()], &mut values[range]);
        sort_pairs(from, to, Target::Second);
    }
}

/// Partitions encoded keys and their values into `to`; returns the ranges of the buckets.
fn partition<K: Key, E: Copy, V: Copy>(
    keys: &[K],
    encode: impl Fn(K) -> E + Copy,
    values: impl Iterator<Item = V>,
    plan: SortPlan,
    to: (&mut [E], &mut [V]),
) -> Vec<Range<usize>> {
    assert!(to.0.len() == keys.len() && to.1.len() == keys.len(), "a place for each key");
    let mut values = values;
    if plan.buckets <= 1 {
        to.0.iter_mut().zip(keys).for_each(|(to, &key)| *to = encode(key));
        to.1.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        return std::iter::once(0..keys.len()).collect();
    }
    let sample = plan.sample_places().map(|place| keys[place].rank()).collect();
    let splitters = Splitters::new(&Splitters::choose(sample, plan.buckets));
    let buckets = splitters.buckets();
    let mut places = vec![0; (plan.chunks() + 1) * buckets];
    for (chunk, counts) in keys.chunks(plan.chunk_len).zip(places.chunks_exact_mut(buckets)) {
        count(&splitters, chunk, counts);
    }
    places_from_counts(&mut places, buckets);
    let to = Destination { keys: to.0.as_mut_ptr(), values: to.1.as_mut_ptr() };
    let rows: Vec<&[u64]> = places.chunks_exact(buckets).collect();
    for (chunk, rows) in keys.chunks(plan.chunk_len).zip(rows.windows(2)) {
        let values = values.by_ref().take(chunk.len());
        let places = (rows[0], rows[1]);
        // SAFETY: all places are below `keys.len()`, the sum of the counts, and so within `to`,
        // whose lengths are checked above and which this function borrows.
        let done = unsafe { scatter(&splitters, chunk, encode, values, places, to) };
        assert_eq!(done, Ok(()), "keys do not change while they are borrowed");
    }
    (0..buckets).map(|b| bucket_range(&places, buckets, b)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A plan with several buckets, for any number of keys from 4 on.
    fn small_plan(len: usize, buckets: usize) -> SortPlan {
        let plan = SortPlan { len, chunk_len: 37, buckets, samples: (2 * buckets).min(len / 2) };
        if plan.samples < 2 { SortPlan { buckets: 1, ..plan } } else { plan }
    }

    fn assert_sorts<K: Key + std::fmt::Debug>(keys: &[K], plan: SortPlan) {
        let mut expected: Vec<K::Bits> = keys.iter().map(|key| key.to_bits()).collect();
        expected.sort_unstable();
        let mut found = keys.to_vec();
        sort_by_plan(&mut found, &mut keys.to_vec(), plan);
        let bits: Vec<K::Bits> = found.iter().map(|key| key.to_bits()).collect();
        assert!(bits == expected, "{keys:?} gives {found:?}");

        let mut order: Vec<u32> = (0..u32::try_from(keys.len()).unwrap()).collect();
        order.sort_by_key(|&i| keys[i as usize].rank());
        let mut indices = vec![0; keys.len()];
        argsort_by_plan(keys, &mut indices, plan);
        assert!(indices.iter().zip(&order).all(|(&i, &o)| i == u64::from(o)));

        let mut found = keys.to_vec();
        let mut values: Vec<[u8; 3]> = (0_u32..).map(triple).take(keys.len()).collect();
        sort_by_key_by_plan(&mut found, &mut values, plan);
        for ((key, value), &i) in found.iter().zip(&values).zip(&order) {
            assert!(key.to_bits() == keys[i as usize].to_bits());
            assert_eq!(*value, triple(i));
        }
    }

    fn triple(i: u32) -> [u8; 3] {
        let [a, b, c, _] = i.to_le_bytes();
        [a, b, c]
    }

    /// Keys in orders that are hard for some sorting algorithm; `words` are random.
    pub(in super::super) fn shapes(words: &[u64]) -> Vec<Vec<u64>> {
        let n = words.len() as u64;
        let sorted: Vec<u64> = (0..n).map(|i| i << 20).collect();
        vec![
            words.to_vec(),
            vec![7; words.len()],
            words.iter().map(|w| w % 2 * u64::MAX).collect(),
            words.iter().map(|w| w % 5).collect(),
            sorted.iter().rev().copied().collect(),
            (0..n).map(|i| i.min(n - i)).collect(),
            // One far away, all others close together in two clusters.
            words
                .iter()
                .enumerate()
                .map(|(i, w)| if i == 3 { u64::MAX } else { w >> 50 })
                .collect(),
            words.iter().map(|w| ((w & 1) << 63) | ((w >> 8) % 1000)).collect(),
            // Skewed: equally many of each length in bits.
            words.iter().map(|w| w >> (w % 64)).collect(),
            // Many low bits below equal high bits.
            words.iter().map(|w| ((w % 3) << 40) | ((w >> 33) % 4096)).collect(),
            sorted,
        ]
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    fn assert_all(keys: &[u64], plan: SortPlan) {
        assert_sorts(keys, plan);
        let narrow: Vec<u32> = keys.iter().map(|&w| (w >> 20) as u32 ^ w as u32).collect();
        assert_sorts(&narrow, plan);
        assert_sorts(&keys.iter().map(|&w| f64::from_bits(w)).collect::<Vec<_>>(), plan);
        assert_sorts(&narrow.iter().map(|&w| w as i16).collect::<Vec<_>>(), plan);
    }

    #[test]
    fn all_shapes_and_types_are_sorted_at_many_lengths() {
        for n in [0, 1, 2, 3, 24, 25, 96, 97, 300, 1001] {
            for keys in shapes(&words(n)) {
                assert_all(&keys, small_plan(n, 1));
                assert_all(&keys, small_plan(n, 2));
                assert_all(&keys, small_plan(n, 17));
            }
        }
    }

    #[test]
    fn long_arrays_of_all_shapes_are_sorted() {
        for keys in shapes(&words(40_001)) {
            assert_all(&keys, SortPlan::new::<u64>(keys.len()));
            assert_all(&keys, small_plan(keys.len(), 1));
        }
    }

    #[test]
    fn special_floats_have_their_places() {
        let mut keys = [f64::NAN, 0.0, -f64::NAN, f64::INFINITY, -0.0, -1.0, f64::NEG_INFINITY];
        sort_by_plan(&mut keys, &mut [0.0; 7], small_plan(7, 1));
        let expected = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, f64::INFINITY, f64::NAN, -f64::NAN];
        assert_eq!(keys.map(f64::to_bits), expected.map(f64::to_bits));
        // NumPy's stable order: zeros are equal, NaN are equal.
        let mut indices = [0; 5];
        argsort_by_plan(&[-f64::NAN, 0.0, f64::NAN, -0.0, -1.0], &mut indices, small_plan(5, 1));
        assert_eq!(indices, [4, 1, 3, 0, 2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn random_keys_are_sorted(
            words in proptest::collection::vec(any::<u64>(), 0..700),
            shape in 0_usize..11,
            buckets in 1_usize..40,
        ) {
            assert_all(&shapes(&words)[shape], small_plan(words.len(), buckets));
        }

        #[test]
        fn places_are_within_their_buckets(words in proptest::collection::vec(0_u64..9, 12)) {
            let mut places: Vec<u64> = words.iter().copied().chain([99; 4]).collect();
            places_from_counts(&mut places, 4);
            let mut next = 0;
            for b in 0..4 {
                prop_assert_eq!(bucket_range(&places, 4, b).start as u64, next);
                for c in 0..3 {
                    prop_assert_eq!(places[4 * c + b], next);
                    next += words[4 * c + b];
                }
                prop_assert_eq!(places[12 + b], next);
            }
        }
    }

    #[test]
    fn a_scatter_writes_no_place_that_is_not_granted() {
        let counted = words(500);
        let splitters = Splitters::new(&Splitters::choose(counted[..64].to_vec(), 8));
        let mut places = vec![0; 2 * splitters.buckets()];
        count(&splitters, &counted, &mut places[..splitters.buckets()]);
        places_from_counts(&mut places, splitters.buckets());
        let (starts, ends) = places.split_at(splitters.buckets());
        let (mut out, mut values) = (vec![7_u64; 1000], vec![(); 1000]);
        let to = Destination { keys: out.as_mut_ptr(), values: values.as_mut_ptr() };
        let keys = vec![counted[0]; 500];
        let none = std::iter::repeat(());
        // SAFETY: the places are below 500.
        let done = unsafe { scatter(&splitters, &keys, |key| key, none, (starts, ends), to) };
        assert_eq!(done, Err(super::super::partition::KeysChanged));
        let bucket = (0..splitters.buckets()).find(|&b| {
            let range = bucket_range(&places, splitters.buckets(), b);
            out[range].contains(&counted[0])
        });
        let range = bucket_range(&places, splitters.buckets(), bucket.unwrap());
        for (place, &key) in out.iter().enumerate() {
            assert!(range.contains(&place) || key == 7);
        }
    }
}
