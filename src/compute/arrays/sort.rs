//! `sort`: sorts the elements of an array in place.

use crate::array::{AsArrayView, Element, SharedArray};
use crate::compute::arrays::buckets::{self, Found};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::sort::counting::{count_values, fill_values, values};
use crate::kernel::sort::key::Key;
use crate::kernel::sort::local::sort_bucket;
use crate::kernel::sort::quantile::Quantile;
use crate::pool::{Parts, Pool, Whole};
use crate::shape::Shape;

/// The fewest keys of 1 or 2 bytes that are sorted by counting.
const COUNTING_MIN: usize = 1 << 15;
/// The most chunks in which keys of 1 byte are counted, and the fewest keys of such a chunk.
const COUNTING_1: (usize, usize) = (128, 1 << 14);
/// The same for 2 bytes: the counters of a chunk take half a mebibyte.
const COUNTING_2: (usize, usize) = (32, 1 << 18);

/// A number that can be sorted: the integers and floats of 1 to 8 bytes.
///
/// Integers have their usual order. Floats have NumPy's: NaN is greatest and equal to NaN, and -0.0
/// equals 0.0. [`Pool::sort`] also orders equal floats, so that its result has the same bits for
/// every order of the input: -0.0 comes before 0.0, and NaN with sign bit 0 before those with sign
/// bit 1, each in the order of `total_cmp`.
///
/// Other crates cannot implement it.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray, SortKey};
/// fn median<T: SortKey>(pool: &Pool, x: &SharedArray<T>) -> brigade::Result<f64> {
///     Ok(pool.quantiles(x, &[0.5])?[0])
/// }
/// let pool = Pool::builder().workers(2).build()?;
/// assert_eq!(median(&pool, &SharedArray::from_slice(&[5u8, 1, 3])?)?, 3.0);
/// # Ok::<(), brigade::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sorted",
    label = "not an integer or a float of 1 to 8 bytes",
    note = "sort other elements by a key: `pool.sort_by_key`"
)]
pub trait SortKey: Element + Quantile {}

macro_rules! sort_key {
    ($($key:ty)*) => {
        $(impl SortKey for $key {})*
    };
}
sort_key!(u8 u16 u32 u64 i8 i16 i32 i64 f32 f64);

impl Pool {
    /// Sorts `array`, of one dimension, in place. [`SortKey`] describes the order of floats: NaN is
    /// last, as in NumPy.
    ///
    /// During the call it takes the memory of a second such array; for elements of 1 or 2 bytes at
    /// most 17 MiB. Fewer than 32,768 elements, or elements that are already in order, take none.
    /// The result has the same bits for any number of workers.
    ///
    /// A worker's death is repaired if the pool has [`retries`](crate::PoolBuilder::retries).
    /// Otherwise the error contains the death. After this and every other error `array` holds the
    /// same elements as before, in an unspecified order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for an array whose number of dimensions is not one; else as
    /// [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_fn([100_000], |[i]| (i * 7919 % 100_000) as f64)?;
    /// pool.sort(&mut x)?;
    /// assert!(x.as_slice().iter().copied().eq((0..100_000).map(f64::from)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sort<T: SortKey>(&self, array: &mut SharedArray<T>) -> Result<()> {
        let _mode = FloatMode::standard();
        one_dimension("the array to be sorted", array.shape())?;
        sort(self, array).map_err(Error::without_torn)
    }
}

/// # Errors
///
/// [`Error::InvalidArgument`] for an array whose number of dimensions is not one.
pub(super) fn one_dimension(what: &'static str, shape: &Shape) -> Result<()> {
    match shape.ndim() {
        1 => Ok(()),
        _ => Err(Error::invalid(what, shape, "an array of one dimension")),
    }
}

/// Sorts the elements of `keys`, of any shape, in row-major order.
pub(super) fn sort<K: SortKey>(pool: &Pool, keys: &mut SharedArray<K>) -> Result<()> {
    if size_of::<K>() <= 2 && keys.len() >= COUNTING_MIN {
        return counting_sort(pool, keys);
    }
    let buckets = match buckets::look_at(pool, &keys.as_array_view())? {
        Found::Sorted => return Ok(()),
        Found::Few => {
            let bits: Vec<K::Bits> = keys.as_slice().iter().map(|key| Key::to_bits(*key)).collect();
            sort_bucket(&bits, keys.as_mut_slice(), &mut Vec::new());
            return Ok(());
        }
        Found::Many(buckets) => buckets,
    };
    let mut bits = SharedArray::for_overwrite([keys.len()])?;
    buckets.scatter_bits(pool, &keys.as_array_view(), &mut bits)?;
    let bounds = &buckets.bounds;
    let parts = Parts { array: &bits, bounds };
    let sorted = pool
        .par_chunks(parts, 1)
        .zip(Parts { array: &mut *keys, bounds })
        .scratch(Vec::new)
        .for_each(|spare: &mut Vec<K::Bits>, (bits, keys)| sort_bucket(bits, keys, spare));
    if sorted.is_err() {
        let all = keys.as_mut_slice().iter_mut().zip(bits.as_slice());
        all.for_each(|(key, bits)| *key = K::from_bits(*bits));
    }
    sorted
}

/// The same for keys of 1 or 2 bytes.
fn counting_sort<K: SortKey>(pool: &Pool, keys: &mut SharedArray<K>) -> Result<()> {
    let (chunks_max, least) = if size_of::<K>() == 1 { COUNTING_1 } else { COUNTING_2 };
    let chunk_len = keys.len().div_ceil(chunks_max).max(least);
    let counts = pool
        .par_chunks(&*keys, chunk_len)
        .fold_array(values::<K>(), |counts: &mut [u64], keys| count_values(keys, counts))
        .merge(|a, b| a + b)?;
    let chunks = pool.par_chunks_mut(&mut *keys, chunk_len).zip(Whole(&counts)).enumerate();
    let filled = chunks.with(chunk_len).for_each(|chunk_len, (chunk, (keys, counts))| {
        fill_values(counts, (chunk * chunk_len) as u64, keys);
    });
    if filled.is_err() {
        fill_values(counts.as_slice(), 0, keys.as_mut_slice());
    }
    filled
}
