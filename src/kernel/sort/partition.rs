//! Partition into buckets: places from counts, and the scatter.

#![allow(unsafe_code)]

use std::ops::Range;

use super::key::Key;
use super::splitters::{BLOCK, Splitters};
use crate::kernel::vectorized::vectorized;

/// The bytes that are collected for a bucket before they are written: a cache line.
const LINE_BYTES: usize = 64;

/// Turns counts into places, in one array with a row of `buckets` for each chunk and one more row.
///
/// On entry row `c` holds the counts of chunk `c`; the last row is ignored. On return row `c` holds
/// the beginning of chunk `c` in each bucket; it ends where row `c + 1` begins, and the last row
/// holds the ends of the buckets. [`bucket_range`] returns the range of a bucket.
///
/// # Panics
///
/// If `counts` is not a whole number of rows, at least one.
pub(crate) fn places_from_counts(counts: &mut [u64], buckets: usize) {
    assert!(buckets > 0 && !counts.is_empty(), "at least one row");
    assert!(counts.len().is_multiple_of(buckets), "whole rows");
    // Row by row, so that memory is read in order; first within each bucket.
    let mut sums = vec![0; buckets];
    for row in counts.chunks_exact_mut(buckets) {
        for (count, sum) in row.iter_mut().zip(&mut sums) {
            let next = *sum + *count;
            *count = *sum;
            *sum = next;
        }
    }
    // The last row, whose counts were ignored, now holds the size of each bucket.
    let last = counts.len() - buckets;
    let mut start = 0;
    for (first, size) in sums.iter_mut().zip(&counts[last..]) {
        *first = start;
        start += size;
    }
    for row in counts.chunks_exact_mut(buckets) {
        row.iter_mut().zip(&sums).for_each(|(place, first)| *place += first);
    }
}

/// Where bucket `b` lies among the partitioned keys.
pub(crate) fn bucket_range(places: &[u64], buckets: usize, b: usize) -> Range<usize> {
    let (starts, ends) = (&places[..buckets], &places[places.len() - buckets..]);
    index(starts[b])..index(ends[b])
}

fn index(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// The chunk to scatter does not have the keys that were counted: they have changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeysChanged;

/// The arrays to which keys and values are scattered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination<K, V> {
    /// The first key.
    pub(crate) keys: *mut K,
    /// The value of the first key.
    pub(crate) values: *mut V,
}

/// Writes the encoded keys of a chunk, and their values, to the places of their buckets, in order.
///
/// `values` yields the value of each key; `starts` and `ends` are the rows of the chunk and of the
/// next in the result of [`places_from_counts`]. Only places in `starts[b]..ends[b]` are written,
/// whatever the keys are, and all of them if `Ok` is returned.
///
/// # Errors
///
/// [`KeysChanged`] if the number of keys in a bucket differs from the number of its places.
///
/// # Panics
///
/// If there are fewer values than keys, or not a start and an end for each bucket.
///
/// # Safety
///
/// For each bucket `b`, during the call:
/// - `to.keys` and `to.values` are valid for writes, and aligned, at the places
///   `starts[b]..ends[b]`;
/// - nothing else reads or writes those places.
pub(crate) unsafe fn scatter<K: Key, E: Copy, V: Copy>(
    splitters: &Splitters<K::Bits>,
    keys: &[K],
    encode: impl Fn(K) -> E + Copy,
    values: impl Iterator<Item = V>,
    places: (&[u64], &[u64]),
    to: Destination<E, V>,
) -> Result<(), KeysChanged> {
    let buckets = splitters.buckets();
    assert!(places.0.len() == buckets && places.1.len() == buckets, "places of each bucket");
    let (Some(&key), mut values) = (keys.first(), values.peekable()) else { return Ok(()) };
    let Some(&value) = values.peek() else { panic!("a value for each key") };
    let mut lines = WriteCombiner {
        skew: to.keys.addr() / size_of::<E>() % WriteCombiner::<E, V>::LEN,
        starts: places.0.iter().map(|&place| index(place)).collect(),
        next: places.0.iter().map(|&place| index(place)).collect(),
        ends: places.1.iter().map(|&place| index(place)).collect(),
        keys: vec![encode(key); buckets * WriteCombiner::<E, V>::LEN],
        values: vec![value; buckets * WriteCombiner::<E, V>::LEN],
        to,
        overflow: false,
    };
    fill(splitters, keys, encode, values, &mut lines);
    lines.finish()
}

vectorized! {
    fn fill<K: Key, E: Copy, V: Copy>(
        splitters: &Splitters<K::Bits>,
        keys: &[K],
        encode: impl Fn(K) -> E,
        values: impl Iterator<Item = V>,
        lines: &mut WriteCombiner<E, V>,
    ) {
        let mut found = [0; BLOCK];
        let mut values = values;
        for keys in keys.chunks(BLOCK) {
            splitters.find(keys, &mut found);
            // The keys come first, so that no value is consumed after the last key.
            for ((&key, &bucket), value) in keys.iter().zip(&found).zip(&mut values) {
                lines.push(usize::from(bucket), encode(key), value);
            }
        }
    }
}

