//! How a loop divides its elements into chunks and blocks.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sync::block_table::BLOCKS_MAX;

/// `len` elements in chunks of `chunk_len`; the last one may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partition {
    len: usize,
    chunk_len: usize,
    /// Chunks that are claimed together, a power of two.
    block_chunks: usize,
}

impl Partition {
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for chunks of no elements.
    pub(super) fn new(len: usize, chunk_len: usize) -> Result<Partition> {
        if chunk_len == 0 {
            return Err(Error::invalid("the length of a chunk", 0, "at least 1 element"));
        }
        let chunks = len.div_ceil(chunk_len);
        let block_chunks = chunks.div_ceil(BLOCKS_MAX).max(1).next_power_of_two();
        Ok(Partition { len, chunk_len, block_chunks })
    }

    /// The same chunks in at most `blocks_max` blocks.
    pub(super) fn with_blocks_max(self, blocks_max: usize) -> Partition {
        let chunks = self.chunks().div_ceil(blocks_max).next_power_of_two();
        Partition { block_chunks: self.block_chunks.max(chunks), ..self }
    }

    pub(super) fn len(self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn chunks(self) -> usize {
        self.len.div_ceil(self.chunk_len)
    }

    pub(super) fn blocks(self) -> usize {
        self.chunks().div_ceil(self.block_chunks)
    }

    /// The chunks of a block.
    #[inline]
    pub(super) fn block(self, index: usize) -> Range<usize> {
        let start = index * self.block_chunks;
        start..(start + self.block_chunks).min(self.chunks())
    }

    /// The elements of a chunk.
    #[inline]
    pub(super) fn chunk(self, index: usize) -> Range<usize> {
        let start = index * self.chunk_len;
        start..start.saturating_add(self.chunk_len).min(self.len)
    }

    /// The elements of a block.
    pub(super) fn elements(self, block: usize) -> Range<usize> {
        let chunks = self.block(block);
        self.chunk(chunks.start).start..self.chunk(chunks.end - 1).end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_and_chunks_cover_each_element_once(
            len in 0usize..5000, chunk_len in 1usize..300, blocks_max in 1usize..900,
        ) {
            let partition = Partition::new(len, chunk_len).unwrap().with_blocks_max(blocks_max);
            prop_assert!(partition.blocks() <= blocks_max, "{:?}", partition);
            let mut next = 0;
            for block in 0..partition.blocks() {
                prop_assert_eq!(partition.elements(block).start, next);
                for chunk in partition.block(block) {
                    let range = partition.chunk(chunk);
                    prop_assert_eq!(range.start, next);
                    prop_assert!(range.end > range.start);
                    next = range.end;
                }
                prop_assert_eq!(partition.elements(block).end, next);
            }
            prop_assert_eq!(next, len);
        }
    }

    #[test]
    fn a_loop_never_has_more_blocks_than_fit() {
        let partition = Partition::new(usize::MAX, 1).unwrap();
        assert!(partition.blocks() <= BLOCKS_MAX, "{partition:?}");
        assert!(Partition::new(5, 0).is_err());
    }
}
