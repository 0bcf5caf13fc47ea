//! `map`, `imap`, `imap_unordered` and `starmap`, with and without a shared value.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(doc)]
use crate::error::Error;
use crate::error::{Result, TaskError};
use crate::pool::Pool;
use crate::pool::items::batch;
use crate::pool::items::options::Options;
use crate::pool::items::pipeline::{Imap, Pipeline};
use crate::pool::items::tuple_fn::TupleFn;
use crate::pool::with::With;

impl Pool {
    /// The results of `function` for every item, in the order of the items.
    ///
    /// Items are sent in batches, whose size is adapted to the time that the function takes. The
    /// call takes only as many items ahead as keep the workers busy, and returns when all are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// The first failure in the order of the items, after running items have ended; then no results
    /// are returned. A panic of the iterator itself is passed on to the caller.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let longest = pool.map(["a", "bcd", "ef"].map(String::from), |s: String| s.len())?.max();
    /// assert_eq!(longest, Some(3));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<I, F, R>(&self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().map(items, function)
    }

    /// The result of each item, in the order of the items: as [`map`](Pool::map), but an item that
    /// fails does not discard the results of the others. Items are sent one by one.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// That of the pool, if it ends meanwhile, or if an item cannot be encoded. What happens to an
    /// item in its task is the result of that item.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, TaskError};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let quotients = pool.map_results([3u32, 0, 2], |n| 6 / n)?;
    /// assert_eq!((&quotients[0], &quotients[2]), (&Ok(2), &Ok(3)));
    /// assert!(matches!(quotients[1], Err(TaskError::Panicked { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map_results<I, F, R>(
        &self,
        items: I,
        function: F,
    ) -> Result<Vec<std::result::Result<R, TaskError>>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().map_results(items, function)
    }

    /// The results of `function`, lazily and in order. At most `ahead` more items than results are
    /// taken from the iterator, which may be endless.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// Each item has its own result; after an error the iterator continues with the next item. This
    /// call returns [`Error::InvalidArgument`] if `ahead` is 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares: Vec<u64> =
    ///     pool.imap(1u64.., 8, |n| n * n)?.take(4).collect::<Result<_, _>>()?;
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap<I, F, R>(&self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().imap(items, ahead, function)
    }

    /// As [`imap`](Pool::imap), but in the order in which items are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Pool::imap).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares = pool.imap_unordered(1..=4u64, 8, |n| n * n)?;
    /// let mut squares = squares.collect::<Result<Vec<_>, _>>()?;
    /// squares.sort();
    /// assert_eq!(squares, [1, 4, 9, 16]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap_unordered<I, F, R>(
        &self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.options().imap_unordered(items, ahead, function)
    }

    /// As [`map`](Pool::map), for a function of two to six arguments, and items that are tuples of
    /// as many fields. A closure must name the types of its arguments.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`map`](Pool::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let powers = pool.starmap([(2, 5), (3, 2), (10, 3)], u64::pow)?;
    /// assert_eq!(powers.collect::<Vec<_>>(), [32, 9, 1000]);
    /// let repeated = pool.starmap([("a".to_owned(), 3)], |s: String, n: usize| s.repeat(n))?;
    /// assert_eq!(repeated.collect::<String>(), "aaa");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn starmap<I, F>(&self, items: I, function: F) -> Result<std::vec::IntoIter<F::Output>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: TupleFn<I::Item>,
        F::Output: Serialize + DeserializeOwned,
    {
        self.options().starmap(items, function)
    }
}

