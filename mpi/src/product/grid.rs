//! Matrix products on a grid of ranks: SUMMA.
//!
//! The ranks form a grid of `p` rows and `q` columns, and rank `(i, j)` computes a block of C from
//! some rows of A and some columns of B. It receives `m * k / p + k * n / q` elements, where a
//! ring would bring `k * n` to it. The rows of A come at once, the columns of B in panels, each
//! while the one before is multiplied. At the end blocks of C travel to the ranks of its rows.
//! See van de Geijn and Watts, SUMMA, 1997.

use std::ops::Range;

use brigade::{Scalar, SharedArray};

use crate::array::DistArray;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::exchange::{common, fetch_rows};
use crate::product::panels::Panels;

/// Blocks of C begin at multiples of this many columns, so none is so narrow that it would be
/// computed as a product of a matrix and a vector.
const COLUMNS: usize = 64;

/// The ranks as a grid, and what each of them has of a product.
#[derive(Debug, Clone)]
pub(super) struct Grid {
    rank: usize,
    /// Rows and columns of the grid.
    p: usize,
    q: usize,
    /// Rows and columns of C.
    m: usize,
    n: usize,
}

impl Grid {
    /// The grid for a product with `m` x `n` results, if there is a good one: not for fewer than
    /// `ranks_min` ranks, for a prime number of them, or for narrow matrices.
    pub(super) fn new(cluster: &Cluster, ranks_min: usize, m: usize, n: usize) -> Option<Grid> {
        let ranks = cluster.size();
        let p = (2..=ranks.isqrt()).rev().find(|p| ranks.is_multiple_of(*p))?;
        let q = ranks / p;
        let is_good = ranks >= ranks_min && m >= p && n >= q * COLUMNS;
        is_good.then_some(Grid { rank: cluster.rank(), p, q, m, n })
    }

    /// The place of a rank: row and column of the grid.
    fn place(&self, rank: usize) -> (usize, usize) {
        (rank / self.q, rank % self.q)
    }

    fn rank_at(&self, (i, j): (usize, usize)) -> usize {
        i * self.q + j
    }

    /// The rows of C of a rank.
    fn rows(&self, rank: usize) -> Range<usize> {
        let (i, _) = self.place(rank);
        self.m * i / self.p..self.m * (i + 1) / self.p
    }

    /// The columns of C of a column of the grid.
    fn columns(&self, j: usize) -> Range<usize> {
        let units = self.n / COLUMNS;
        let start = |j: usize| if j == self.q { self.n } else { units * j / self.q * COLUMNS };
        start(j)..start(j + 1)
    }

    /// The rows of A that this rank multiplies.
    pub(super) fn fetch_a<T: Scalar>(
        &self,
        cluster: &Cluster,
        a: &DistArray<T>,
    ) -> Result<SharedArray<T>> {
        let k = a.shape()[1];
        let made = cluster.pool().for_overwrite([self.rows(self.rank).len(), k]);
        let mut rows = cluster.link.agree(made.map_err(Error::from))?;
        let wanted: Vec<_> = (0..cluster.size()).map(|rank| [self.rows(rank)]).collect();
        let own = (a.as_slice(), k);
        fetch_rows(&cluster.link, a.starts(), own, &wanted, [rows.as_mut_slice()]);
        Ok(rows)
    }

    /// The shape of this rank's block of C.
    pub(super) fn block(&self) -> [usize; 2] {
        let (_, j) = self.place(self.rank);
        [self.rows(self.rank).len(), self.columns(j).len()]
    }

