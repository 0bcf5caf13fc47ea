//! The public builder of a loop: `par_rows`, `zip`, `with`, `scratch`.

use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::pool::Pool;
use crate::pool::driver::progress::{Progress, ProgressFn};
use crate::pool::loops::adapters::Records;
use crate::pool::loops::body::{ExtraArgument, Scratch};
use crate::pool::loops::loop_settings::{LoopSettings, Mode};
use crate::pool::loops::operand::{ByRows, Cut, Elements, Enumerated, HostOperand, Operand, Unit};
use crate::pool::loops::partition::Partition;
use crate::pool::record::outcome::EncodedResult;
use crate::pool::record::task::FOREVER;
use crate::pool::with::With;
use crate::worker::invocation::{self, Trampoline};

/// A loop over chunks of one array, or of several in step; see [`Pool::par_chunks`],
/// [`Pool::par_rows`] and [`Pool::par_records`].
///
/// Nothing runs before [`for_each`](ParLoop::for_each), [`try_for_each`](ParLoop::try_for_each),
/// [`find_map_first`](ParLoop::find_map_first), or a method that follows [`map`](ParLoop::map) or
/// [`fold`](ParLoop::fold). The function that they get runs in the workers and must capture
/// nothing. [`with`](ParLoop::with) passes it further values, and [`scratch`](ParLoop::scratch)
/// what it would otherwise allocate in each call.
///
/// Every worker begins with an equal share of the chunks, the same one in the next loop over as
/// many chunks. A worker that has finished its share takes half of what another has left, so an
/// uneven load is balanced. With an even load each worker finds in its caches, and on its memory
/// node, the data of the last loop. Which worker gets which chunk is not promised.
///
/// A chunk is given out once. If its worker dies, the call fails with a [`Death`](crate::Death)
/// that lists the elements whose contents are now unspecified (the rows, or the numbers of the
/// tiles, in loops over those); all other chunks are complete. A loop that was declared repeatable
/// with [`retries`](ParLoop::retries) computes the chunk again instead.
///
/// Type parameters: `P` is the operands, `S` what the function gets besides its chunk, `U` the
/// units into which the loop divides its operands.
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SharedArray};
/// let pool = Pool::builder().workers(2).build()?;
/// let mut x = SharedArray::from_slice(&[1, 2, 3])?;
/// pool.par_chunks_mut(&mut x, 2).for_each(|x| x.iter_mut().for_each(|x| *x *= 2))?;
/// assert_eq!(x.as_slice(), [2, 4, 6]);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "a loop does nothing before `for_each`, `try_for_each`, `reduce` or `collect`"]
pub struct ParLoop<'p, P, S = (), U = Elements> {
    pub(super) settings: LoopSettings<'p>,
    operands: P,
    pub(super) state: S,
    unit: PhantomData<U>,
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
    pub fn par_chunks<A: Operand>(&self, array: A, chunk_len: usize) -> ParLoop<'_, A> {
        self.par_loop(array, Cut::Elements, chunk_len)
    }

    /// A loop over `array` in chunks of `chunk_len` elements; each call may write to its chunk.
    /// `array` is a `&mut SharedArray` or `&mut MappedArrayMut`.
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
    pub fn par_chunks_mut<A: Operand>(&self, array: A, chunk_len: usize) -> ParLoop<'_, A> {
        self.par_chunks(array, chunk_len)
    }

    /// A loop over the rows of `array`, `rows` at a time: a row is what one index of the first axis
    /// selects. The last chunk may have fewer rows.
    ///
    /// The function gets [`Rows`](crate::Rows), or [`RowsMut`](crate::RowsMut) of an array that is
    /// written. Zipped arrays must have as many rows, but may have any row length and type: a
    /// matrix of m by n and a vector of m, an image of h by w by 3 and its grey version of h by w.
    /// [`Subsampled`](crate::Subsampled) lends one row for several, [`Halo`](crate::Halo) more rows
    /// on both sides, and [`Whole`](crate::Whole) the whole array.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let a = SharedArray::from_fn([1000, 30], |[i, j]| (i * j) as f64)?;
    /// let mut sums = SharedArray::<f64>::zeroed([1000])?;
    /// pool.par_rows(&a, 64).zip(&mut sums).for_each(|(rows, sums)| {
    ///     for (row, sum) in rows.iter().zip(sums.into_slice()) {
    ///         *sum = row.iter().sum();
    ///     }
    /// })?;
    /// assert_eq!(sums[[2]], 870.0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_rows<A: Operand<ByRows>>(
        &self,
        array: A,
        rows: usize,
    ) -> ParLoop<'_, A, (), ByRows> {
        self.par_axis(array, 0, rows)
    }

    /// As [`par_rows`](Pool::par_rows), of an array that is written: each call may write to its
    /// rows.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let image = SharedArray::from_fn([40, 30, 3], |[i, j, c]| (i + j + c) as u8)?;
    /// let mut grey = SharedArray::<u8>::zeroed([40, 30])?;
    /// pool.par_rows_mut(&mut grey, 8).zip(&image).for_each(|(grey, image)| {
    ///     for (grey, rgb) in grey.into_slice().iter_mut().zip(image.as_slice().chunks_exact(3)) {
    ///         *grey = (rgb.iter().map(|&c| u32::from(c)).sum::<u32>() / 3) as u8;
    ///     }
    /// })?;
    /// assert_eq!(grey[[20, 10]], 31);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_rows_mut<A: Operand<ByRows>>(
        &self,
        array: A,
        rows: usize,
    ) -> ParLoop<'_, A, (), ByRows> {
        self.par_axis(array, 0, rows)
    }

    /// As [`par_rows`](Pool::par_rows), with a row for each index of the axes up to `axis`, counted
    /// from 0: of a video of t by h by w, axis 1 gives all rows of pixels.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let video = SharedArray::from_fn([4, 5, 6], |[t, y, x]| (100 * t + 10 * y + x) as u16)?;
    /// let firsts = pool.par_axis(&video, 1, 1).map(|rows| (rows.first(), rows[0][0])).collect()?;
    /// assert_eq!((firsts.len(), firsts[7]), (20, (7, 120)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_axis<A: Operand<ByRows>>(
        &self,
        array: A,
        axis: usize,
        rows: usize,
    ) -> ParLoop<'_, A, (), ByRows> {
        self.par_loop(array, Cut::Rows { axis }, rows)
    }

    /// A loop over the records in `bytes`. Each record ends with `delimiter`, except perhaps the
    /// last. The function gets pieces of about `target` bytes that consist of whole records: a
    /// piece holds the records that begin in its `target` bytes. The workers find the delimiters.
    ///
    /// A record may be longer than `target`; then the pieces that follow it are empty.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let text = SharedArray::from_slice(b"10\n200\n3\n4000\n5")?;
    /// let sum = pool.par_records(&text, b'\n', 4).map(|piece| {
    ///     let text = str::from_utf8(piece).expect("ASCII");
    ///     text.lines().map(|line| line.parse::<u32>().expect("a number")).sum::<u32>()
    /// });
    /// assert_eq!(sum.reduce(0, |a, b| a + b)?, 4218);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn par_records<A>(&self, bytes: A, delimiter: u8, target: usize) -> ParLoop<'_, Records<A>>
    where
        A: for<'a> Operand<Elements, Item<'a> = &'a [u8]>,
    {
        self.par_loop(Records { bytes, delimiter }, Cut::Elements, target)
    }

    pub(super) fn par_loop<A: Operand<U>, U: Unit>(
        &self,
        operands: A,
        cut: Cut,
        chunk_len: usize,
    ) -> ParLoop<'_, A, (), U> {
        let task_options = self.core.task_options();
        let settings = LoopSettings { pool: self, cut, chunk_len, task_options, progress: None };
        ParLoop { settings, operands, state: (), unit: PhantomData }
    }
}

