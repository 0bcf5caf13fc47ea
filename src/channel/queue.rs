//! The bounded queue: many producers, many consumers.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::array::SendError;
use crate::channel::message_ring::{MessageRing, Messages, QueueSize, within};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::{Memory, ObjectHandle, named_object};
use crate::sync::{Ring, Timeout};

/// A bounded queue of values between processes.
///
/// Any number of producers and consumers, in all processes that have a handle: clones in this one,
/// and handles in tasks, passed as an argument, as a shared value (`with`) or by the pool's
/// initializer. Messages of one producer arrive in the order of its puts.
///
/// It is bounded by a number of messages and by a number of bytes, whichever is reached first. A
/// message that can never fit is [`Error::TooLarge`] at once. If `put` fails, the error contains
/// the value.
///
/// `put` copies the message into shared memory before it returns, without a background thread. A
/// process may exit, or be killed, at any time: its messages stay, and no other process is blocked.
/// In a forked child a handle is inert: every call is [`Error::Closed`].
///
/// Arrays are sent by name ([`NamedArray`](crate::NamedArray)): a value that contains an array of
/// the arena, or a handle without a name, is [`Error::Codec`].
///
/// The messages of a queue with a name are removed with its last handle, unless the queue was
/// [kept](Queue::keep). [`create_or_open`](Queue::create_or_open) does not change the capacity of
/// an existing queue. The type of the values is checked.
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
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Queue<T>(ObjectHandle<Messages<T>>);

impl<T> Queue<T> {
    pub(super) fn over(handle: ObjectHandle<Messages<T>>) -> Queue<T> {
        Queue(handle)
    }

    /// A queue over another object's ring in `memory`.
    pub(super) fn with_ring(ring: MessageRing, memory: &Memory) -> Queue<T> {
        Queue(ObjectHandle::over(Messages::over(ring), memory.clone()))
    }

