//! The queue that can be waited for.
//!
//! Until every message was dealt with.
#![allow(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::SendError;
use crate::channel::codec;
use crate::channel::queue::QueueBuilder;
use crate::channel::taken::{ENTRIES, Taken, Words};
use crate::channel::tube::{Tube, within};
use crate::error::{Error, Result};
use crate::object::transfer;
use crate::object::{Kind, Memory, Site};
use crate::sync::{Moment, Ring, Timeout, Watch};

/// What errors call it.
const NAME: &str = "the joinable queue";

/// A [`Queue`](crate::Queue) whose consumers say when they have dealt with a message, and that can
/// be waited for until they have with all.
///
/// A message is unfinished from the `put` that returns until the [`task_done`] for it.
///
/// # What a death leaves
///
/// A consumer that dies between `get` and [`task_done`], or that gives its last handle up there,
/// has lost its messages: nobody else will ever say that they are done. They do not hold
/// [`join`] up, which reports how many there were. One that dies *in* `get` has either taken the
/// message, which is then lost, or it has not, and the next consumer gets it. One that dies in
/// [`task_done`] has either finished the message or lost it.
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
pub struct JoinableQueue<T> {
    inner: Arc<Inner>,
    values: PhantomData<fn(T) -> T>,
}

struct Inner {
    tube: Tube,
    taken: Taken,
    /// The word of this process, claimed with its first message.
    slot: OnceLock<usize>,
    /// Losses that this process has been told of.
    lost_seen: AtomicU64,
}

impl Inner {
    fn new(tube: Tube, taken: Taken) -> Inner {
        let lost_seen = AtomicU64::new(taken.lost());
        Inner { tube, taken, slot: OnceLock::new(), lost_seen }
    }

    /// The index of this process's word.
    fn slot(&self, ring: &Ring) -> Result<usize> {
        if let Some(&slot) = self.slot.get() {
            return Ok(slot);
        }
        let owner = self.tube.memory().owner();
        let claimed = self.taken.claim(owner, ring.popped())?;
        let slot = *self.slot.get_or_init(|| claimed);
        if slot != claimed {
            // Another thread was here first.
            self.taken.release(claimed, owner, ring.popped());
        }
        Ok(slot)
    }

    fn unfinished(&self, ring: &Ring) -> u64 {
        // Popped before pushed, and both before what is taken: too many rather than too few.
        let popped = ring.popped();
        let queued = ring.pushed().wrapping_sub(popped);
        queued.saturating_add(self.taken.count())
    }

    /// Takes the oldest message and counts it as this process's.
    fn take(&self, buffer: &mut Vec<u8>, timeout: Timeout) -> Result<usize> {
        let ring = self.tube.ring()?;
        let slot = self.slot(ring)?;
        let message = ring.read(timeout).map_err(|error| self.tube.rename(error))?;
        buffer.resize(message.length(), 0);
        message.read_at(0, buffer);
        self.taken.begin(slot, message.number())?;
        message.consume();
        Ok(slot)
    }

    fn get<T: DeserializeOwned>(&self, timeout: Timeout) -> Result<T> {
        codec::with_scratch(|buffer| {
            let slot = self.take(buffer, timeout)?;
            codec::decode(buffer).inspect_err(|_| {
                // Nobody has it to deal with.
                self.finish(Some(slot));
            })
        })
    }

    fn finish(&self, slot: Option<usize>) -> bool {
        let was_taken = self.taken.finish(slot);
        self.taken.joined().notify();
        was_taken
    }

    fn join(&self, timeout: Timeout) -> Result<bool> {
        let ring = self.tube.ring()?;
        let owner = self.tube.memory().owner();
        let attempt = |moment: Moment| {
            if moment == Moment::BeforeSleep {
                self.taken.bury(owner, || ring.popped());
            }
            (self.unfinished(ring) == 0).then_some(())
        };
        if self.taken.joined().wait_for(timeout, Watch::Waiters, attempt).is_none() {
            return Ok(false);
        }
        let lost = self.taken.lost();
        // Relaxed: a number for a message.
        let seen = self.lost_seen.swap(lost, Ordering::Relaxed);
        match lost.wrapping_sub(seen) {
            0 => Ok(true),
            lost => {
                let cause = format!(
                    "{lost} messages were taken by processes that ended, or gave the queue up, \
                     before they said that they were done"
                );
                Err(Error::Broken { what: NAME, cause })
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let (Some(&slot), Ok(ring)) = (self.slot.get(), self.tube.ring()) {
            self.taken.release(slot, self.tube.memory().owner(), ring.popped());
        }
    }
}

/// The words at the start of a memory's body.
fn words(memory: &Memory) -> Taken {
    // SAFETY: the body is aligned to 128 bytes and begins with the words: `create` reserved them,
    // `deserialize` attached a ring behind them. Whoever has the words has the memory as well.
    unsafe { Taken::new(memory.body().0) }
}

impl<T> JoinableQueue<T> {
    /// A queue for at most `capacity` messages, as [`Queue::new`](crate::Queue::new) makes it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for a capacity of 0; [`Error::NoSpace`].
    pub fn new(capacity: usize) -> Result<JoinableQueue<T>> {
        JoinableQueue::with(QueueBuilder::new().capacity(capacity))
    }

    /// A queue of another size, as a builder of [`Queue`](crate::Queue) describes it.
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
        JoinableQueue::make_at(Site::Arena, &builder)
    }

    pub(super) fn make_at(site: Site<'_>, builder: &QueueBuilder<T>) -> Result<JoinableQueue<T>> {
        let make = |memory: &Memory| words(memory).register(memory.owner().table());
        let room = (size_of::<Words>(), ENTRIES);
        Tube::create(site, Self::identity(), builder.size()?, room, make).map(JoinableQueue::over)
    }

    pub(super) fn open_at(name: &str) -> Result<JoinableQueue<T>> {
        Tube::open(name, Self::identity(), size_of::<Words>()).map(JoinableQueue::over)
    }

    /// What tells its memory from another primitive's, and what errors call it.
    fn identity() -> (Kind, u64, &'static str) {
        (Kind::JoinableQueue, transfer::type_tag::<T>(), NAME)
    }

    fn over(tube: Tube) -> JoinableQueue<T> {
        let taken = words(tube.memory());
        JoinableQueue { inner: Arc::new(Inner::new(tube, taken)), values: PhantomData }
    }

    pub(super) fn memory(&self) -> &Memory {
        self.inner.tube.memory()
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
        self.inner.tube.put(value, Timeout::Never)
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
        self.inner.tube.put(value, Timeout::Now)
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
        self.inner.tube.put(value, within(timeout))
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
        self.inner.tube.put_many(values.into_iter().collect(), Timeout::Never)
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
        self.inner.tube.put_many(values.into_iter().collect(), Timeout::Now)
    }

    /// Takes the oldest value; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// As [`Queue::get`](crate::Queue::get); [`Error::Full`] if too many processes take messages.
    /// A message that is no `T` counts as done.
    pub fn get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.inner.get(Timeout::Never)
    }

