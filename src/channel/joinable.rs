//! The queue whose messages are acknowledged, and which can be joined.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::channel::message_ring::{MessageRing, QueueSize, Usage};
use crate::channel::queue::Queue;
use crate::channel::queue_builder::QueueBuilder;
use crate::error::{Error, Result};
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};
use crate::sync::Timeout;

const NAME: &str = "the joinable queue";

const USAGE: Usage = Usage { name: NAME, is_joinable: true };

/// A [`Queue`] whose consumers acknowledge messages, and that can be joined: [`join`] waits until
/// all messages are acknowledged.
///
/// A message is unfinished from the return of `put` to its [`task_done`]. Otherwise it is a queue,
/// and dereferences to one; only [`raw`](Queue::raw) is an error.
///
/// # What a death leaves
///
/// If a consumer dies between `get` and [`task_done`], or drops its last handle there, its messages
/// are lost: no other process will acknowledge them. They do not block [`join`], which reports
/// their number. If a consumer dies *in* `get`, it has either taken the message, which is then
/// lost, or the next consumer gets it. If it dies in [`task_done`], the message is either
/// acknowledged or lost.
///
/// [`task_done`]: JoinableQueue::task_done
/// [`join`]: JoinableQueue::join
///
/// # Examples
///
/// ```
/// use brigade::{JoinableQueue, Pool};
///
/// let pool = Pool::builder().workers(2).build()?;
/// let queue = JoinableQueue::<u32>::new(16)?;
/// let cook = |queue: JoinableQueue<u32>| {
///     while queue.get().is_ok() {
///         queue.task_done().unwrap();
///     }
/// };
/// let cooks = [pool.submit(cook, queue.clone())?, pool.submit(cook, queue.clone())?];
/// for order in 0..100 {
///     queue.put(order)?;
/// }
/// queue.join()?;
/// assert_eq!(queue.unfinished(), 0);
/// queue.close()?;
/// for cook in cooks {
///     cook.join()?;
/// }
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct JoinableQueue<T>(ObjectHandle<Joinable<T>>);

/// The queue over the ring of a joinable queue: its `get` counts messages as not acknowledged.
struct Joinable<T>(Queue<T>);

impl<T> Clone for Joinable<T> {
    fn clone(&self) -> Joinable<T> {
        Joinable(self.0.clone())
    }
}

impl<T> Primitive for Joinable<T> {
    type Init = QueueSize;
    const KIND: Kind = Kind::JoinableQueue;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(size: &QueueSize) -> Result<(u32, usize)> {
        USAGE.size(size.ring()?)
    }

    fn make(memory: &Memory, size: &QueueSize) -> Result<Joinable<T>> {
        let ring = MessageRing::make(memory, &USAGE, size.ring()?)?;
        Ok(Joinable(Queue::with_ring(ring, memory)))
    }

    fn attach(memory: &Memory) -> Result<Joinable<T>> {
        let ring = MessageRing::attach(memory, &USAGE)?;
        Ok(Joinable(Queue::with_ring(ring, memory)))
    }
}

impl<T> JoinableQueue<T> {
    /// Makes a queue for at most `capacity` messages, with the size of [`Queue::new`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a capacity of 0; [`Error::NoSpace`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::JoinableQueue;
    /// let queue = JoinableQueue::<u8>::new(3)?;
    /// queue.put(7)?;
    /// assert_eq!((queue.get()?, queue.unfinished()), (7, 1));
    /// queue.task_done()?;
    /// queue.join()?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(capacity: usize) -> Result<JoinableQueue<T>> {
        JoinableQueue::with(Queue::builder().capacity(capacity))
    }

    /// Makes a queue of another size.
    ///
    /// # Errors
    ///
    /// As [`QueueBuilder::build`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{JoinableQueue, Queue};
    /// let queue: JoinableQueue<u8> = JoinableQueue::with(Queue::builder().capacity(3))?;
    /// assert_eq!(queue.capacity(), 3);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with(builder: QueueBuilder<T>) -> Result<JoinableQueue<T>> {
        ObjectHandle::new(builder.size()).map(JoinableQueue)
    }

    /// Acknowledges a message: one that this process took, or if it has none, one of another
    /// process.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if all messages that were taken are acknowledged already.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, JoinableQueue};
    /// let queue = JoinableQueue::<u8>::new(3)?;
    /// queue.put(7)?;
    /// queue.get()?;
    /// queue.task_done()?;
    /// assert!(matches!(queue.task_done(), Err(Error::InvalidArgument { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn task_done(&self) -> Result<()> {
        let (deliveries, _) = self.message_ring().deliveries()?;
        if deliveries.acknowledge() {
            return Ok(());
        }
        let expected = "at most once for each message that was taken";
        Err(Error::invalid("task_done", "called once more", expected))
    }

    /// Waits until no message is unfinished, without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if messages were lost; see [the type](JoinableQueue#what-a-death-leaves).
    /// Each loss is reported once in each process. The queue can still be used.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::JoinableQueue;
    /// let queue = JoinableQueue::<u8>::new(3)?;
    /// queue.put(7)?;
    /// queue.get()?;
    /// queue.task_done()?;
    /// queue.join()?;
    /// assert_eq!(queue.unfinished(), 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn join(&self) -> Result<()> {
        self.join_until(Timeout::Never, Duration::ZERO)
    }

    /// As [`join`](JoinableQueue::join), at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`join`](JoinableQueue::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, JoinableQueue};
    /// let queue = JoinableQueue::<u8>::new(3)?;
    /// queue.put(7)?;
    /// let timeout = Duration::from_millis(1);
    /// assert!(matches!(queue.join_timeout(timeout), Err(Error::TimedOut { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        self.join_until(timeout.into(), timeout)
    }

    fn join_until(&self, timeout: Timeout, after: Duration) -> Result<()> {
        let ring = self.message_ring();
        let (deliveries, messages) = ring.deliveries()?;
        match deliveries.join(messages, ring.memory().owner(), timeout) {
            None => Err(Error::TimedOut { what: NAME, after }),
            Some(0) => Ok(()),
            Some(lost) => {
                let cause = format!(
                    "{lost} messages were lost: the processes that took them ended, or dropped the \
                     queue, before they acknowledged them"
                );
                Err(Error::Broken { what: NAME, cause })
            }
        }
    }

    /// The number of unfinished messages: in the queue, or taken and not acknowledged. A message
    /// that is being taken may be counted twice.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::JoinableQueue;
    /// let queue = JoinableQueue::<u8>::new(3)?;
    /// queue.put_many([1, 2])?;
    /// queue.get()?;
    /// assert_eq!((queue.len(), queue.unfinished()), (1, 2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        let found = self.message_ring().deliveries();
        found.map_or(0, |(deliveries, ring)| deliveries.unfinished(ring))
    }
}

named_object! {
    impl [T] JoinableQueue<T> {
        create(capacity: usize) = QueueSize::of(capacity);
        example "brigade" "JoinableQueue" "::<u32>" ", 10";
    }
}

impl<T> Deref for JoinableQueue<T> {
    type Target = Queue<T>;

    #[inline]
    fn deref(&self) -> &Queue<T> {
        &self.0.primitive().0
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue(self.0.clone())
    }
}

impl<T> fmt::Debug for JoinableQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinableQueue")
            .field("len", &self.len())
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}
