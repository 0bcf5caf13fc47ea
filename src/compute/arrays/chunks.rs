//! Loops over chunks of whole arrays, with a result for each.

use bytemuck::Pod;

use crate::array::{ArrayView, SharedArray};
use crate::error::Result;
use crate::pool::Pool;

/// Elements of a chunk of a loop over a whole array. It fixes the tree in which floats are added.
pub(super) const CHUNK: usize = 1 << 16;

impl Pool {
    /// What `f(index, chunk)` returns for each chunk of `a`.
    pub(super) fn per_chunk<T, R, F>(&self, a: &ArrayView<'_, T>, f: F) -> Result<SharedArray<R>>
    where
        T: Pod,
        R: Pod,
        F: Fn(usize, &[T]) -> R + Copy + Send + 'static,
    {
        self.par_chunks(a, CHUNK)
            .enumerate()
            .map(move |(index, chunk)| f(index, chunk))
            .collect_array()
    }
}
