//! The sizes of a sort, computed from the number of keys.

use super::key::Key;

/// The fewest keys that are partitioned; fewer are sorted as one bucket.
const PARTITION_MIN: usize = 1 << 15;

/// The bytes of keys in a bucket: bucket and spare buffer fit into the second-level cache.
const BUCKET_BYTES: usize = 1 << 17;

/// The fewest and the most buckets, not counting those of equal keys.
const BUCKETS: (usize, usize) = (16, 256);

/// The fewest keys of a chunk.
const CHUNK_MIN: usize = 1 << 14;

/// The most chunks.
const CHUNKS_MAX: usize = 128;

/// Sampled keys for each bucket.
const SAMPLES_PER_BUCKET: usize = 16;

/// The sizes of a parallel sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SortPlan {
    /// Number of keys.
    pub(crate) len: usize,
    /// Keys of each chunk but the last.
    pub(crate) chunk_len: usize,
    /// The number of buckets; one means that no partition is needed.
    pub(crate) buckets: usize,
    /// The number of keys in the sample.
    pub(crate) samples: usize,
}

impl SortPlan {
    /// The plan for `len` keys of type `K`.
    pub(crate) fn new<K: Key>(len: usize) -> Self {
        if len < PARTITION_MIN {
            return Self { len, chunk_len: len.max(1), buckets: 1, samples: 0 };
        }
        let wanted = len * size_of::<K>() / BUCKET_BYTES;
        let buckets = wanted.next_power_of_two().clamp(BUCKETS.0, BUCKETS.1);
        let chunk_len = len.div_ceil(CHUNKS_MAX).next_multiple_of(64).max(CHUNK_MIN);
        Self { len, chunk_len, buckets, samples: buckets * SAMPLES_PER_BUCKET }
    }

    /// Number of chunks.
    pub(crate) fn chunks(&self) -> usize {
        self.len.div_ceil(self.chunk_len)
    }

    /// The places of the sample: one in each of `samples` equal strata, at a fixed pseudorandom
    /// offset, so that a period in the data is not a period of the sample.
    pub(crate) fn sample_places(&self) -> impl Iterator<Item = usize> {
        let stratum = self.len / self.samples.max(1);
        (0..self.samples).map(move |i| i * stratum + mix(i) % stratum)
    }
}

/// A pseudorandom number for each index (the finalizer of SplitMix64, Steele et al., 2014).
fn mix(index: usize) -> usize {
    let mut x = (index as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    // Half of the bits fits into any `usize`.
    usize::try_from((x ^ (x >> 31)) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampled_places_ascend_within_the_keys() {
        for len in [1 << 15, (1 << 15) + 1, 10_000_019, 1 << 40] {
            let plan = SortPlan::new::<u64>(len);
            let places: Vec<usize> = plan.sample_places().collect();
            assert_eq!(places.len(), plan.samples);
            assert!(places.is_sorted_by(|a, b| a < b) && places[places.len() - 1] < len);
            assert!(plan.chunks() <= CHUNKS_MAX && plan.chunks() * plan.chunk_len >= len);
        }
    }

    #[test]
    fn few_keys_are_one_bucket() {
        for len in [0, 1, 1000] {
            let plan = SortPlan::new::<f32>(len);
            assert_eq!((plan.buckets, plan.sample_places().count()), (1, 0));
            assert_eq!(plan.chunks(), len.min(1));
        }
    }
}
