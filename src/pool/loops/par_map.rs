//! Results of a loop: reduced in a fixed tree, or collected.
#![allow(unsafe_code)]

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::kernel::FloatMode;
use crate::pool::api::handle;
use crate::pool::api::handle::Handle;
use crate::pool::loops::body::{Body, Call, Ran};
use crate::pool::loops::operand::Operand;
use crate::pool::loops::par_chunks::ParChunks;
use crate::pool::record::outcome::Value;
use crate::pool::with::With;
use crate::worker::invocation::{self, Invocation};

/// Blocks that results are grouped in at most.
const RESULT_GROUPS: usize = 1024;

/// A loop whose function returns a value for each chunk; see [`ParChunks::map`].
#[must_use = "a loop does nothing before `reduce` or `collect`"]
pub struct ParMap<'p, P, S, F, R> {
    chunks: ParChunks<'p, P, S>,
    function: PhantomData<fn(F) -> R>,
}

impl<'p, P: Operand> ParChunks<'p, P> {
    /// Runs `function` for every chunk and has its results reduced or collected.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, (), F, R>
    where
        F: for<'a> Fn(P::Item<'a>) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        ParMap { chunks: self, function: PhantomData }
    }
}

impl<'p, P: Operand, W: Serialize + DeserializeOwned + 'static> ParChunks<'p, P, With<W>> {
    /// Runs `function(&value, chunk)` for every chunk and has its results reduced or collected.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, With<W>, F, R>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        ParMap { chunks: self, function: PhantomData }
    }
}

impl<P, S, F, R> ParMap<'_, P, S, F, R>
where
    P: Operand,
    S: Call<P, F, R>,
    F: Copy + Send + 'static,
    R: Serialize + DeserializeOwned + 'static,
{
    /// Combines the results of all chunks by `operation`, which must be associative; `identity`
    /// is the result where there are no chunks.
    ///
    /// The tree of combinations depends on the array's length and the chunk length alone, so the
    /// bits of a floating-point sum are the same for any number of workers, on every run.
    ///
    /// `operation` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParChunks::for_each`].
    pub fn reduce<O>(self, identity: R, operation: O) -> Result<R>
    where
        O: Fn(R, R) -> R + Copy + Send + 'static,
    {
        let _ = operation;
        let (pool, rules) = (self.chunks.pool, self.chunks.rules);
        let (chunks, value) = self.chunks.split();
        let (run, name) = (reduce::<P, S, F, R, O>, type_name::<F>());
        let (parts, count) = chunks.run(run, name, RESULT_GROUPS, &value.value())?;
        let mut partial = in_order::<R>(parts, count)?;
        match partial.len() {
            0 => Ok(identity),
            1 => Ok(partial.remove(0)),
            _ => {
                let encode = |out: &mut Vec<u8>| invocation::encode_batch(out, &partial);
                let id = pool.core.submit(combine::<R, O>, type_name::<O>(), rules, encode)?;
                Handle::new(Arc::clone(&pool.core), id).join()
            }
        }
    }

    /// The results of all chunks, in order.
    ///
    /// # Errors
    ///
    /// As [`ParChunks::for_each`].
    pub fn collect(self) -> Result<Vec<R>> {
        let (chunks, value) = self.chunks.split();
        let (run, name) = (collect::<P, S, F, R>, type_name::<F>());
        let (parts, count) = chunks.run(run, name, RESULT_GROUPS, &value.value())?;
        in_order(parts, count)
    }
}

fn reduce<P, S, F, R, O>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand,
    S: Call<P, F, R>,
    F: Copy + Send + 'static,
    R: Serialize,
    O: Fn(R, R) -> R + Copy + Send + 'static,
{
    let body = Body::<P, S, F, R>::attach(invocation)?;
    // SAFETY: this trampoline is named by `ParMap::reduce` alone, for an operation that it was
    // given.
    let operation = unsafe { invocation::function_value::<O>() };
    let (mut blocks, mut partial) = (Runs::new(), Vec::new());
    body.run(|block, results| {
        partial.extend(tree(results.collect(), operation));
        blocks.push((block, 1));
        true
    });
    invocation.finish_behind(&blocks, &partial)
}

