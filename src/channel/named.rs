//! Queues under a name, for programs that share nothing else.

use crate::channel::tube::Tube;
use crate::channel::{JoinableQueue, Queue, QueueBuilder, SimpleQueue};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::Site;

impl<T> QueueBuilder<T> {
    /// Makes the queue under a name in `/dev/shm`.
    ///
    /// # Errors
    ///
    /// As [`Queue::create`].
    pub fn create(self, name: &str) -> Result<Queue<T>> {
        self.build_at(Site::New(name))
    }

    /// Opens the queue of this name, as large as it is, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Queue::create_or_open`].
    pub fn create_or_open(self, name: &str) -> Result<Queue<T>> {
        self.build_at(Site::NewOrOld(name))
    }
}

/// Queues with a name.
impl<T> Queue<T> {
    /// Makes a queue for at most `capacity` messages under a name in `/dev/shm`, for programs of
    /// this user that know the name and the type; [`builder`](Queue::builder) makes others.
    ///
    /// Nobody sees the name before the queue is complete. The last program to drop its handle
    /// removes the name, and what is left in the queue goes with it, unless it was
    /// [kept](Queue::keep). A process that dies loses its place and nothing else: what it put is
    /// there, and a lock that it held comes free when the next one waits for it, within 100 ms.
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
    /// // What is not what one believes it to be is not opened.
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
    pub fn open(name: &str) -> Result<Queue<T>> {
        Tube::open(name, Self::identity(), 0).map(Queue::over)
    }

    /// Opens the queue of this name, whatever its capacity, or makes it.
    ///
    /// Of many programs that call this at once one makes it. What programs that died have left is
    /// replaced, not opened.
    ///
    /// # Errors
    ///
    /// As [`create`](Queue::create), [`Error::NameTaken`] excepted, and [`open`](Queue::open).
    pub fn create_or_open(name: &str, capacity: usize) -> Result<Queue<T>> {
        Queue::builder().capacity(capacity).create_or_open(name)
    }

    /// Its name, without `/dev/shm/`, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.tube().memory().name()
    }

    /// Removes the name. The queue stays usable for all that have it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name, or the name means something else by now.
    pub fn unlink(&self) -> Result<()> {
        self.tube().memory().unlink()
    }

    /// Lets the name, and what is in the queue, outlive all programs that have it, until someone
    /// unlinks it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name; [`Error::Os`].
    pub fn keep(&self) -> Result<()> {
        self.tube().memory().keep()
    }
}

/// Queues with a name.
impl<T> SimpleQueue<T> {
    /// As [`Queue::create`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create(name: &str) -> Result<SimpleQueue<T>> {
        SimpleQueue::make_at(Site::New(name))
    }

    /// As [`Queue::open`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open(name: &str) -> Result<SimpleQueue<T>> {
        Tube::open(name, Self::identity(), 0).map(SimpleQueue::over)
    }

    /// As [`Queue::create_or_open`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create_or_open(name: &str) -> Result<SimpleQueue<T>> {
        SimpleQueue::make_at(Site::NewOrOld(name))
    }

    /// Its name, without `/dev/shm/`, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.tube().memory().name()
    }

    /// Removes the name. The queue stays usable for all that have it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name, or the name means something else by now.
    pub fn unlink(&self) -> Result<()> {
        self.tube().memory().unlink()
    }

    /// Lets the name, and what is in the queue, outlive all programs that have it, until someone
    /// unlinks it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name; [`Error::Os`].
    pub fn keep(&self) -> Result<()> {
        self.tube().memory().keep()
    }
}

/// Queues with a name.
impl<T> JoinableQueue<T> {
    /// As [`Queue::create`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create(name: &str, capacity: usize) -> Result<JoinableQueue<T>> {
        JoinableQueue::make_at(Site::New(name), &Queue::builder().capacity(capacity))
    }

    /// As [`Queue::open`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open(name: &str) -> Result<JoinableQueue<T>> {
        JoinableQueue::open_at(name)
    }

    /// As [`Queue::create_or_open`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create_or_open(name: &str, capacity: usize) -> Result<JoinableQueue<T>> {
        JoinableQueue::make_at(Site::NewOrOld(name), &Queue::builder().capacity(capacity))
    }

    /// Its name, without `/dev/shm/`, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.memory().name()
    }

    /// Removes the name. The queue stays usable for all that have it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name, or the name means something else by now.
    pub fn unlink(&self) -> Result<()> {
        self.memory().unlink()
    }

    /// Lets the name, and what is in the queue, outlive all programs that have it, until someone
    /// unlinks it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] if it has no name; [`Error::Os`].
    pub fn keep(&self) -> Result<()> {
        self.memory().keep()
    }
}
