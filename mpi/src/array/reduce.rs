//! Reductions whose bits do not depend on the ranks.

use brigade::{AsArrayView, SharedArray};
use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::DistArray;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::exchange::fetch_rows;

impl<T: Pod> DistArray<T> {
    /// `function` of each `rows` consecutive rows of the whole array, combined by `operation`; the
    /// result on every rank.
    ///
    /// The array is cut into groups of rows from its beginning, wherever the ranks' blocks end, and
    /// the results are combined in brigade's fixed tree: neighbours, then neighbours of those. So
    /// the bits are the same for any number of ranks and workers, and those of
    /// `pool.par_rows(&array, rows).map(..).reduce(..)` in one process, as far as the functions
    /// themselves give the same bits on every node. Rows of a group that lies on several ranks
    /// travel to the rank of its first row.
    ///
    /// `function` gets the elements of the group. Neither function captures anything. `identity` is
    /// the result for an array without rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `rows` is 0; [`Error::Brigade`] if the function failed on this
    /// rank, or its worker died; [`Error::RankFailed`] if so on another.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(2))?;
    /// use brigade_mpi::DistArray;
    /// let array = DistArray::<f64>::zeroed(&cluster, &[1000, 8], 0)?;
    /// let largest = array.map_reduce(
    ///     &cluster,
    ///     16,
    ///     |rows| rows.iter().copied().fold(f64::MIN, f64::max),
    ///     f64::MIN,
    ///     f64::max,
    /// )?;
    /// assert_eq!(largest, 0.0);
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn map_reduce<F, O, R>(
        &self,
        cluster: &Cluster,
        rows: usize,
        function: F,
        identity: R,
        operation: O,
    ) -> Result<R>
    where
        F: for<'a> Fn(&'a [T]) -> R + Copy + Send + 'static,
        O: Fn(R, R) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        if rows == 0 {
            return Err(Error::invalid("the rows of a group", 0, "at least 1"));
        }
        cluster.link.expect_idle()?;
        let own = self.results(cluster, rows, function);
        let own = cluster.link.agree(own)?;
        let all: Vec<R> = cluster.link.all_gather(own)?.into_iter().flatten().collect();
        let combined = cluster.pool().combine(all, operation).map_err(Error::from);
        Ok(cluster.link.agree(combined)?.unwrap_or(identity))
    }

    /// The results of the groups whose first row is in this rank's block.
    fn results<F, R>(&self, cluster: &Cluster, rows: usize, function: F) -> Result<Vec<R>>
    where
        F: for<'a> Fn(&'a [T]) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let layout = &self.layout;
        let (all, row_len) = (layout.rows(), layout.row_len());
        // From the first group that begins in a block to the end of the last one.
        let groups = |rank: usize| {
            let block = layout.block(rank);
            let aligned = |row: usize| row.next_multiple_of(rows).min(all);
            aligned(block.start)..aligned(block.end)
        };
        // The group that begins here and ends elsewhere, if there is one.
        let split = |rank: usize| {
            let (block, groups) = (layout.block(rank), groups(rank));
            let whole = groups.start.max(block.end - block.end % rows);
            if groups.end > block.end && !groups.is_empty() {
                whole..groups.end
            } else {
                groups.end..groups.end
            }
        };
        let wanted: Vec<_> = (0..cluster.size()).map(|rank| [split(rank)]).collect();
        let (rest, mine) = (split(cluster.rank()), groups(cluster.rank()));
        let mut shape = layout.shape.clone();
        shape[0] = rest.len();
        let made = SharedArray::for_overwrite(&shape[..]).map_err(Error::from);
        // Before rows travel, because a rank that has failed takes none.
        let mut last = cluster.link.agree(made)?;
        let own = (self.as_slice(), row_len);
        fetch_rows(&cluster.link, &layout.starts, own, &wanted, [last.as_mut_slice()]);
        let (first, held) = (mine.start.min(rest.start), self.local_rows());
        let whole = self.local.as_array_view();
        let inside = if first < rest.start && first >= held.start {
            whole.rows(first - held.start..rest.start - held.start)?
        } else {
            whole.rows(0..0)?
        };
        let pool = cluster.pool();
        let call = move |group: brigade::Rows<'_, T>| function(group.as_slice());
        let mut results = pool.par_rows(&inside, rows).map(call).collect()?;
        results.extend(pool.par_rows(&last, rows).map(call).collect()?);
        Ok(results)
    }
}
