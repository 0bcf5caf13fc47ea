//! Shuffles in two passes.
//!
//! Each element goes to a random bucket, then each bucket is shuffled separately.
//!
//! Rao, "Generation of random permutation of given number of elements using random sampling
//! numbers", Sankhya A 23, 1961, and Sandelius, J. R. Stat. Soc. B 24, 1962: if each element draws
//! a bucket, and each bucket is then shuffled (Fisher and Yates), all orders are equally likely.
//! Buckets fit into a cache, and depend on the length alone; elements keep their order on the way
//! to a bucket. So the result is the same for any number of workers and chunks. A Feistel network
//! would need no memory, but reaches few of the orders and reads at random; sorting by random keys
//! is slower.
//!
//! Passes: [`count_buckets`] for each chunk; [`starts`]; [`scatter`] for each chunk, into a second
//! array; [`shuffle_bucket`] for each bucket.
#![allow(unsafe_code)]

use super::philox::{BATCH, Stream, fill_words};
use super::uniform::below;

/// The approximate number of elements of a bucket.
const BUCKET: usize = 1 << 15;
/// The greatest number of bits: the processor's TLB limits the streams that a scatter can write at
/// the same time.
const BITS_MAX: u32 = 11;

/// The number of buckets of a shuffle of `n` elements is `2^bucket_bits(n)`.
pub(crate) fn bucket_bits(n: usize) -> u32 {
    n.div_ceil(BUCKET).next_power_of_two().ilog2().min(BITS_MAX)
}

/// The stream of the buckets of elements.
fn buckets(key: [u64; 2]) -> Stream {
    Stream { purpose: 1, ..Stream::new(key) }
}

/// Calls `f(i, bucket)` for the elements `start + i` with `i < len`.
fn each_bucket(key: [u64; 2], bits: u32, start: u64, len: usize, mut f: impl FnMut(usize, usize)) {
    let mut words = [0; BATCH];
    for first in (0..len).step_by(BATCH) {
        let words = &mut words[..BATCH.min(len - first)];
        fill_words(buckets(key), start + first as u64, words);
        for (i, &word) in words.iter().enumerate() {
            // In two steps, because a shift by 64 is not allowed.
            f(first + i, (word >> 1 >> (63 - bits)) as usize);
        }
    }
}

/// Adds to each bucket's count the elements `start .. start + len` that belong to it.
///
/// # Panics
///
/// If there are not `2^bits` counts.
pub(crate) fn count_buckets(
    key: [u64; 2],
    bits: u32,
    start: u64,
    len: usize,
    counts: &mut [usize],
) {
    assert_eq!(counts.len(), 1 << bits, "a count for each bucket");
    each_bucket(key, bits, start, len, |_, bucket| counts[bucket] += 1);
}

/// Turns the counts of chunks (a row of buckets for each chunk) into the position of each chunk's
/// first element in each bucket: bucket by bucket, and chunk by chunk within a bucket.
///
/// The first row then holds the beginning of each bucket.
pub(crate) fn starts(counts: &mut [usize], bits: u32) {
    let mut position = 0;
    for bucket in 0..1 << bits {
        for count in counts.iter_mut().skip(bucket).step_by(1 << bits) {
            position += std::mem::replace(count, position);
        }
    }
}

