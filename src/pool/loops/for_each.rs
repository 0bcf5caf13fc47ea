//! A loop's function, called for each chunk: `for_each`, `try_for_each`, `find_map_first`.

use std::any::type_name;
use std::iter;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::pool::api::handle;
use crate::pool::loops::body::{Body, Call, ExtraArgument, Ran, Scratch};
use crate::pool::loops::loop_settings::Mode;
use crate::pool::loops::operand::{Operand, Unit};
use crate::pool::loops::par_loop::ParLoop;
use crate::pool::record::outcome::EncodedResult;
use crate::pool::with::With;
use crate::worker::invocation::Invocation;

impl<P: Operand<U>, U: Unit> ParLoop<'_, P, (), U> {
    /// Runs `function` for every chunk.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if it panicked or its worker died, [`Error::ShapeMismatch`] from `zip`,
    /// [`Error::InvalidArgument`] for chunks of no elements, or what `submit` fails with.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[1, 2, 3, 4, 5])?;
    /// pool.par_chunks_mut(&mut x, 2).for_each(|x| x.reverse())?;
    /// assert_eq!(x.as_slice(), [2, 1, 4, 3, 5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn for_each<F>(self, function: F) -> Result<()>
    where
        F: for<'a> Fn(P::Item<'a>) + Copy + Send + 'static,
    {
        let _ = function;
        self.run(for_each::<P, U, (), F>, type_name::<F>(), Mode::ANY).map(drop)
    }

    /// Runs `function` for every chunk until it fails for one. Chunks behind that one are no longer
    /// given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// The outer error is as for [`for_each`](ParLoop::for_each); the inner one is the function's,
    /// for the first chunk in order for which it fails.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 2, 0, 4, 0, 6])?;
    /// let checked = pool.par_chunks(&x, 1).enumerate().try_for_each(|(i, x)| {
    ///     if x[0] == 0 { Err(i) } else { Ok(()) }
    /// })?;
    /// assert_eq!(checked, Err(2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_for_each<F, E>(self, function: F) -> Result<std::result::Result<(), E>>
    where
        F: for<'a> Fn(P::Item<'a>) -> std::result::Result<(), E> + Copy + Send + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, (), F, std::result::Result<(), E>>;
        let found = self.run(run, type_name::<F>(), Mode::FIRST)?.0;
        Ok(lowest(found)?.map_or(Ok(()), Err))
    }

    /// The first result that is not `None`, in the order of the chunks. Chunks behind that one are
    /// no longer given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`for_each`](ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([10_000], |[i]| i * i % 1009)?;
    /// let found = pool.par_chunks(&x, 100).enumerate().find_map_first(|(chunk, x)| {
    ///     x.iter().position(|&x| x == 1000).map(|at| 100 * chunk + at)
    /// })?;
    /// assert_eq!(found, x.as_slice().iter().position(|&x| x == 1000));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn find_map_first<F, R>(self, function: F) -> Result<Option<R>>
    where
        F: for<'a> Fn(P::Item<'a>) -> Option<R> + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, (), F, Option<R>>;
        lowest(self.run(run, type_name::<F>(), Mode::FIRST)?.0)
    }
}

impl<P, W, U> ParLoop<'_, P, With<W>, U>
where
    P: Operand<U>,
    W: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// Runs `function(&value, chunk)` for every chunk; see [`ParLoop::for_each`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`] without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::<f64>::zeroed([5])?;
    /// pool.par_chunks_mut(&mut x, 2).with(0.5).for_each(|&value, x| x.fill(value))?;
    /// assert_eq!(x.as_slice(), [0.5; 5]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn for_each<F>(self, function: F) -> Result<()>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) + Copy + Send + 'static,
    {
        let _ = function;
        self.run(for_each::<P, U, With<W>, F>, type_name::<F>(), Mode::ANY).map(drop)
    }

    /// Runs `function(&value, chunk)` for every chunk until it fails for one. Chunks behind that
    /// one are no longer given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParLoop::try_for_each`] without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 7, 9])?;
    /// let checked = pool.par_chunks(&x, 1).with(5).try_for_each(|&limit, x| {
    ///     if x[0] > limit { Err(x[0]) } else { Ok(()) }
    /// })?;
    /// assert_eq!(checked, Err(7));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_for_each<F, E>(self, function: F) -> Result<std::result::Result<(), E>>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> std::result::Result<(), E> + Copy + Send + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, With<W>, F, std::result::Result<(), E>>;
        let found = self.run(run, type_name::<F>(), Mode::FIRST)?.0;
        Ok(lowest(found)?.map_or(Ok(()), Err))
    }

    /// The first result of `function(&value, chunk)` that is not `None`, in the order of the
    /// chunks. Chunks behind that one are no longer given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`for_each`](ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[1, 7, 9])?;
    /// let found = pool.par_chunks(&x, 1).with(5).find_map_first(|&limit, x| {
    ///     (x[0] > limit).then_some(x[0])
    /// })?;
    /// assert_eq!(found, Some(7));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn find_map_first<F, R>(self, function: F) -> Result<Option<R>>
    where
        F: for<'w, 'a> Fn(&'w W, P::Item<'a>) -> Option<R> + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, With<W>, F, Option<R>>;
        lowest(self.run(run, type_name::<F>(), Mode::FIRST)?.0)
    }
}

