//! The stable sort of one bucket, in a cache.
//!
//! A bucket of n keys is sorted by the 8, 16 or 24 highest bits in which its keys differ, by a
//! radix sort from the least significant digit up (Knuth, TAOCP 3, 5.2.5, algorithm R). Few keys
//! then have a neighbour with the same high bits: an insertion sort orders those, and a run that is
//! too long for it is sorted again by its lower bits. A bucket that is too large for the cache is
//! first split by one digit. Each level takes at least 8 bits, so the time is linear in n for all
//! inputs. Values move with the keys; `V = ()` sorts keys alone.

use super::key::{Key, KeyBits};
use crate::kernel::vectorized::vectorized;

/// The values of a digit of a radix pass.
const DIGITS: usize = 256;

/// The most keys that are sorted by insertion alone.
const INSERTION_MAX: usize = 24;

/// The most places that insertion moves a key; a run that needs more is sorted by radix.
const MOVES_MAX: usize = 16;

/// A range with more bytes of keys is first split by one digit.
const SPLIT_MIN_BYTES: usize = 1 << 19;

/// Keys and their values, side by side.
#[derive(Debug)]
pub(crate) struct Pairs<'a, K, V> {
    keys: &'a mut [K],
    values: &'a mut [V],
}

impl<'a, K: Key, V: Copy> Pairs<'a, K, V> {
    /// Pairs `keys[i]` with `values[i]`.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub(crate) fn new(keys: &'a mut [K], values: &'a mut [V]) -> Self {
        assert_eq!(keys.len(), values.len(), "as many values as keys");
        Self { keys, values }
    }

    fn part(&mut self, from: usize, to: usize) -> Pairs<'_, K, V> {
        Pairs { keys: &mut self.keys[from..to], values: &mut self.values[from..to] }
    }

    fn copy_from(&mut self, other: &Pairs<'_, K, V>) {
        self.keys.copy_from_slice(other.keys);
        self.values.copy_from_slice(other.values);
    }
}

/// Where to put the sorted pairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// In the first argument of [`sort_pairs`].
    First,
    /// In the second.
    Second,
}

impl Target {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Sorts the pairs of `first` by the ranks of their keys; stable. `second` is of the same length;
/// `target` receives the result, and the other is overwritten.
pub(crate) fn sort_pairs<K: Key, V: Copy>(
    mut first: Pairs<'_, K, V>,
    mut second: Pairs<'_, K, V>,
    target: Target,
) {
    let n = first.keys.len();
    assert_eq!(second.keys.len(), n, "two buffers of one length");
    if n <= INSERTION_MAX {
        insertion_sort(&mut first);
    } else {
        let (low, high) = extent(first.keys);
        if low != high {
            let bits = u64::BITS - (high.wide() - low.wide()).leading_zeros();
            if size_of_val(first.keys) >= SPLIT_MIN_BYTES {
                return split(first, second, target, low.wide(), bits);
            }
            return radix_sort(first, second, target, low.wide(), bits);
        }
    }
    if target == Target::Second {
        second.copy_from(&first);
    }
}

/// Sorts the bits of a bucket into its keys. The bits do not change, so this can be repeated;
/// `spare` is a buffer that is kept from call to call.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn sort_bucket<K: Key>(bits: &[K::Bits], keys: &mut [K], spare: &mut Vec<K::Bits>) {
    let n = bits.len();
    spare.clear();
    spare.extend_from_slice(bits);
    let (values, others) = (&mut vec![(); n][..], &mut vec![(); n][..]);
    let to: &mut [K::Bits] = bytemuck::cast_slice_mut(keys);
    sort_pairs(Pairs::new(spare, values), Pairs::new(to, others), Target::Second);
    for key in keys {
        *key = K::from_bits(bytemuck::cast(*key));
    }
}

/// Buffers for a bucket, kept from call to call.
#[derive(Debug)]
pub(crate) struct Spare<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

impl<K, V> Spare<K, V> {
    /// Empty buffers.
    pub(crate) fn new() -> Self {
        Self { keys: Vec::new(), values: Vec::new() }
    }
}

/// Sorts the pairs of a bucket into `to` by the ranks of their keys; stable. The pairs do not
/// change, so this can be repeated.
///
/// # Panics
///
/// If the lengths differ.
pub(crate) fn sort_pairs_into<K: Key, V: Copy>(
    (keys, values): (&[K], &[V]),
    to: Pairs<'_, K, V>,
    spare: &mut Spare<K, V>,
) {
    spare.keys.clear();
    spare.keys.extend_from_slice(keys);
    spare.values.clear();
    spare.values.extend_from_slice(values);
    sort_pairs(Pairs::new(&mut spare.keys, &mut spare.values), to, Target::Second);
}

vectorized! {
    /// The least and the greatest rank; `(MAX, MIN)` for no keys.
    fn extent<K: Key>(keys: &[K]) -> (K::Bits, K::Bits) {
        let start = (K::Bits::MAX, K::Bits::MIN);
        keys.iter().map(|key| key.rank()).fold(start, |(low, high), rank| {
            (low.min(rank), high.max(rank))
        })
    }
}

#[inline(always)]
fn digit<K: Key>(key: K, low: u64, shift: u32) -> usize {
    // The mask keeps the digit below 256.
    usize::from(u8::narrow((key.rank().wide() - low) >> shift))
}

