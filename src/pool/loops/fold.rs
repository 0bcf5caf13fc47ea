//! Partial results of a loop by group: `fold` and `fold_array`.
//!
//! The chunks are divided into at most [`GROUPS_MAX`] groups; how many depends on the number of
//! chunks alone. One task folds each group from its first chunk to its last, and the partial
//! results of the groups are merged in a fixed tree. So the result has the same bits for any number
//! of workers. A group is a block of the loop: if its worker dies, it is folded again from its
//! first chunk.
#![allow(unsafe_code)]

use std::any::type_name;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::array::SharedArray;
use crate::error::{Error, Result};
use crate::kernel::FloatMode;
use crate::pool::Pool;
use crate::pool::api::handle::Handle;
use crate::pool::loops::adapters::{PerBlock, Whole};
use crate::pool::loops::body::{Body, Ran};
use crate::pool::loops::loop_settings::Mode;
use crate::pool::loops::loop_worker::ClaimedChunks;
use crate::pool::loops::operand::{Elements, Operand, Unit};
use crate::pool::loops::par_loop::ParLoop;
use crate::pool::loops::results::{Runs, combine, in_order};
use crate::pool::record::task::TaskOptions;
use crate::pool::with::With;
use crate::worker::invocation::{self, Invocation};

/// The most groups into which chunks are folded.
const GROUPS_MAX: usize = 64;
/// The elements of a chunk of the merging loop of `fold_array`.
const MERGE_LEN: usize = 4096;

/// A loop that folds its chunks into partial results; see [`ParLoop::fold`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[3, 1, 2])?;
/// let least = pool.par_chunks(&x, 1).fold(|| i32::MAX, |least, x| *least = x[0].min(*least));
/// assert_eq!(least.merge(i32::min)?, 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a loop does nothing before `merge`"]
pub struct Fold<'p, P, S, M, F, A, U = Elements> {
    chunks: ParLoop<'p, P, S, U>,
    functions: PhantomData<fn(M, F) -> A>,
}

/// A loop that folds its chunks into partial arrays; see [`ParLoop::fold_array`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let x = SharedArray::from_slice(&[2u8, 0, 2])?;
/// let counts = pool.par_chunks(&x, 1).fold_array(3, |counts: &mut [u64], x| {
///     counts[usize::from(x[0])] += 1;
/// });
/// assert_eq!(counts.merge(|a, b| a + b)?.as_slice(), [1, 0, 2]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a loop does nothing before `merge`"]
pub struct FoldArray<'p, P, S, F, T, U = Elements> {
    chunks: ParLoop<'p, P, S, U>,
    len: usize,
    function: PhantomData<fn(F) -> T>,
}

impl<'p, P: Operand<U>, U: Unit> ParLoop<'p, P, (), U> {
    /// Folds chunks into partial results: `make` returns an empty one, and `function(&mut partial,
    /// chunk)` adds a chunk to it. [`Fold::merge`] combines them.
    ///
    /// There are at most 64 partial results, one for each group of neighbouring chunks; how many
    /// depends on the number of chunks alone, so the result has the same bits for any number of
    /// workers. Partial results are encoded and sent to the host;
    /// [`fold_array`](ParLoop::fold_array) keeps large ones in shared memory.
    ///
    /// `make` and `function` capture nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let text = SharedArray::from_slice(b"to be or not to be")?;
    /// let counts = pool
    ///     .par_records(&text, b' ', 4)
    ///     .fold(BTreeMap::new, |counts: &mut BTreeMap<String, u32>, piece| {
    ///         for word in str::from_utf8(piece).expect("ASCII").split_whitespace() {
    ///             *counts.entry(word.to_owned()).or_default() += 1;
    ///         }
    ///     })
    ///     .merge(|mut a, b| {
    ///         b.into_iter().for_each(|(word, n)| *a.entry(word).or_default() += n);
    ///         a
    ///     })?;
    /// assert_eq!((counts["be"], counts["not"]), (2, 1));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fold<M, F, A>(self, make: M, function: F) -> Fold<'p, P, (), M, F, A, U>
    where
        M: Fn() -> A + Copy + Send + 'static,
        F: for<'s, 'a> Fn(&'s mut A, P::Item<'a>) + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let _ = (make, function);
        Fold { chunks: self, functions: PhantomData }
    }

    /// Folds chunks into partial arrays of `len` zeros, which lie in shared memory:
    /// `function(&mut partial, chunk)` adds a chunk. [`FoldArray::merge`] combines them, element
    /// by element.
    ///
    /// There are at most 64 partial arrays, one for each group of neighbouring chunks; how many
    /// depends on the number of chunks alone, so the result has the same bits for any number of
    /// workers.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([10_000], |[i]| (i % 300) as u16)?;
    /// let bins = pool
    ///     .par_chunks(&x, 100)
    ///     .fold_array(65_536, |bins: &mut [u32], x| {
    ///         x.iter().for_each(|&x| bins[usize::from(x)] += 1)
    ///     })
    ///     .merge(|a, b| a + b)?;
    /// assert_eq!((bins[[0]], bins[[299]], bins[[300]]), (34, 33, 0));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fold_array<F, T>(self, len: usize, function: F) -> FoldArray<'p, P, (), F, T, U>
    where
        F: for<'s, 'a> Fn(&'s mut [T], P::Item<'a>) + Copy + Send + 'static,
        T: Pod,
    {
        let _ = function;
        FoldArray { chunks: self, len, function: PhantomData }
    }
}