/// Writes `element(i)`, for the elements `start + i` with `i < len`, to the next position of its
/// bucket, from the chunk's row of [`starts`] on.
///
/// # Safety
///
/// - `to` is valid for writes, and aligned.
/// - Nothing else reads or writes the chunk's positions of `to` during the call. Positions of
///   different chunks differ if `positions` is the row of [`starts`] for the counts of the same
///   chunk, `key` and `bits`.
///
/// # Panics
///
/// If there are not `2^bits` positions, or one lies outside `to`.
pub(crate) unsafe fn scatter<T: Copy>(
    (key, bits): ([u64; 2], u32),
    start: u64,
    len: usize,
    element: impl Fn(usize) -> T,
    positions: &mut [usize],
    to: *mut [T],
) {
    assert_eq!(positions.len(), 1 << bits, "a position for each bucket");
    each_bucket(key, bits, start, len, |i, bucket| {
        let position = positions[bucket];
        assert!(position < to.len(), "position {position} of {}", to.len());
        // SAFETY: within `to`, checked above.
        let place = unsafe { to.cast::<T>().add(position) };
        // SAFETY: within `to`, as above; nothing else uses the place, by this function's contract.
        unsafe { place.write(element(i)) };
        positions[bucket] = position + 1;
    });
}

/// Shuffles one bucket in place by Fisher and Yates; all orders are equally likely.
pub(crate) fn shuffle_bucket<T>(key: [u64; 2], bucket: usize, elements: &mut [T]) {
    let stream = Stream { purpose: 2, lane: bucket as u64, ..Stream::new(key) };
    let mut words = [0; BATCH];
    for first in (1..elements.len()).step_by(BATCH) {
        let words = &mut words[..BATCH.min(elements.len() - first)];
        fill_words(stream, first as u64, words);
        for (i, &word) in (first..).zip(&*words) {
            elements.swap(i, index_below(stream, i, word));
        }
    }
}

/// A random index of `0..=i`.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most i, which is a usize")]
fn index_below(stream: Stream, i: usize, word: u64) -> usize {
    below(stream, i as u64, word, i as u64 + 1) as usize
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use super::*;

    /// The permutation of `0..n` with `bits`, by chunks of the given length.
    fn permutation(key: [u64; 2], bits: u32, n: usize, chunk: usize) -> Vec<usize> {
        let chunks: Vec<usize> = (0..n).step_by(chunk).collect();
        let mut counts = vec![0; chunks.len() << bits];
        for (&start, counts) in chunks.iter().zip(counts.chunks_mut(1 << bits)) {
            count_buckets(key, bits, start as u64, chunk.min(n - start), counts);
        }
        starts(&mut counts, bits);
        let mut begins = counts[..1 << bits].to_vec();
        begins.push(n);
        let mut out = vec![usize::MAX; n];
        let to: *mut [usize] = &raw mut out[..];
        for (&start, positions) in chunks.iter().zip(counts.chunks_mut(1 << bits)) {
            let len = chunk.min(n - start);
            // SAFETY: the positions are those of the chunk's counts, whose sum is `n`; `out` has
            // room for them and only this thread uses it.
            unsafe {
                scatter((key, bits), start as u64, len, |i| start + i, positions, to);
            }
        }
        for bucket in 0..1 << bits {
            shuffle_bucket(key, bucket, &mut out[begins[bucket]..begins[bucket + 1]]);
        }
        out
    }

    #[test]
    fn permutations_are_whole_and_do_not_depend_on_chunks() {
        for (n, bits) in [(1, 0), (2, 1), (1000, 0), (5003, 4), (70_001, bucket_bits(70_001))] {
            let whole = permutation([1, 2], bits, n, n);
            assert_eq!(whole, permutation([1, 2], bits, n, n / 3 + 1));
            let mut sorted = whole.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..n));
        }
        assert_eq!((bucket_bits(0), bucket_bits(1), bucket_bits(1 << 40)), (0, 0, BITS_MAX));
    }

    #[test]
    fn every_order_of_four_is_as_likely() {
        for bits in [0, 1] {
            let mut counts = std::collections::HashMap::new();
            for key in 0..24_000 {
                *counts.entry(permutation([key, 5], bits, 4, 4)).or_insert(0u32) += 1;
            }
            // 24 orders of 1000 each; the standard deviation is 31.
            assert_eq!(counts.len(), 24);
            assert!(counts.values().all(|&count| count.abs_diff(1000) < 155), "{counts:?}");
        }
    }
}
