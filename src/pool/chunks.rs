//! Parallel loops over chunks of arrays: `par_chunks`, `zip`, `with`, `for_each`, `reduce`.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::object::source::Source;
use crate::pool::Pool;
use crate::pool::handle;
use crate::pool::loops::{Extent, Orders, Plan, Walk};
use crate::pool::operand::{Chunks, Described, Enumerated, Operand, Sealed};
use crate::pool::reduction::ParMap;
use crate::pool::task::{FOREVER, Rules, Value};
use crate::shape::Shape;
use crate::worker::invocation::{self, CodecError, Invocation, Trampoline};

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
pub struct ParChunks<'p, P, S = Nothing> {
    pub(super) pool: &'p Pool,
    described: Result<(Vec<Source>, Shape, usize)>,
    chunk_len: usize,
    pub(super) rules: Rules,
    shared: S,
    /// Holds the borrows of the arrays until the loop has run.
    operands: PhantomData<(&'p mut (), P)>,
}

/// No shared value.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

/// A shared value.
#[derive(Debug, Clone, Copy)]
pub struct Given<W>(W);

impl<W> Given<W> {
    pub(super) fn new(value: W) -> Given<W> {
        Given(value)
    }
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
    pub fn par_chunks<'p, A: Operand<'p>>(
        &'p self,
        array: A,
        chunk_len: usize,
    ) -> ParChunks<'p, A::Chunks> {
        let described =
            array.describe().map(|Described { source, shape, len }| (vec![source], shape, len));
        let rules = self.core.rules();
        let (shared, operands) = (Nothing, PhantomData);
        ParChunks { pool: self, described, chunk_len, rules, shared, operands }
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
    pub fn par_chunks_mut<'p, A: Operand<'p>>(
        &'p self,
        array: A,
        chunk_len: usize,
    ) -> ParChunks<'p, A::Chunks> {
        self.par_chunks(array, chunk_len)
    }
}

impl<'p, P: Chunks, S> ParChunks<'p, P, S> {
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
    pub fn zip<A: Operand<'p>>(self, other: A) -> ParChunks<'p, (P, A::Chunks), S> {
        let described = self.described.and_then(|(mut sources, shape, len)| {
            let other = other.describe()?;
            if other.len != len {
                return Err(Error::ShapeMismatch {
                    operation: "zip",
                    left: shape,
                    right: other.shape,
                    rule: "both must have as many elements",
                });
            }
            sources.push(other.source);
            Ok((sources, shape, len))
        });
        let ParChunks { pool, chunk_len, rules, shared, .. } = self;
        ParChunks { pool, described, chunk_len, rules, shared, operands: PhantomData }
    }

    /// Gives the function the number of each chunk, from 0, in front of it.
    pub fn enumerate(self) -> ParChunks<'p, Enumerated<P>, S> {
        let ParChunks { pool, described, chunk_len, rules, shared, .. } = self;
        ParChunks { pool, described, chunk_len, rules, shared, operands: PhantomData }
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

    /// How many chunks there are; none if the loop will fail.
    pub(super) fn count(&self) -> usize {
        let len = self.described.as_ref().map_or(0, |(_, _, len)| *len);
        len.div_ceil(self.chunk_len.max(1))
    }

    pub(super) fn run<W: Serialize>(
        self,
        trampoline: Trampoline,
        name: &'static str,
        group: usize,
        shared: &W,
    ) -> Result<Vec<Value>> {
        let (sources, _, len) = self.described?;
        let extent = Extent::new(len, self.chunk_len)?;
        let extent = extent.with_block_chunks(extent.chunks() / group);
        let core = &*self.pool.core;
        core.check(self.rules)?;
        let plan = Plan { core, extent, sources, writes: P::writes(), rules: self.rules, name };
        plan.run(trampoline, shared)
    }
}

impl<'p, P: Chunks> ParChunks<'p, P, Nothing> {
    /// Gives the function `value` by reference in front of each chunk: what a closure would have
    /// captured. It is encoded once, before the loop begins. It may hold any handle but an
    /// [`OwnedChunk`](crate::OwnedChunk), which one task has for itself.
    pub fn with<W>(self, value: W) -> ParChunks<'p, P, Given<W>>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        let ParChunks { pool, described, chunk_len, rules, .. } = self;
        let (shared, operands) = (Given(value), PhantomData);
        ParChunks { pool, described, chunk_len, rules, shared, operands }
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
        self.run(for_each::<P, Plain<F, ()>>, name::<F>(), BLOCKS, &()).map(drop)
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
        let run = try_for_each::<P, Plain<F, std::result::Result<(), E>>, E>;
        first_failure(self.run(run, name::<F>(), BLOCKS, &())?)
    }

    /// Runs `function` for every chunk and has its results reduced or collected.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, Nothing, Plain<F, R>>
    where
        F: for<'a> Fn(P::Item<'a>) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        ParMap::new(self, name::<F>())
    }
}

impl<'p, P: Chunks, W: Serialize + DeserializeOwned + 'static> ParChunks<'p, P, Given<W>> {
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
        let (rest, Given(value)) = self.split();
        rest.run(for_each::<P, Sharing<F, W, ()>>, name::<F>(), BLOCKS, &value).map(drop)
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
        let (rest, Given(value)) = self.split();
        let run = try_for_each::<P, Sharing<F, W, std::result::Result<(), E>>, E>;
        first_failure(rest.run(run, name::<F>(), BLOCKS, &value)?)
    }

    /// Runs `function(&value, chunk)` for every chunk and has its results reduced or collected.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    pub fn map<F, R>(self, function: F) -> ParMap<'p, P, Given<W>, Sharing<F, W, R>>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        ParMap::new(self, name::<F>())
    }

    fn split(self) -> (ParChunks<'p, P, Nothing>, Given<W>) {
        let ParChunks { pool, described, chunk_len, rules, shared, operands } = self;
        (ParChunks { pool, described, chunk_len, rules, shared: Nothing, operands }, shared)
    }
}

