//! `quantiles`, `searchsorted`, `unique` and `top_k`.

use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::compute::arrays::order::argsort;
use crate::compute::arrays::sort::{SortKey, one_dimension, sort};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::sort::key::{Key, KeyBits};
use crate::kernel::sort::quantile::QuantilePlace;
use crate::kernel::sort::search::{self, Side};
use crate::kernel::sort::select::{Selection, any_nan, collect, count_digits};
use crate::kernel::sort::top_k::{Indexed, merge_top_k, top_k_of_chunk};
use crate::kernel::sort::unique::{count_runs, write_starts, write_unique};
use crate::pool::{Parts, Pool, Whole};

/// Elements of a chunk in passes that return nothing for each chunk.
const CHUNK_LEN: usize = 1 << 15;
/// The most chunks that return a result each, and the fewest elements of such a chunk.
const GATHERED: (usize, usize) = (128, 1 << 14);
/// The same where a result is 4096 counters for each place that is sought.
const COUNTED: (usize, usize) = (32, 1 << 15);
/// The most places found by selection; for more, a copy is sorted.
const SELECTED_MAX: usize = 16;
/// The greatest `k` for which each chunk returns its top `k`; for greater ones, all elements are
/// sorted.
const TOP_MAX: usize = 1024;

impl Pool {
    /// The quantiles `q` of the elements of `array`, of any shape, as in `numpy.quantile` with
    /// method `linear`: the value at place `(n - 1) q` among the `n` elements in order,
    /// interpolated if the place lies between two elements. The elements are found by selection, so
    /// the result is exact.
    ///
    /// If an element is NaN, all quantiles are NaN. The bits are NumPy's, except for signed
    /// integers whose difference overflows in NumPy.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array without elements, or a `q` outside 0 to 1; else as
    /// [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[4, 1, 3, 2])?;
    /// assert_eq!(pool.quantiles(&x, &[0.0, 0.5, 1.0])?, [1.0, 2.5, 4.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn quantiles<T: SortKey>(
        &self,
        array: &impl AsArrayView<T>,
        q: &[f64],
    ) -> Result<Vec<f64>> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        if array.is_empty() {
            let rule = "at least one element";
            return Err(Error::invalid("the array of quantiles", array.shape(), rule));
        }
        let place = |&q: &f64| {
            QuantilePlace::new(array.len() as u64, q)
                .ok_or_else(|| Error::invalid("a quantile", q, "from 0 to 1"))
        };
        let places = q.iter().map(place).collect::<Result<Vec<_>>>()?;
        let nan = self.par_chunks(array, CHUNK_LEN).find_map_first(|x| any_nan(x).then_some(()));
        if nan.map_err(Error::without_torn)?.is_some() {
            return Ok(vec![f64::NAN; q.len()]);
        }
        let wanted = places.iter().flat_map(|place| [place.lower, place.upper]).collect();
        let found = at_places(self, array, wanted).map_err(Error::without_torn)?;
        // Each place was among those selected.
        let key = |place| found[found.partition_point(|&(before, _)| before < place)].1;
        let quantile = |at: &QuantilePlace| at.interpolate(key(at.lower), key(at.upper));
        Ok(places.iter().map(quantile).collect())
    }

    /// The places at which `needles`, of any shape, would be inserted into `sorted`, which has one
    /// dimension and is in order. With [`Side::Left`] it is the number of elements that are less
    /// than the needle, with [`Side::Right`] of those that are not greater. The result has the
    /// shape of `needles`.
    ///
    /// [`SortKey`] describes the order of floats: NaN are equal and greatest. Whether `sorted` is
    /// in order is not checked; if it is not, the places are unspecified, and at most its length.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the number of dimensions of `sorted` is not one; else as
    /// [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray, Side};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let bounds = SharedArray::from_slice(&[0.0, 1.0, 1.0, 2.0])?;
    /// let x = SharedArray::from_slice(&[1.0, -5.0, f64::NAN])?;
    /// assert_eq!(pool.searchsorted(&bounds, &x, Side::Left)?.as_slice(), [1, 0, 4]);
    /// assert_eq!(pool.searchsorted(&bounds, &x, Side::Right)?.as_slice(), [3, 0, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn searchsorted<T: SortKey>(
        &self,
        sorted: &impl AsArrayView<T>,
        needles: &impl AsArrayView<T>,
        side: Side,
    ) -> Result<SharedArray<u64>> {
        let _mode = FloatMode::standard();
        let sorted = &sorted.as_array_view();
        let needles = &needles.as_array_view();
        one_dimension("the array to be searched", sorted.shape())?;
        let mut places = SharedArray::for_overwrite(needles.shape().clone())?;
        self.par_chunks_mut(&mut places, CHUNK_LEN)
            .zip(needles)
            .zip(Whole(sorted))
            .with(side)
            .for_each(|&side, ((places, needles), sorted)| {
                search::searchsorted(sorted, needles, side, places);
            })
            .map_err(Error::without_torn)?;
        Ok(places)
    }

    /// The distinct elements of `array`, of any shape, in order, and the number of occurrences of
    /// each: two arrays of one dimension.
    ///
    /// As in NumPy all NaN count as one, which is last, and -0.0 is equal to 0.0. Of equal floats
    /// the result has the first in the order of [`Pool::sort`]. It sorts a copy of the array.
    ///
    /// # Errors
    ///
    /// As [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(b"mississippi")?;
    /// let (values, counts) = pool.unique(&x)?;
    /// assert_eq!(values.as_slice(), b"imps");
    /// assert_eq!(counts.as_slice(), [4, 1, 2, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn unique<T: SortKey>(
        &self,
        array: &impl AsArrayView<T>,
    ) -> Result<(SharedArray<T>, SharedArray<u64>)> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        unique(self, array).map_err(Error::without_torn)
    }

    /// The `k` greatest elements of `array`, of any shape, in descending order, and their indices
    /// in row-major order: two arrays of one dimension. If there are at most `k` elements, all of
    /// them.
    ///
    /// Among equal elements the lower index comes first. [`SortKey`] describes the order of floats:
    /// NaN are equal and greatest.
    ///
    /// # Errors
    ///
    /// As [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3.5, 9.0, -1.0, 9.0, 4.0])?;
    /// let (values, indices) = pool.top_k(&x, 3)?;
    /// assert_eq!(values.as_slice(), [9.0, 9.0, 4.0]);
    /// assert_eq!(indices.as_slice(), [1, 3, 4]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn top_k<T: SortKey>(
        &self,
        array: &impl AsArrayView<T>,
        k: usize,
    ) -> Result<(SharedArray<T>, SharedArray<u64>)> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        let k = k.min(array.len());
        let found = if k <= TOP_MAX { top_few(self, array, k) } else { top_many(self, array, k) };
        found.map_err(Error::without_torn)
    }
}

