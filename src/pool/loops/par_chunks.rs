//! The public builder of a loop: `par_chunks`, `zip`, `with`, `for_each`.

use std::any::type_name;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::pool::Pool;
use crate::pool::api::handle;
use crate::pool::loops::body::{Body, Call, Ran};
use crate::pool::loops::operand::{Enumerated, HostOperand, Operand};
use crate::pool::loops::parallel_loop::ParallelLoop;
use crate::pool::loops::partition::Partition;
use crate::pool::record::outcome::Value;
use crate::pool::record::task::{FOREVER, Rules};
use crate::pool::with::With;
use crate::worker::invocation::{Invocation, Trampoline};

/// A loop over the chunks of one array, or of several in step; see [`Pool::par_chunks`].
///
/// Nothing runs before [`for_each`](ParChunks::for_each), [`try_for_each`](ParChunks::try_for_each)
/// or what follows [`map`](ParChunks::map). The function that they get runs in the workers and
/// must capture nothing; what it needs beside its chunk is given by [`with`](ParChunks::with).
///
/// Every worker begins with a stretch of its own, an equal share of the chunks, the same one in
/// the next loop over as many. Who is done takes half of what another has left. So uneven chunks
/// are evened out, and where they are even each worker finds in its caches, and on its memory
/// node, what it had the last time. Which worker gets which chunk is not promised.
///
/// A chunk is given out once: if its worker dies, the call fails with a [`Death`](crate::Death)
/// that lists the elements whose contents are unspecified now, while all other chunks are
/// complete; unless the loop was declared repeatable with [`retries`](ParChunks::retries).
#[must_use = "a loop does nothing before `for_each`, `try_for_each`, `reduce` or `collect`"]
pub struct ParChunks<'p, P, S = ()> {
    pub(super) pool: &'p Pool,
    operands: P,
    chunk_len: usize,
    pub(super) rules: Rules,
    value: S,
}

impl Pool {
    /// A loop over `array` in chunks of `chunk_len` elements, which the workers read. The last
    /// chunk may be shorter. `array` is a `&SharedArray`, `&Frozen` or `&MappedArray`; its
    /// elements are taken in row-major order, whatever its shape.
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
    pub fn par_chunks<A: Operand>(&self, array: A, chunk_len: usize) -> ParChunks<'_, A> {
        let rules = self.core.rules();
        ParChunks { pool: self, operands: array, chunk_len, rules, value: () }
    }

    /// A loop over `array` in chunks of `chunk_len` elements, each of which one worker has for
    /// itself. `array` is a `&mut SharedArray` or `&mut MappedArrayMut`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::<u32>::zeroed([100])?;
    /// pool.par_chunks_mut(&mut x, 7).enumerate().for_each(|(i, x)| x.fill(i as u32))?;
    /// assert_eq!((x[[0]], x[[6]], x[[7]], x[[99]]), (0, 0, 1, 14));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_chunks_mut<A: Operand>(&self, array: A, chunk_len: usize) -> ParChunks<'_, A> {
        self.par_chunks(array, chunk_len)
    }
}

impl<'p, P: Operand, S> ParChunks<'p, P, S> {
    /// Takes chunks of `other` in step: the function gets a pair. Both must have as many elements;
    /// the loop fails with [`Error::ShapeMismatch`] otherwise.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([10], |[i]| i as f32)?;
    /// let mut y = SharedArray::<f32>::zeroed([10])?;
    /// pool.par_chunks_mut(&mut y, 4).zip(&x).with(2.5f32).for_each(|alpha, (y, x)| {
    ///     y.iter_mut().zip(x).for_each(|(y, x)| *y += alpha * x)
    /// })?;
    /// assert_eq!(y[[9]], 22.5);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn zip<A: Operand>(self, other: A) -> ParChunks<'p, (P, A), S> {
        let ParChunks { pool, operands, chunk_len, rules, value } = self;
        ParChunks { pool, operands: (operands, other), chunk_len, rules, value }
    }

    /// Gives the function the number of each chunk, from 0, in front of it.
    pub fn enumerate(self) -> ParChunks<'p, Enumerated<P>, S> {
        let ParChunks { pool, operands, chunk_len, rules, value } = self;
        ParChunks { pool, operands: Enumerated(operands), chunk_len, rules, value }
    }

    /// Declares the loop repeatable: chunks that a dying worker had are computed again, up to
    /// `retries` deaths. Default: the pool's. The function must then give the same result when
    /// it is run again over a chunk that it has partly, or fully, processed.
    pub fn retries(mut self, retries: u32) -> Self {
        self.rules.retries = retries;
        self
    }

    /// Kills a worker that is busy with this loop for longer than `timeout`. Default: the
    /// pool's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// The loop without its value, and the value.
    pub(super) fn split(self) -> (ParChunks<'p, P>, S) {
        let ParChunks { pool, operands, chunk_len, rules, value } = self;
        (ParChunks { pool, operands, chunk_len, rules, value: () }, value)
    }
}

