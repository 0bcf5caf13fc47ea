//! Results of a loop: reduced in a fixed tree, or collected.
#![allow(unsafe_code)]

use std::any::type_name;
use std::iter;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::SharedArray;
use crate::error::Result;
use crate::kernel::FloatMode;
use crate::pool::Pool;
use crate::pool::api::handle;
use crate::pool::api::handle::Handle;
use crate::pool::loops::adapters::PerChunk;
use crate::pool::loops::body::{Body, Call, ExtraArgument, Local, Ran, Scratch};
use crate::pool::loops::loop_settings::Mode;
use crate::pool::loops::operand::{Elements, Operand, Unit};
use crate::pool::loops::par_loop::ParLoop;
use crate::pool::record::outcome::EncodedResult;
use crate::pool::record::task::TaskOptions;
use crate::pool::with::With;
use crate::worker::invocation::{self, Invocation};

/// The most blocks into which results are grouped.
const RESULT_GROUPS: usize = 1024;

/// A loop whose function returns a value for each chunk; see [`ParLoop::map`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[3, 1, 2])?;
/// let sums = pool.par_chunks(&x, 2).map(|x| x.iter().sum::<i32>());
/// assert_eq!(sums.reduce(0, i32::max)?, 4);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a loop does nothing before `reduce` or `collect`"]
pub struct ParMap<'p, P, S, F, R, U = Elements> {
    chunks: ParLoop<'p, P, S, U>,
    function: PhantomData<fn(F) -> R>,
}

impl<'p, P: Operand<U>, U: Unit> ParLoop<'p, P, (), U> {
    /// Runs `function` for every chunk. What follows reduces or collects the results.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([10], |[i]| i)?;
    /// let maxima = pool.par_chunks(&x, 4).map(|x| x.iter().copied().max()).collect()?;
    /// assert_eq!(maxima, [Some(3), Some(7), Some(9)]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, (), F, R, U>
    where
        F: for<'a> Fn(P::Item<'a>) -> R + Copy + Send + 'static,
    {
        let _ = function;
        ParMap { chunks: self, function: PhantomData }
    }
}

impl<'p, P, W, U> ParLoop<'p, P, With<W>, U>
where
    P: Operand<U>,
    W: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// Runs `function(&value, chunk)` for every chunk. What follows reduces or collects the
    /// results.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 2, 3])?;
    /// let scaled = pool.par_chunks(&x, 2).with(10).map(|&a, x| a * x.iter().sum::<i32>());
    /// assert_eq!(scaled.collect()?, [30, 30]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, With<W>, F, R, U>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R + Copy + Send + 'static,
    {
        let _ = function;
        ParMap { chunks: self, function: PhantomData }
    }
}

impl<'p, P, V, M, T, U> ParLoop<'p, P, Scratch<V, M, T>, U>
where
    P: Operand<U>,
    Scratch<V, M, T>: ExtraArgument<Local = T>,
    U: Unit,
{
    /// Runs `function(&mut scratch, chunk)` for every chunk. What follows reduces or collects the
    /// results.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3, 1, 2, 9, 7, 8])?;
    /// let medians = pool.par_chunks(&x, 3).scratch(Vec::new).map(|sorted, x| {
    ///     sorted.clear();
    ///     sorted.extend_from_slice(x);
    ///     sorted.sort();
    ///     sorted[1]
    /// });
    /// assert_eq!(medians.collect()?, [2, 8]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, Scratch<V, M, T>, F, R, U>
    where
        F: for<'s, 'a> Fn(&'s mut T, P::Item<'a>) -> R + Copy + Send + 'static,
    {
        let _ = function;
        ParMap { chunks: self, function: PhantomData }
    }
}

impl<P, S, F, R, U> ParMap<'_, P, S, F, R, U>
where
    P: Operand<U>,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// Combines the results of all chunks by `operation`, which must be associative. `identity` is
    /// the result if there are no chunks.
    ///
    /// The tree of combinations depends on the array's length and the chunk length alone, so the
    /// bits of a floating-point sum are the same for any number of workers, on every run.
    ///
    /// A partial result is an argument of another task. So it cannot hold a
    /// [`SharedArray`](crate::SharedArray), which the types do not prevent: use
    /// [`Packed`](crate::Packed).
    ///
    /// `operation` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([1000], |[i]| i as f64)?;
    /// let sum = pool.par_chunks(&x, 64).map(|x| x.iter().sum::<f64>()).reduce(0.0, |a, b| a + b)?;
    /// assert_eq!(sum, 499_500.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn reduce<O>(self, identity: R, operation: O) -> Result<R>
    where
        O: Fn(R, R) -> R + Copy + Send + 'static,
    {
        let (pool, task_options) = (self.chunks.settings.pool, self.chunks.settings.task_options);
        let (run, name) = (reduce::<P, U, S, F, R, O>, type_name::<F>());
        let (parts, partition) = self.chunks.run(run, name, Mode::grouped(RESULT_GROUPS))?;
        let partial = in_order::<R>(parts, partition.chunks())?;
        Ok(combine(pool, task_options, partial, operation)?.unwrap_or(identity))
    }

    /// The results of all chunks, in order.
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(b"a bc d")?;
    /// let words = pool.par_records(&x, b' ', 1).map(<[u8]>::len).collect()?;
    /// assert_eq!(words, [2, 0, 3, 0, 0, 1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn collect(self) -> Result<Vec<R>> {
        let (run, name) = (collect::<P, U, S, F, R>, type_name::<F>());
        let (parts, partition) = self.chunks.run(run, name, Mode::grouped(RESULT_GROUPS))?;
        in_order(parts, partition.chunks())
    }
}