/// Blocks of a loop without results: as many as there may be.
const BLOCKS: usize = usize::MAX;

impl Sealed for Nothing {}
impl<W> Sealed for Given<W> {}

/// What shared values look like to a loop; implemented by this crate only.
pub trait SharedValue: Sealed {
    /// What is encoded.
    type Value: Serialize + DeserializeOwned;
    /// It, or nothing.
    #[doc(hidden)]
    fn value(self) -> Self::Value;
}

impl SharedValue for Nothing {
    type Value = ();
    fn value(self) {}
}

impl<W: Serialize + DeserializeOwned> SharedValue for Given<W> {
    type Value = W;
    fn value(self) -> W {
        self.0
    }
}

impl<'p, P: Chunks, S: SharedValue> ParChunks<'p, P, S> {
    pub(super) fn take_shared(self) -> (ParChunks<'p, P, Nothing>, S::Value) {
        let ParChunks { pool, described, chunk_len, rules, shared, operands } = self;
        let rest = ParChunks { pool, described, chunk_len, rules, shared: Nothing, operands };
        (rest, shared.value())
    }
}

/// What runs for each chunk: a function of the chunk, or of the shared value and the chunk;
/// implemented by this crate only.
///
/// It runs functions that it is given. Nothing outside of this crate makes one of its type alone:
///
/// ```compile_fail
/// use brigade::{Body, In, Plain};
/// fn forge<F: Fn(&[u8]) -> u8 + Copy + Send + 'static>() -> u8 {
///     <Plain<F, u8> as Body<In<u8>>>::call(&(), &[])
/// }
/// ```
pub trait Body<P: Chunks>: Sealed + 'static {
    /// The function's type.
    #[doc(hidden)]
    type Function: Copy + Send + 'static;
    /// The value of `with`, `()` without.
    type Shared: Serialize + DeserializeOwned;
    /// What it returns.
    type Output;

    /// Runs it.
    #[doc(hidden)]
    fn call(function: Self::Function, shared: &Self::Shared, item: P::Item<'_>) -> Self::Output;
}

/// A function of the chunk.
#[derive(Debug)]
pub struct Plain<F, R>(PhantomData<(F, R)>);

/// A function of the shared value and the chunk.
#[derive(Debug)]
pub struct Sharing<F, W, R>(PhantomData<(F, W, R)>);

impl<F, R> Sealed for Plain<F, R> {}
impl<F, W, R> Sealed for Sharing<F, W, R> {}

impl<P, F, R> Body<P> for Plain<F, R>
where
    P: Chunks,
    F: for<'a> Fn(P::Item<'a>) -> R + Copy + Send + 'static,
    R: 'static,
{
    type Function = F;
    type Shared = ();
    type Output = R;

    fn call(function: F, (): &(), item: P::Item<'_>) -> R {
        function(item)
    }
}

impl<P, F, W, R> Body<P> for Sharing<F, W, R>
where
    P: Chunks,
    F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> R + Copy + Send + 'static,
    W: Serialize + DeserializeOwned + 'static,
    R: 'static,
{
    type Function = F;
    type Shared = W;
    type Output = R;

    fn call(function: F, shared: &W, item: P::Item<'_>) -> R {
        function(shared, item)
    }
}

fn name<F>() -> &'static str {
    std::any::type_name::<F>()
}

pub(super) type Ran = std::result::Result<(), CodecError>;

/// What a loop's task runs: a way through its chunks, the shared value, and the function.
pub(super) type Attached<P, B> = (Walk<P>, <B as Body<P>>::Shared, <B as Body<P>>::Function);

pub(super) fn attach<P: Chunks, B: Body<P>>(
    invocation: &mut Invocation<'_>,
) -> std::result::Result<Attached<P, B>, CodecError> {
    let (orders, shared) = invocation.argument::<(Orders, B::Shared)>()?;
    let walk = Walk::new(invocation, orders)?;
    invocation.begin();
    // SAFETY: trampolines are named by `ParChunks` and `ParMap` alone, for a function that they
    // were given.
    let function = unsafe { invocation::conjure::<B::Function>() };
    Ok((walk, shared, function))
}

fn for_each<P: Chunks, B: Body<P, Output = ()>>(invocation: &mut Invocation<'_>) -> Ran {
    let (walk, shared, function) = attach::<P, B>(invocation)?;
    walk.run(|_, chunks| {
        chunks.for_each(|chunk| B::call(function, &shared, chunk));
        true
    });
    invocation.finish(&())
}

fn try_for_each<P, B, E>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Chunks,
    B: Body<P, Output = std::result::Result<(), E>>,
    E: Serialize,
{
    let (walk, shared, function) = attach::<P, B>(invocation)?;
    let mut failed: Option<(u64, u64, E)> = None;
    walk.run(|block, chunks| {
        for (index, chunk) in (0u64..).zip(chunks) {
            if let Err(error) = B::call(function, &shared, chunk) {
                failed = Some((block as u64, index, error));
                return false;
            }
        }
        true
    });
    invocation.finish(&failed)
}

fn first_failure<E: DeserializeOwned>(parts: Vec<Value>) -> Result<std::result::Result<(), E>> {
    let mut first: Option<(u64, u64, E)> = None;
    for part in parts {
        if let Some(failed) = handle::open::<Option<(u64, u64, E)>>(Ok(part))?
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