impl<'p, P: Operand> ParChunks<'p, P> {
    /// Runs the loop by `trampoline`, in at most about `blocks_max` blocks; returns what its tasks
    /// returned, and how many chunks there were.
    pub(super) fn run<W: Serialize>(
        self,
        trampoline: Trampoline,
        name: &'static str,
        blocks_max: usize,
        value: &W,
    ) -> Result<(Vec<Value>, usize)> {
        let mut operands = Vec::new();
        self.operands.describe(&mut operands)?;
        let first = &operands[0];
        if let Some(other) = operands.iter().find(|other| other.len != first.len) {
            return Err(Error::ShapeMismatch {
                operation: "zip",
                left: first.shape.clone(),
                right: other.shape.clone(),
                rule: "both must have as many elements",
            });
        }
        let partition = Partition::new(first.len, self.chunk_len)?.with_blocks_max(blocks_max);
        let core = &*self.pool.core;
        core.check(self.rules)?;
        let is_written = operands.iter().any(|operand| operand.is_written);
        let parallel_loop = ParallelLoop { core, partition, is_written, rules: self.rules, name };
        let wire = |HostOperand { source, is_written, .. }| (source, is_written);
        let operands: Vec<(Source, bool)> = operands.into_iter().map(wire).collect();
        let results = parallel_loop.run(trampoline, &(operands, value))?;
        Ok((results, partition.chunks()))
    }

    /// Gives the function `value` by reference in front of each chunk: what a closure would have
    /// captured. It is encoded once, before the loop begins. It may hold any handle but an
    /// [`OwnedChunk`](crate::OwnedChunk), which one task has for itself.
    pub fn with<W>(self, value: W) -> ParChunks<'p, P, With<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        let ParChunks { pool, operands, chunk_len, rules, .. } = self;
        ParChunks { pool, operands, chunk_len, rules, value: With(value) }
    }

    /// Runs `function` for every chunk.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if it panicked or its worker died, [`Error::ShapeMismatch`] from `zip`,
    /// [`Error::InvalidArgument`] for chunks of no elements, or what `submit` fails with.
    pub fn for_each<F>(self, function: F) -> Result<()>
    where
        F: for<'a> Fn(P::Item<'a>) + Copy + Send + 'static,
    {
        let _ = function;
        self.run(for_each::<P, (), F>, type_name::<F>(), BLOCKS_ANY, &()).map(drop)
    }

    /// Runs `function` for every chunk, until it fails for one: no further chunks are given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// The outer error as [`for_each`](ParChunks::for_each); the inner one is the function's, of
    /// the first chunk in order among those that failed.
    pub fn try_for_each<F, E>(self, function: F) -> Result<std::result::Result<(), E>>
    where
        F: for<'a> Fn(P::Item<'a>) -> std::result::Result<(), E> + Copy + Send + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = try_for_each::<P, (), F, E>;
        first_failure(self.run(run, type_name::<F>(), BLOCKS_ANY, &())?.0)
    }
}

impl<'p, P: Operand, W: Serialize + DeserializeOwned + 'static> ParChunks<'p, P, With<W>> {
    /// Runs `function(&value, chunk)` for every chunk.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As without a value.
    pub fn for_each<F>(self, function: F) -> Result<()>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) + Copy + Send + 'static,
    {
        let _ = function;
        let (rest, With(value)) = self.split();
        rest.run(for_each::<P, With<W>, F>, type_name::<F>(), BLOCKS_ANY, &value).map(drop)
    }

    /// Runs `function(&value, chunk)` for every chunk, until it fails for one.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As without a value.
    pub fn try_for_each<F, E>(self, function: F) -> Result<std::result::Result<(), E>>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> std::result::Result<(), E> + Copy + Send + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let (rest, With(value)) = self.split();
        let run = try_for_each::<P, With<W>, F, E>;
        first_failure(rest.run(run, type_name::<F>(), BLOCKS_ANY, &value)?.0)
    }
}

/// As many blocks as there may be.
const BLOCKS_ANY: usize = usize::MAX;

fn for_each<P, S, F>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand,
    S: Call<P, F, ()>,
    F: Copy + Send + 'static,
{
    Body::<P, S, F, ()>::attach(invocation)?.run(|_, results| {
        results.for_each(drop);
        true
    });
    invocation.finish(&())
}

/// The error of a chunk, with the number of its block, and its own in the block.
type Failed<E> = Option<(u64, u64, E)>;

fn try_for_each<P, S, F, E>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand,
    S: Call<P, F, std::result::Result<(), E>>,
    F: Copy + Send + 'static,
    E: Serialize,
{
    let mut failed: Failed<E> = None;
    Body::<P, S, F, _>::attach(invocation)?.run(|block, results| {
        let error = (0u64..).zip(results).find_map(|(index, result)| Some((index, result.err()?)));
        failed = error.map(|(index, error)| (block as u64, index, error));
        failed.is_none()
    });
    invocation.finish(&failed)
}

fn first_failure<E: DeserializeOwned>(parts: Vec<Value>) -> Result<std::result::Result<(), E>> {
    let mut first: Failed<E> = None;
    for part in parts {
        if let Some(failed) = handle::open::<Failed<E>>(Ok(part))?
            && first.as_ref().is_none_or(|(b, i, _)| (failed.0, failed.1) < (*b, *i))
        {
            first = Some(failed);
        }
    }
    Ok(first.map_or(Ok(()), |(_, _, error)| Err(error)))
}

impl<P, S> std::fmt::Debug for ParChunks<'_, P, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParChunks").field("chunk_len", &self.chunk_len).finish_non_exhaustive()
    }
}