impl<'p, P, S, U: Unit> ParLoop<'p, P, S, U> {
    /// Takes chunks of `other` in step: the function gets a pair. `other` must have as many
    /// elements, or rows, as the loop divides; otherwise the loop fails with
    /// [`Error::ShapeMismatch`](crate::Error::ShapeMismatch), or
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if `other` is
    /// [`Subsampled`](crate::Subsampled).
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
    pub fn zip<A: Operand<U>>(self, other: A) -> ParLoop<'p, (P, A), S, U> {
        let ParLoop { settings, operands, state, unit } = self;
        ParLoop { settings, operands: (operands, other), state, unit }
    }

    /// Passes the number of each chunk, from 0, before the chunk.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_slice(b"abcde")?;
    /// let pairs = pool.par_chunks(&x, 2).enumerate().map(|(i, x)| (i, x[0])).collect()?;
    /// assert_eq!(pairs, [(0, b'a'), (1, b'c'), (2, b'e')]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn enumerate(self) -> ParLoop<'p, Enumerated<P>, S, U> {
        let ParLoop { settings, operands, state, unit } = self;
        ParLoop { settings, operands: Enumerated(operands), state, unit }
    }

    /// Declares the loop repeatable: the chunks of a worker that died are computed again, for up to
    /// `retries` deaths. Default: the pool's. The function must then give the same result when it
    /// is run again over a chunk that it has partly or fully processed.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::<u8>::zeroed([10])?;
    /// pool.par_chunks_mut(&mut x, 4).retries(2).for_each(|x| x.fill(7))?;
    /// assert_eq!(x.as_slice(), [7; 10]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn retries(mut self, retries: u32) -> Self {
        self.settings.task_options.retries = retries;
        self
    }

    /// Kills a worker that is busy with this loop for longer than `timeout`. Default: the
    /// pool's.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, Pool, SharedArray, TaskError};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let x = SharedArray::from_slice(&[1u8])?;
    /// let endless = pool.par_chunks(&x, 1).timeout(Duration::from_millis(10));
    /// let error = endless.for_each(|_| loop { std::thread::park() }).unwrap_err();
    /// assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error:?}");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.task_options.timeout = Some(timeout.min(FOREVER));
        self
    }

    /// Calls `function` with the [`Progress`] of the loop, at most ten times a second, and once
    /// when the loop has ended, in the thread that runs all callbacks, as those of
    /// [`Handle::on_finish`](crate::Handle::on_finish). That last call may come after the loop has
    /// returned. If the function panics, that is logged, and the loop goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([1000], |[i]| i as u64)?;
    /// let (sender, reports) = mpsc::channel();
    /// let chunks = pool.par_chunks(&x, 100).progress(move |progress| {
    ///     let _ = sender.send(progress);
    /// });
    /// assert_eq!(chunks.map(|x| x.iter().sum()).reduce(0, |a: u64, b| a + b)?, 499_500);
    /// let last = reports.iter().last().expect("the loop has ended");
    /// assert_eq!((last.done, last.total), (1000, Some(1000)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn progress(mut self, function: impl FnMut(Progress) + Send + 'static) -> Self {
        self.settings.progress = Some(ProgressFn::new(function));
        self
    }

    /// Replaces the state of the loop, and returns the loop and the old state.
    pub(super) fn replace_state<T>(self, new: T) -> (ParLoop<'p, P, T, U>, S) {
        let ParLoop { settings, operands, state, unit } = self;
        (ParLoop { settings, operands, state: new, unit }, state)
    }
}