impl<'p, P, W, U> ParLoop<'p, P, With<W>, U>
where
    P: Operand<U>,
    W: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// As [`fold`](ParLoop::fold) without a value: `make(&value)` returns an empty partial result,
    /// and `function(&value, &mut partial, chunk)` adds a chunk.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([100], |[i]| i)?;
    /// let chunks = pool.par_chunks(&x, 10).with(5);
    /// let counts = chunks
    ///     .fold(|n| vec![0; *n], |n, counts: &mut Vec<u32>, x| {
    ///         x.iter().for_each(|x| counts[x % n] += 1)
    ///     })
    ///     .merge(|a, b| a.iter().zip(b).map(|(a, b)| a + b).collect())?;
    /// assert_eq!(counts, [20; 5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fold<M, F, A>(self, make: M, function: F) -> Fold<'p, P, With<W>, M, F, A, U>
    where
        M: for<'w> Fn(&'w W) -> A + Copy + Send + 'static,
        F: for<'w, 's, 'a> Fn(&'w W, &'s mut A, P::Item<'a>) + Copy + Send + 'static,
        A: Serialize + DeserializeOwned + 'static,
    {
        let _ = (make, function);
        Fold { chunks: self, functions: PhantomData }
    }

    /// As [`fold_array`](ParLoop::fold_array) without a value:
    /// `function(&value, &mut partial, chunk)` adds a chunk.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[0u32, 1, 2, 3, 4])?;
    /// let counts = pool.par_chunks(&x, 2).with(2).fold_array(2, |&n, counts: &mut [u64], x| {
    ///     x.iter().for_each(|x| counts[(x % n) as usize] += 1);
    /// });
    /// assert_eq!(counts.merge(|a, b| a + b)?.as_slice(), [3, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn fold_array<F, T>(self, len: usize, function: F) -> FoldArray<'p, P, With<W>, F, T, U>
    where
        F: for<'w, 's, 'a> Fn(&'w W, &'s mut [T], P::Item<'a>) + Copy + Send + 'static,
        T: Pod,
    {
        let _ = function;
        FoldArray { chunks: self, len, function: PhantomData }
    }
}

/// Public only because bounds of public methods name it.
#[expect(unnameable_types, reason = "what cannot be named cannot be implemented elsewhere")]
mod private {
    use crate::pool::loops::body::ExtraArgument;
    use crate::pool::loops::operand::{Operand, Unit};

    /// How a loop makes a partial result.
    pub trait Make<M, A>: ExtraArgument {
        fn make(make: M, value: &Self::Value) -> A;
    }

    /// How a loop adds a chunk to a partial result.
    pub trait Add<P: Operand<U>, U: Unit, F, A: ?Sized>: ExtraArgument {
        fn add(function: F, value: &Self::Value, partial: &mut A, item: P::Item<'_>);
    }
}
use private::{Add, Make};

impl<M: Fn() -> A, A> Make<M, A> for () {
    fn make(make: M, (): &()) -> A {
        make()
    }
}

impl<M, A, W> Make<M, A> for With<W>
where
    M: for<'w> Fn(&'w W) -> A,
    W: Serialize + DeserializeOwned,
{
    fn make(make: M, value: &W) -> A {
        make(value)
    }
}

