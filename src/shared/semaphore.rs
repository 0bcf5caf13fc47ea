//! Semaphores between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guard::Held;
use crate::error::Result;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};
use crate::sync;

/// Permits that a [`Semaphore`] can have at least.
const PERMITS: u32 = 1024;

/// A semaphore whose kind says whether it is bounded.
#[derive(Debug, Clone)]
struct Permits<const BOUNDED: bool>(sync::Semaphore);

impl<const BOUNDED: bool> Primitive for Permits<BOUNDED> {
    /// Permits at first, and at most.
    type Init = (u32, u32);
    const KIND: Kind = if BOUNDED { Kind::BoundedSemaphore } else { Kind::Semaphore };

    fn size(&(_, permits_max): &(u32, u32)) -> Result<(u32, usize)> {
        // What is too many is refused by `make`, and need not have room.
        Ok((2, sync::Semaphore::size_bytes(permits_max.min(sync::PERMITS_MAX))))
    }

    fn make(memory: &Memory, &(permits, permits_max): &(u32, u32)) -> Result<Self> {
        let (body, owner) = (memory.body().0, memory.owner());
        // SAFETY: aligned, as large as `size` said, unless it refuses `permits_max`; unknown to
        // others; the owner, which the semaphore keeps, keeps the memory.
        let semaphore = unsafe { sync::Semaphore::create(body, permits, permits_max, owner) };
        semaphore.map(Permits)
    }

    fn attach(memory: &Memory) -> Result<Self> {
        let (body, body_bytes) = memory.body();
        // SAFETY: aligned and of that size; the owner, which the semaphore keeps, keeps the
        // memory, and is one of its table.
        let semaphore = unsafe { sync::Semaphore::attach(body, body_bytes, memory.owner()) };
        semaphore.map(Permits)
    }
}

impl<const BOUNDED: bool> ObjectHandle<Permits<BOUNDED>> {
    fn permit<'a>(&'a self, permit: sync::Permit<'a>) -> Permit<'a> {
        Permit(Held::new(permit, self.memory()))
    }

    fn acquire(&self) -> Result<Permit<'_>> {
        Ok(self.permit(self.get()?.0.acquire()))
    }

    fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        Ok(self.get()?.0.try_acquire().map(|permit| self.permit(permit)))
    }

    fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        Ok(self.permit(self.get()?.0.acquire_timeout(timeout)?))
    }

    fn release(&self) -> Result<()> {
        self.get()?.0.release()
    }

    fn available(&self) -> usize {
        self.get().map_or(0, |semaphore| semaphore.0.available())
    }
}

/// A semaphore that counts: things that some make and others use up.
///
/// [`acquire`](Semaphore::acquire) takes a permit or waits for one. The permit goes back when it
/// is dropped; one that is [forgotten](Permit::forget) is used up. [`release`](Semaphore::release)
/// adds one, up to a stated most, whoever calls it.
///
/// If a process is killed while it holds permits, they go back, and who gets them next is told by
/// [`Permit::recovered`]. A permit that was forgotten stays used up. One that is killed while it
/// waits, or in `release`, has taken or added one whole permit or none.
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
pub struct Semaphore(ObjectHandle<Permits<false>>);

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("available", &self.available()).finish_non_exhaustive()
    }
}

impl Semaphore {
    /// Makes a semaphore with so many permits. There can be 1024 in all, or twice as many as at
    /// first if that is more (but never more than 16 383).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) for more than 16 383;
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it.
    pub fn new(permits: u32) -> Result<Semaphore> {
        Semaphore::with_max(permits, usual_max(permits))
    }

    /// Makes a semaphore with so many permits, and at most `permits_max` in all: 1 to 16 383, four
    /// bytes each.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if that is out of range, or less
    /// than `permits`; [`Error::NoSpace`](crate::Error::NoSpace) without memory for it.
    pub fn with_max(permits: u32, permits_max: u32) -> Result<Semaphore> {
        ObjectHandle::new(&(permits, permits_max)).map(Semaphore)
    }

