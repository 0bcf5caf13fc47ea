//! The distinct values of sorted keys, chunk by chunk.
//!
//! A run is a maximal range of keys of one rank: -0.0 and 0.0 are one value, and all NaN are one,
//! as in NumPy. A run belongs to the chunk in which it starts. First each chunk counts its runs;
//! the sums of the counts give each chunk its places in the result.

use super::key::{Key, KeyBits};
use crate::kernel::vectorized::vectorized;

/// Keys whose run starts are collected at a time.
const BLOCK: usize = 256;

vectorized! {
    /// The number of runs that start in a chunk; `before` is the key before it.
    pub(crate) fn count_runs<K: Key>(keys: &[K], before: Option<K>) -> usize {
        let Some(&first) = keys.first() else { return 0 };
        let pairs = keys.iter().zip(&keys[1..]);
        let inner: usize = pairs.map(|(a, b)| usize::from(a.rank() != b.rank())).sum();
        inner + usize::from(before.is_none_or(|before| before.rank() != first.rank()))
    }
}

/// Writes the first key of each run that starts in a chunk.
///
/// # Panics
///
/// If `values` does not have [`count_runs`] elements.
pub(crate) fn write_unique<K: Key>(keys: &[K], before: Option<K>, values: &mut [K]) {
    let mut rest = values;
    each_block_of_starts(keys, before, |keys, starts| {
        let (now, later) = std::mem::take(&mut rest).split_at_mut(starts.len());
        for (value, &start) in now.iter_mut().zip(starts) {
            *value = keys[usize::from(start)];
        }
        rest = later;
    });
    assert!(rest.is_empty(), "as many values as runs");
}

/// Writes the index at which each run of a chunk starts; `first` is the index of the chunk's first
/// key.
///
/// # Panics
///
/// If `starts` does not have [`count_runs`] elements.
pub(crate) fn write_starts<K: Key>(keys: &[K], before: Option<K>, first: u64, starts: &mut [u64]) {
    let mut rest = starts;
    let mut first = first;
    each_block_of_starts(keys, before, |keys, found| {
        let (now, later) = std::mem::take(&mut rest).split_at_mut(found.len());
        now.iter_mut().zip(found).for_each(|(start, &at)| *start = first + u64::from(at));
        rest = later;
        first += keys.len() as u64;
    });
    assert!(rest.is_empty(), "as many starts as runs");
}

/// Calls `each` with blocks of keys and the offsets in them at which runs start.
#[inline(always)]
fn each_block_of_starts<K: Key>(keys: &[K], before: Option<K>, mut each: impl FnMut(&[K], &[u16])) {
    let Some(&first) = keys.first() else { return };
    // A rank other than the first key's, if there is no key before it.
    let mut last = before.map_or(!first.rank().wide(), |before| before.rank().wide());
    for keys in keys.chunks(BLOCK) {
        let (mut starts, mut count) = ([0; BLOCK], 0);
        for (at, key) in (0..).zip(keys) {
            // Always written, and kept if it is a start: there is no branch to mispredict.
            starts[count] = at;
            let rank = key.rank().wide();
            count += usize::from(rank != last);
            last = rank;
        }
        each(keys, &starts[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_unique<K: Key>(keys: &[K], chunk: usize) {
        let (mut values, mut starts) = (Vec::new(), Vec::new());
        let mut before = None;
        for (c, keys) in keys.chunks(chunk).enumerate() {
            let runs = count_runs(keys, before);
            let from = values.len();
            values.resize(from + runs, keys[0]);
            starts.resize(from + runs, 0);
            write_unique(keys, before, &mut values[from..]);
            write_starts(keys, before, (c * chunk) as u64, &mut starts[from..]);
            before = keys.last().copied();
        }
        let expected: Vec<&[K]> = keys.chunk_by(|a, b| a.rank() == b.rank()).collect();
        assert_eq!(values.len(), expected.len());
        starts.push(keys.len() as u64);
        for ((value, ends), run) in values.iter().zip(starts.windows(2)).zip(expected) {
            assert!(value.to_bits() == run[0].to_bits());
            assert_eq!(ends[1] - ends[0], run.len() as u64);
        }
    }

    proptest! {
        #[test]
        fn runs_are_found_across_seams(
            mut keys in proptest::collection::vec(0_u32..200, 0..900),
            chunk in 1_usize..700,
        ) {
            keys.sort_unstable();
            assert_unique(&keys, chunk);
            let floats = keys.iter().map(|&x| match x {
                0..5 => -0.0,
                5..9 => 0.0,
                190..195 => f64::NAN,
                195.. => -f64::NAN,
                _ => f64::from(x),
            });
            assert_unique(&floats.collect::<Vec<_>>(), chunk);
            assert_unique(&vec![u64::MAX; keys.len()], chunk);
            assert_unique(&vec![0_u8; keys.len()], chunk);
        }
    }
}