impl<P, U, F, A> Add<P, U, F, A> for ()
where
    P: Operand<U>,
    U: Unit,
    F: for<'s, 'a> Fn(&'s mut A, P::Item<'a>),
    A: ?Sized,
{
    #[inline]
    fn add(function: F, (): &(), partial: &mut A, item: P::Item<'_>) {
        function(partial, item);
    }
}

impl<P, U, F, A, W> Add<P, U, F, A> for With<W>
where
    P: Operand<U>,
    U: Unit,
    F: for<'w, 's, 'a> Fn(&'w W, &'s mut A, P::Item<'a>),
    A: ?Sized,
    W: Serialize + DeserializeOwned,
{
    #[inline]
    fn add(function: F, value: &W, partial: &mut A, item: P::Item<'_>) {
        function(value, partial, item);
    }
}

impl<P, S, M, F, A, U> Fold<'_, P, S, M, F, A, U>
where
    P: Operand<U>,
    S: Make<M, A> + Add<P, U, F, A>,
    M: Copy + Send + 'static,
    F: Copy + Send + 'static,
    A: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// Merges the partial results by `operation`, which must be associative, in a fixed tree. Its
    /// left argument comes from lower chunks. Without chunks the result is what `make` returns,
    /// which is called in a worker too. The loop's `retries` and `timeout` apply to the merging.
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
    /// let words = SharedArray::from_slice(b"abacus")?;
    /// let letters = pool.par_chunks(&words, 2).fold(String::new, |letters, x| {
    ///     letters.extend(x.iter().map(|&byte| char::from(byte)));
    /// });
    /// assert_eq!(letters.merge(|a, b| a + &b)?, "abacus");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn merge<O>(self, operation: O) -> Result<A>
    where
        O: Fn(A, A) -> A + Copy + Send + 'static,
    {
        let (mode, chunks) = (Mode::grouped(GROUPS_MAX), self.chunks);
        let (pool, task_options) = (chunks.settings.pool, chunks.settings.task_options);
        if chunks.partition(mode)?.chunks() == 0 {
            return empty::<S, M, A>(pool, task_options, chunks.state.value());
        }
        let run = fold_groups::<P, U, S, M, F, A>;
        let (parts, partition) = chunks.run(run, type_name::<F>(), mode)?;
        let partial = in_order(parts, partition.blocks())?;
        let merged = combine(pool, task_options, partial, operation)?;
        merged.ok_or(Error::Corrupt { what: "the results of a loop", found: "none".into() })
    }
}

/// The partial result of no chunks, which a worker makes as all others.
fn empty<S, M, A>(pool: &Pool, task_options: TaskOptions, value: &S::Value) -> Result<A>
where
    S: Make<M, A>,
    M: Copy + Send + 'static,
    A: Serialize + DeserializeOwned,
{
    pool.core.check(task_options)?;
    let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, value);
    let id = pool.core.submit(make_in_worker::<S, M, A>, type_name::<M>(), task_options, encode)?;
    Handle::new(Arc::clone(&pool.core), id).join()
}

