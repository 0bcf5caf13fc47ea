//! Divides keys into ordered buckets, by loops over chunks.
//!
//! The first passes of every sort: a sample gives the splitters, each chunk counts its keys per
//! bucket, and each chunk scatters its keys to its own places in every bucket. All sizes depend on
//! the number of keys alone. A pass reads one array and writes another, so it may be repeated after
//! a death.
#![allow(unsafe_code)]

use std::ptr;

use bytemuck::Pod;

use crate::array::{ArrayView, SharedArray};
use crate::error::Result;
use crate::kernel::sort::key::{Key, KeyBits};
use crate::kernel::sort::partition::{Destination, bucket_range, places_from_counts, scatter};
use crate::kernel::sort::plan::SortPlan;
use crate::kernel::sort::sorted::is_sorted;
use crate::kernel::sort::splitters::{Splitters, count};
use crate::pool::{Pool, Scattered, Whole};

/// How keys are divided into buckets.
#[derive(Debug)]
pub(super) struct Buckets {
    /// The keys from which each worker builds the table of splitters, which is too large to send.
    chosen: Vec<u64>,
    /// Keys of a chunk.
    chunk_len: usize,
    /// Where each chunk begins in each bucket: one row for each chunk, and a last row with the
    /// ends.
    places: SharedArray<u64>,
    /// Where each bucket begins; the last element is where the last bucket ends.
    pub(super) bounds: Vec<u64>,
}

/// What remains to be done with the keys.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: they are in order.
    Sorted,
    /// They fit into one bucket.
    Few,
    /// They are divided into buckets.
    Many(Buckets),
}

/// Examines `keys`, and counts the keys of each bucket.
pub(super) fn look_at<K: Key>(pool: &Pool, keys: &ArrayView<'_, K>) -> Result<Found> {
    let plan = SortPlan::new::<K>(keys.len());
    if plan.buckets <= 1 {
        return Ok(if is_sorted(keys.as_slice(), None) { Found::Sorted } else { Found::Few });
    }
    let sample: Vec<K> = plan.sample_places().map(|place| keys.as_slice()[place]).collect();
    if is_sorted(&sample, None) && are_sorted(pool, keys, &plan)? {
        return Ok(Found::Sorted);
    }
    let sample = sample.into_iter().map(Key::rank).collect();
    let chosen = Splitters::choose(sample, plan.buckets);
    let buckets = Splitters::new(&chosen).buckets();
    let chosen: Vec<u64> = chosen.into_iter().map(KeyBits::wide).collect();
    let counts = pool
        .par_chunks(keys, plan.chunk_len)
        .with(chosen.clone())
        .scratch(splitters::<K>)
        .map(|splitters: &mut Splitters<K::Bits>, keys| {
            let mut counts = vec![0; splitters.buckets()];
            count(splitters, keys, &mut counts);
            counts
        })
        .collect()?;
    let mut places = SharedArray::zeroed([plan.chunks() + 1, buckets])?;
    let rows = places.as_mut_slice().chunks_exact_mut(buckets);
    rows.zip(&counts).for_each(|(row, counts)| row.copy_from_slice(counts));
    places_from_counts(places.as_mut_slice(), buckets);
    let starts = (0..buckets).map(|b| bucket_range(places.as_slice(), buckets, b).start as u64);
    let bounds = starts.chain([keys.len() as u64]).collect();
    Ok(Found::Many(Buckets { chosen, chunk_len: plan.chunk_len, places, bounds }))
}

/// Whether all keys are in order; stops at the first that is not.
fn are_sorted<K: Key>(pool: &Pool, keys: &ArrayView<'_, K>, plan: &SortPlan) -> Result<bool> {
    let chunks = pool.par_chunks(keys, plan.chunk_len).zip(Whole(keys)).enumerate();
    let inversion =
        chunks.with(plan.chunk_len).find_map_first(|&chunk_len, (chunk, (keys, all))| {
            let before = (chunk * chunk_len).checked_sub(1).map(|place| all[place]);
            (!is_sorted(keys, before)).then_some(())
        })?;
    Ok(inversion.is_none())
}

fn splitters<K: Key>(chosen: Vec<u64>) -> Splitters<K::Bits> {
    let chosen: Vec<K::Bits> = chosen.into_iter().map(K::Bits::narrow).collect();
    Splitters::new(&chosen)
}

