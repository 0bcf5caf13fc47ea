//! The bounded queue: many producers, many consumers.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::SendError;
use crate::channel::tube::{Size, Tube, within};
use crate::error::{Error, Result};
use crate::object::transfer;
use crate::object::{Kind, Site};
use crate::sync::{Ring, Timeout};

/// What errors call it.
const NAME: &str = "the queue";

/// Room for messages of a queue that says nothing else, in bytes: for each message, and in all.
const BYTES_PER_MESSAGE: usize = 1024;
const BYTES_MIN: usize = 64 << 10;
const BYTES_MAX: usize = 4 << 20;

/// A bounded queue of values between processes.
///
/// Any number of producers and consumers, in any processes that have a handle: clones in this one,
/// and those that tasks are given as an argument, as a shared value (`with`) or by the pool's
/// initializer. Messages of one producer come out in the order in which it put them.
///
/// It holds a stated number of messages, in a stated number of bytes, whichever is reached first.
/// A message that can never fit is [`Error::TooLarge`] at once. The value that a refused `put` was
/// given comes back in the error.
///
/// `put` copies the message into shared memory before it returns: there is no thread behind a
/// queue. A process may exit, or be killed, at any time; what it has put is there, and nobody else
/// is kept from going on. In a child that somebody forked a handle is inert: every call is
/// [`Error::Closed`].
///
/// Arrays travel by name ([`NamedArray`](crate::NamedArray)): a value that holds an array of the
/// arena, or a handle like this one, is [`Error::Codec`].
///
/// # Examples
///
/// ```
/// use brigade::{Pool, Queue};
///
/// let pool = Pool::builder().workers(2).build()?;
/// let (numbers, squares) = (Queue::<u64>::new(8)?, Queue::<u64>::new(8)?);
/// let workers: Vec<_> = (0..2)
///     .map(|_| {
///         pool.submit(
///             |(numbers, squares): (Queue<u64>, Queue<u64>)| {
///                 while let Ok(n) = numbers.get() {
///                     squares.put(n * n).unwrap();
///                 }
///             },
///             (numbers.clone(), squares.clone()),
///         )
///     })
///     .collect::<Result<_, _>>()?;
/// for n in 1..=5 {
///     numbers.put(n)?;
/// }
/// numbers.close()?;
/// let mut sum = 0;
/// for _ in 1..=5 {
///     sum += squares.get()?;
/// }
/// assert_eq!(sum, 55);
/// for worker in workers {
///     worker.join()?;
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Queue<T> {
    tube: Arc<Tube>,
    values: PhantomData<fn(T) -> T>,
}