fn collect<P, S, F, R>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand,
    S: Call<P, F, R>,
    F: Copy + Send + 'static,
    R: Serialize,
{
    let body = Body::<P, S, F, R>::attach(invocation)?;
    let (mut blocks, mut values) = (Runs::new(), Vec::new());
    body.run(|block, results| {
        let before = values.len();
        values.extend(results);
        blocks.push((block, values.len() - before));
        true
    });
    invocation.finish_behind(&blocks, &values)
}

/// Combines neighbours, then neighbours of those, and so on: a tree of this shape is the same
/// whether its leaves are combined at once, or first in aligned groups of a power of two.
fn tree<R>(mut values: Vec<R>, operation: impl Fn(R, R) -> R) -> Option<R> {
    while values.len() > 1 {
        let mut next = Vec::with_capacity(values.len().div_ceil(2));
        let mut rest = values.into_iter();
        while let Some(left) = rest.next() {
            next.push(match rest.next() {
                Some(right) => {
                    FloatMode::reset();
                    operation(left, right)
                }
                None => left,
            });
        }
        values = next;
    }
    values.pop()
}

/// The last levels of a reduction, in a worker.
fn combine<R, O>(invocation: &mut Invocation<'_>) -> Ran
where
    R: Serialize + DeserializeOwned,
    O: Fn(R, R) -> R + Copy + Send + 'static,
{
    let partial = invocation.arguments::<R>()?;
    invocation.begin();
    // SAFETY: named by `ParMap::reduce` alone, for an operation that it was given.
    let operation = unsafe { invocation::function_value::<O>() };
    match tree(partial, operation) {
        Some(value) => invocation.finish(&value),
        None => unreachable!("`reduce` has this run for two values and more"),
    }
}

/// Blocks, and how many results of each follow. The results are values of their own: what one may
/// be, any number of them may be.
type Runs = Vec<(usize, usize)>;

/// Decodes what the tasks of a loop of `count` chunks brought for its blocks, in the blocks' order.
fn in_order<R: DeserializeOwned>(parts: Vec<Value>, mut count: usize) -> Result<Vec<R>> {
    let mut all: Vec<(usize, Vec<R>)> = Vec::new();
    for part in parts {
        handle::open_with(Ok(part), |bytes| decode_runs(bytes, &mut count, &mut all))?;
    }
    all.sort_by_key(|(block, _)| *block);
    Ok(all.into_iter().flat_map(|(_, values)| values).collect())
}

/// Appends what a task brought for its blocks; `left` more results are believed, and counted.
fn decode_runs<R: DeserializeOwned>(
    bytes: &[u8],
    left: &mut usize,
    all: &mut Vec<(usize, Vec<R>)>,
) -> std::result::Result<(), String> {
    let (blocks, bytes) = invocation::decode_first::<Runs>(bytes)?;
    let count = blocks.iter().try_fold(0usize, |sum, (_, count)| sum.checked_add(*count));
    let count = count.filter(|count| count <= left);
    let count = count.ok_or_else(|| format!("more results than the {left} chunks left"))?;
    *left -= count;
    let mut values = Vec::new();
    invocation::decode_batch(bytes, count, &mut values)?;
    let mut values = values.into_iter();
    all.extend(blocks.iter().map(|&(block, count)| (block, values.by_ref().take(count).collect())));
    Ok(())
}

impl<P, S, F, R> std::fmt::Debug for ParMap<'_, P, S, F, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParMap").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn grouping_leaves_by_a_power_of_two_does_not_change_the_tree(
            count in 0usize..200, power in 0u32..6,
        ) {
            let leaves: Vec<String> = (0..count).map(|i| i.to_string()).collect();
            let join = |a: String, b: String| format!("({a} {b})");
            let whole = tree(leaves.clone(), join);
            let groups: Vec<String> =
                leaves.chunks(1 << power).filter_map(|group| tree(group.to_vec(), join)).collect();
            prop_assert_eq!(tree(groups, join), whole);
        }
    }
}