    /// Appends a value; waits for room, without a limit.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::TooLarge`] at once if it can never fit, [`Error::Codec`] if it
    /// cannot be encoded, [`Error::Closed`], [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn put(&self, value: T) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.message_ring().put(value, Timeout::Never)
    }

    /// Appends a value if there is room now.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::Full`], and as for `put`; [`Error::TimedOut`] if another producer
    /// kept the lock for 10 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put_many([1, 2])?;
    /// let refused = queue.try_put(3).unwrap_err();
    /// assert_eq!(refused.value, 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_put(&self, value: T) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.message_ring().put(value, Timeout::Now)
    }

    /// Appends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    ///
    /// With the value: [`Error::TimedOut`], and as for `put`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// use std::time::Duration;
    /// queue.put_many([1, 2])?;
    /// let refused = queue.put_timeout(3, Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(refused.value, 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn put_timeout(&self, value: T, timeout: Duration) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.message_ring().put(value, within(timeout))
    }

    /// Appends values, each time as many as fit, in one step; waits for room for the rest, without
    /// a limit.
    ///
    /// # Errors
    ///
    /// As for `put`, with the values that were not put.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put_many([1, 2])?;
    /// assert_eq!(queue.get_many(10)?, [1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn put_many(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> std::result::Result<(), SendError<Vec<T>>>
    where
        T: Serialize,
    {
        self.message_ring().put_many(values.into_iter().collect(), Timeout::Never)
    }

    /// Appends as many of the values, from the first on, as there is room for now.
    ///
    /// # Errors
    ///
    /// As for `try_put`, with the values that were not put.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// let refused = queue.try_put_many([1, 2, 3]).unwrap_err();
    /// assert_eq!(refused.value, [3]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_put_many(
        &self,
        values: impl IntoIterator<Item = T>,
    ) -> std::result::Result<(), SendError<Vec<T>>>
    where
        T: Serialize,
    {
        self.message_ring().put_many(values.into_iter().collect(), Timeout::Now)
    }

    /// Takes the oldest value; waits for one, without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the queue is closed and (unless by [`close_now`](Queue::close_now))
    /// empty; [`Error::Codec`] if the message is not a `T`: it is removed, and later ones can be
    /// taken; [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// queue.close()?;
    /// assert_eq!(queue.get()?, 1);
    /// assert!(matches!(queue.get(), Err(brigade::Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.message_ring().get(Timeout::Never)
    }

    /// Takes the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for `get`; [`Error::TimedOut`] if another consumer kept the lock
    /// for 10 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// assert!(matches!(queue.try_get(), Err(brigade::Error::Empty { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.message_ring().get(Timeout::Now)
    }

    /// Takes the oldest value; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for `get`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// use std::time::Duration;
    /// let late = queue.get_timeout(Duration::from_millis(1));
    /// assert!(matches!(late, Err(brigade::Error::TimedOut { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn get_timeout(&self, timeout: Duration) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.message_ring().get(within(timeout))
    }

    /// Takes the oldest values in one step, at most `values_max`; waits for the first, without a
    /// limit. Messages that are not a `T` are skipped, with a warning.
    ///
    /// # Errors
    ///
    /// As for `get`; [`Error::Codec`] if none of the messages is a `T`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put_many([1, 2])?;
    /// assert_eq!(queue.get_many(10)?, [1, 2]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn get_many(&self, values_max: usize) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.message_ring().get_many(values_max, Timeout::Never)
    }

    /// As `get_many`, but never waits.
    ///
    /// # Errors
    ///
    /// As for `try_get`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put_many([1, 2])?;
    /// assert_eq!(queue.try_get_many(1)?, [1]);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_get_many(&self, values_max: usize) -> Result<Vec<T>>
    where
        T: DeserializeOwned,
    {
        self.message_ring().get_many(values_max, Timeout::Now)
    }

    /// The number of messages. It may be outdated at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (1, false, false));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.message_ring().len()
    }

    /// Whether there is no message. The answer may be outdated at once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the next `put` would wait. The answer may be outdated at once.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.message_ring().ring().is_ok_and(Ring::is_full)
    }

    /// The most messages that it holds; `usize::MAX` if only their bytes are limited.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let messages = self.message_ring().ring().map_or(0, Ring::messages_max);
        usize::try_from(messages).unwrap_or(usize::MAX)
    }

    /// The longest message that it takes, encoded, in bytes. It may be more than was requested,
    /// because the room is rounded up.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let bytes = self.message_ring().ring().map_or(0, Ring::capacity_bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Closes the queue for producers. Messages in it can still be taken. After the last one,
    /// consumers get [`Error::Closed`] too, also those that wait. Every message whose `put` has
    /// returned is kept.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if a producer held its lock for a second, for example because it is
    /// stopped.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// queue.close()?;
    /// assert!(queue.put(2).is_err());
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        self.message_ring().close()
    }

    /// Closes the queue for all, at once. Returns how many messages were lost.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked from the process that has this handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u32>::new(2)?;
    /// queue.put(1)?;
    /// assert_eq!(queue.close_now()?, 1);
    /// assert!(matches!(queue.get(), Err(brigade::Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn close_now(&self) -> Result<u64> {
        self.message_ring().close_now()
    }

    /// Whether the queue was closed, in either way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.message_ring().ring().map_or(true, Ring::is_closed)
    }

    /// The ring of the queue, for messages that are bytes: pushed and popped unencoded, in batches,
    /// or written and read in place. [`get`](Queue::get) decodes a message by postcard, so bytes
    /// for it must be a `T` in that encoding.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked from the process that has this handle;
    /// [`Error::InvalidArgument`] for a [`JoinableQueue`](crate::JoinableQueue).
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
        self.message_ring().raw()
    }

    #[inline]
    pub(super) fn message_ring(&self) -> &MessageRing {
        self.0.primitive().ring()
    }
}

named_object! {
    impl [T] Queue<T> {
        create(capacity: usize) = QueueSize::of(capacity);
        example "brigade" "Queue" "::<u32>" ", 10";
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Queue<T> {
        Queue(self.0.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}
