//! An array whose rows are distributed over the ranks.

mod files;
mod layout;
mod reduce;

use std::ops::Range;

use brigade::{ArrayView, AsArrayView, SharedArray};
use bytemuck::Pod;

use crate::array::layout::Layout;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::exchange::fetch_rows;

/// An array whose rows (steps of its first axis) are distributed over the ranks in blocks: rank 0
/// has the first rows, and so on. Each rank's part is a [`SharedArray`], so its pool computes on
/// it without a copy.
///
/// With a *halo* of `h` rows a part also has copies of the `h` rows before and after its own, as
/// far as the array has them; [`exchange_halo`](DistArray::exchange_halo) renews them.
///
/// All ranks make and use it with the same calls. Some ranks may have no rows.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// use brigade_mpi::{Cluster, DistArray};
/// let cluster = Cluster::new(Pool::builder().workers(2))?;
/// let whole = SharedArray::from_fn([6, 2], |[i, j]| (2 * i + j) as f64)?;
/// let whole = (cluster.rank() == 0).then_some(&whole);
/// let array = DistArray::scatter(&cluster, whole)?;
/// let sum = array.map_reduce(&cluster, 2, |rows| rows.iter().sum(), 0.0, |a, b| a + b)?;
/// assert_eq!(sum, 66.0);
/// # Ok::<(), brigade_mpi::Error>(())
/// ```
pub struct DistArray<T: Pod> {
    layout: Layout,
    /// The rows `layout.held(rank)`.
    local: SharedArray<T>,
}

impl<T: Pod> DistArray<T> {
    /// An array of zeros, with equally many rows on each rank, or one more on the first ranks.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a shape without an axis; [`Error::Disagreement`] if the ranks
    /// give different shapes or halos; [`Error::Brigade`] or [`Error::RankFailed`] if a rank has
    /// not enough memory.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// use brigade_mpi::DistArray;
    /// let array = DistArray::<f32>::zeroed(&cluster, &[100, 3], 0)?;
    /// assert_eq!(array.shape(), [100, 3]);
    /// assert_eq!(array.local().shape().dims(), [array.rows().len(), 3]);
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn zeroed(cluster: &Cluster, shape: &[usize], halo: usize) -> Result<DistArray<T>> {
        let layout = Layout::even(shape, cluster.rank(), cluster.size(), halo);
        DistArray::of_layout(cluster, layout)
    }

    fn of_layout(cluster: &Cluster, layout: Result<Layout>) -> Result<DistArray<T>> {
        let made = layout.and_then(|layout| {
            let local = cluster.pool().zeroed(&layout.local_shape()[..])?;
            Ok(DistArray { layout, local })
        });
        cluster.link.agree_on(made, |array: &DistArray<T>| array.layout.arguments())
    }

    /// An array of zeros with these blocks and no halo.
    pub(crate) fn of_blocks(
        cluster: &Cluster,
        shape: &[usize],
        starts: &[usize],
    ) -> Result<DistArray<T>> {
        let layout = Layout::new(shape, starts.to_vec(), cluster.rank(), cluster.size(), 0);
        DistArray::of_layout(cluster, layout)
    }

    /// Distributes an array of rank 0; the other ranks give `None`.
    ///
    /// # Errors
    ///
    /// As [`zeroed`](DistArray::zeroed), and [`Error::InvalidArgument`] if rank 0 gives `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::{Pool, SharedArray};
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// use brigade_mpi::DistArray;
    /// let whole = SharedArray::from_slice(&[1u8, 2, 3])?;
    /// let array = DistArray::scatter(&cluster, (cluster.rank() == 0).then_some(&whole))?;
    /// let back = array.gather(&cluster)?;
    /// assert!(cluster.rank() > 0 || back.unwrap().as_slice() == [1, 2, 3]);
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn scatter(cluster: &Cluster, whole: Option<&SharedArray<T>>) -> Result<DistArray<T>> {
        let link = &cluster.link;
        let shape = whole.map(|array| array.shape().dims().to_vec());
        let shape = link.broadcast(shape)?;
        let layout = shape
            .ok_or_else(|| Error::invalid("the array of rank 0", "None", "an array to scatter"))
            .and_then(|shape| Layout::even(&shape, cluster.rank(), cluster.size(), 0));
        let mut array = DistArray::of_layout(cluster, layout)?;
        let mut all_on_0 = vec![array.layout.rows(); cluster.size() + 1];
        all_on_0[0] = 0;
        let wanted: Vec<_> = (0..cluster.size()).map(|rank| [array.layout.block(rank)]).collect();
        let own = whole.filter(|_| cluster.rank() == 0).map_or(&[][..], |array| array.as_slice());
        let row_len = array.layout.row_len();
        fetch_rows(link, &all_on_0, (own, row_len), &wanted, [array.local.as_mut_slice()]);
        Ok(array)
    }

    /// The whole array on rank 0, `None` on the others.
    ///
    /// # Errors
    ///
    /// [`Error::Brigade`], or [`Error::RankFailed`] on the others, if rank 0 has not enough memory.
    ///
    /// # Examples
    ///
    /// See [`scatter`](DistArray::scatter).
    pub fn gather(&self, cluster: &Cluster) -> Result<Option<SharedArray<T>>> {
        let is_first = cluster.rank() == 0;
        let made = is_first.then(|| cluster.pool().for_overwrite(self.shape()));
        let mut whole = cluster.link.agree(made.transpose().map_err(Error::from))?;
        let rows = |rank| if rank == 0 { 0..self.layout.rows() } else { 0..0 };
        let wanted: Vec<_> = (0..cluster.size()).map(|rank| [rows(rank)]).collect();
        let into = whole.as_mut().map_or(&mut [][..], |array| array.as_mut_slice());
        let own = (self.as_slice(), self.layout.row_len());
        fetch_rows(&cluster.link, &self.layout.starts, own, &wanted, [into]);
        Ok(whole)
    }