/// Splits by the highest digit of `bits`, then sorts the parts.
fn split<K: Key, V: Copy>(
    mut first: Pairs<'_, K, V>,
    mut second: Pairs<'_, K, V>,
    target: Target,
    low: u64,
    bits: u32,
) {
    let shift = bits.saturating_sub(8);
    let mut places = [0; DIGITS];
    for &key in first.keys.iter() {
        places[digit(key, low, shift)] += 1;
    }
    exclusive_scan(&mut places);
    radix_pass(&first, &mut second, &mut places, low, shift);
    // Each place is now the end of its part.
    let mut from = 0;
    for to in places {
        sort_pairs(second.part(from, to), first.part(from, to), target.other());
        from = to;
    }
}

fn radix_sort<K: Key, V: Copy>(
    mut first: Pairs<'_, K, V>,
    mut second: Pairs<'_, K, V>,
    target: Target,
    low: u64,
    bits: u32,
) {
    let n = first.keys.len();
    let passes = if n <= 96 {
        1
    } else if n <= 1 << 15 {
        2
    } else {
        3
    };
    let shift = bits.saturating_sub(8 * passes);
    let mut place_in = match passes {
        1 => radix_passes::<K, V, 1>(&mut first, &mut second, low, shift),
        2 => radix_passes::<K, V, 2>(&mut first, &mut second, low, shift),
        _ => radix_passes::<K, V, 3>(&mut first, &mut second, low, shift),
    };
    if place_in != target {
        match target {
            Target::First => first.copy_from(&second),
            Target::Second => second.copy_from(&first),
        }
        place_in = target;
    }
    if shift > 0 {
        match place_in {
            Target::First => finish(first, second, low, shift),
            Target::Second => finish(second, first, low, shift),
        }
    }
}

/// Sorts by `PASSES` digits from bit `shift` on; returns which buffer has the result.
fn radix_passes<K: Key, V: Copy, const PASSES: usize>(
    first: &mut Pairs<'_, K, V>,
    second: &mut Pairs<'_, K, V>,
    low: u64,
    shift: u32,
) -> Target {
    let n = first.keys.len();
    let mut places = [[0; DIGITS]; PASSES];
    for &key in first.keys.iter() {
        let mut rest = (key.rank().wide() - low) >> shift;
        for places in &mut places {
            places[usize::from(u8::narrow(rest))] += 1;
            rest >>= 8;
        }
    }
    let mut place = Target::First;
    let mut shift = shift;
    for places in &mut places {
        let one = digit(first.keys[0], low, shift);
        // A pass over a digit that all keys share would move nothing.
        if places[one] != n {
            exclusive_scan(places);
            match place {
                Target::First => radix_pass(first, second, places, low, shift),
                Target::Second => radix_pass(second, first, places, low, shift),
            }
            place = place.other();
        }
        shift += 8;
    }
    place
}

fn exclusive_scan(counts: &mut [usize; DIGITS]) {
    let mut sum = 0;
    for count in counts {
        sum += std::mem::replace(count, sum);
    }
}

/// Moves each pair to the place of its digit, which advances.
#[inline(always)]
fn radix_pass<K: Key, V: Copy>(
    from: &Pairs<'_, K, V>,
    to: &mut Pairs<'_, K, V>,
    places: &mut [usize; DIGITS],
    low: u64,
    shift: u32,
) {
    let (keys, values) = (&mut *to.keys, &mut *to.values);
    for (&key, &value) in from.keys.iter().zip(from.values.iter()) {
        let place = &mut places[digit(key, low, shift)];
        keys[*place] = key;
        values[*place] = value;
        *place += 1;
    }
}

/// Sorts pairs that are in the order of their bits from `shift` on.
fn finish<K: Key, V: Copy>(
    mut pairs: Pairs<'_, K, V>,
    mut spare: Pairs<'_, K, V>,
    low: u64,
    shift: u32,
) {
    let n = pairs.keys.len();
    let mut last = pairs.keys[0].rank();
    let mut i = 1;
    while i < n {
        let rank = pairs.keys[i].rank();
        if rank >= last {
            last = rank;
            i += 1;
            continue;
        }
        if i >= MOVES_MAX && rank < pairs.keys[i - MOVES_MAX].rank() {
            let high = |key: &K| (key.rank().wide() - low) >> shift;
            let same = |key: &&K| high(key) == high(&pairs.keys[i]);
            let from = i - pairs.keys[..i].iter().rev().take_while(same).count();
            let to = i + pairs.keys[i..].iter().take_while(same).count();
            sort_pairs(pairs.part(from, to), spare.part(from, to), Target::First);
            i = to;
            last = pairs.keys[to - 1].rank();
        } else {
            insert_down(&mut pairs, i);
            i += 1;
        }
    }
}

fn insertion_sort<K: Key, V: Copy>(pairs: &mut Pairs<'_, K, V>) {
    for i in 1..pairs.keys.len() {
        insert_down(pairs, i);
    }
}

/// Moves pair `i` down to its place among the sorted pairs below it.
#[inline(always)]
fn insert_down<K: Key, V: Copy>(pairs: &mut Pairs<'_, K, V>, i: usize) {
    let (key, value) = (pairs.keys[i], pairs.values[i]);
    let rank = key.rank();
    let mut place = i;
    while place > 0 && rank < pairs.keys[place - 1].rank() {
        pairs.keys[place] = pairs.keys[place - 1];
        pairs.values[place] = pairs.values[place - 1];
        place -= 1;
    }
    pairs.keys[place] = key;
    pairs.values[place] = value;
}
