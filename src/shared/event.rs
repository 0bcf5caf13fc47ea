//! An event between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::carrier::{Carrier, Words, check_body};
use crate::error::Result;
use crate::object::{Kind, Memory};
use crate::sync::{self, EventWord, Reset};

/// An event: set it, reset it, wait until it is set.
///
/// One made by [`new`](Event::new) stays set until it is [reset](Event::reset), and releases all
/// who wait; one made by [`auto_reset`](Event::auto_reset) releases one waiter a set.
///
/// If a process is killed in [`set`](Event::set), the event is set and all who wait go on, or it
/// is not set. A waiter of an auto-reset event that is killed has taken the set, or left it; what
/// it was to do after that is not done by anybody, so let who sets notice deaths, or use a
/// [`Semaphore`](super::Semaphore).
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::Event;
///
/// fn signal(event: Event) {
///     event.set().unwrap();
/// }
///
/// let pool = Pool::builder().workers(1).build()?;
/// let event = Event::new()?;
/// let task = pool.submit(signal, event.clone())?;
/// event.wait()?;
/// assert!(event.is_set() && event.reset()?);
/// task.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event(Carrier<sync::Event>);

impl Words for sync::Event {
    type Init = Reset;
    const KIND: Kind = Kind::Event;

    fn size(_: &Reset) -> Result<(u32, usize)> {
        Ok((1, size_of::<EventWord>()))
    }

    fn make(memory: &Memory, reset: Reset) -> Result<Self> {
        let word = memory.body().0.cast::<EventWord>();
        // SAFETY: aligned, as large as `size` said, and unknown to others.
        unsafe { word.write(EventWord::new(reset)) };
        let event = Self::attach(memory)?;
        event.register(memory.owner().table())?;
        Ok(event)
    }

    fn attach(memory: &Memory) -> Result<Self> {
        check_body(memory, size_of::<EventWord>())?;
        let word = memory.body().0.cast::<EventWord>();
        // SAFETY: aligned, inside, checked above, and an event word since it was made; the
        // carrier keeps the memory beside it.
        Ok(unsafe { Self::new(word, memory.owner().watch()) })
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish_non_exhaustive()
    }
}

impl Event {
    /// Makes an event that stays set until it is reset. It is not set.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it;
    /// [`Error::Os`](crate::Error::Os).
    pub fn new() -> Result<Event> {
        Carrier::create(Reset::Manual).map(Event)
    }

    /// Makes an event that releases one waiter a set. It is not set.
    ///
    /// # Errors
    ///
    /// As for [`new`](Event::new).
    pub fn auto_reset() -> Result<Event> {
        Carrier::create(Reset::Auto).map(Event)
    }

    /// Sets the event. What was written before is visible to whoever it releases.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    pub fn set(&self) -> Result<()> {
        self.0.words()?.set();
        Ok(())
    }

    /// Resets the event. Returns whether it was set.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    pub fn reset(&self) -> Result<bool> {
        Ok(self.0.words()?.reset())
    }

    /// Whether the event is set. It may be reset before the caller has looked at the answer.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.words().is_ok_and(sync::Event::is_set)
    }

    /// Waits until the event is set, without a bound.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    pub fn wait(&self) -> Result<()> {
        self.0.words()?.wait();
        Ok(())
    }

    /// Whether the event is set; takes the set of one that resets itself. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    pub fn try_wait(&self) -> Result<bool> {
        Ok(self.0.words()?.try_wait())
    }

    /// Waits until the event is set, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) if it was not set in that time; and as for
    /// [`set`](Event::set).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.0.words()?.wait_timeout(timeout)
    }
}

/// With a name, for programs that share nothing else.
impl Event {
    /// Makes an event that is not set under a name, as [`Lock::create`](super::Lock::create) does.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create(name: &str, reset: Reset) -> Result<Event> {
        Carrier::create_named(name, reset).map(Event)
    }

    /// Opens the one of this name, as [`Lock::open`](super::Lock::open) does.
    ///
    /// # Errors
    ///
    /// The same.
    pub fn open(name: &str) -> Result<Event> {
        Carrier::open(name).map(Event)
    }

    /// Opens the one of this name, as it is, or makes it.
    ///
    /// # Errors
    ///
    /// Those of [`Lock::create_or_open`](super::Lock::create_or_open).
    pub fn create_or_open(name: &str, reset: Reset) -> Result<Event> {
        Carrier::create_or_open(name, reset).map(Event)
    }

    /// The name, without `/dev/shm/`, if it has one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.memory().name()
    }

    /// Removes the name; who has a handle goes on.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has no name, or the name means something
    /// else by now.
    pub fn unlink(&self) -> Result<()> {
        self.0.memory().unlink()
    }

    /// Lets the name outlive all handles, until someone unlinks it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has no name;
    /// [`Error::Os`](crate::Error::Os).
    pub fn keep(&self) -> Result<()> {
        self.0.memory().keep()
    }
}