    /// Takes a permit; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.0.acquire()
    }

    /// Takes a permit if there is one, else is `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](Semaphore::acquire).
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.0.try_acquire()
    }

    /// Takes a permit; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) if there was none all the time; and as for
    /// [`acquire`](Semaphore::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.0.acquire_timeout(timeout)
    }

    /// Adds a permit, and wakes one who waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if there would be more than there
    /// can be, those held included; and as for [`acquire`](Semaphore::acquire).
    pub fn release(&self) -> Result<()> {
        self.0.release()
    }

    /// How many permits are there to be taken. That may change before the caller has looked.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.available()
    }
}

named_object! {
    impl [] Semaphore {
        create(permits: u32) = (permits, usual_max(permits));
        example "brigade::shared" "Semaphore" "" ", 2";
    }
}

/// A semaphore that limits how many do something at once.
///
/// It begins with all its permits, and there are never more: a release of one that nobody took is
/// an error. A permit goes back when it is dropped; who cannot keep it
/// [forgets](Permit::forget) it and [releases](BoundedSemaphore::release) one later.
///
/// If a process is killed while it holds permits, they go back, and who gets them next is told by
/// [`Permit::recovered`]. One that was forgotten does not: it waits for its release. One that is
/// killed while it waits harms nobody.
///
/// # Examples
///
/// ```
/// use brigade::shared::BoundedSemaphore;
///
/// let doors = BoundedSemaphore::new(2)?;
/// let (first, second) = (doors.acquire()?, doors.acquire()?);
/// assert!(doors.try_acquire()?.is_none());
/// drop(first);
/// second.forget();
/// doors.release()?;
/// assert!(doors.release().is_err(), "there are two already");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoundedSemaphore(ObjectHandle<Permits<true>>);

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let available = self.available();
        f.debug_struct("BoundedSemaphore").field("available", &available).finish_non_exhaustive()
    }
}

impl BoundedSemaphore {
    /// Makes a semaphore with so many permits: 1 to 16 383.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) out of that range;
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it.
    pub fn new(permits: u32) -> Result<BoundedSemaphore> {
        ObjectHandle::new(&(permits, permits)).map(BoundedSemaphore)
    }

    /// Takes a permit; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    pub fn acquire(&self) -> Result<Permit<'_>> {
        self.0.acquire()
    }

    /// Takes a permit if there is one, else is `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`acquire`](BoundedSemaphore::acquire).
    pub fn try_acquire(&self) -> Result<Option<Permit<'_>>> {
        self.0.try_acquire()
    }

    /// Takes a permit; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) if there was none all the time; and as for
    /// [`acquire`](BoundedSemaphore::acquire).
    pub fn acquire_timeout(&self, timeout: Duration) -> Result<Permit<'_>> {
        self.0.acquire_timeout(timeout)
    }

    /// Gives back a permit that was forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if none was: there would be more
    /// than at first; and as for [`acquire`](BoundedSemaphore::acquire).
    pub fn release(&self) -> Result<()> {
        self.0.release()
    }

    /// How many permits are there to be taken. That may change before the caller has looked.
    #[must_use]
    pub fn available(&self) -> usize {
        self.0.available()
    }
}

named_object! {
    impl [] BoundedSemaphore {
        create(permits: u32) = (permits, permits);
        example "brigade::shared" "BoundedSemaphore" "" ", 2";
    }
}

/// A permit, held. Dropping it gives it back.
#[must_use = "the permit is given back at once if it is not kept"]
#[derive(Debug)]
pub struct Permit<'a>(Held<'a, sync::Permit<'a>>);

impl Permit<'_> {
    /// Whether its last holder died while it held it. Said once.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.0.recovered()
    }

    /// Uses the permit up: it does not go back, neither now nor if the process dies, until
    /// somebody releases one.
    pub fn forget(self) {
        let (permit, memory) = self.0.into_guard();
        match memory.check() {
            Ok(()) => permit.forget(),
            Err(_) => std::mem::forget(permit),
        }
    }
}

/// How many permits a semaphore has room for if nothing else is said.
fn usual_max(permits: u32) -> u32 {
    let doubled = permits.saturating_mul(2).min(sync::PERMITS_MAX);
    doubled.max(PERMITS).max(permits)
}
