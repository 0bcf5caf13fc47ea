//! The greatest k keys with their indices.
//!
//! Keys are compared by rank, so NaN is greatest, and the lower index comes first among equals.
//! Each chunk keeps at most a few times k candidates and reduces them to k by quickselect (Hoare,
//! 1961) when there are more; blocks of keys without a candidate are skipped at streaming speed.

use std::cmp::Ordering;

use super::key::{Key, KeyBits};
use crate::kernel::vectorized::vectorized;

/// Keys that are compared with the threshold at once.
const BLOCK: usize = 256;

/// The fewest candidates beyond k before they are reduced.
const SPARE_MIN: usize = 1024;

/// A key and its index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Indexed<K> {
    /// The key.
    pub(crate) key: K,
    /// Its index in the whole array.
    pub(crate) index: u64,
}

fn descending<K: Key>(a: &Indexed<K>, b: &Indexed<K>) -> Ordering {
    b.key.rank().cmp(&a.key.rank()).then(a.index.cmp(&b.index))
}

/// The greatest `k` keys of a chunk, or all if it has no more, unordered; its first key has index
/// `first`.
pub(crate) fn top_k_of_chunk<K: Key>(keys: &[K], first: u64, k: usize) -> Vec<Indexed<K>> {
    let mut found = Vec::new();
    if k == 0 {
        return found;
    }
    // A key of this rank is not a candidate: k keys with lower indices are not less.
    let mut threshold = None;
    let limit = k.saturating_add(k.max(SPARE_MIN));
    for (block, keys) in keys.chunks(BLOCK).enumerate() {
        if threshold.is_some_and(|threshold| greatest(keys) <= threshold) {
            continue;
        }
        let first = first + (block * BLOCK) as u64;
        let indexed = (first..).zip(keys).map(|(index, &key)| Indexed { key, index });
        found.extend(indexed.filter(|at| threshold.is_none_or(|least| at.key.rank() > least)));
        if found.len() >= limit {
            keep(&mut found, k);
            threshold = found.last().map(|at| at.key.rank());
        }
    }
    keep(&mut found, k);
    found
}

/// The greatest `k` of the chunks' results, in descending order.
pub(crate) fn merge_top_k<K: Key>(mut found: Vec<Indexed<K>>, k: usize) -> Vec<Indexed<K>> {
    keep(&mut found, k);
    found.sort_unstable_by(descending);
    found
}

/// Keeps the greatest `k`, the least of them last.
fn keep<K: Key>(found: &mut Vec<Indexed<K>>, k: usize) {
    if k > 0 && found.len() > k {
        found.select_nth_unstable_by(k - 1, descending);
    }
    found.truncate(k);
}

vectorized! {
    fn greatest<K: Key>(keys: &[K]) -> K::Bits {
        keys.iter().map(|key| key.rank()).fold(K::Bits::MIN, Ord::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_top<K: Key>(keys: &[K], chunk: usize, k: usize) {
        let mut expected: Vec<usize> = (0..keys.len()).collect();
        expected.sort_by_key(|&i| (std::cmp::Reverse(keys[i].rank()), i));
        expected.truncate(k);
        let chunks = keys.chunks(chunk).enumerate();
        let all = chunks.flat_map(|(c, keys)| top_k_of_chunk(keys, (c * chunk) as u64, k));
        let found = merge_top_k(all.collect(), k);
        assert_eq!(found.len(), expected.len());
        for (found, i) in found.iter().zip(expected) {
            assert_eq!(found.index, i as u64);
            assert!(found.key.to_bits() == keys[i].to_bits());
        }
    }

    proptest! {
        #[test]
        fn the_greatest_are_found_with_the_lowest_indices(
            keys in proptest::collection::vec(0_u32..90, 0..5000),
            chunk in 1_usize..3000,
            k in 0_usize..100,
        ) {
            assert_top(&keys, chunk, k);
            assert_top(&keys, chunk, k * 40);
            let special = |&x: &u32| match x { 0 => -0.0, 1 => 0.0, 2 => f32::NAN, _ => x as f32 };
            assert_top(&keys.iter().map(special).collect::<Vec<_>>(), chunk, k);
        }
    }

    #[test]
    fn ascending_keys_replace_all_candidates() {
        assert_top(&(0..20_000_u64).collect::<Vec<_>>(), 7000, 3);
        assert_top(&[1_i64; 9000], 4000, 5);
    }
}