impl<P, V, M, T, U> ParLoop<'_, P, Scratch<V, M, T>, U>
where
    P: Operand<U>,
    Scratch<V, M, T>: ExtraArgument<Local = T>,
    U: Unit,
{
    /// Runs `function(&mut scratch, chunk)` for every chunk; see [`ParLoop::for_each`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParLoop::for_each`] without scratch.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[3, 1, 2])?;
    /// pool.par_chunks_mut(&mut x, 3).scratch(Vec::new).for_each(|copy, x| {
    ///     copy.clear();
    ///     copy.extend_from_slice(x);
    ///     x.iter_mut().zip(copy.iter().rev()).for_each(|(x, &copy)| *x = copy);
    /// })?;
    /// assert_eq!(x.as_slice(), [2, 1, 3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn for_each<F>(self, function: F) -> Result<()>
    where
        F: for<'s, 'a> Fn(&'s mut T, P::Item<'a>) + Copy + Send + 'static,
    {
        let _ = function;
        self.run(for_each::<P, U, Scratch<V, M, T>, F>, type_name::<F>(), Mode::ANY).map(drop)
    }

    /// Runs `function(&mut scratch, chunk)` for every chunk until it fails for one. Chunks behind
    /// that one are no longer given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`ParLoop::try_for_each`] without scratch.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(&[3, 1, 3, 2, 4, 1])?;
    /// let checked = pool.par_chunks(&x, 3).scratch(Vec::new).try_for_each(|sorted, x| {
    ///     sorted.clear();
    ///     sorted.extend_from_slice(x);
    ///     sorted.sort();
    ///     if sorted.windows(2).any(|pair| pair[0] == pair[1]) { Err(sorted[1]) } else { Ok(()) }
    /// })?;
    /// assert_eq!(checked, Err(3));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_for_each<F, E>(self, function: F) -> Result<std::result::Result<(), E>>
    where
        F: for<'s, 'a> Fn(&'s mut T, P::Item<'a>) -> std::result::Result<(), E>
            + Copy
            + Send
            + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, Scratch<V, M, T>, F, std::result::Result<(), E>>;
        let found = self.run(run, type_name::<F>(), Mode::FIRST)?.0;
        Ok(lowest(found)?.map_or(Ok(()), Err))
    }

    /// The first result of `function(&mut scratch, chunk)` that is not `None`, in the order of the
    /// chunks. Chunks behind that one are no longer given out.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`for_each`](ParLoop::for_each).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(b"one two ")?;
    /// let found = pool.par_chunks(&x, 4).scratch(String::new).find_map_first(|word, x| {
    ///     word.clear();
    ///     word.extend(x.iter().map(|&byte| char::from(byte.to_ascii_uppercase())));
    ///     (word == "TWO ").then(|| word.clone())
    /// })?;
    /// assert_eq!(found.as_deref(), Some("TWO "));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn find_map_first<F, R>(self, function: F) -> Result<Option<R>>
    where
        F: for<'s, 'a> Fn(&'s mut T, P::Item<'a>) -> Option<R> + Copy + Send + 'static,
        R: Serialize + DeserializeOwned + 'static,
    {
        let _ = function;
        let run = find_first::<P, U, Scratch<V, M, T>, F, Option<R>>;
        lowest(self.run(run, type_name::<F>(), Mode::FIRST)?.0)
    }
}

fn for_each<P, U, S, F>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Call<P, U, F, ()>,
    F: Copy + Send + 'static,
{
    Body::<P, U, S, F>::attach(invocation)?.run(|_, next| {
        while next().is_some() {}
        None
    });
    invocation.finish(&())
}

/// A return value that may end the loop.
trait EarlyExit {
    type Found: Serialize;

    fn found(self) -> Option<Self::Found>;
}

impl<E: Serialize> EarlyExit for std::result::Result<(), E> {
    type Found = E;

    fn found(self) -> Option<E> {
        self.err()
    }
}

impl<R: Serialize> EarlyExit for Option<R> {
    type Found = R;

    fn found(self) -> Option<R> {
        self
    }
}

/// What a task has found: the number of the block, the number of the chunk in it, and the value.
type Found<R> = Option<(u64, u64, R)>;

fn find_first<P, U, S, F, R>(invocation: &mut Invocation<'_>) -> Ran
where
    P: Operand<U>,
    U: Unit,
    S: Call<P, U, F, R>,
    F: Copy + Send + 'static,
    R: EarlyExit,
{
    let mut first: Found<R::Found> = None;
    Body::<P, U, S, F>::attach(invocation)?.run(|block, next| {
        let mut numbered = (0u64..).zip(iter::from_fn(next));
        let (index, value) = numbered.find_map(|(i, result)| Some((i, result.found()?)))?;
        // A task that takes over blocks of others may reach a lower one later.
        if first.as_ref().is_none_or(|(before, ..)| (block as u64) < *before) {
            first = Some((block as u64, index, value));
        }
        Some(block)
    });
    invocation.finish(&first)
}

/// The value of the lowest chunk in which any task has found one.
fn lowest<R: DeserializeOwned>(parts: Vec<EncodedResult>) -> Result<Option<R>> {
    let mut first: Found<R> = None;
    for part in parts {
        if let Some(found) = handle::open::<Found<R>>(Ok(part))?
            && first.as_ref().is_none_or(|(b, i, _)| (found.0, found.1) < (*b, *i))
        {
            first = Some(found);
        }
    }
    Ok(first.map(|(_, _, value)| value))
}
