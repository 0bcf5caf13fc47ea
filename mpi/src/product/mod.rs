//! Matrix products of distributed arrays.

mod grid;
mod panels;
mod ring;

use std::ops::Range;

use brigade::{Matrix, MatrixMut, Pool, Scalar, SharedArray};

use crate::array::DistArray;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::product::grid::{Grid, GridPanels};
use crate::product::panels::{Block, Panels};
use crate::product::ring::Ring;

/// Rows of B that travel and are multiplied at a time. The sum over one panel is rounded into C, so
/// this number decides the bits of the result; it is the depth of brigade's own blocks.
const PANEL: usize = 512;

impl Cluster {
    /// `C = A * B`, with the rows of C where those of A are.
    ///
    /// Each rank multiplies its rows of A by all of B. B comes in panels of 512 rows, which travel
    /// in a ring, each while the one before is multiplied. So a rank receives each element of B
    /// that it does not own once, and sends it on at most once: `k * n` elements each way. Besides
    /// its blocks a rank needs memory for two panels.
    ///
    /// Nine ranks or more form a grid of p x q, if their number is not prime, p <= q and B has at
    /// least 64 columns for each column of the grid. A rank then computes a block of C from `m / p`
    /// rows of A and `n / q` columns of B, receives those only, and needs memory for those rows
    /// of A, that block, two panels of `n / q` columns, and at the end its rows of C a second time.
    /// The owner of rows of B also packs a panel of them, with all its columns, on its heap.
    ///
    /// Panels lie at multiples of 512, so the bits are the same for any number of ranks and
    /// workers, if the processors of all nodes have the same instruction sets. If not, set
    /// `BRIGADE_KERNEL` on all ranks to a kernel that all have.
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
        let Some(grid) = Grid::new(self, self.grid_ranks, m, n) else {
            let ring = Ring { cluster: self, b };
            self.multiply_panels(&Block::of(a), (k, n), &ring, c.local_mut())?;
            return Ok(c);
        };
        let rows = grid.fetch_a(self, a)?;
        let [height, width] = grid.block();
        let block = self.pool().zeroed([height, width]).map_err(Error::from);
        let mut block = self.link.agree(block)?;
        let panels = GridPanels { grid: &grid, cluster: self, b };
        let all = Block { local: &rows, rows: 0..height };
        self.multiply_panels(&all, (k, width), &panels, &mut block)?;
        grid.collect(self, &block, &mut c)?;
        Ok(c)
    }

    /// Multiplies this rank's block of A by all panels of B, of which a row has `n` elements; each
    /// panel travels while the one before is multiplied.
    fn multiply_panels<T: Scalar>(
        &self,
        a: &Block<'_, T>,
        (k, n): (usize, usize),
        way: &impl Panels<T>,
        c: &mut SharedArray<T>,
    ) -> Result<()> {
        let buffer = || self.pool().for_overwrite::<T>([PANEL.min(k), n]);
        let buffers = buffer().and_then(|first| Ok((first, buffer()?))).map_err(Error::from);
        let (mut now, mut next) = self.link.agree(buffers)?;
        let panels: Vec<_> = (0..k).step_by(PANEL).map(|at| at..k.min(at + PANEL)).collect();
        let mut outcome = Ok(());
        if let Some(first) = panels.first() {
            way.pass(first.clone(), &mut now);
        }
        for (at, panel) in panels.iter().enumerate() {
            let is_active = outcome.is_ok() && !a.rows.is_empty();
            let buffer = Block { local: &now, rows: 0..panel.len() };
            let (pool, b, c) = (self.pool(), way.own(panel).unwrap_or(buffer), &mut *c);
            let multiplied = std::thread::scope(|threads| {
                let job = is_active
                    .then(|| threads.spawn(move || multiply(pool, a, panel.clone(), &b, c)));
                // Only this thread speaks MPI.
                if let Some(following) = panels.get(at + 1) {
                    way.pass(following.clone(), &mut next);
                }
                job.map_or(Ok(()), |job| {
                    job.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            });
            // A rank that has failed passes the panels on, because others need them.
            outcome = outcome.and(multiplied);
            std::mem::swap(&mut now, &mut next);
        }
        self.link.agree(outcome.map_err(Error::from))
    }
}

/// Adds the product of some columns of A and a panel of B to C.
fn multiply<T: Scalar>(
    pool: &Pool,
    a: &Block<'_, T>,
    panel: Range<usize>,
    b: &Block<'_, T>,
    c: &mut SharedArray<T>,
) -> brigade::Result<()> {
    let beta = if panel.start == 0 { T::ZERO } else { T::ONE };
    let a = Matrix::from(a.local).rows(a.rows.clone())?.columns(panel)?;
    let b = Matrix::from(b.local).rows(b.rows.clone())?;
    pool.product(a, b).beta(beta).run_into(MatrixMut::from(c))
}
