//! The least that a queue can be.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::SendError;
use crate::channel::tube::{Size, Tube};
use crate::error::Result;
use crate::object::transfer;
use crate::object::{Kind, Site};
use crate::sync::Timeout;

/// What errors call it.
const NAME: &str = "the simple queue";
/// A message of this length fits, in bytes; all of them together have twice that.
const CAPACITY_BYTES: usize = 64 << 10;

/// A queue with `put`, `get` and nothing that needs a choice: bounded by 128 KiB of messages,
/// so that each of 64 KiB fits.
///
/// For everything else as [`Queue`](crate::Queue).
///
/// # Examples
///
/// ```
/// use brigade::{Pool, SimpleQueue};
/// let pool = Pool::builder().workers(1).build()?;
/// let queue = SimpleQueue::new()?;
/// let task = pool.submit(|queue: SimpleQueue<String>| queue.get().unwrap().len(), queue.clone())?;
/// queue.put("mise en place".to_owned())?;
/// assert_eq!(task.join()?, 13);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct SimpleQueue<T> {
    tube: Arc<Tube>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> SimpleQueue<T> {
    /// A queue without messages.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace).
    pub fn new() -> Result<SimpleQueue<T>> {
        SimpleQueue::make_at(Site::Arena)
    }

    pub(super) fn make_at(site: Site<'_>) -> Result<SimpleQueue<T>> {
        let size = Size { messages_max: u64::MAX, capacity_bytes: CAPACITY_BYTES };
        Tube::create(site, Self::identity(), size, (0, 0), |_| Ok(())).map(SimpleQueue::over)
    }

    /// What tells its memory from another primitive's, and what errors call it.
    pub(super) fn identity() -> (Kind, u64, &'static str) {
        (Kind::SimpleQueue, transfer::type_tag::<T>(), NAME)
    }

    pub(super) fn over(tube: Tube) -> SimpleQueue<T> {
        SimpleQueue { tube: Arc::new(tube), values: PhantomData }
    }

    /// Appends a value; waits for room, without a bound.
    ///
    /// # Errors
    ///
    /// As [`Queue::put`](crate::Queue::put).
    pub fn put(&self, value: T) -> std::result::Result<(), SendError<T>>
    where
        T: Serialize,
    {
        self.tube.put(value, Timeout::Never)
    }

    /// Takes the oldest value; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// As [`Queue::get`](crate::Queue::get).
    pub fn get(&self) -> Result<T>
    where
        T: DeserializeOwned,
    {
        self.tube.get(Timeout::Never)
    }

    /// Whether there is no message. One may arrive before the caller has looked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tube.len() == 0
    }

    /// Closes the queue for producers; what is in it can still be taken.
    ///
    /// # Errors
    ///
    /// As [`Queue::close`](crate::Queue::close).
    pub fn close(&self) -> Result<()> {
        self.tube.close()
    }

    pub(super) fn tube(&self) -> &Tube {
        &self.tube
    }
}

impl<T> Clone for SimpleQueue<T> {
    fn clone(&self) -> SimpleQueue<T> {
        SimpleQueue { tube: Arc::clone(&self.tube), values: PhantomData }
    }
}

impl<T> fmt::Debug for SimpleQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimpleQueue").field("len", &self.tube.len()).finish_non_exhaustive()
    }
}

/// Inside the codec of a task only.
impl<T> Serialize for SimpleQueue<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        transfer::serialize_object(self.tube.memory(), serializer)
    }
}

/// Inside the codec of a task only.
impl<'de, T> Deserialize<'de> for SimpleQueue<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let tag = transfer::type_tag::<T>();
        let memory = transfer::deserialize_object(deserializer, Kind::SimpleQueue, tag)?;
        let tube = Tube::attach(memory, 0, NAME).map_err(D::Error::custom)?;
        Ok(SimpleQueue { tube: Arc::new(tube), values: PhantomData })
    }
}