    /// Renews the halo: the copies of the neighbours' rows in each part.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] on rank 0 in a call of
    /// [`imap_unordered`](Cluster::imap_unordered) that is not at its end.
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// use brigade_mpi::DistArray;
    /// let mut array = DistArray::<u64>::zeroed(&cluster, &[10], 1)?;
    /// let first = array.rows().start as u64;
    /// for (i, element) in array.as_mut_slice().iter_mut().enumerate() {
    ///     *element = first + i as u64;
    /// }
    /// array.exchange_halo(&cluster)?;
    /// let held = array.local_rows();
    /// let expected: Vec<u64> = held.map(|row| row as u64).collect();
    /// assert_eq!(array.local().as_slice(), expected);
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn exchange_halo(&mut self, cluster: &Cluster) -> Result<()> {
        cluster.link.expect_idle()?;
        let layout = &self.layout;
        let (rank, row_len) = (cluster.rank(), layout.row_len());
        let ghosts = |rank| {
            let (held, own) = (layout.held(rank), layout.block(rank));
            [held.start..own.start, own.end..held.end]
        };
        let wanted: Vec<_> = (0..cluster.size()).map(ghosts).collect();
        let [above, _] = ghosts(rank);
        let (above, rest) = self.local.as_mut_slice().split_at_mut(above.len() * row_len);
        let (own, below) = rest.split_at_mut(layout.block(rank).len() * row_len);
        fetch_rows(&cluster.link, &layout.starts, (&*own, row_len), &wanted, [above, below]);
        Ok(())
    }

    /// The same array with other blocks: rank r has the rows `starts[r]..starts[r + 1]`, and
    /// `halo` rows around them, which are filled. The last of `starts` is the number of rows.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `starts` do not begin with 0, fall, or end elsewhere;
    /// otherwise as [`zeroed`](DistArray::zeroed).
    ///
    /// # Examples
    ///
    /// ```
    /// # use brigade::Pool;
    /// # let cluster = brigade_mpi::Cluster::new(Pool::builder().workers(1))?;
    /// use brigade_mpi::DistArray;
    /// let array = DistArray::<f64>::zeroed(&cluster, &[5, 2], 0)?;
    /// // All rows on the last rank.
    /// let mut starts = vec![0; cluster.size() + 1];
    /// starts[cluster.size()] = 5;
    /// let moved = array.redistribute(&cluster, &starts, 0)?;
    /// assert_eq!(moved.rows().len(), if cluster.rank() + 1 == cluster.size() { 5 } else { 0 });
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn redistribute(
        &self,
        cluster: &Cluster,
        starts: &[usize],
        halo: usize,
    ) -> Result<DistArray<T>> {
        let layout =
            Layout::new(self.shape(), starts.to_vec(), cluster.rank(), cluster.size(), halo);
        let mut array = DistArray::of_layout(cluster, layout)?;
        let wanted: Vec<_> = (0..cluster.size()).map(|rank| [array.layout.held(rank)]).collect();
        let own = (self.as_slice(), self.layout.row_len());
        let into = [array.local.as_mut_slice()];
        fetch_rows(&cluster.link, &self.layout.starts, own, &wanted, into);
        Ok(array)
    }

    /// The shape of the whole array.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// The first row of each rank's block, and after them the number of rows.
    #[must_use]
    pub fn starts(&self) -> &[usize] {
        &self.layout.starts
    }

    /// The rows of this rank's block, counted in the whole array.
    #[must_use]
    pub fn rows(&self) -> Range<usize> {
        self.layout.block(self.layout.rank)
    }

    /// The rows that [`local`](DistArray::local) holds: the block and its halo.
    #[must_use]
    pub fn local_rows(&self) -> Range<usize> {
        self.layout.held(self.layout.rank)
    }

    /// This rank's part: the block and its halo.
    #[must_use]
    pub fn local(&self) -> &SharedArray<T> {
        &self.local
    }

    /// This rank's part, for writing.
    pub fn local_mut(&mut self) -> &mut SharedArray<T> {
        &mut self.local
    }

    /// The elements of this rank's block, without the halo.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.local.as_slice()[self.own_elements()]
    }

    /// The elements of this rank's block, without the halo, for writing.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        let own = self.own_elements();
        &mut self.local.as_mut_slice()[own]
    }

    /// The position of the block in the local part.
    fn own_elements(&self) -> Range<usize> {
        let (held, own, len) = (self.local_rows(), self.rows(), self.layout.row_len());
        (own.start - held.start) * len..(own.end - held.start) * len
    }

    /// This rank's block, without the halo, as an operand of the pool's calls.
    ///
    /// # Errors
    ///
    /// None in practice: the block lies within the local part.
    pub fn block(&self) -> Result<ArrayView<'_, T>> {
        let (held, own) = (self.local_rows(), self.rows());
        let rows = own.start - held.start..own.end - held.start;
        Ok(self.local.as_array_view().rows(rows)?)
    }
}

impl<T: Pod> std::fmt::Debug for DistArray<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DistArray")
            .field("shape", &self.shape())
            .field("rows", &self.rows())
            .finish_non_exhaustive()
    }
}