impl<P, S, F, R, U> ParMap<'_, P, S, F, R, U>
where
    P: Operand<U>,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: Pod,
    U: Unit,
{
    /// The results of all chunks, in order, as an array of one dimension. The workers write them in
    /// place; they are not encoded.
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`], and as [`SharedArray::zeroed`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([5, 8], |[i, j]| (i * j) as f32)?;
    /// let sums = pool.par_rows(&a, 1).map(|row| row[0].iter().sum::<f32>()).collect_array()?;
    /// assert_eq!(sums.as_slice(), [0.0, 28.0, 56.0, 84.0, 112.0]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn collect_array(self) -> Result<SharedArray<R>> {
        let chunks = self.chunks.partition(Mode::ANY)?.chunks();
        let mut results = SharedArray::for_overwrite([chunks])?;
        let run = write_each::<P, U, S, F, R>;
        self.chunks.zip(PerChunk(&mut results)).run(run, type_name::<F>(), Mode::ANY)?;
        Ok(results)
    }
}

fn reduce<P, U, S, F, R, O>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: Serialize,
    O: Fn(R, R) -> R + Copy + Send + 'static,
{
    let body = Body::<P, U, S, F>::attach(invocation)?;
    // SAFETY: this trampoline is named by `ParMap::reduce` alone, for an operation that it was
    // given.
    let operation = unsafe { invocation::function_value::<O>() };
    let (mut blocks, mut partial) = (Runs::new(), Vec::new());
    body.run(|block, next| {
        partial.extend(tree(iter::from_fn(next).collect(), operation));
        blocks.push((block, 1));
        None
    });
    invocation.finish_behind(&blocks, &partial)
}

fn collect<P, U, S, F, R>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: Serialize,
{
    let (mut blocks, mut values) = (Runs::new(), Vec::new());
    Body::<P, U, S, F>::attach(invocation)?.run(|block, next| {
        let before = values.len();
        values.extend(iter::from_fn(next));
        blocks.push((block, values.len() - before));
        None
    });
    invocation.finish_behind(&blocks, &values)
}

fn write_each<P, U, S, F, R>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: Pod,
{
    let mut body = Body::<(P, PerChunk<'static, R>), U, S, F>::attach(invocation)?;
    let mut local = Local::<S>::new(body.take_value());
    body.run_blocks(&mut |_, chunks| {
        for chunk in chunks {
            let (item, result) = body.item(chunk);
            *result = S::call(body.function, local.get(), item);
        }
        None
    });
    invocation.finish(&())
}

/// Combines neighbours, then neighbours of those, and so on. The tree is the same whether its
/// leaves are combined at once, or first in aligned groups of a power of two.
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

impl Pool {
    /// Combines values in the tree of [`ParMap::reduce`], in a worker; `None` if there are none.
    /// For `brigade-mpi`, whose values come from several pools.
    ///
    /// # Errors
    ///
    /// As [`submit`](Pool::submit), and those of its [`join`](Handle::join).
    #[doc(hidden)]
    pub fn combine<R, O>(&self, values: Vec<R>, operation: O) -> Result<Option<R>>
    where
        R: Serialize + DeserializeOwned + 'static,
        O: Fn(R, R) -> R + Copy + Send + 'static,
    {
        combine(self, self.task_options(), values, operation)
    }
}

/// The last levels of a reduction: combines `partial` in a worker; `None` if there are none.
pub(super) fn combine<R, O>(
    pool: &Pool,
    task_options: TaskOptions,
    mut partial: Vec<R>,
    operation: O,
) -> Result<Option<R>>
where
    R: Serialize + DeserializeOwned + 'static,
    O: Fn(R, R) -> R + Copy + Send + 'static,
{
    let _ = operation;
    if partial.len() < 2 {
        return Ok(partial.pop());
    }
    let encode = &mut |out: &mut Vec<u8>| invocation::encode_batch(out, &partial);
    let id = pool.core.submit(combine_in_worker::<R, O>, type_name::<O>(), task_options, encode)?;
    Handle::new(Arc::clone(&pool.core), id).join().map(Some)
}

fn combine_in_worker<R, O>(invocation: &mut Invocation<'_>) -> Ran
where
    R: Serialize + DeserializeOwned,
    O: Fn(R, R) -> R + Copy + Send + 'static,
{
    let partial = invocation.arguments::<R>()?;
    invocation.begin();
    // SAFETY: named by `combine` alone, for an operation that it was given.
    let operation = unsafe { invocation::function_value::<O>() };
    match tree(partial, operation) {
        Some(value) => invocation.finish(&value),
        None => unreachable!("`combine` has this run for two values and more"),
    }
}

/// Blocks, and the number of results that follow for each. The limits on an encoded value hold for
/// each result by itself, not for all of them together.
pub(super) type Runs = Vec<(usize, usize)>;

/// Decodes the results that the tasks of a loop of `count` chunks returned, in the order of the
/// blocks.
pub(super) fn in_order<R: DeserializeOwned>(
    parts: Vec<EncodedResult>,
    mut count: usize,
) -> Result<Vec<R>> {
    let mut all: Vec<(usize, Vec<R>)> = Vec::new();
    for part in parts {
        handle::open_with(Ok(part), &mut |bytes| decode_runs(bytes, &mut count, &mut all))?;
    }
    all.sort_by_key(|(block, _)| *block);
    Ok(all.into_iter().flat_map(|(_, values)| values).collect())
}

/// Appends the results that a task returned for its blocks. At most `left` results are accepted;
/// they are subtracted from it.
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

impl<P, S, F, R, U> std::fmt::Debug for ParMap<'_, P, S, F, R, U> {
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
