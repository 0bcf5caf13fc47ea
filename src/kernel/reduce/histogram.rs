//! Histograms with equal bins, and counts of small integers.
//!
//! If one bin is counted twice in a row, the second load waits for the first store. So neighbouring
//! elements are counted in four private tables, as long as these fit into the first-level cache.

use serde::{Deserialize, Serialize};

use crate::kernel::number::Number;
use crate::kernel::vectorized::vectorized;

/// The number of tables in which neighbouring elements are counted.
const TABLES: usize = 4;
/// The most bins that have private tables.
const PRIVATE_BINS_MAX: usize = 2048;
/// Elements whose bins are computed before they are counted.
const BATCH: usize = 1024;

/// Adds the counts of the bins. Private tables are added at the end: `count` takes under 2^32
/// elements.
fn count_bins(counts: &mut [u64], count: impl FnOnce(&mut Tables<'_>)) {
    if counts.len() > PRIVATE_BINS_MAX {
        return count(&mut Tables::Direct(counts));
    }
    let bins = counts.len();
    let mut tables = vec![[0u32; TABLES]; bins];
    count(&mut Tables::Private(&mut tables));
    for (count, table) in counts.iter_mut().zip(&tables) {
        *count += table.iter().map(|&count| u64::from(count)).sum::<u64>();
    }
}

/// The tables in which elements are counted.
enum Tables<'a> {
    Direct(&'a mut [u64]),
    Private(&'a mut [[u32; TABLES]]),
}

impl Tables<'_> {
    /// Counts the bin of each element.
    #[inline(always)]
    fn add<T: Copy>(&mut self, elements: &[T], bin: impl Fn(T) -> usize) {
        match self {
            Tables::Direct(counts) => elements.iter().for_each(|&x| counts[bin(x)] += 1),
            Tables::Private(tables) => {
                let (groups, rest) = elements.as_chunks::<TABLES>();
                for &group in groups {
                    for (table, x) in group.into_iter().enumerate() {
                        tables[bin(x)][table] += 1;
                    }
                }
                rest.iter().for_each(|&x| tables[bin(x)][0] += 1);
            }
        }
    }
}

/// Bins of equal width, as in `numpy.histogram(a, bins, range=(first, last))`.
///
/// `first` and `last` correspond to Python floats; edges have the type of means: `f32` for `f32`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EqualBins {
    first: f64,
    last: f64,
    /// `last - first`, not rounded to the element type.
    width: f64,
    /// The edges, one more than bins; then an edge that no element reaches.
    edges: Vec<f64>,
}

impl EqualBins {
    /// Bins for elements of type `T`; `None` where NumPy raises an error: no bin, `first > last`, a
    /// range or a difference that is not finite, or edges that do not ascend in the type of a mean
    /// of `T`. A range of one point is widened by 1/2 on both sides.
    #[expect(clippy::cast_precision_loss, reason = "bins are fewer than 2^32")]
    pub(crate) fn new<T: Number>(first: f64, last: f64, bins: usize) -> Option<EqualBins> {
        let sound = first <= last && first.is_finite() && last.is_finite();
        if bins == 0 || bins >= u32::MAX as usize || !sound {
            return None;
        }
        let (first, last) = if first == last { (first - 0.5, last + 0.5) } else { (first, last) };
        let rounded = |x: f64| T::mean_of(x).to_f64();
        let (width, n) = (last - first, bins as f64);
        let step = width / n;
        // `numpy.linspace`.
        let edge = |i: usize| match i as f64 {
            i if i == n => last,
            i if step == 0.0 => i / n * width + first,
            i => i * step + first,
        };
        let mut edges: Vec<f64> = (0..=bins).map(|i| rounded(edge(i))).collect();
        if !width.is_finite() || !edges.is_sorted_by(|a, b| a < b) {
            return None;
        }
        edges.push(f64::NAN);
        Some(EqualBins { first: rounded(first), last: rounded(last), width, edges })
    }

