//! Matrix products of distributed arrays.

use std::ops::Range;

use brigade::{Matrix, MatrixMut, Pool, Scalar, SharedArray};

use crate::array::DistArray;
use crate::cluster::Cluster;
use crate::error::{Error, Result};

/// Rows of B that travel and are multiplied at a time. The sum over one panel is rounded into C, so
/// this number decides the bits of the result; it is the depth of brigade's own blocks.
const PANEL: usize = 512;

/// The ring in which a panel travels from rank to rank.
struct Ring<'c, T: Scalar> {
    cluster: &'c Cluster,
    b: &'c DistArray<T>,
}

impl Cluster {
    /// `C = A * B`, with the rows of C where those of A are.
    ///
    /// Each rank multiplies its rows of A by all of B. B comes in panels of 512 rows, which travel
    /// in a ring, each while the one before is multiplied. So a rank receives each element of B
    /// that it does not own once, and sends it on at most once: `k * n` elements each way. Besides
    /// its blocks a rank needs memory for two panels.
    ///
    /// # Shapes
    ///
    /// A is m x k, B is k x n, C is m x n. Halos of A and B are ignored; C has none.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if the shapes do not fit; [`Error::Brigade`] if this rank's pool
    /// fails or a worker died, [`Error::RankFailed`] if so on another rank.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// use brigade_mpi::{Cluster, DistArray};
    /// let cluster = Cluster::new(Pool::builder().workers(2))?;
    /// let one = SharedArray::from_fn([3, 3], |[i, j]| f64::from(u8::from(i == j)))?;
    /// let b = SharedArray::from_fn([3, 2], |[i, j]| (i + 10 * j) as f64)?;
    /// let is_first = cluster.rank() == 0;
    /// let one = DistArray::scatter(&cluster, is_first.then_some(&one))?;
    /// let distributed = DistArray::scatter(&cluster, is_first.then_some(&b))?;
    /// let c = cluster.matmul(&one, &distributed)?;
    /// assert!(c.gather(&cluster)?.is_none_or(|c| c.as_slice() == b.as_slice()));
    /// # Ok::<(), brigade_mpi::Error>(())
    /// ```
    pub fn matmul<T: Scalar>(&self, a: &DistArray<T>, b: &DistArray<T>) -> Result<DistArray<T>> {
        let (&[m, k], &[inner, n]) = (a.shape(), b.shape()) else {
            let shapes = format!("{:?} and {:?}", a.shape(), b.shape());
            return Err(Error::invalid("the shapes of A and B", shapes, "two axes each"));
        };
        if k != inner {
            let shapes = format!("{m} x {k} and {inner} x {n}");
            return Err(Error::invalid("A and B", shapes, "as many columns of A as rows of B"));
        }
        let mut c = DistArray::of_blocks(self, &[m, n], a.starts())?;
        let buffer = || self.pool().for_overwrite::<T>([PANEL.min(k), n]);
        let buffers = buffer().and_then(|first| Ok((first, buffer()?))).map_err(Error::from);
        let (mut now, mut next) = self.link.agree(buffers)?;
        let panels: Vec<_> = (0..k).step_by(PANEL).map(|at| at..k.min(at + PANEL)).collect();
        let ring = Ring { cluster: self, b };
        let mut outcome = Ok(());
        if let Some(first) = panels.first() {
            ring.pass(first.clone(), &mut now);
        }
        for (at, panel) in panels.iter().enumerate() {
            let following = panels.get(at + 1).cloned();
            let is_active = outcome.is_ok() && !a.rows().is_empty();
            let (pool, c) = (self.pool(), c.local_mut());
            let multiplied = std::thread::scope(|threads| {
                let job = is_active.then(|| {
                    let (a, now, panel) = (Block::of(a), &now, panel.clone());
                    threads.spawn(move || multiply(pool, &a, panel, now, c))
                });
                // Only this thread speaks MPI.
                if let Some(following) = following {
                    ring.pass(following, &mut next);
                }
                job.map_or(Ok(()), |job| {
                    job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            });
            // A rank that has failed passes the panels on, because others need them.
            outcome = outcome.and(multiplied);
            std::mem::swap(&mut now, &mut next);
        }
        self.link.agree(outcome.map_err(Error::from))?;
        Ok(c)
    }
}

impl<T: Scalar> Ring<'_, T> {
    /// Brings the rows `panel` of B to every rank. They start at the ranks that own them, and each
    /// rank passes them on to the next.
    ///
    /// For a part of one owner, the owner waits for nobody, and each other rank for the one
    /// before it. All ranks treat the parts in the same order. So some rank can always go on.
    fn pass(&self, panel: Range<usize>, into: &mut SharedArray<T>) {
        let (link, starts) = (&self.cluster.link, self.b.starts());
        let (rank, size) = (link.rank(), link.size());
        let (before, after) = ((rank + size - 1) % size, (rank + 1) % size);
        let row_len = self.b.shape()[1];
        for owner in 0..size {
            let rows = panel.start.max(starts[owner])..panel.end.min(starts[owner + 1]);
            if rows.is_empty() || row_len == 0 {
                continue;
            }
            let place = (rows.start - panel.start) * row_len..(rows.end - panel.start) * row_len;
            let part = &mut into.as_mut_slice()[place];
            if owner == rank {
                let first = (rows.start - starts[rank]) * row_len;
                part.copy_from_slice(&self.b.as_slice()[first..first + part.len()]);
            } else {
                link.exchange(&[], vec![(before, bytemuck::cast_slice_mut(part))]);
            }
            if after != owner {
                link.exchange(&[(after, bytemuck::cast_slice(part))], Vec::new());
            }
        }
    }
}

/// A rank's block of A.
struct Block<'a, T> {
    local: &'a SharedArray<T>,
    /// Its rows in the local part, without the halo.
    rows: Range<usize>,
}

impl<'a, T: Scalar> Block<'a, T> {
    fn of(a: &'a DistArray<T>) -> Block<'a, T> {
        let (held, own) = (a.local_rows(), a.rows());
        Block { local: a.local(), rows: own.start - held.start..own.end - held.start }
    }
}

/// Adds the product of some columns of A and a panel of B to C.
fn multiply<T: Scalar>(
    pool: &Pool,
    a: &Block<'_, T>,
    panel: Range<usize>,
    b: &SharedArray<T>,
    c: &mut SharedArray<T>,
) -> brigade::Result<()> {
    let rows = panel.len();
    let beta = if panel.start == 0 { T::ZERO } else { T::ONE };
    let a = Matrix::from(a.local).rows(a.rows.clone())?.columns(panel)?;
    let b = Matrix::from(b).rows(..rows)?;
    pool.product(a, b).beta(beta).run_into(MatrixMut::from(c))
}