    /// Takes the oldest value if there is one now.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for `get`.
    pub fn try_get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.inner.get(Timeout::Now)
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
        self.inner.get(within(timeout))
    }

    /// Says that a message that was taken has been dealt with: one that this process took, or if
    /// it has none, one that another took.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if no message is taken and not done: it was called more often
    /// than there was something to call it for.
    pub fn task_done(&self) -> Result<()> {
        self.inner.tube.ring()?;
        if self.inner.finish(self.inner.slot.get().copied()) {
            return Ok(());
        }
        let expected = "at most once for each message that was taken";
        Err(Error::invalid("task_done", "called once more", expected))
    }

    /// Waits until no message is unfinished, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Broken`] if it came to that because messages were lost, see
    /// [the type](JoinableQueue#what-a-death-leaves); said once in each process, and the queue can
    /// be used as before.
    pub fn join(&self) -> Result<()> {
        self.inner.join(Timeout::Never).map(drop)
    }

    /// As [`join`](JoinableQueue::join), at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`join`](JoinableQueue::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<()> {
        if self.inner.join(Timeout::after(timeout))? {
            return Ok(());
        }
        Err(Error::TimedOut { what: NAME, after: timeout })
    }

    /// How many messages are unfinished: in the queue, or taken and not done. One that is being
    /// taken may be counted twice.
    #[must_use]
    pub fn unfinished(&self) -> u64 {
        self.inner.tube.ring().map_or(0, |ring| self.inner.unfinished(ring))
    }

    /// How many messages there are. More may have come or gone before the caller has looked.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.tube.len()
    }

    /// Whether there is no message. One may arrive before the caller has looked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the next `put` would wait. It may not any more once the caller has looked.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.inner.tube.is_full()
    }

    /// How many messages it holds at most; `usize::MAX` if only their bytes count.
    #[must_use]
    pub fn capacity(&self) -> usize {
        let messages = self.inner.tube.ring().map_or(0, Ring::messages_max);
        usize::try_from(messages).unwrap_or(usize::MAX)
    }

    /// The longest message that it takes, encoded, in bytes: at least what was asked for, as the
    /// room is rounded up.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let bytes = self.inner.tube.ring().map_or(0, Ring::capacity_bytes);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// Closes the queue for producers. What is in it can still be taken; then consumers get
    /// [`Error::Closed`] too, those that wait at once. Every `put` that has returned will be taken.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if a producer kept its lock for a second: one that is stopped, say.
    pub fn close(&self) -> Result<()> {
        self.inner.tube.close()
    }

    /// Closes the queue for all, at once. Returns how many messages in it were lost.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked from the process that has this handle.
    pub fn close_now(&self) -> Result<u64> {
        self.inner.tube.close_now()
    }

    /// Whether the queue was closed, in either way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.tube.ring().map_or(true, Ring::is_closed)
    }

    pub(super) fn tube(&self) -> &Tube {
        &self.inner.tube
    }
}

impl<T> Clone for JoinableQueue<T> {
    fn clone(&self) -> JoinableQueue<T> {
        JoinableQueue { inner: Arc::clone(&self.inner), values: PhantomData }
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

/// Inside the codec of a task only.
impl<T> Serialize for JoinableQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        transfer::serialize_object(self.inner.tube.memory(), serializer)
    }
}

/// Inside the codec of a task only.
impl<'de, T> Deserialize<'de> for JoinableQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let tag = transfer::type_tag::<T>();
        let memory = transfer::deserialize_object(deserializer, Kind::JoinableQueue, tag)?;
        let tube = Tube::attach(memory, size_of::<Words>(), NAME).map_err(D::Error::custom)?;
        let taken = words(tube.memory());
        Ok(JoinableQueue { inner: Arc::new(Inner::new(tube, taken)), values: PhantomData })
    }
}
