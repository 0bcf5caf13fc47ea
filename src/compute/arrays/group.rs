//! `group_by`: aggregates of values by integer keys.

use super::chunks::CHUNK;
use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::group::{self as kernel, Aggregates, GroupWords, IntegerTable};
use crate::kernel::number::{Integer, Number};
use crate::pool::Pool;

/// The most groups of chunks in a fold, each of which has a table.
const TABLES_MAX: usize = 64;

/// The groups of a [`Pool::group_by`]: arrays of one dimension with an element for each group, in
/// ascending order of the keys.
///
/// # Examples
///
/// ```
/// use brigade::{Groups, Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let year = SharedArray::from_slice(&[2024u16, 2023, 2024])?;
/// let rain = SharedArray::from_slice(&[1.5, 0.25, 3.5])?;
/// let Groups { keys, means, .. } = pool.group_by(&year, &rain)?;
/// assert_eq!((keys.as_slice(), means.as_slice()), (&[2023, 2024][..], &[0.25, 2.5][..]));
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Groups<K, V: Number> {
    /// The keys.
    pub keys: SharedArray<K>,
    /// The number of values.
    pub counts: SharedArray<u64>,
    /// Their sums, as [`Pool::sum`].
    pub sums: SharedArray<V::Sum>,
    /// Their means, as [`Pool::mean`].
    pub means: SharedArray<V::Mean>,
    /// The least values.
    pub mins: SharedArray<V>,
    /// The greatest values.
    pub maxs: SharedArray<V>,
}