/// Configures a [`Queue`] or a [`JoinableQueue`](crate::JoinableQueue).
///
/// # Examples
///
/// ```
/// use brigade::Queue;
/// let queue: Queue<String> = Queue::builder().capacity(100).capacity_bytes(1 << 20).build()?;
/// assert_eq!(queue.capacity(), 100);
/// assert!(queue.capacity_bytes() >= 1 << 20);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `build`"]
pub struct QueueBuilder<T> {
    messages_max: Option<usize>,
    capacity_bytes: Option<usize>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> QueueBuilder<T> {
    pub(super) fn new() -> QueueBuilder<T> {
        QueueBuilder { messages_max: None, capacity_bytes: None, values: PhantomData }
    }

    /// How many messages the queue holds at most, at least 1. Default: as many as its bytes hold.
    pub fn capacity(mut self, messages: usize) -> QueueBuilder<T> {
        self.messages_max = Some(messages);
        self
    }

    /// A message of this length has to fit, in bytes when encoded, 1 to 2^31. The room for all
    /// messages together is the next power of two that holds one, with 8 bytes before it, and a
    /// message may take all of it: [`capacity_bytes`](Queue::capacity_bytes) of the queue says how
    /// long it may be. It costs memory only as it is used. Default: 1 KiB for each message, but at
    /// least 64 KiB and at most 4 MiB.
    pub fn capacity_bytes(mut self, bytes: usize) -> QueueBuilder<T> {
        self.capacity_bytes = Some(bytes);
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a capacity outside its range; [`Error::NoSpace`].
    pub fn build(self) -> Result<Queue<T>> {
        self.build_at(Site::Arena)
    }

    pub(super) fn build_at(self, site: Site<'_>) -> Result<Queue<T>> {
        let tube = Tube::create(site, Queue::<T>::identity(), self.size()?, (0, 0), |_| Ok(()))?;
        Ok(Queue::over(tube))
    }

    pub(super) fn size(&self) -> Result<Size> {
        if self.messages_max == Some(0) {
            return Err(Error::invalid("the capacity of a queue", "0 messages", "at least 1"));
        }
        let messages = self.messages_max.unwrap_or(0);
        let usual = messages.saturating_mul(BYTES_PER_MESSAGE).clamp(BYTES_MIN, BYTES_MAX);
        let messages_max = self.messages_max.map_or(u64::MAX, |messages| messages as u64);
        Ok(Size { messages_max, capacity_bytes: self.capacity_bytes.unwrap_or(usual) })
    }
}

impl<T> Queue<T> {
    /// What tells its memory from another primitive's, and what errors call it.
    pub(super) fn identity() -> (Kind, u64, &'static str) {
        (Kind::Queue, transfer::type_tag::<T>(), NAME)
    }

    pub(super) fn over(tube: Tube) -> Queue<T> {
        Queue { tube: Arc::new(tube), values: PhantomData }
    }

    /// A queue for at most `capacity` messages, in room for 1 KiB each: a message of as many KiB
    /// fits, at least 64 and at most 4096. The room is rounded up
    /// ([`capacity_bytes`](QueueBuilder::capacity_bytes)), so that a longer one may fit too. See
    /// [`builder`](Queue::builder) for others.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a capacity of 0; [`Error::NoSpace`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// // 64 KiB and the 8 bytes before a message take a room of 128 KiB.
    /// assert_eq!(Queue::<Vec<u8>>::new(16)?.capacity_bytes(), (128 << 10) - 8);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(capacity: usize) -> Result<Queue<T>> {
        Queue::builder().capacity(capacity).build()
    }

    /// Settings for a queue.
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder::new()
    }

