//! An event between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::sync::{EventWord, RawEvent, Reset, Timeout};

/// An event: set it, reset it, wait until it is set.
///
/// An event made by [`new`](Event::new) stays set until it is [reset](Event::reset), and releases
/// all waiters. One made by [`auto_reset`](Event::auto_reset) releases one waiter for each set.
///
/// If a process is killed in [`set`](Event::set), the event is set and all waiters continue, or it
/// is not set. A killed waiter of an auto-reset event has either consumed the set or not. If it
/// has, its work stays undone: let the setter notice deaths, or use a
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
pub struct Event(ObjectHandle<RawEvent>);

impl Primitive for RawEvent {
    type Init = Reset;
    const KIND: Kind = Kind::Event;

    fn size(_: &Reset) -> Result<(u32, usize)> {
        Ok((1, size_of::<EventWord>()))
    }

    fn make(memory: &Memory, &reset: &Reset) -> Result<Self> {
        let word = memory.body().0.cast::<EventWord>();
        // SAFETY: aligned, as large as `size` returned, and without another user.
        unsafe { word.write(EventWord::new(reset)) };
        let event = Self::attach(memory)?;
        event.register(memory.owner().table())?;
        Ok(event)
    }

    fn attach(memory: &Memory) -> Result<Self> {
        check_body(memory, size_of::<EventWord>())?;
        let word = memory.body().0.cast::<EventWord>();
        // SAFETY: aligned, inside, checked above, and an event word since it was made; the
        // handle keeps the memory beside it.
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
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::new()?;
    /// assert!(!event.is_set());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new() -> Result<Event> {
        ObjectHandle::new(&Reset::Manual).map(Event)
    }

    /// Makes an event that releases one waiter for each set. It is not set.
    ///
    /// # Errors
    ///
    /// As for [`new`](Event::new).
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::auto_reset()?;
    /// event.set()?;
    /// assert!(event.try_wait()?);
    /// assert!(!event.try_wait()?, "the first wait has reset it");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn auto_reset() -> Result<Event> {
        ObjectHandle::new(&Reset::Auto).map(Event)
    }

    /// Sets the event. The waiters that it releases see what was written before.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::new()?;
    /// event.set()?;
    /// event.wait()?;
    /// assert!(event.is_set());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn set(&self) -> Result<()> {
        self.0.get()?.set();
        Ok(())
    }

    /// Resets the event. Returns whether it was set.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::new()?;
    /// event.set()?;
    /// assert!(event.reset()?);
    /// assert!(!event.reset()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn reset(&self) -> Result<bool> {
        Ok(self.0.get()?.reset())
    }

    /// Whether the event is set. The answer may be outdated at once.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.get().is_ok_and(RawEvent::is_set)
    }

    /// Waits until the event is set, without a limit.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::new()?;
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| event.set().unwrap());
    ///     event.wait()
    /// })?;
    /// assert!(event.is_set());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait(&self) -> Result<()> {
        self.wait_until(Timeout::Never, Duration::MAX)
    }

    /// Whether the event is set. Resets an auto-reset event. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`set`](Event::set).
    ///
    /// # Examples
    ///
    /// ```
    /// let event = brigade::shared::Event::new()?;
    /// assert!(!event.try_wait()?);
    /// event.set()?;
    /// assert!(event.try_wait()?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_wait(&self) -> Result<bool> {
        Ok(self.0.get()?.wait(Timeout::Now))
    }

    /// Waits until the event is set, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) if it was not set in that time; and as for
    /// [`set`](Event::set).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::{Error, shared::Event};
    /// let event = Event::new()?;
    /// let late = event.wait_timeout(Duration::from_millis(1));
    /// assert!(matches!(late, Err(Error::TimedOut { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<()> {
        self.wait_until(Timeout::after(timeout), timeout)
    }

    fn wait_until(&self, timeout: Timeout, after: Duration) -> Result<()> {
        if self.0.get()?.wait(timeout) {
            return Ok(());
        }
        Err(Error::TimedOut { what: "the event", after })
    }
}

named_object! {
    impl [] Event {
        create(reset: Reset) = reset;
        example "brigade::shared" "Event" "" ", brigade::sync::Reset::Auto";
    }
}