impl<P: Operand<U>, S: ExtraArgument, U: Unit> ParLoop<'_, P, S, U> {
    /// Runs the loop by `trampoline`, in blocks as `mode` says. Returns the results of its tasks
    /// and the number of chunks.
    pub(super) fn run(
        &self,
        trampoline: Trampoline,
        name: &'static str,
        mode: Mode,
    ) -> Result<(Vec<EncodedResult>, Partition)> {
        let operands = self.describe()?;
        let value = self.state.value();
        let encode = &mut |out: &mut Vec<u8>| invocation::encode_onto(out, value);
        self.settings.run(operands, encode, trampoline, name, mode)
    }

    /// The chunks and blocks of the loop.
    pub(super) fn partition(&self, mode: Mode) -> Result<Partition> {
        self.settings.partition(&self.describe()?, mode)
    }

    fn describe(&self) -> Result<Vec<HostOperand>> {
        let mut operands = Vec::new();
        self.operands.describe(self.settings.cut, &mut operands)?;
        Ok(operands)
    }
}

impl<'p, P: Operand<U>, U: Unit> ParLoop<'p, P, (), U> {
    /// Passes `value` by reference before each chunk: what a closure would have captured. It is
    /// encoded once, before the loop begins. It may hold any handle except an
    /// [`OwnedChunk`](crate::OwnedChunk), which belongs to one task.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[1, 2, 3])?;
    /// let chunks = pool.par_chunks_mut(&mut x, 2).with(10);
    /// chunks.for_each(|n, x| x.iter_mut().for_each(|x| *x *= n))?;
    /// assert_eq!(x.as_slice(), [10, 20, 30]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with<W>(self, value: W) -> ParLoop<'p, P, With<W>, U>
    where
        W: Serialize + DeserializeOwned + 'static,
    {
        self.replace_state(With(value)).0
    }