    /// Moves the blocks of C to the ranks of its rows. What is received has memory of its own
    /// first: as much as this rank's rows of C.
    ///
    /// # Errors
    ///
    /// A rank has no memory for it: on every rank, and before anything travels.
    pub(super) fn collect<T: Scalar>(
        &self,
        cluster: &Cluster,
        block: &SharedArray<T>,
        c: &mut DistArray<T>,
    ) -> Result<()> {
        let starts = c.starts().to_vec();
        let of_rank = |rank: usize| starts[rank]..starts[rank + 1];
        let (mine, [_, width]) = (self.rows(self.rank), self.block());
        let part = |rows: &Range<usize>| match rows.is_empty() {
            true => &[][..],
            false => {
                let at = (rows.start - mine.start) * width;
                &block.as_slice()[at..at + rows.len() * width]
            }
        };
        let others = || (0..cluster.size()).filter(|&rank| rank != self.rank);
        let sends: Vec<_> = others()
            .map(|to| (to, bytemuck::cast_slice(part(&common(&mine, &of_rank(to))))))
            .collect();
        let here = of_rank(self.rank);
        let size = |from: usize| {
            common(&self.rows(from), &here).len() * self.columns(self.place(from).1).len()
        };
        let made = cluster.pool().for_overwrite([others().map(size).sum()]);
        let mut received: SharedArray<T> = cluster.link.agree(made.map_err(Error::from))?;
        let mut rest = received.as_mut_slice();
        let receives = others().map(|from| {
            let (into, after) = std::mem::take(&mut rest).split_at_mut(size(from));
            rest = after;
            (from, bytemuck::cast_slice_mut(into))
        });
        let receives = receives.collect();
        cluster.link.exchange(&sends, receives);
        let into = c.as_mut_slice();
        let mut rest = received.as_slice();
        for from in 0..cluster.size() {
            let rows = common(&self.rows(from), &here);
            let columns = self.columns(self.place(from).1);
            let elements = match from == self.rank {
                true => part(&rows),
                false => rest.split_off(..size(from)).unwrap_or_default(),
            };
            for (row, from) in rows.zip(elements.chunks_exact(columns.len())) {
                let at = (row - here.start) * self.n;
                into[at + columns.start..at + columns.end].copy_from_slice(from);
            }
        }
        Ok(())
    }
}

/// Panels of B, each rank its columns.
pub(super) struct GridPanels<'c, T: Scalar> {
    pub(super) grid: &'c Grid,
    pub(super) cluster: &'c Cluster,
    pub(super) b: &'c DistArray<T>,
}

impl<T: Scalar> Panels<T> for GridPanels<'_, T> {
    /// The owner of some rows gives each column of the grid its elements, at the row of the grid
    /// where the owner is; from there they go round the column.
    ///
    /// No ranks wait for each other: order the transfers by their parts, and those of a part by
    /// their distance from the owner, those along its row first and all at once. Each rank makes
    /// its transfers in this order. So both ends of the first transfer that is not complete have
    /// reached it, and it completes.
    fn pass(&self, panel: Range<usize>, into: &mut SharedArray<T>) {
        let (grid, link, starts) = (self.grid, &self.cluster.link, self.b.starts());
        let rank = link.rank();
        let (i, j) = grid.place(rank);
        let width = grid.columns(j).len();
        for owner in 0..link.size() {
            let rows = common(&panel, &(starts[owner]..starts[owner + 1]));
            if rows.is_empty() {
                continue;
            }
            let place = (rows.start - panel.start) * width..(rows.end - panel.start) * width;
            let part = &mut into.as_mut_slice()[place];
            let (first, _) = grid.place(owner);
            if owner == rank {
                self.give(&rows, part);
            } else {
                let from =
                    if i == first { owner } else { grid.rank_at(((i + grid.p - 1) % grid.p, j)) };
                link.exchange(&[], vec![(from, bytemuck::cast_slice_mut(part))]);
            }
            let next = (i + 1) % grid.p;
            if next != first {
                let to = grid.rank_at((next, j));
                link.exchange(&[(to, bytemuck::cast_slice(part))], Vec::new());
            }
        }
    }
}

impl<T: Scalar> GridPanels<'_, T> {
    /// Gives the other columns of the grid their elements of rows that this rank owns, and takes
    /// those of its own column.
    fn give(&self, rows: &Range<usize>, own: &mut [T]) {
        let grid = self.grid;
        let (i, j) = grid.place(grid.rank);
        let first = self.b.rows().start;
        let packed = |j: usize| -> Vec<T> {
            let columns = grid.columns(j);
            let row = |row: usize| {
                let at = (row - first) * grid.n;
                &self.b.as_slice()[at + columns.start..at + columns.end]
            };
            rows.clone().flat_map(row).copied().collect()
        };
        own.copy_from_slice(&packed(j));
        let others: Vec<_> = (0..grid.q).filter(|&other| other != j).collect();
        let blocks: Vec<_> = others.iter().map(|&other| packed(other)).collect();
        let sends = others
            .iter()
            .zip(&blocks)
            .map(|(&other, block)| (grid.rank_at((i, other)), bytemuck::cast_slice(&block[..])));
        self.cluster.link.exchange(&sends.collect::<Vec<_>>(), Vec::new());
    }
}