impl Options<'_> {
    /// The results of `function` for every item, in order. See [`Pool::map`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map`], and [`Error::InvalidArgument`] for a chunk size of 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares = pool.options().chunk_size(2).map(1..=4u64, |n| n * n)?;
    /// assert_eq!(squares.collect::<Vec<_>>(), [1, 4, 9, 16]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<I, F, R>(&self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let run = batch::plain::<F, I::Item, R>;
        self.pipeline::<F, _, R>(items.into_iter(), None, run, None)?.run()
    }

    /// The result of each item, in the order of the items. See [`Pool::map_results`].
    ///
    /// A chunk size above 1 has a higher throughput, but if an item fails, all items of its chunk
    /// have its error.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map_results`], and [`Error::InvalidArgument`] for a chunk size of 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let options = pool.options().chunk_size(2);
    /// let quotients = options.map_results([3u32, 0, 2, 6], |n| 6 / n)?;
    /// assert_eq!(quotients.iter().filter(|quotient| quotient.is_ok()).count(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map_results<I, F, R>(
        &self,
        items: I,
        function: F,
    ) -> Result<Vec<std::result::Result<R, TaskError>>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let run = batch::plain::<F, I::Item, R>;
        let options = self.clone().with_chunk_size_or(1);
        options.pipeline::<F, _, R>(items.into_iter(), None, run, None)?.run_each()
    }

    /// The results of `function`, lazily and in order. See [`Pool::imap`].
    ///
    /// A chunk size above 1 has a higher throughput, but if an item fails, all items of its chunk
    /// fail with one error.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut squares = pool.options().chunk_size(2).imap(1u64.., 8, |n| n * n)?;
    /// assert_eq!(squares.nth(3).transpose()?, Some(16));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap<I, F, R>(&self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let run = batch::plain::<F, I::Item, R>;
        Ok(Imap::new(self.pipeline::<F, _, R>(items.into_iter(), Some(ahead), run, None)?))
    }

    /// As [`imap`](Options::imap), but in the order in which chunks are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Options::imap).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let squares = pool.options().chunk_size(2).imap_unordered(1..=4u64, 8, |n| n * n)?;
    /// assert_eq!(squares.sum::<Result<u64, _>>()?, 30);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap_unordered<I, F, R>(
        &self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(self.imap(items, ahead, function)?.unordered())
    }

    /// As [`map`](Options::map), for a function of several arguments. See [`Pool::starmap`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`map`](Options::map).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let powers = pool.options().chunk_size(2).starmap([(2, 5), (3, 2)], u64::pow)?;
    /// assert_eq!(powers.collect::<Vec<_>>(), [32, 9]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn starmap<I, F>(&self, items: I, function: F) -> Result<std::vec::IntoIter<F::Output>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: TupleFn<I::Item>,
        F::Output: Serialize + DeserializeOwned,
    {
        let _ = function;
        let run = batch::tuples::<F, I::Item>;
        self.pipeline::<F, _, F::Output>(items.into_iter(), None, run, None)?.run()
    }
}

impl<W: Serialize + DeserializeOwned + 'static> Options<'_, With<W>> {
    /// The results of `function(&value, item)` for every item, in order. See [`Pool::map`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map`]; [`TaskError::Codec`](crate::TaskError::Codec) if the value cannot be
    /// encoded. It may hold a [`Frozen`](crate::Frozen) array, or any handle of
    /// [`shared`](crate::shared) or of a queue, but no [`OwnedChunk`](crate::OwnedChunk), which
    /// belongs to one task. A value that holds an array is decoded for every batch of items.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let table = vec![10, 20, 30];
    /// let found = pool.with(table).map([2, 0], |table, i: usize| table[i])?;
    /// assert_eq!(found.collect::<Vec<i32>>(), [30, 10]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map<I, F, R>(self, items: I, function: F) -> Result<std::vec::IntoIter<R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.shared_pipeline(items.into_iter(), None, function)?.run()
    }

    /// The results of `function(&value, item)`, lazily and in order. See [`Pool::imap`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::imap`], and as [`map`](Options::map) for the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut multiples = pool.with(3u64).imap(1.., 8, |&a, n: u64| a * n)?;
    /// assert_eq!(multiples.nth(4).transpose()?, Some(15));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap<I, F, R>(self, items: I, ahead: usize, function: F) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(Imap::new(self.shared_pipeline(items.into_iter(), Some(ahead), function)?))
    }

    /// As [`imap`](Options::imap), but in the order in which chunks are done.
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`imap`](Options::imap).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let multiples = pool.with(3u64).imap_unordered(1..=4, 8, |&a, n: u64| a * n)?;
    /// assert_eq!(multiples.sum::<Result<u64, _>>()?, 30);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn imap_unordered<I, F, R>(
        self,
        items: I,
        ahead: usize,
        function: F,
    ) -> Result<Imap<I::IntoIter, R>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        Ok(self.imap(items, ahead, function)?.unordered())
    }

    /// The result of each item. See [`Pool::map_results`].
    ///
    /// `function` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Errors
    ///
    /// As [`Pool::map_results`], and as [`map`](Options::map) for the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pool;
    /// let pool = Pool::builder().workers(2).build()?;
    /// let quotients = pool.with(6u32).map_results([3, 0], |a, n: u32| a / n)?;
    /// assert!(quotients[0] == Ok(2) && quotients[1].is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn map_results<I, F, R>(
        self,
        items: I,
        function: F,
    ) -> Result<Vec<std::result::Result<R, TaskError>>>
    where
        I: IntoIterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        self.with_chunk_size_or(1).shared_pipeline(items.into_iter(), None, function)?.run_each()
    }

    fn shared_pipeline<I, F, R>(
        self,
        items: I,
        ahead: Option<usize>,
        function: F,
    ) -> Result<Pipeline<I, R>>
    where
        I: Iterator,
        I::Item: Serialize + DeserializeOwned,
        F: Fn(&W, I::Item) -> R + Copy + Send + 'static,
        R: Serialize + DeserializeOwned,
    {
        let _ = function;
        let (options, value) = self.share()?;
        let run = batch::sharing::<F, W, I::Item, R>;
        options.pipeline::<F, _, R>(items, ahead, run, Some(value))
    }
}