    /// The edges, one more than bins.
    pub(crate) fn edges(&self) -> &[f64] {
        &self.edges[..self.edges.len() - 1]
    }

    /// Adds the elements of a chunk to the counts of their bins. Elements outside the range, and
    /// NaN, are left out.
    ///
    /// As in NumPy the bin is computed, then corrected by its edges: an element in `edges[i] <= x <
    /// edges[i + 1]` is in bin `i`, and the last bin includes its right edge.
    ///
    /// # Panics
    ///
    /// If there are not as many counts as bins, or the chunk has 2^32 elements or more.
    pub(crate) fn count<T: Number>(&self, chunk: &[T], counts: &mut [u64]) {
        assert_eq!(counts.len() + 2, self.edges.len(), "a count for each bin");
        assert!(u32::try_from(chunk.len()).is_ok(), "a chunk has fewer than 2^32 elements");
        // One more count, for elements that are left out.
        let mut all = vec![0; counts.len() + 1];
        count_bins(&mut all, |tables| {
            let mut guesses = [(0, 0.0); BATCH];
            for batch in chunk.chunks(BATCH) {
                guess(self, batch, &mut guesses);
                tables.add(&guesses[..batch.len()], |(bin, x)| self.correct(bin as usize, x));
            }
        });
        counts.iter_mut().zip(all).for_each(|(count, more)| *count += more);
    }

    /// The bin whose edges enclose `x`, at most one from `bin`; for NaN `bin` itself.
    #[inline(always)]
    fn correct(&self, bin: usize, x: f64) -> usize {
        let bin = bin - usize::from(x < self.edges[bin]);
        // The last bin includes its right edge: `x` is not greater.
        let is_last = bin + 3 == self.edges.len();
        bin + usize::from((x >= self.edges[bin + 1]) & !is_last)
    }
}

vectorized! {
    /// The bins of a batch, up to rounding, and its elements as doubles. Elements to be left out
    /// get the bin after the last, and NaN.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bins are fewer than 2^32"
    )]
    fn guess<T: Number>(
        equal: &EqualBins,
        batch: &[T],
        guesses: &mut [(u32, f64); BATCH],
    ) {
        let n = (equal.edges.len() - 2) as f64;
        let (first, last, width) = (equal.first, equal.last, equal.width);
        for (result, &x) in guesses.iter_mut().zip(batch) {
            let x = x.to_f64();
            let inside = (x >= first) & (x <= last);
            // The f64 difference of two f32, rounded to f32, equals the difference rounded once.
            let offset = T::mean_of(x - first).to_f64();
            let guess = (offset / width * n).min(n - 1.0);
            *result = if inside { (guess as u32, x) } else { (n as u32, f64::NAN) };
        }
    }
}

/// The number of counts of a `bincount` whose elements have the given least and greatest one;
/// `None` if one is negative. For integers. Without elements it is `minlength`.
pub(crate) fn bincount_len<T: Number>(range: Option<[T; 2]>, minlength: usize) -> Option<usize> {
    let Some([least, greatest]) = range else { return Some(minlength) };
    if least < T::ZERO {
        return None;
    }
    let len = usize::try_from(greatest.to_bits_u64()).ok()?.checked_add(1)?;
    Some(len.max(minlength))
}