/// The length of a chunk that returns a result.
fn chunk_len(len: usize, (chunks_max, least): (usize, usize)) -> usize {
    len.div_ceil(chunks_max).max(least)
}

/// A sorted copy of `array`, of one dimension.
fn sorted_copy<T: SortKey>(pool: &Pool, array: &ArrayView<'_, T>) -> Result<SharedArray<T>> {
    let mut sorted = SharedArray::for_overwrite([array.len()])?;
    pool.par_chunks_mut(&mut sorted, CHUNK_LEN)
        .zip(array)
        .for_each(|(to, from)| to.copy_from_slice(from))?;
    sort(pool, &mut sorted)?;
    Ok(sorted)
}

/// The elements at the `wanted` places in sorted order, with their places.
fn at_places<T: SortKey>(
    pool: &Pool,
    array: &ArrayView<'_, T>,
    mut wanted: Vec<u64>,
) -> Result<Vec<(u64, T)>> {
    wanted.sort_unstable();
    wanted.dedup();
    let mut selection = Selection::new::<T>(array.len() as u64, wanted.clone());
    if selection.is_narrow() {
        let mut candidates = Vec::new();
        collect(&selection, array.as_slice(), &mut candidates);
        return Ok(selection.finish(candidates));
    }
    if wanted.len() > SELECTED_MAX {
        let sorted = sorted_copy(pool, array)?;
        let index = |place: u64| usize::try_from(place).expect("a place in the array");
        let at = |place| (place, sorted.as_slice()[index(place)]);
        return Ok(wanted.into_iter().map(at).collect());
    }
    let chunk_len = chunk_len(array.len(), COUNTED);
    while !selection.is_narrow() {
        let counts = pool
            .par_chunks(array, chunk_len)
            .with(selection.clone())
            .fold_array(selection.counters(), |selection, counts: &mut [u64], keys| {
                count_digits(selection, keys, counts);
            })
            .merge(|a, b| a + b)?;
        selection.narrow(counts.as_slice());
    }
    let candidates = pool
        .par_chunks(array, chunk_len)
        .with(selection.clone())
        .map(|selection, keys| {
            let mut candidates = Vec::new();
            collect(selection, keys, &mut candidates);
            candidates.into_iter().map(KeyBits::wide).collect::<Vec<u64>>()
        })
        .collect()?;
    Ok(selection.finish(candidates.into_iter().flatten().map(T::Bits::narrow).collect()))
}

