//! Splitters of buckets, and the search for a key's bucket.
//!
//! Bucket `b` holds the ranks from `splitters[b - 1]` to below `splitters[b]` (sample sort, Frazer
//! and McKellar, 1970). A rank that occurs twice among the chosen splitters gets its own bucket,
//! which is already sorted. A table over equal intervals of ranks gives the first bucket of an
//! interval, and a binary search without branches finds the bucket. That usually takes no step,
//! because splitters are moved to the starts of their intervals if each has its own interval.

use super::key::{Key, KeyBits};
use super::local::{Pairs, Target, sort_pairs};
use crate::kernel::vectorized::vectorized;

/// Keys whose buckets are found at a time.
pub(super) const BLOCK: usize = 256;

/// The sizes of the table, as powers of two. The second is for splitters that share an interval of
/// the first, as for floats, whose ranks lie within a few exponents.
const TABLE_BITS: [u32; 2] = [12, 16];

/// Splitters in ascending order, and the table over them.
#[derive(Debug, Clone)]
pub(crate) struct Splitters<B> {
    /// The splitters, followed by `2^steps` times `MAX`.
    splitters: Vec<B>,
    /// The number of splitters, which is the last bucket.
    last: u16,
    /// For each interval the number of splitters below it, or also within it if `steps` is zero.
    table: Vec<u16>,
    low: B,
    shift: u32,
    steps: u32,
}

impl<B: KeyBits> Splitters<B> {
    /// Chooses splitters for about `buckets` buckets of equal size from the ranks of sampled keys,
    /// for [`Splitters::new`].
    pub(crate) fn choose(mut sample: Vec<B>, buckets: usize) -> Vec<B> {
        let mut spare = sample.clone();
        let n = sample.len();
        let (pairs, others) = (&mut vec![(); n][..], &mut vec![(); n][..]);
        let target = Target::First;
        sort_pairs(Pairs::new(&mut sample, pairs), Pairs::new(&mut spare, others), target);
        (1..buckets.min(n)).map(|b| sample[b * n / buckets.min(n)]).collect()
    }

    /// The buckets between chosen ranks, which ascend. There are fewer buckets if many ranks are
    /// equal, and at most twice as many.
    pub(crate) fn new(chosen: &[B]) -> Self {
        let mut splitters = Vec::with_capacity(2 * chosen.len());
        for run in chosen.chunk_by(|a, b| a == b) {
            if splitters.last() != Some(&run[0]) {
                splitters.push(run[0]);
            }
            if run.len() > 1 && run[0] != B::MAX {
                splitters.push(B::narrow(run[0].wide() + 1));
            }
        }
        // Nothing is below the least rank.
        splitters.retain(|&splitter| splitter != B::MIN);
        if splitters.is_empty() {
            splitters.push(B::MAX);
        }
        let (low, high) = (splitters[0], splitters[splitters.len() - 1]);
        let bits = u64::BITS - (high.wide() - low.wide()).leading_zeros();
        // At most two for each bucket of a plan.
        let last = u16::try_from(splitters.len()).unwrap_or(u16::MAX);
        let mut found = Self { splitters, last, table: Vec::new(), low, shift: 0, steps: 0 };
        for table_bits in TABLE_BITS {
            found.shift = bits.saturating_sub(table_bits);
            found.fill_table(table_bits);
            if found.steps == 0 {
                break;
            }
        }
        found.splitters.resize(usize::from(last) + (1 << found.steps), B::MAX);
        found
    }

    fn fill_table(&mut self, table_bits: u32) {
        self.table = vec![0; 1 << table_bits];
        for i in 0..self.splitters.len() {
            let interval = self.interval(self.splitters[i]);
            self.table[interval] += 1;
        }
        let most = self.table.iter().copied().max().unwrap_or(0);
        self.steps = if most <= 1 { 0 } else { (most + 1).next_power_of_two().trailing_zeros() };
        if self.steps == 0 {
            for splitter in &mut self.splitters {
                let start = (splitter.wide() - self.low.wide()) >> self.shift << self.shift;
                *splitter = B::narrow(self.low.wide() + start);
            }
        }
        let mut sum = 0;
        for within in &mut self.table {
            let below = sum;
            sum += *within;
            *within = if self.steps == 0 { sum } else { below };
        }
    }

    /// Number of buckets.
    pub(crate) fn buckets(&self) -> usize {
        usize::from(self.last) + 1
    }

    /// The interval of the table. Ranks below the first splitter are in its first interval, which
    /// needs a comparison.
    #[inline(always)]
    fn interval(&self, rank: B) -> usize {
        let offset = rank.wide().saturating_sub(self.low.wide()) >> self.shift;
        // At most the last index.
        usize::try_from(offset).unwrap_or(usize::MAX).min(self.table.len() - 1)
    }

    /// The buckets of at most [`BLOCK`] keys.
    #[inline(always)]
    pub(super) fn find<K: Key<Bits = B>>(&self, keys: &[K], found: &mut [u16; BLOCK]) {
        for (found, key) in found.iter_mut().zip(keys) {
            *found = self.table[self.interval(key.rank())];
        }
        if self.steps == 0 {
            // Ranks below the first splitter are in the first interval, whose entry accounts for
            // them.
            for (found, key) in found.iter_mut().zip(keys) {
                *found -= u16::from(key.rank() < self.low);
            }
        } else {
            self.search(keys, found);
        }
    }

    /// Searches from the first bucket of each key's interval on. It makes each step for all keys,
    /// so that their memory accesses do not wait for each other.
    #[inline(always)]
    fn search<K: Key<Bits = B>>(&self, keys: &[K], found: &mut [u16; BLOCK]) {
        for step in (0..self.steps).rev() {
            let ahead = &self.splitters[(1 << step) - 1..];
            for (found, key) in found.iter_mut().zip(keys) {
                let splitter = ahead[usize::from(*found)];
                *found += u16::from(splitter <= key.rank()) << step;
            }
        }
        // The greatest rank is not less than the padding.
        found.iter_mut().for_each(|found| *found = (*found).min(self.last));
    }
}

vectorized! {
    /// Adds to `counts[b]` the number of keys in bucket `b`.
    ///
    /// # Panics
    ///
    /// If `counts` does not have as many elements as there are buckets.
    pub(crate) fn count<K: Key>(
        splitters: &Splitters<K::Bits>,
        keys: &[K],
        counts: &mut [u64],
    ) {
        assert_eq!(counts.len(), splitters.buckets(), "a count for each bucket");
        let mut found = [0; BLOCK];
        for keys in keys.chunks(BLOCK) {
            splitters.find(keys, &mut found);
            found[..keys.len()].iter().for_each(|&bucket| counts[usize::from(bucket)] += 1);
        }
    }
}
