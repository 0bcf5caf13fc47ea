//! How panels of a matrix B come to a rank.

use std::ops::Range;

use brigade::{Scalar, SharedArray};

use crate::array::DistArray;

/// How panels of B come to a rank.
pub(super) trait Panels<T: Scalar> {
    /// The rows `panel` where this rank has them anyway: then they are not in the buffer.
    fn own(&self, _panel: &Range<usize>) -> Option<Block<'_, T>> {
        None
    }

    /// Brings the rows `panel` of B, or this rank's columns of them, to every rank.
    fn pass(&self, panel: Range<usize>, into: &mut SharedArray<T>);
}

/// Rows of A that a rank multiplies, or of B.
pub(super) struct Block<'a, T> {
    pub(super) local: &'a SharedArray<T>,
    /// Its rows in the local part, without the halo.
    pub(super) rows: Range<usize>,
}

impl<'a, T: Scalar> Block<'a, T> {
    pub(super) fn of(a: &'a DistArray<T>) -> Block<'a, T> {
        let (held, own) = (a.local_rows(), a.rows());
        Block { local: a.local(), rows: own.start - held.start..own.end - held.start }
    }
}