/// Adds to `counts[x]` the number of elements `x` of a chunk. For integers.
///
/// # Panics
///
/// If an element has no count (see [`bincount_len`]), or the chunk has 2^32 elements or more.
pub(crate) fn bincount<T: Number>(chunk: &[T], counts: &mut [u64]) {
    assert!(u32::try_from(chunk.len()).is_ok(), "a chunk has fewer than 2^32 elements");
    count_bins(counts, |tables| {
        // On a 32-bit target an element that does not fit is not in the table either.
        let index = |x: T| usize::try_from(x.to_bits_u64()).unwrap_or(usize::MAX);
        tables.add(chunk, index);
    });
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small test data")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bin by the definition of the edges.
    fn oracle(edges: &[f64], data: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; edges.len() - 1];
        for &x in data {
            let last = counts.len() - 1;
            let inside = |i: usize| edges[i] <= x && (x < edges[i + 1] || i == last);
            let found = (0..=last).rev().find(|&i| inside(i) && x <= edges[last + 1]);
            found.into_iter().for_each(|i| counts[i] += 1);
        }
        counts
    }

    /// `numpy.linspace(0.1, 9.7, 8)` of NumPy 2.4.6.
    #[test]
    fn edges_are_those_of_numpy() {
        let bins = EqualBins::new::<f64>(0.1, 9.7, 7).unwrap();
        let bits: Vec<u64> = bins.edges().iter().map(|x| x.to_bits()).collect();
        let numpy = [
            0x3fb9_9999_9999_999a,
            0x3ff7_8af8_af8a_f8b0,
            0x4006_be2b_e2be_2be3,
            0x4010_db6d_b6db_6db6,
            0x4016_57c5_7c57_c57c,
            0x401b_d41d_41d4_1d42,
            0x4020_a83a_83a8_3a83,
            0x4023_6666_6666_6666,
        ];
        assert_eq!(bits, numpy);
        assert!(EqualBins::new::<f64>(1.0, 0.0, 3).is_none());
        assert!(EqualBins::new::<f64>(0.0, f64::NAN, 3).is_none());
        assert!(EqualBins::new::<f64>(0.0, 1.0, 0).is_none());
        assert_eq!(EqualBins::new::<f64>(2.0, 2.0, 1).unwrap().edges(), [1.5, 2.5]);
    }

    proptest! {
        #[test]
        fn elements_are_between_the_edges_of_their_bin(
            picks in prop::collection::vec((any::<u8>(), -2i64..3), 0..3000),
            n in prop_oneof![1usize..40, 2040usize..2060],
            first in -3.0f64..3.0,
            width in 0.0f64..10.0,
        ) {
            let bins = EqualBins::new::<f64>(first, first + width, n).unwrap();
            // Edges, and their neighbours among the doubles.
            let near = |&(pick, ulps): &(u8, i64)| {
                let edge = bins.edges()[usize::from(pick) * n / 255];
                f64::from_bits(edge.to_bits().wrapping_add_signed(ulps))
            };
            let mut data: Vec<f64> = picks.iter().map(near).collect();
            data.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, first, first + width]);
            let mut counts = vec![0; n];
            bins.count(&data, &mut counts);
            prop_assert_eq!(&counts, &oracle(bins.edges(), &data));
            let singles: Vec<f32> = data.iter().map(|&x| x as f32).collect();
            let bins = EqualBins::new::<f32>(first, first + width, n).unwrap();
            let data: Vec<f64> = singles.iter().map(|&x| f64::from(x)).collect();
            if bins.edges().is_sorted_by(|a, b| a < b) {
                let mut counts = vec![0; n];
                bins.count(&singles, &mut counts);
                prop_assert_eq!(&counts, &oracle(bins.edges(), &data));
            }
        }

        #[test]
        fn integers_are_counted(
            data in prop::collection::vec(0i32..3000, 0..5000), minlength in 0usize..10,
            limit in 1i32..3000,
        ) {
            let data: Vec<i32> = data.iter().map(|x| x % limit).collect();
            let range = data.iter().min().zip(data.iter().max()).map(|(&a, &b)| [a, b]);
            let mut counts = vec![1; bincount_len(range, minlength).unwrap()];
            bincount(&data, &mut counts);
            let len = data.iter().max().map_or(0, |&x| x as usize + 1).max(minlength);
            let mut expected = vec![1; len];
            data.iter().for_each(|&x| expected[x as usize] += 1);
            prop_assert_eq!(counts, expected);
        }
    }

    #[test]
    fn negative_integers_have_no_count() {
        assert_eq!(bincount_len(Some([-1i64, 5]), 0), None);
        assert_eq!(bincount_len::<u32>(None, 4), Some(4));
    }
}