    /// Passes `&mut` of what `make` returns before each chunk: buffers that the function would
    /// otherwise allocate in every call. `make` runs in a worker at its first call of this loop,
    /// and its result is dropped there when the loop ends, so the value needs no encoding. Which
    /// chunks share a value is not promised.
    ///
    /// `make` captures nothing, not even a value [of size zero](crate#functions).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let mut x = SharedArray::from_slice(&[3, 1, 2, 9, 7, 8])?;
    /// pool.par_chunks_mut(&mut x, 3).scratch(Vec::new).for_each(|sorted: &mut Vec<i32>, x| {
    ///     sorted.clear();
    ///     sorted.extend_from_slice(x);
    ///     sorted.sort_unstable();
    ///     x.copy_from_slice(sorted);
    /// })?;
    /// assert_eq!(x.as_slice(), [1, 2, 3, 7, 8, 9]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn scratch<M, T>(self, make: M) -> ParLoop<'p, P, Scratch<(), M, T>, U>
    where
        M: Fn() -> T + Copy + Send + 'static,
    {
        let _ = make;
        self.replace_state(Scratch::new(())).0
    }
}

impl<'p, P, W, U> ParLoop<'p, P, With<W>, U>
where
    P: Operand<U>,
    W: Serialize + DeserializeOwned + 'static,
    U: Unit,
{
    /// Passes `&mut` of what `make` returns for the value of [`with`](ParLoop::with), instead of
    /// that value. See [`scratch`](ParLoop::scratch) without a value.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SharedArray};
    /// let pool = Pool::builder().workers(2).build()?;
    /// let x = SharedArray::from_fn([100], |[i]| i)?;
    /// let counts = pool.par_chunks(&x, 10).with(7).scratch(|n| vec![0u32; n]).map(|counts, x| {
    ///     counts.fill(0);
    ///     x.iter().for_each(|x| counts[x % 7] += 1);
    ///     counts[3]
    /// });
    /// assert_eq!(counts.reduce(0, |a, b| a + b)?, 14);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn scratch<M, T>(self, make: M) -> ParLoop<'p, P, Scratch<With<W>, M, T>, U>
    where
        M: Fn(W) -> T + Copy + Send + 'static,
    {
        let _ = make;
        let (rest, value) = self.replace_state(());
        rest.replace_state(Scratch::new(value)).0
    }
}

impl<P, S, U> std::fmt::Debug for ParLoop<'_, P, S, U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParLoop")
            .field("chunk_len", &self.settings.chunk_len)
            .finish_non_exhaustive()
    }
}