/// Values grouped by keys. Arrays are only read, so with the pool's `retries` these calls survive a
/// worker's death.
impl Pool {
    /// Groups `values` by `keys`, an array of integers of the same shape: the count, sum, mean,
    /// minimum and maximum of the values of each key that occurs, in ascending order of the keys.
    ///
    /// Sums and means are held in the types of [`sum`](Pool::sum) and [`mean`](Pool::mean). The
    /// sum, mean, minimum and maximum of a group with a NaN are NaN; another group's are not.
    /// Elements are added in order and merged in a fixed tree, so the result has the same bits for
    /// any number of workers. Without elements there are no groups.
    ///
    /// Each worker hashes the keys, and sends a table of at most 64 parts of the array to the host:
    /// the call is meant for far fewer groups than elements. If the keys are 0 to below some
    /// thousands, [`group_by_dense`](Pool::group_by_dense) is faster. For keys that are texts see
    /// [`ByteGroups`](crate::ByteGroups).
    ///
    /// # Errors
    ///
    /// [`Error::ShapeMismatch`] for different shapes; [`Error::NoSpace`]; [`Error::Task`] if a
    /// worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let customer = SharedArray::from_slice(&[71i64, -3, 71, 71])?;
    /// let price = SharedArray::from_slice(&[10u32, 5, 20, 60])?;
    /// let groups = pool.group_by(&customer, &price)?;
    /// assert_eq!(groups.keys.as_slice(), [-3, 71]);
    /// assert_eq!(groups.counts.as_slice(), [1, 3]);
    /// assert_eq!(groups.sums.as_slice(), [5, 90]);
    /// assert_eq!(groups.means.as_slice(), [5.0, 30.0]);
    /// assert_eq!((groups.mins.as_slice(), groups.maxs.as_slice()), (&[5, 10][..], &[5, 60][..]));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn group_by<K: Integer, V: Number>(
        &self,
        keys: &impl AsArrayView<K>,
        values: &impl AsArrayView<V>,
    ) -> Result<Groups<K, V>> {
        let _mode = FloatMode::standard();
        let (keys, values) = (&keys.as_array_view(), &values.as_array_view());
        same_shape("group_by", keys, values)?;
        let table = self
            .par_chunks(keys, CHUNK.max(keys.len().div_ceil(TABLES_MAX)))
            .zip(values)
            .fold(
                IntegerTable::default,
                |table: &mut IntegerTable, (keys, values): (&[K], &[V])| {
                    table.add(keys, values);
                },
            )
            .merge(IntegerTable::merged::<V>)?;
        Groups::new(table.into_sorted())
    }

    /// Groups `values` by `keys`, an array of integers of the same shape from 0 to below `groups`:
    /// as [`group_by`](Pool::group_by), with a group for each of these keys, whether it occurs or
    /// not. A group without values has the count and sum 0, the mean NaN, and as minimum and
    /// maximum what every number is less, or greater than: infinity and minus infinity of floats.
    ///
    /// During the call up to 64 tables of 40 bytes for each group lie in shared memory, and the
    /// merged one. There are fewer tables if together they have more groups than there are
    /// elements, but at least one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a key outside the range (the error names the first, and its
    /// index in row-major order), or if `K` has fewer values than there are groups;
    /// [`Error::ShapeMismatch`] for different shapes; [`Error::NoSpace`]; [`Error::Task`] if a
    /// worker died.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let weekday = SharedArray::from_slice(&[1u8, 0, 1])?;
    /// let load = SharedArray::from_slice(&[0.5, 2.0, 0.25])?;
    /// let groups = pool.group_by_dense(&weekday, &load, 3)?;
    /// assert_eq!(groups.counts.as_slice(), [1, 2, 0]);
    /// assert_eq!(groups.sums.as_slice(), [2.0, 0.75, 0.0]);
    /// assert_eq!(groups.maxs.as_slice(), [2.0, 0.5, f64::NEG_INFINITY]);
    ///
    /// let error = pool.group_by_dense(&weekday, &load, 1).unwrap_err();
    /// assert!(error.to_string().contains("1 at index 0"), "{error}");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn group_by_dense<K: Integer, V: Number>(
        &self,
        keys: &impl AsArrayView<K>,
        values: &impl AsArrayView<V>,
        groups: usize,
    ) -> Result<Groups<K, V>> {
        let _mode = FloatMode::standard();
        let (keys, values) = (&keys.as_array_view(), &values.as_array_view());
        same_shape("group_by_dense", keys, values)?;
        if groups.saturating_sub(1) as u64 > K::HIGHEST.to_bits_u64() {
            let rule = format!("at most one more than the greatest key, {:?}", K::HIGHEST);
            return Err(Error::invalid("the number of groups", groups, rule));
        }
        let table = self
            .par_chunks(keys, CHUNK.max(groups))
            .zip(values)
            .fold_array(groups, |table: &mut [GroupWords], (keys, values): (&[K], &[V])| {
                kernel::add_dense(table, keys, values);
            })
            .merge(kernel::merge::<V>)?;
        let key = |group: usize| K::from_bits_u64(group as u64);
        let entries = (0..).map(key).zip(table.as_slice().iter().copied());
        let found = Groups::new(entries.collect())?;
        if found.counts.as_slice().iter().sum::<u64>() != keys.len() as u64 {
            return Err(self.key_outside(keys, groups)?);
        }
        Ok(found)
    }

    /// The error for the first key that is not from 0 to below `groups`.
    fn key_outside<K: Integer>(&self, keys: &ArrayView<'_, K>, groups: usize) -> Result<Error> {
        let chunks = self.par_chunks(keys, CHUNK).enumerate().with(groups);
        let first = chunks.find_map_first(|&groups, (chunk, keys)| {
            kernel::first_outside(keys, groups).map(|at| chunk * CHUNK + at)
        });
        let index = first?;
        let index = index.expect("keys do not change while they are borrowed");
        let found = format!("{:?} at index {index}", keys.as_slice()[index]);
        Ok(Error::invalid("a key of `group_by_dense`", found, format!("from 0 to below {groups}")))
    }
}

/// # Errors
///
/// [`Error::ShapeMismatch`].
fn same_shape<K: Number, V: Number>(
    operation: &'static str,
    keys: &ArrayView<'_, K>,
    values: &ArrayView<'_, V>,
) -> Result<()> {
    if keys.shape() == values.shape() {
        return Ok(());
    }
    let (left, right) = (keys.shape().clone(), values.shape().clone());
    let rule = "keys and values must have the same shape";
    Err(Error::ShapeMismatch { operation, left, right, rule })
}

impl<K: Integer, V: Number> Groups<K, V> {
    fn new(entries: Vec<(K, GroupWords)>) -> Result<Groups<K, V>> {
        let n = entries.len();
        let group = |index: usize| Aggregates::<V>::of(&entries[index].1);
        Ok(Groups {
            keys: SharedArray::from_fn([n], |[i]| entries[i].0)?,
            counts: SharedArray::from_fn([n], |[i]| group(i).count)?,
            sums: SharedArray::from_fn([n], |[i]| group(i).sum)?,
            means: SharedArray::from_fn([n], |[i]| group(i).mean)?,
            mins: SharedArray::from_fn([n], |[i]| group(i).min)?,
            maxs: SharedArray::from_fn([n], |[i]| group(i).max)?,
        })
    }
}