fn unique<T: SortKey>(
    pool: &Pool,
    array: &ArrayView<'_, T>,
) -> Result<(SharedArray<T>, SharedArray<u64>)> {
    let sorted = sorted_copy(pool, array)?;
    let chunk_len = chunk_len(sorted.len(), GATHERED);
    let chunks = pool.par_chunks(&sorted, chunk_len).zip(Whole(&sorted)).enumerate();
    let runs = chunks
        .with(chunk_len)
        .map(|chunk_len, (chunk, (keys, all))| count_runs(keys, before(all, chunk * chunk_len)))
        .collect()?;
    let mut bounds = vec![0];
    bounds.extend(runs.iter().scan(0, |end, &runs| {
        *end += runs as u64;
        Some(*end)
    }));
    let len = runs.iter().sum::<usize>();
    let mut values = SharedArray::for_overwrite([len])?;
    let mut starts = SharedArray::for_overwrite([len])?;
    pool.par_chunks(Parts { array: &mut values, bounds: &bounds }, 1)
        .zip(Parts { array: &mut starts, bounds: &bounds })
        .zip(Whole(&sorted))
        .enumerate()
        .with(chunk_len)
        .for_each(|&chunk_len, (chunk, ((values, starts), all))| {
            let first = chunk * chunk_len;
            let keys = &all[first..(first + chunk_len).min(all.len())];
            write_unique(keys, before(all, first), values);
            write_starts(keys, before(all, first), first as u64, starts);
        })?;
    let mut counts = SharedArray::for_overwrite([len])?;
    pool.par_chunks_mut(&mut counts, CHUNK_LEN)
        .zip(Whole(&starts))
        .enumerate()
        .with(sorted.len() as u64)
        .for_each(|end, (chunk, (counts, starts))| {
            let starts = &starts[chunk * CHUNK_LEN..];
            let ends = starts[1..].iter().chain([end]);
            let lengths = starts.iter().zip(ends).map(|(start, end)| end - start);
            counts.iter_mut().zip(lengths).for_each(|(count, length)| *count = length);
        })?;
    Ok((values, counts))
}

/// The key before index `first`, if there is one.
fn before<T: Copy>(keys: &[T], first: usize) -> Option<T> {
    first.checked_sub(1).map(|place| keys[place])
}

/// The greatest `k`; each chunk returns its own greatest `k`.
fn top_few<T: SortKey>(
    pool: &Pool,
    array: &ArrayView<'_, T>,
    k: usize,
) -> Result<(SharedArray<T>, SharedArray<u64>)> {
    let chunk_len = chunk_len(array.len(), GATHERED);
    let found = pool
        .par_chunks(array, chunk_len)
        .enumerate()
        .with((k, chunk_len))
        .map(|&(k, chunk_len), (chunk, keys)| {
            let found = top_k_of_chunk(keys, (chunk * chunk_len) as u64, k);
            let pair = |at: Indexed<T>| (Key::to_bits(at.key).wide(), at.index);
            found.into_iter().map(pair).collect::<Vec<(u64, u64)>>()
        })
        .collect()?;
    let indexed = |(bits, index)| Indexed { key: T::from_bits(T::Bits::narrow(bits)), index };
    let found = merge_top_k(found.into_iter().flatten().map(indexed).collect(), k);
    let values: Vec<T> = found.iter().map(|at| at.key).collect();
    let indices: Vec<u64> = found.iter().map(|at| at.index).collect();
    Ok((SharedArray::from_slice(&values)?, SharedArray::from_slice(&indices)?))
}

/// The same by a stable sort, of keys in the opposite order.
fn top_many<T: SortKey>(
    pool: &Pool,
    array: &ArrayView<'_, T>,
    k: usize,
) -> Result<(SharedArray<T>, SharedArray<u64>)> {
    let mut opposite = SharedArray::<T::Bits>::for_overwrite([array.len()])?;
    pool.par_chunks_mut(&mut opposite, CHUNK_LEN).zip(array).for_each(|(to, from)| {
        let opposite = |key: &T| T::Bits::narrow(!key.rank().wide());
        to.iter_mut().zip(from).for_each(|(to, key)| *to = opposite(key));
    })?;
    let indices = argsort(pool, &opposite.as_array_view())?;
    let indices = SharedArray::from_slice(&indices.as_slice()[..k])?;
    let mut values = SharedArray::for_overwrite([k])?;
    pool.par_chunks_mut(&mut values, CHUNK_LEN).zip(&indices).zip(Whole(array)).for_each(
        |((values, indices), array)| {
            let at = |&index: &u64| array[usize::try_from(index).expect("an index of the array")];
            values.iter_mut().zip(indices).for_each(|(value, index)| *value = at(index));
        },
    )?;
    Ok((values, indices))
}
