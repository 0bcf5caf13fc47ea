//! Which rank has which rows.

use std::ops::Range;

use crate::error::{Error, Result};

/// Which rank has which rows of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) shape: Vec<usize>,
    /// The first row of each rank's block, then the number of rows.
    pub(super) starts: Vec<usize>,
    /// Rows before and after a block that its rank has copies of.
    pub(super) halo: usize,
    /// This rank.
    pub(super) rank: usize,
}

impl Layout {
    /// Equal blocks; the first ones have one row more if they must.
    pub(super) fn even(shape: &[usize], rank: usize, ranks: usize, halo: usize) -> Result<Layout> {
        let rows = shape.first().copied().unwrap_or_default();
        let (each, more) = (rows / ranks, rows % ranks);
        let starts = (0..=ranks).map(|rank| rank * each + rank.min(more)).collect();
        Layout::new(shape, starts, rank, ranks, halo)
    }

    pub(super) fn new(
        shape: &[usize],
        starts: Vec<usize>,
        rank: usize,
        ranks: usize,
        halo: usize,
    ) -> Result<Layout> {
        let Some(&rows) = shape.first() else {
            return Err(Error::invalid("the shape", "()", "at least one axis"));
        };
        let is_good = starts.len() == ranks + 1
            && starts.first() == Some(&0)
            && starts.last() == Some(&rows)
            && starts.is_sorted();
        if !is_good {
            let expected =
                format!("{} rising numbers from 0 to the {rows} rows of the array", ranks + 1);
            return Err(Error::invalid(
                "the first rows of the ranks",
                format!("{starts:?}"),
                expected,
            ));
        }
        Ok(Layout { shape: shape.to_vec(), starts, halo, rank })
    }

    /// What must be the same on every rank.
    pub(super) fn arguments(&self) -> [(&'static str, String); 3] {
        [
            ("the shape of the array", format!("{:?}", self.shape)),
            ("the first rows of the ranks", format!("{:?}", self.starts)),
            ("the halo", self.halo.to_string()),
        ]
    }

    pub(super) fn rows(&self) -> usize {
        self.shape[0]
    }

    /// Elements of a row.
    pub(super) fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// The rows of a rank's block.
    pub(super) fn block(&self, rank: usize) -> Range<usize> {
        self.starts[rank]..self.starts[rank + 1]
    }

    /// The rows that a rank holds: its block and the halo. A rank without rows has no halo.
    pub(super) fn held(&self, rank: usize) -> Range<usize> {
        let block = self.block(rank);
        if block.is_empty() {
            return block;
        }
        let end = block.end.saturating_add(self.halo).min(self.rows());
        block.start.saturating_sub(self.halo)..end
    }

    /// The shape of this rank's part.
    pub(super) fn local_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        shape[0] = self.held(self.rank).len();
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_even_and_halos_end_at_the_array() {
        let layout = Layout::even(&[7, 2], 0, 3, 2).unwrap();
        assert_eq!(layout.starts, [0, 3, 5, 7]);
        assert_eq!([0, 1, 2].map(|rank| layout.held(rank)), [0..5, 1..7, 3..7]);
        let few = Layout::even(&[2], 0, 4, 1).unwrap();
        assert_eq!(few.starts, [0, 1, 2, 2, 2]);
        assert_eq!(few.held(3), 2..2);
        assert_eq!(Layout::even(&[0, 5], 0, 2, 1).unwrap().starts, [0; 3]);
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let of = |starts: &[usize]| Layout::new(&[5], starts.to_vec(), 0, 2, 0);
        assert!(of(&[0, 0, 5]).is_ok());
        for starts in [&[0, 5][..], &[1, 2, 5], &[0, 3, 4], &[0, 6, 5]] {
            assert!(of(starts).unwrap_err().to_string().contains("rising"), "{starts:?}");
        }
        assert!(Layout::even(&[], 0, 2, 0).is_err());
    }
}
