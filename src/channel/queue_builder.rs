//! How queues are made: settings and names.

use std::marker::PhantomData;

use crate::channel::message_ring::QueueSize;
use crate::channel::queue::Queue;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::ObjectHandle;

/// A [`Queue`] made by [`Queue::simple`], which needs no settings.
///
/// # Examples
///
/// ```
/// use brigade::SimpleQueue;
/// let queue: SimpleQueue<u32> = SimpleQueue::simple()?;
/// queue.put(7)?;
/// assert_eq!(queue.get()?, 7);
/// # Ok::<(), brigade::Error>(())
/// ```
pub type SimpleQueue<T> = Queue<T>;

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
    size: QueueSize,
    values: PhantomData<fn(T) -> T>,
}

impl<T> QueueBuilder<T> {
    /// Sets the most messages that the queue holds, at least 1. Default: as many as its bytes hold.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u8>::builder().capacity(3).build()?;
    /// assert_eq!(queue.capacity(), 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capacity(mut self, messages: usize) -> QueueBuilder<T> {
        self.size.messages_max = Some(messages);
        self
    }

    /// Sets the longest message that must fit, in bytes when encoded, 1 to 2^31. The room for all
    /// messages together is the next power of two that holds one such message and the 8 bytes
    /// before it. One message may fill it: [`Queue::capacity_bytes`] returns the longest. Room
    /// occupies memory only as it is used. Default: 1 KiB for each message, but at least 64 KiB and
    /// at most 4 MiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u8>::builder().capacity_bytes(100).build()?;
    /// assert_eq!(queue.capacity_bytes(), 120);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capacity_bytes(mut self, bytes: usize) -> QueueBuilder<T> {
        self.size.capacity_bytes = Some(bytes);
        self
    }

    /// Makes the queue.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a capacity outside its range; [`Error::NoSpace`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// assert!(Queue::<u8>::builder().capacity(3).build().is_ok());
    /// assert!(Queue::<u8>::builder().capacity(0).build().is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn build(self) -> Result<Queue<T>> {
        ObjectHandle::new(&self.size).map(Queue::over)
    }

    /// Makes the queue under a name in `/dev/shm`.
    ///
    /// # Errors
    ///
    /// As [`Queue::create`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let name = format!("doc-builder-{}", std::process::id());
    /// let queue = Queue::<u8>::builder().capacity_bytes(1 << 20).create(&name)?;
    /// assert_eq!(queue.name(), Some(&*name));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create(self, name: &str) -> Result<Queue<T>> {
        ObjectHandle::create(name, &self.size).map(Queue::over)
    }

    /// Opens the queue of this name, with its size, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Queue::create_or_open`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let name = format!("doc-builder-2-{}", std::process::id());
    /// let one = Queue::<u32>::builder().capacity(10).create_or_open(&name)?;
    /// let other = Queue::<u32>::builder().capacity(99).create_or_open(&name)?;
    /// assert_eq!((one.capacity(), other.capacity()), (10, 10));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create_or_open(self, name: &str) -> Result<Queue<T>> {
        ObjectHandle::create_or_open(name, &self.size).map(Queue::over)
    }

    pub(super) fn size(&self) -> &QueueSize {
        &self.size
    }
}

/// Constructors of queues.
impl<T> Queue<T> {
    /// Makes a queue for at most `capacity` messages, with room for 1 KiB each, but at least 64 KiB
    /// and at most 4 MiB. One message may fill it. The room is rounded up
    /// ([`capacity_bytes`](QueueBuilder::capacity_bytes)). See [`builder`](Queue::builder) for
    /// other sizes.
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

    /// Makes a queue without settings, bounded by 128 KiB of messages, so that each of 64 KiB fits.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Pool, SimpleQueue};
    /// let pool = Pool::builder().workers(1).build()?;
    /// let queue = SimpleQueue::simple()?;
    /// let length = |queue: SimpleQueue<String>| queue.get().unwrap().len();
    /// let task = pool.submit(length, queue.clone())?;
    /// queue.put("mise en place".to_owned())?;
    /// assert_eq!(task.join()?, 13);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn simple() -> Result<Queue<T>> {
        Queue::builder().build()
    }

    /// Returns settings for a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let queue = Queue::<u8>::builder().capacity(3).capacity_bytes(100).build()?;
    /// assert_eq!((queue.capacity(), queue.capacity_bytes()), (3, 120));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder { size: QueueSize::default(), values: PhantomData }
    }
}
