//! The places at which needles would be inserted into sorted keys.
//!
//! A binary search without branches (Khuong and Morin, "Array layouts for comparison-based
//! searching", 2017, section 3). It makes each step for a block of needles, so that their memory
//! accesses overlap. A block of ascending needles searches only between the places of its first and
//! last needle. Keys are compared by rank: -0.0 equals 0.0, and NaN equals NaN and is greatest, as
//! in NumPy.

use serde::{Deserialize, Serialize};

use super::key::{Key, KeyBits};
use crate::kernel::vectorized::vectorized;

/// Needles of a block.
const BLOCK: usize = 64;

/// The place among equal keys; see [`Pool::searchsorted`](crate::Pool::searchsorted).
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray, Side};
/// let pool = Pool::builder().workers(1).build()?;
/// let sorted = SharedArray::from_slice(&[1, 5, 5, 9])?;
/// let needles = SharedArray::from_slice(&[5])?;
/// assert_eq!(pool.searchsorted(&sorted, &needles, Side::Left)?.as_slice(), [1]);
/// assert_eq!(pool.searchsorted(&sorted, &needles, Side::Right)?.as_slice(), [3]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Before all of them.
    Left,
    /// After all of them.
    Right,
}

/// Writes for each needle the number of keys that are less or, for [`Side::Right`], not greater.
///
/// # Panics
///
/// If there are not as many places as needles.
pub(crate) fn searchsorted<K: Key>(keys: &[K], needles: &[K], side: Side, places: &mut [u64]) {
    assert_eq!(places.len(), needles.len(), "a place for each needle");
    match side {
        Side::Left => search(keys, needles, places, Left),
        Side::Right => search(keys, needles, places, Right),
    }
}

/// Whether a key comes before a needle.
trait Before {
    fn before<B: Ord>(key: B, needle: B) -> bool;
}

struct Left;

impl Before for Left {
    #[inline(always)]
    fn before<B: Ord>(key: B, needle: B) -> bool {
        key < needle
    }
}

struct Right;

impl Before for Right {
    #[inline(always)]
    fn before<B: Ord>(key: B, needle: B) -> bool {
        key <= needle
    }
}

vectorized! {
    fn search<K: Key, S: Before>(keys: &[K], needles: &[K], places: &mut [u64], side: S) {
        let _ = side;
        for (needles, places) in needles.chunks(BLOCK).zip(places.chunks_mut(BLOCK)) {
            let (first, last) = (needles[0].rank(), needles[needles.len() - 1].rank());
            let (mut from, mut keys) = (0, keys);
            if needles.is_sorted_by(|a, b| a.rank() <= b.rank()) {
                from = keys.partition_point(|key| S::before(key.rank(), first));
                let to = from + keys[from..].partition_point(|key| S::before(key.rank(), last));
                keys = &keys[from..to];
            }
            search_block::<K, S>(keys, needles, from, places);
        }
    }
}

#[inline(always)]
fn search_block<K: Key, S: Before>(keys: &[K], needles: &[K], from: usize, places: &mut [u64]) {
    let mut ranks = [K::Bits::MIN; BLOCK];
    ranks.iter_mut().zip(needles).for_each(|(rank, needle)| *rank = needle.rank());
    let mut found = [0_usize; BLOCK];
    let found = &mut found[..needles.len()];
    let mut size = keys.len();
    while size > 0 {
        // Each answer lies in `found..=found + size`.
        let half = size.div_ceil(2);
        for (found, &rank) in found.iter_mut().zip(&ranks) {
            let before = S::before(keys[*found + half - 1].rank(), rank);
            *found += std::hint::select_unpredictable(before, half, 0);
        }
        size -= half;
    }
    for (place, &found) in places.iter_mut().zip(&*found) {
        *place = (from + found) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_found<K: Key>(keys: &[K], needles: &[K]) {
        let mut places = vec![0; needles.len()];
        searchsorted(keys, needles, Side::Left, &mut places);
        for (needle, &place) in needles.iter().zip(&places) {
            let less = keys.iter().filter(|key| key.rank() < needle.rank()).count();
            assert_eq!(place, less as u64);
        }
        searchsorted(keys, needles, Side::Right, &mut places);
        for (needle, &place) in needles.iter().zip(&places) {
            let less = keys.iter().filter(|key| key.rank() <= needle.rank()).count();
            assert_eq!(place, less as u64);
        }
    }

    proptest! {
        #[test]
        fn places_agree_with_a_count(
            mut keys in proptest::collection::vec(0_u32..300, 0..200),
            mut needles in proptest::collection::vec(0_u32..320, 0..300),
        ) {
            let float = |&x: &u32| match x {
                0..8 => -0.0,
                8..16 => 0.0,
                16..20 => f64::NEG_INFINITY,
                290..300 => f64::NAN,
                300.. => -f64::NAN,
                _ => f64::from(x),
            };
            keys.sort_unstable();
            for _ in 0..2 {
                assert_found(&keys, &needles);
                let mut floats: Vec<f64> = keys.iter().map(float).collect();
                floats.sort_by_key(|x| x.rank());
                assert_found(&floats, &needles.iter().map(float).collect::<Vec<_>>());
                needles.sort_unstable();
            }
        }
    }
}
