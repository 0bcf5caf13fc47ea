//! How queues are made: settings, and names.

use std::marker::PhantomData;

use crate::channel::message_ring::{MessageRing, RingSize};
use crate::channel::queue::{QUEUE, Queue};
use crate::error::{Error, Result};
use crate::object::Site;
use crate::object::transfer;

/// Room for messages if nothing else is set, in bytes: for each message, and in all.
const BYTES_PER_MESSAGE: usize = 1024;
const BYTES_MIN: usize = 64 << 10;
const BYTES_MAX: usize = 4 << 20;

/// A [`Queue`] made by [`Queue::simple`]: one that needs no settings.
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
    messages_max: Option<usize>,
    capacity_bytes: Option<usize>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> QueueBuilder<T> {
    /// How many messages the queue holds at most, at least 1. Default: as many as its bytes hold.
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
        self.messages_max = Some(messages);
        self
    }

    /// The longest message that must fit, in bytes when encoded, 1 to 2^31. The room for all
    /// messages together is the next power of two that holds one such message and the 8 bytes
    /// before it, and one message may fill it: [`Queue::capacity_bytes`] says how long it may be.
    /// Room costs memory only as it is used. Default: 1 KiB for each message, but at least 64 KiB
    /// and at most 4 MiB.
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
        self.capacity_bytes = Some(bytes);
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
        Queue::make(Site::Arena, self.size()?)
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
        Queue::make(Site::New(name), self.size()?)
    }

    /// Opens the queue of this name, as large as it is, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Queue::create_or_open`].
    pub fn create_or_open(self, name: &str) -> Result<Queue<T>> {
        Queue::make(Site::NewOrOld(name), self.size()?)
    }

    pub(super) fn size(&self) -> Result<RingSize> {
        if self.messages_max == Some(0) {
            return Err(Error::invalid("the capacity of a queue", "0 messages", "at least 1"));
        }
        let messages = self.messages_max.unwrap_or(0);
        let default = messages.saturating_mul(BYTES_PER_MESSAGE).clamp(BYTES_MIN, BYTES_MAX);
        let messages_max = self.messages_max.map_or(u64::MAX, |messages| messages as u64);
        Ok(RingSize { messages_max, capacity_bytes: self.capacity_bytes.unwrap_or(default) })
    }
}

/// New queues.
impl<T> Queue<T> {
    /// A queue for at most `capacity` messages, with room for 1 KiB each, but at least 64 KiB and
    /// at most 4 MiB; a message may take all of it. The room is rounded up
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

    /// A queue without settings: bounded by 128 KiB of messages, so that each of 64 KiB fits.
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

    /// Settings for a queue.
    pub fn builder() -> QueueBuilder<T> {
        QueueBuilder { messages_max: None, capacity_bytes: None, values: PhantomData }
    }

    /// Makes a queue for at most `capacity` messages under a name in `/dev/shm`, for programs of
    /// this user that know the name and the type; [`builder`](Queue::builder) makes others.
    ///
    /// The name appears when the queue is complete. The last program to drop its handle removes
    /// the name, and the messages in the queue go with it, unless the queue was
    /// [kept](Queue::keep). If a process dies, what it put is there, and a lock that it held is
    /// freed when the next process waits for it, within 100 ms.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NameTaken`], unless it was left by programs that died;
    /// [`Error::InvalidArgument`] for a capacity of 0; [`Error::NoSpace`]; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Queue};
    /// let name = format!("doc-queue-{}", std::process::id());
    /// let ours = Queue::<String>::create(&name, 10)?;
    /// // In another program:
    /// let theirs = Queue::<String>::open(&name)?;
    /// theirs.put("order up".to_owned())?;
    /// assert_eq!(ours.get()?, "order up");
    /// // The type of the values is checked.
    /// assert!(matches!(Queue::<f64>::open(&name), Err(Error::Layout { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create(name: &str, capacity: usize) -> Result<Queue<T>> {
        Queue::builder().capacity(capacity).create(name)
    }

    /// Opens the queue of this name.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::NotFound`]; [`Error::Layout`] if it is another user's, not
    /// private, no queue, one of another type, or spoilt; [`Error::PidNamespace`] if its processes
    /// cannot be seen from here; [`Error::Full`] if too many use it; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Queue};
    /// let name = format!("doc-queue-open-{}", std::process::id());
    /// assert!(matches!(Queue::<u8>::open(&name), Err(Error::NotFound { .. })));
    /// let queue = Queue::<u8>::create(&name, 5)?;
    /// queue.put(1)?;
    /// assert_eq!(Queue::<u8>::open(&name)?.get()?, 1);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn open(name: &str) -> Result<Queue<T>> {
        MessageRing::open(name, &QUEUE, transfer::type_tag::<T>()).map(Queue::over)
    }

    /// Opens the queue of this name, whatever its capacity, or makes it.
    ///
    /// If many programs call this at once, one makes the queue. A queue that programs left when
    /// they died is replaced, not opened.
    ///
    /// # Errors
    ///
    /// As [`create`](Queue::create), [`Error::NameTaken`] excepted, and [`open`](Queue::open).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let name = format!("doc-queue-either-{}", std::process::id());
    /// let one = Queue::<u32>::create_or_open(&name, 10)?;
    /// let other = Queue::<u32>::create_or_open(&name, 99)?;
    /// assert_eq!((one.capacity(), other.capacity()), (10, 10));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn create_or_open(name: &str, capacity: usize) -> Result<Queue<T>> {
        Queue::builder().capacity(capacity).create_or_open(name)
    }

    /// Its name, without `/dev/shm/`, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.message_ring().memory().name()
    }

    /// Removes the name. All handles stay usable.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name, or the name means something else by now.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Queue};
    /// let name = format!("doc-queue-unlink-{}", std::process::id());
    /// let queue = Queue::<u8>::create(&name, 5)?;
    /// queue.unlink()?;
    /// assert!(matches!(Queue::<u8>::open(&name), Err(Error::NotFound { .. })));
    /// queue.put(1)?;
    /// # Ok::<(), Error>(())
    /// ```
    pub fn unlink(&self) -> Result<()> {
        self.message_ring().memory().unlink()
    }

    /// Lets the name and the messages in the queue outlive all handles, until someone unlinks the
    /// name.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Queue;
    /// let name = format!("doc-queue-keep-{}", std::process::id());
    /// let queue = Queue::<u8>::create(&name, 5)?;
    /// queue.put(1)?;
    /// queue.keep()?;
    /// drop(queue);
    /// let again = Queue::<u8>::open(&name)?;
    /// assert_eq!(again.get()?, 1);
    /// again.unlink()?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn keep(&self) -> Result<()> {
        self.message_ring().memory().keep()
    }
}