    /// Appends a value; waits for room, without a bound.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::TooLarge`] at once if it can never fit, [`Error::Codec`] if it
    /// cannot be encoded, [`Error::Closed`], [`Error::Corrupt`].
    pub fn put(&self, value: T) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.tube.put(value, Timeout::Never)
    }

    /// Appends a value if there is room now.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::Full`], and as for `put`; [`Error::TimedOut`] if another producer
    /// kept the lock for 10 ms.
    pub fn try_put(&self, value: T) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.tube.put(value, Timeout::Now)
    }

    /// Appends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::TimedOut`], and as for `put`.
    pub fn put_timeout(&self, value: T, timeout: Duration) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.tube.put(value, within(timeout))
    }

    /// Appends values, as many as fit at a time in one step; waits for room for the rest, without
    /// a bound.
    ///
    /// # Errors
    ///
    /// As for `put`, with the values that were not put.
    pub fn put_many(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> std::result::Result<(), SendError<Vec<T>>>
    where
        T: Serialize,
    {
        self.tube.put_many(values.into_iter().collect(), Timeout::Never)
    }

    /// Appends as many of the values, from the first on, as there is room for now.
    ///
    /// # Errors
    ///
    /// As for `try_put`, with the values that were not put.
    pub fn try_put_many(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> std::result::Result<(), SendError<Vec<T>>>
    where
        T: Serialize,
    {
        self.tube.put_many(values.into_iter().collect(), Timeout::Now)
    }

    /// Takes the oldest value; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the queue is closed and (unless that was at once) empty;
    /// [`Error::Codec`] if the message is no `T`: it is gone, and later ones can be taken;
    /// [`Error::Corrupt`].
    pub fn get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.tube.get(Timeout::Never)
    }

    /// Takes the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for `get`; [`Error::TimedOut`] if another consumer kept the lock
    /// for 10 ms.
    pub fn try_get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.tube.get(Timeout::Now)
    }

    /// Takes the oldest value; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for `get`.
    pub fn get_timeout(&self, timeout: Duration) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.tube.get(within(timeout))
    }

    /// Takes the oldest values in one step, at most `values_max`; waits for the first, without a
    /// bound. Messages that are no `T` are left out, with a warning.
    ///
    /// # Errors
    ///
    /// As for `get`; [`Error::Codec`] if none of them is a `T`.
    pub fn get_many(&self, values_max: usize) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.tube.get_many(values_max, Timeout::Never)
    }

    /// As `get_many`, but never waits.
    ///
    /// # Errors
    ///
    /// As for `try_get`.
    pub fn try_get_many(&self, values_max: usize) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.tube.get_many(values_max, Timeout::Now)
    }

    /// How many messages there are. More may have come or gone before the caller has looked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tube.len()
    }

    /// Whether there is no message. One may arrive before the caller has looked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the next `put` would wait. It may not any more once the caller has looked.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tube.is_full()
    }

    /// How many messages it holds at most; `usize::MAX` if only their bytes count.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let messages = self.tube.ring().map_or(0, Ring::messages_max);
        usize::try_from(messages).unwrap_or(usize::MAX)
    }

    /// The longest message that it takes, encoded, in bytes: at least what was asked for, as the
    /// room is rounded up.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let bytes = self.tube.ring().map_or(0, Ring::capacity_bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Closes the queue for producers. What is in it can still be taken; then consumers get
    /// [`Error::Closed`] too, those that wait at once. Every `put` that has returned will be taken.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if a producer kept its lock for a second: one that is stopped, say.
    pub fn close(&self) -> Result<()> {
        self.tube.close()
    }

    /// Closes the queue for all, at once. Returns how many messages in it were lost.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked from the process that has this handle.
    pub fn close_now(&self) -> Result<u64> {
        self.tube.close_now()
    }

    /// Whether the queue was closed, in either way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tube.ring().map_or(true, Ring::is_closed)
    }

    /// The ring under the queue, for messages that are bytes: pushed and popped as they are, in
    /// batches, or written and read in place. A `T` is what postcard makes of it, so bytes that are
    /// to be taken by [`get`](Queue::get) must be that.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked from the process that has this handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Queue, sync::Timeout};
    /// let queue = Queue::<()>::new(10)?;
    /// let mut room = queue.raw()?.reserve(5, Timeout::Never)?;
    /// room.write_at(0, b"salad");
    /// room.commit();
    /// let message = queue.raw()?.read(Timeout::Never)?;
    /// let mut first = [0; 3];
    /// message.read_at(0, &mut first);
    /// assert_eq!((message.length(), &first), (5, b"sal"));
    /// message.consume();
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn raw(&self) -> Result<&Ring> {
        self.tube.ring()
    }

    pub(super) fn tube(&self) -> &Tube {
        &self.tube
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue { tube: Arc::clone(&self.tube), values: PhantomData }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Inside the codec of a task only.
impl<T> Serialize for Queue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        transfer::serialize_object(self.tube.memory(), serializer)
    }
}

/// Inside the codec of a task only.
impl<'de, T> Deserialize<'de> for Queue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let tag = transfer::type_tag::<T>();
        let memory = transfer::deserialize_object(deserializer, Kind::Queue, tag)?;
        let tube = Tube::attach(memory, 0, NAME).map_err(D::Error::custom)?;
        Ok(Queue { tube: Arc::new(tube), values: PhantomData })
    }
}
