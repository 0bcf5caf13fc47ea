//! A matrix B that travels in a ring.

use std::ops::Range;

use brigade::{Scalar, SharedArray};

use crate::array::DistArray;
use crate::cluster::Cluster;
use crate::exchange::common;
use crate::product::panels::{Block, Panels};

/// Panels of B, whole, for every rank.
pub(super) struct Ring<'c, T: Scalar> {
    pub(super) cluster: &'c Cluster,
    pub(super) b: &'c DistArray<T>,
}

impl<T: Scalar> Panels<T> for Ring<'_, T> {
    fn own(&self, panel: &Range<usize>) -> Option<Block<'_, T>> {
        let (rows, held) = (self.b.rows(), self.b.local_rows().start);
        let is_own = rows.start <= panel.start && panel.end <= rows.end;
        let rows = panel.start.checked_sub(held)?..panel.end.checked_sub(held)?;
        is_own.then_some(Block { local: self.b.local(), rows })
    }

    /// The rows start at the ranks that own them, and each rank passes them on to the next.
    ///
    /// No ranks wait for each other: order the transfers by their parts, and those of a part by
    /// their distance from the owner. Each rank makes its transfers in this order. So both ends of
    /// the first transfer that is not complete have reached it, and it completes.
    fn pass(&self, panel: Range<usize>, into: &mut SharedArray<T>) {
        let (link, starts) = (&self.cluster.link, self.b.starts());
        let (rank, size) = (link.rank(), link.size());
        let (before, after) = ((rank + size - 1) % size, (rank + 1) % size);
        let row_len = self.b.shape()[1];
        for owner in 0..size {
            let rows = common(&panel, &(starts[owner]..starts[owner + 1]));
            if rows.is_empty() || row_len == 0 {
                continue;
            }
            let place = (rows.start - panel.start) * row_len..(rows.end - panel.start) * row_len;
            let part = &mut into.as_mut_slice()[place];
            let part: &[T] = if owner == rank {
                let first = (rows.start - starts[rank]) * row_len;
                let own = &self.b.as_slice()[first..first + part.len()];
                if self.own(&panel).is_none() {
                    part.copy_from_slice(own);
                }
                own
            } else {
                link.exchange(&[], vec![(before, bytemuck::cast_slice_mut(part))]);
                part
            };
            if after != owner {
                link.exchange(&[(after, bytemuck::cast_slice(part))], Vec::new());
            }
        }
    }
}