fn make_in_worker<S, M, A>(invocation: &mut Invocation<'_>) -> Ran
where
    S: Make<M, A>,
    M: Copy + Send + 'static,
    A: Serialize,
{
    let value = invocation.argument::<S::Value>()?;
    invocation.begin();
    // SAFETY: this trampoline is named by `empty` alone, which `Fold::merge` calls for a function
    // that `ParLoop::fold` was given.
    let make = unsafe { invocation::function_value::<M>() };
    let made = S::make(make, &value);
    invocation.finish(&made)
}

fn fold_groups<P, U, S, M, F, A>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Make<M, A> + Add<P, U, F, A>,
    M: Copy + Send + 'static,
    F: Copy + Send + 'static,
    A: Serialize,
{
    let mut body = Body::<P, U, S, F>::attach(invocation)?;
    let value = body.take_value();
    // SAFETY: this trampoline is named by `Fold::merge` alone, for a function that
    // `ParLoop::fold` was given.
    let make = unsafe { invocation::function_value::<M>() };
    let (mut blocks, mut partials) = (Runs::new(), Vec::new());
    body.run_blocks(&mut |block, chunks| {
        FloatMode::reset();
        let mut partial = S::make(make, &value);
        for chunk in chunks {
            S::add(body.function, &value, &mut partial, body.item(chunk));
        }
        partials.push(partial);
        blocks.push((block, 1));
        None
    });
    invocation.finish_behind(&blocks, &partials)
}

impl<P, S, F, T, U> FoldArray<'_, P, S, F, T, U>
where
    P: Operand<U>,
    S: Add<P, U, F, [T]>,
    F: Copy + Send + 'static,
    T: Pod,
    U: Unit,
{
    /// Merges the partial arrays by `operation`, element by element, in a fixed tree. Its left
    /// argument comes from lower chunks. `operation` must be associative. The loop's `retries` and
    /// `timeout` apply to the merging.
    ///
    /// `operation` captures nothing, not even a value [of size zero](crate#functions).
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
    /// let x = SharedArray::from_slice(&[2u8, 0, 2, 1])?;
    /// let counts = pool.par_chunks(&x, 2).fold_array(3, |counts: &mut [u32], x| {
    ///     x.iter().for_each(|&x| counts[usize::from(x)] += 1);
    /// });
    /// assert_eq!(counts.merge(|a, b| a + b)?.as_slice(), [1, 1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn merge<O>(self, operation: O) -> Result<SharedArray<T>>
    where
        O: Fn(T, T) -> T + Copy + Send + 'static,
    {
        let FoldArray { chunks, len, .. } = self;
        let (pool, task_options) = (chunks.settings.pool, chunks.settings.task_options);
        let mode = Mode::grouped(GROUPS_MAX);
        let groups = chunks.partition(mode)?.blocks();
        let mut merged = SharedArray::<T>::zeroed([len])?;
        if groups == 0 || len == 0 {
            return Ok(merged);
        }
        let mut partials = SharedArray::<T>::for_overwrite([groups, len])?;
        let run = fold_arrays::<P, U, S, F, T>;
        chunks.zip(PerBlock(&mut partials)).run(run, type_name::<F>(), mode)?;
        let merging = pool.par_chunks_mut(&mut merged, MERGE_LEN).zip(Whole(&partials));
        let mut merging = merging.enumerate().with(len);
        merging.settings.task_options = task_options;
        let merging = merging.for_each(move |&len, (index, (merged, partials))| {
            let (first, mut level) = (index * MERGE_LEN, Vec::with_capacity(GROUPS_MAX));
            for (offset, merged) in merged.iter_mut().enumerate() {
                level.clear();
                level.extend(partials.iter().skip(first + offset).step_by(len));
                *merged = merge_tree(&mut level, operation);
            }
        });
        merging.map_err(Error::without_torn)?;
        Ok(merged)
    }
}

fn fold_arrays<P, U, S, F, T>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Add<P, U, F, [T]>,
    F: Copy + Send + 'static,
    T: Pod,
{
    let mut body = Body::<(P, PerBlock<'static, T>), U, S, F>::attach(invocation)?;
    let value = body.take_value();
    body.run_blocks(&mut |_, chunks: ClaimedChunks| {
        for (index, chunk) in chunks.enumerate() {
            let (item, partial) = body.item(chunk);
            if index == 0 {
                // The memory was used before, or holds what a worker that died in this group left.
                partial.fill(T::zeroed());
            }
            S::add(body.function, &value, partial, item);
        }
        None
    });
    invocation.finish(&())
}

/// Combines neighbours, then neighbours of those, and so on, in the place of `level`.
///
/// # Panics
///
/// If there are no values.
fn merge_tree<T: Copy>(level: &mut [T], operation: impl Fn(T, T) -> T) -> T {
    let mut len = level.len();
    while len > 1 {
        for pair in 0..len / 2 {
            FloatMode::reset();
            level[pair] = operation(level[2 * pair], level[2 * pair + 1]);
        }
        if len % 2 == 1 {
            level[len / 2] = level[len - 1];
        }
        len = len.div_ceil(2);
    }
    level[0]
}

impl<P, S, M, F, A, U> std::fmt::Debug for Fold<'_, P, S, M, F, A, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fold").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

impl<P, S, F, T, U> std::fmt::Debug for FoldArray<'_, P, S, F, T, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FoldArray { chunks, len, .. } = self;
        f.debug_struct("FoldArray").field("chunks", chunks).field("len", len).finish()
    }
}
