//! Whole arrays in chunks, and a result for each.

use bytemuck::Pod;

use crate::array::SharedArray;
use crate::error::Result;
use crate::pool::{Pool, Whole};

/// Elements of a chunk of a loop over whole arrays. It fixes the tree in which floats are added.
pub(super) const CHUNK: usize = 1 << 16;

impl Pool {
    /// What `f(index, chunk)` returns for each chunk of `a`.
    pub(super) fn per_chunk<T, R, F>(&self, a: &SharedArray<T>, f: F) -> Result<SharedArray<R>>
    where
        T: Pod,
        R: Pod,
        F: Fn(usize, &[T]) -> R + Copy + Send + 'static,
    {
        let mut results = SharedArray::<R>::for_overwrite([a.len().div_ceil(CHUNK)])?;
        self.par_chunks_mut(&mut results, 1).zip(Whole(a)).enumerate().for_each(
            move |(index, (result, a))| {
                result[0] = f(index, chunk(a, index));
            },
        )?;
        Ok(results)
    }
}

/// A chunk of a whole array.
pub(super) fn chunk<T>(a: &[T], index: usize) -> &[T] {
    let start = index * CHUNK;
    &a[start..a.len().min(start + CHUNK)]
}