impl Buckets {
    /// Writes the bits of `keys` to their buckets in `to`.
    pub(super) fn scatter_bits<K: Key>(
        &self,
        pool: &Pool,
        keys: &ArrayView<'_, K>,
        to: &mut SharedArray<K::Bits>,
    ) -> Result<()> {
        let chunks = pool.par_chunks(keys, self.chunk_len).zip(Whole(&self.places));
        chunks
            .zip(Scattered(to))
            .enumerate()
            .with(self.chosen.clone())
            .scratch(splitters::<K>)
            .for_each(|splitters: &mut Splitters<K::Bits>, (chunk, ((keys, places), to))| {
                let none = ptr::slice_from_raw_parts_mut(ptr::dangling_mut::<()>(), to.len());
                let values = std::iter::repeat(());
                let chunk = Chunk { splitters, number: chunk, keys, places };
                // SAFETY: `to` is an operand of the loop, `none` has no bytes; see `scatter`.
                unsafe { chunk.scatter(Key::to_bits, values, (to, none)) }
            })
    }

    /// Writes the ranks of `keys`, and the index of each, to their buckets in `to`.
    pub(super) fn scatter_ranks<K: Key>(
        &self,
        pool: &Pool,
        keys: &ArrayView<'_, K>,
        to: (&mut SharedArray<K::Bits>, &mut SharedArray<u64>),
    ) -> Result<()> {
        let chunks = pool.par_chunks(keys, self.chunk_len).zip(Whole(&self.places));
        chunks
            .zip((Scattered(to.0), Scattered(to.1)))
            .enumerate()
            .with((self.chosen.clone(), self.chunk_len))
            .scratch(|(chosen, chunk_len)| (splitters::<K>(chosen), chunk_len))
            .for_each(
                |(splitters, chunk_len): &mut (Splitters<K::Bits>, usize),
                 (chunk, ((keys, places), to))| {
                    let first = (chunk * *chunk_len) as u64;
                    let chunk = Chunk { splitters, number: chunk, keys, places };
                    // SAFETY: `to` are operands of the loop; see `scatter`.
                    unsafe { chunk.scatter(Key::rank, first.., to) }
                },
            )
    }

    /// Writes `keys` and their `values` to their buckets in `to`.
    pub(super) fn scatter_pairs<K: Key, V: Pod>(
        &self,
        pool: &Pool,
        keys: &ArrayView<'_, K>,
        values: &ArrayView<'_, V>,
        to: (&mut SharedArray<K>, &mut SharedArray<V>),
    ) -> Result<()> {
        let chunks = pool.par_chunks(keys, self.chunk_len).zip(Whole(&self.places));
        chunks
            .zip((Scattered(to.0), Scattered(to.1)))
            .zip(values)
            .enumerate()
            .with(self.chosen.clone())
            .scratch(splitters::<K>)
            .for_each(
                |splitters: &mut Splitters<K::Bits>, (chunk, (((keys, places), to), values))| {
                    let chunk = Chunk { splitters, number: chunk, keys, places };
                    // SAFETY: `to` are operands of the loop; see `scatter`.
                    unsafe { chunk.scatter(|key| key, values.iter().copied(), to) }
                },
            )
    }
}

/// A chunk to be scattered.
struct Chunk<'a, K: Key> {
    splitters: &'a Splitters<K::Bits>,
    number: usize,
    keys: &'a [K],
    /// See [`Buckets`].
    places: &'a [u64],
}

impl<K: Key> Chunk<'_, K> {
    /// Writes the encoded keys and their values to the chunk's places in each bucket.
    ///
    /// # Safety
    ///
    /// - `to` is valid for writes over its length, and aligned.
    /// - During the call nobody reads `to`, and only calls for other chunks of the same keys, with
    ///   the same places, write to it: no two chunks have a place in common.
    unsafe fn scatter<E: Copy, V: Copy>(
        self,
        encode: impl Fn(K) -> E + Copy,
        values: impl Iterator<Item = V>,
        to: (*mut [E], *mut [V]),
    ) {
        let Chunk { splitters, number, keys, places } = self;
        let buckets = splitters.buckets();
        let row = |row: usize| &places[row * buckets..(row + 1) * buckets];
        let (starts, ends) = (row(number), row(number + 1));
        let is_inside = |&end: &u64| end <= to.0.len() as u64 && end <= to.1.len() as u64;
        assert!(ends.iter().all(is_inside), "places within the buckets");
        let to = Destination { keys: to.0.cast(), values: to.1.cast() };
        // SAFETY: the places are within both arrays, checked above, and this chunk's own, by the
        // caller's promise.
        let done = unsafe { scatter(splitters, keys, encode, values, (starts, ends), to) };
        assert_eq!(done, Ok(()), "keys do not change while they are borrowed");
    }
}
