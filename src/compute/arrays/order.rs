//! `argsort` and `sort_by_key`: stable sorts of pairs.

use bytemuck::Pod;

use crate::array::{ArrayView, AsArrayView, SharedArray};
use crate::compute::arrays::buckets::{self, Buckets, Found};
use crate::compute::arrays::sort::{SortKey, one_dimension};
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::kernel::sort::key::{Key, KeyBits};
use crate::kernel::sort::local::{Pairs, Spare, sort_pairs_into};
use crate::pool::{Parts, Pool};

/// Elements of a chunk in passes that do not sort.
const CHUNK_LEN: usize = 1 << 16;

impl Pool {
    /// The indices of the elements of `array`, which has one dimension, in the order of the
    /// elements. The sort is stable: equal elements are in the order of their indices. [`SortKey`]
    /// describes the order of floats: NaN are equal and last, -0.0 equals 0.0, as in NumPy's
    /// `argsort(kind="stable")`.
    ///
    /// The indices are the same for any number of workers. During the call it takes the memory of a
    /// second array of indices and of a second `array`. A worker's death is repaired if the pool
    /// has [`retries`](crate::PoolBuilder::retries).
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
    /// let x = SharedArray::from_slice(&[0.5, f64::NAN, -1.0, 0.5])?;
    /// assert_eq!(pool.argsort(&x)?.as_slice(), [2, 0, 3, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn argsort<T: SortKey>(&self, array: &impl AsArrayView<T>) -> Result<SharedArray<u64>> {
        let _mode = FloatMode::standard();
        let array = &array.as_array_view();
        one_dimension("the array to be sorted", array.shape())?;
        argsort(self, array).map_err(Error::without_torn)
    }

    /// Sorts `keys`, of one dimension, in place, and moves `values` with them. The sort is stable:
    /// pairs with equal keys keep their order. [`SortKey`] describes the order of floats: NaN are
    /// equal and last, -0.0 equals 0.0.
    ///
    /// During the call it takes the memory of both arrays once more. Fewer than 32,768 pairs, or
    /// pairs that are already in order, take none.
    ///
    /// A worker's death is repaired if the pool has [`retries`](crate::PoolBuilder::retries).
    /// Otherwise the error contains the death. After this and every other error the arrays hold the
    /// same pairs as before, in an unspecified order.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for arrays whose number of dimensions is not one,
    /// [`Error::ShapeMismatch`] for different lengths; else as
    /// [`for_each`](crate::ParLoop::for_each) and [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut years = SharedArray::from_slice(&[1950u16, 1903, 1950, 1879])?;
    /// let mut names = SharedArray::from_slice(b"TVNE")?;
    /// pool.sort_by_key(&mut years, &mut names)?;
    /// assert_eq!(years.as_slice(), [1879, 1903, 1950, 1950]);
    /// assert_eq!(names.as_slice(), b"EVTN");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn sort_by_key<K: SortKey, V: Pod>(
        &self,
        keys: &mut SharedArray<K>,
        values: &mut SharedArray<V>,
    ) -> Result<()> {
        let _mode = FloatMode::standard();
        one_dimension("the keys to be sorted", keys.shape())?;
        one_dimension("the values to be sorted", values.shape())?;
        if keys.len() != values.len() {
            return Err(Error::ShapeMismatch {
                operation: "sort_by_key",
                left: keys.shape().clone(),
                right: values.shape().clone(),
                rule: "there must be as many values as keys",
            });
        }
        match buckets::look_at(self, &keys.as_array_view()).map_err(Error::without_torn)? {
            Found::Sorted => {}
            Found::Few => {
                let (old_keys, old_values) = (keys.as_slice().to_vec(), values.as_slice().to_vec());
                let to = Pairs::new(keys.as_mut_slice(), values.as_mut_slice());
                sort_pairs_into((&old_keys, &old_values), to, &mut Spare::new());
            }
            Found::Many(buckets) => {
                sort_buckets(self, &buckets, keys, values).map_err(Error::without_torn)?;
            }
        }
        Ok(())
    }
}

fn sort_buckets<K: SortKey, V: Pod>(
    pool: &Pool,
    buckets: &Buckets,
    keys: &mut SharedArray<K>,
    values: &mut SharedArray<V>,
) -> Result<()> {
    let mut old_keys = SharedArray::for_overwrite([keys.len()])?;
    let mut old_values = SharedArray::for_overwrite([values.len()])?;
    buckets.scatter_pairs(
        pool,
        &keys.as_array_view(),
        &values.as_array_view(),
        (&mut old_keys, &mut old_values),
    )?;
    let bounds = &buckets.bounds;
    let sorted = pool
        .par_chunks(Parts { array: &old_keys, bounds }, 1)
        .zip(Parts { array: &old_values, bounds })
        .zip((Parts { array: &mut *keys, bounds }, Parts { array: &mut *values, bounds }))
        .scratch(Spare::new)
        .for_each(|spare: &mut Spare<K, V>, (from, (keys, values))| {
            sort_pairs_into(from, Pairs::new(keys, values), spare);
        });
    if sorted.is_err() {
        keys.as_mut_slice().copy_from_slice(old_keys.as_slice());
        values.as_mut_slice().copy_from_slice(old_values.as_slice());
    }
    sorted
}

/// The indices of elements of any shape, in row-major order.
pub(super) fn argsort<K: Key>(pool: &Pool, keys: &ArrayView<'_, K>) -> Result<SharedArray<u64>> {
    let mut indices = SharedArray::for_overwrite([keys.len()])?;
    let buckets = match buckets::look_at(pool, keys)? {
        Found::Sorted => {
            let chunks = pool.par_chunks_mut(&mut indices, CHUNK_LEN).enumerate();
            chunks.for_each(|(chunk, indices)| {
                let first = (chunk * CHUNK_LEN) as u64;
                indices.iter_mut().zip(first..).for_each(|(index, i)| *index = i);
            })?;
            return Ok(indices);
        }
        Found::Few => {
            let ranks: Vec<K::Bits> = keys.as_slice().iter().map(|key| key.rank()).collect();
            let unsorted: Vec<u64> = (0..keys.len() as u64).collect();
            let mut sorted = vec![K::Bits::MIN; keys.len()];
            let to = Pairs::new(&mut sorted, indices.as_mut_slice());
            sort_pairs_into((&ranks, &unsorted), to, &mut Spare::new());
            return Ok(indices);
        }
        Found::Many(buckets) => buckets,
    };
    let mut ranks = SharedArray::for_overwrite([keys.len()])?;
    let mut unsorted = SharedArray::for_overwrite([keys.len()])?;
    buckets.scatter_ranks(pool, keys, (&mut ranks, &mut unsorted))?;
    let bounds = &buckets.bounds;
    pool.par_chunks(Parts { array: &ranks, bounds }, 1)
        .zip(Parts { array: &unsorted, bounds })
        .zip(Parts { array: &mut indices, bounds })
        .scratch(|| (Spare::new(), Vec::new()))
        .for_each(
            |(spare, sorted): &mut (Spare<K::Bits, u64>, Vec<K::Bits>), (from, indices)| {
                sorted.resize(indices.len(), K::Bits::MIN);
                sort_pairs_into(from, Pairs::new(sorted, indices), spare);
            },
        )?;
    Ok(indices)
}