/// For each bucket, the keys of the last, incomplete line of its places.
struct WriteCombiner<K, V> {
    /// Where the chunk begins in each bucket.
    starts: Vec<usize>,
    /// The place of the next key of each bucket.
    next: Vec<usize>,
    /// Where the chunk ends in each bucket.
    ends: Vec<usize>,
    /// Added to a place, this makes the starts of cache lines multiples of `LEN`.
    skew: usize,
    /// For each bucket `LEN` keys; the key of place `p` is at `(p + skew) % LEN`.
    keys: Vec<K>,
    values: Vec<V>,
    to: Destination<K, V>,
    /// Whether a bucket had more keys than places.
    overflow: bool,
}

impl<K: Copy, V: Copy> WriteCombiner<K, V> {
    /// Keys in a line.
    const LEN: usize = LINE_BYTES / size_of::<K>();

    #[inline(always)]
    fn push(&mut self, bucket: usize, key: K, value: V) {
        let place = self.next[bucket];
        let at = bucket * Self::LEN + (place + self.skew) % Self::LEN;
        self.keys[at] = key;
        self.values[at] = value;
        self.next[bucket] = place + 1;
        if (place + self.skew + 1).is_multiple_of(Self::LEN) {
            self.flush_full(bucket, place + 1);
        }
    }

    /// Writes the line of a bucket that ends at place `to`, where a cache line ends.
    #[inline(always)]
    fn flush_full(&mut self, bucket: usize, to: usize) {
        if self.starts[bucket] + Self::LEN > to || to > self.ends[bucket] {
            return self.flush(bucket, to);
        }
        let from = to - Self::LEN;
        let line = bucket * Self::LEN..(bucket + 1) * Self::LEN;
        let (keys, values) = (&self.keys[line.clone()], &self.values[line]);
        // SAFETY: `starts[bucket] <= from < to <= ends[bucket]`, checked above; the caller of
        // `scatter` guarantees these places.
        let (to_keys, to_values) = unsafe { self.to.at(from) };
        // SAFETY: there are as many places from `from` on as `keys` has elements; `keys` is private
        // memory.
        unsafe { copy_line(keys.as_ptr(), to_keys, Self::LEN) };
        // SAFETY: as for the keys.
        unsafe { copy_line(values.as_ptr(), to_values, Self::LEN) };
    }

    /// Writes the part of a line of a bucket that ends at place `to`.
    #[cold]
    fn flush(&mut self, bucket: usize, to: usize) {
        let len = (to + self.skew - 1) % Self::LEN + 1;
        let from = self.starts[bucket].max(to.saturating_sub(len));
        if to > self.ends[bucket] {
            self.overflow = true;
            return;
        }
        let line = bucket * Self::LEN + (from + self.skew) % Self::LEN;
        let line = line..line + (to - from);
        let (keys, values) = (&self.keys[line.clone()], &self.values[line]);
        // SAFETY: `starts[bucket] <= from <= to <= ends[bucket]`, checked above; the caller of
        // `scatter` guarantees these places.
        let (to_keys, to_values) = unsafe { self.to.at(from) };
        // SAFETY: there are as many places from `from` on as `keys` has elements; `keys` is private
        // memory.
        unsafe { std::ptr::copy_nonoverlapping(keys.as_ptr(), to_keys, keys.len()) };
        // SAFETY: as for the keys.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), to_values, values.len()) };
    }

    /// Writes the incomplete lines.
    fn finish(mut self) -> Result<(), KeysChanged> {
        for bucket in 0..self.next.len() {
            let to = self.next[bucket];
            if !(to + self.skew).is_multiple_of(Self::LEN) && to > self.starts[bucket] {
                self.flush(bucket, to);
            }
        }
        fence();
        if self.overflow || self.next != self.ends { Err(KeysChanged) } else { Ok(()) }
    }
}

impl<K, V> Destination<K, V> {
    /// The pointers to a key and its value.
    ///
    /// # Safety
    ///
    /// `place` lies within both arrays, or is their end.
    #[inline(always)]
    unsafe fn at(self, place: usize) -> (*mut K, *mut V) {
        // SAFETY: by this function's contract.
        let keys = unsafe { self.keys.add(place) };
        // SAFETY: by this function's contract.
        let values = unsafe { self.values.add(place) };
        (keys, values)
    }
}

/// Copies a line of `len` elements to `to`, by non-temporal stores where the processor has them:
/// the line is not read first, and other lines stay in the cache.
///
/// # Safety
///
/// As for `copy_nonoverlapping`. On x86-64 [`fence`] must follow before another thread reads.
#[inline(always)]
unsafe fn copy_line<K>(from: *const K, to: *mut K, len: usize) {
    #[cfg(target_arch = "x86_64")]
    if len * size_of::<K>() == LINE_BYTES && to.addr().is_multiple_of(LINE_BYTES) {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        for i in 0..LINE_BYTES / size_of::<__m128i>() {
            let (from, to) = (from.cast::<__m128i>(), to.cast::<__m128i>());
            // SAFETY: part `i` of the line is readable, by this function's contract.
            let part = unsafe { _mm_loadu_si128(from.wrapping_add(i)) };
            // SAFETY: part `i` of the line is writable, by this function's contract, and aligned
            // (above).
            unsafe { _mm_stream_si128(to.wrapping_add(i), part) };
        }
        return;
    }
    // SAFETY: by this function's contract.
    unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
}

/// Orders the stores of [`copy_line`] before all later stores.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE is part of x86-64.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}
