//! A semaphore between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guard::Held;
use crate::error::{Error, Result};
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};
use crate::sync::Timeout;
use crate::sync::raw::{PERMITS_MAX, RawPermit, RawSemaphore};

/// The least maximum of permits of a [`Semaphore`].
const PERMITS: u32 = 1024;

impl Primitive for RawSemaphore {
    /// The initial and the largest number of permits.
    type Init = (u32, u32);
    const KIND: Kind = Kind::Semaphore;

    fn size(&(_, permits_max): &(u32, u32)) -> Result<(u32, usize)> {
        // A number that is too large is refused by `make`, and needs no space.
        Ok((2, RawSemaphore::size_bytes(permits_max.min(PERMITS_MAX))))
    }

    fn make(memory: &Memory, &(permits, permits_max): &(u32, u32)) -> Result<Self> {
        let (body, owner) = (memory.body().0, memory.owner());
        // SAFETY: aligned, as large as `size` returned unless `permits_max` is refused; without
        // another user; the owner, which the semaphore keeps, keeps the memory.
        unsafe { RawSemaphore::create(body, permits, permits_max, owner) }
    }

    fn attach(memory: &Memory) -> Result<Self> {
        let (body, body_bytes) = memory.body();
        // SAFETY: aligned and of that size; the owner, which the semaphore keeps, keeps the
        // memory, and is one of its table.
        unsafe { RawSemaphore::attach(body, body_bytes, memory.owner()) }
    }
}

/// A semaphore: a number of permits, which processes take and return.
///
/// [`acquire`](Semaphore::acquire) takes a permit, or waits for one. The permit is returned when it
/// is dropped. A permit that is [forgotten](Permit::forget) is consumed, and
/// [`release`](Semaphore::release) adds one. So a semaphore from [`new`](Semaphore::new) can count
/// items that some processes produce and others consume. One from [`bounded`](Semaphore::bounded)
/// limits how many processes do something at once: there are never more permits than at first, as
/// with Python's `BoundedSemaphore`.
///
/// If a process is killed while it holds permits, they are returned, and [`Permit::recovered`] is
/// true for the next holder. A permit that was forgotten stays consumed until a release. A process
/// that is killed in `acquire` or `release` has taken or added one whole permit or none.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::Semaphore;
///
/// fn make(ready: Semaphore) {
///     ready.release().unwrap();
/// }
///
/// let pool = Pool::builder().workers(1).build()?;
/// let ready = Semaphore::new(0)?;
/// let made = pool.submit(make, ready.clone())?;
/// ready.acquire()?.forget();
/// assert_eq!(ready.available(), 0);
/// made.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Semaphore(ObjectHandle<RawSemaphore>);

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish_non_exhaustive()
    }
}

impl Semaphore {
    /// Makes a semaphore with `permits` permits, 0 to 16 383. Releases can raise their number to
    /// 1024, or to twice `permits` if that is more (but never above 16 383).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] for more than 16 383; [`Error::NoSpace`] without memory for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::new(1)?;
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(permits: u32) -> Result<Semaphore> {
        let doubled = permits.saturating_mul(2).min(PERMITS_MAX);
        Semaphore::with_max(permits, doubled.max(PERMITS).max(permits))
    }

    /// Makes a semaphore with `permits` permits, 1 to 16 383, and never more. A release of a permit
    /// that was not forgotten is an error.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] out of that range; [`Error::NoSpace`] without memory for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::Semaphore;
    ///
    /// let doors = Semaphore::bounded(2)?;
    /// let (first, second) = (doors.acquire()?, doors.acquire()?);
    /// assert!(doors.try_acquire()?.is_none());
    /// drop(first);
    /// second.forget();
    /// doors.release()?;
    /// assert!(doors.release().is_err(), "both are available already");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn bounded(permits: u32) -> Result<Semaphore> {
        Semaphore::with_max(permits, permits)
    }

    /// Makes a semaphore with `permits` permits that releases can raise to `permits_max`: 1 to
    /// 16 383, four bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `permits_max` is out of that range, or less than `permits`;
    /// [`Error::NoSpace`] without memory for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::with_max(0, 1)?;
    /// semaphore.release()?;
    /// assert!(semaphore.release().is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn with_max(permits: u32, permits_max: u32) -> Result<Semaphore> {
        ObjectHandle::new(&(permits, permits_max)).map(Semaphore)
    }

    /// Takes a permit; waits for one without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::new(1)?;
    /// let permit = semaphore.acquire()?;
    /// assert_eq!(semaphore.available(), 0);
    /// drop(permit);
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.acquire_until(Timeout::Never, Duration::MAX)
    }

    /// Takes a permit, or returns `None` if none is available. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::new(1)?;
    /// let permit = semaphore.try_acquire()?;
    /// assert!(permit.is_some() && semaphore.try_acquire()?.is_none());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        let permit = self.0.get()?.acquire(Timeout::Now);
        Ok(permit.map(|permit| Permit(Held::new(permit, self.0.memory()))))
    }

    /// Takes a permit; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if none was available in that time; and as for
    /// [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let semaphore = brigade::shared::Semaphore::new(0)?;
    /// assert!(semaphore.acquire_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.acquire_until(Timeout::after(timeout), timeout)
    }

    fn acquire_until(&self, timeout: Timeout, after: Duration) -> Result<Permit<'_>> {
        let permit = self.0.get()?.acquire(timeout);
        let permit = permit.ok_or(Error::TimedOut { what: "a permit", after })?;
        Ok(Permit(Held::new(permit, self.0.memory())))
    }

    /// Adds a permit, and wakes a process that waits for one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if there would be more than the maximum, including held ones; and
    /// as for [`acquire`](Semaphore::acquire).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::new(0)?;
    /// semaphore.release()?;
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.0.get()?.release()
    }

    /// The number of available permits. It may be outdated at once.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.get().map_or(0, RawSemaphore::available)
    }
}

named_object! {
    impl [] Semaphore {
        create(permits: u32, permits_max: u32) = (permits, permits_max);
        example "brigade::shared" "Semaphore" "" ", 1, 10";
    }
}

/// A permit, held. Dropping it returns it.
///
/// # Examples
///
/// ```
/// let semaphore = brigade::shared::Semaphore::new(1)?;
/// let permit = semaphore.acquire()?;
/// assert!(!permit.recovered());
/// drop(permit);
/// assert_eq!(semaphore.available(), 1);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct Permit<'a>(Held<'a, RawPermit<'a>>);

impl Permit<'_> {
    /// Whether its last holder died while it held it. True for one holder only.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.0.recovered()
    }

    /// Consumes the permit. It is not returned, even if the process dies, until a permit is
    /// [released](Semaphore::release).
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = brigade::shared::Semaphore::new(1)?;
    /// semaphore.acquire()?.forget();
    /// assert_eq!(semaphore.available(), 0);
    /// semaphore.release()?;
    /// assert_eq!(semaphore.available(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn forget(self) {
        let (permit, memory) = self.0.into_guard();
        match memory.check() {
            Ok(()) => permit.forget(),
            Err(_) => std::mem::forget(permit),
        }
    }
}
