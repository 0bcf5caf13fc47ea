//! A condition variable between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::{Duration, Instant};

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::guard::LockError;
use super::lock::LockGuard;
use crate::error::Result;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, named_object};
use crate::sync::Timeout;
use crate::sync::raw::RawCondvar;

/// Waiters that are notified one by one.
const WAITERS: u32 = 250;

/// The outcome of a wait.
type WaitResult<'a, T, R> = std::result::Result<R, LockError<LockGuard<'a, T>>>;

/// A condition variable: waits for a change of the value that a [`Lock`](super::Lock) guards.
///
/// [`notify`](Condvar::notify) of n wakes exactly n waiters, or all if there are fewer. A
/// notification is not kept for later waiters. (Of more than 250 waiters at a time, the others may
/// wake at any notification.) Use it with one lock.
///
/// If a process is killed while it waits, notifies or changes the condition, all waiters wake and
/// test their condition again. So a waiter does not miss a notification that the dead process
/// received or did not make. (A process that changes the condition must have a handle of the
/// condition variable too, or its death is not noticed here.) If it held the lock, a waiter gets
/// [`LockError::OwnerDied`].
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::{Condvar, Lock};
///
/// fn fill((level, risen): (Lock<u32>, Condvar)) {
///     *level.lock().unwrap() = 7;
///     risen.notify_all().unwrap();
/// }
///
/// let pool = Pool::builder().workers(1).build()?;
/// let (level, risen) = (Lock::new(0)?, Condvar::new()?);
/// let filling = pool.submit(fill, (level.clone(), risen.clone()))?;
/// let guard = risen.wait_while(level.lock()?, |level| *level < 5)?;
/// assert_eq!(*guard, 7);
/// drop(guard);
/// filling.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Condvar(ObjectHandle<RawCondvar>);

impl Primitive for RawCondvar {
    type Init = ();
    const KIND: Kind = Kind::Condvar;

    fn size((): &()) -> Result<(u32, usize)> {
        Ok((2, RawCondvar::size_bytes(WAITERS)))
    }

    fn make(memory: &Memory, (): &()) -> Result<Self> {
        // SAFETY: aligned, as large as `size` returned, without another user; the owner, which it
        // keeps, keeps the memory.
        unsafe { RawCondvar::create(memory.body().0, WAITERS, memory.owner()) }
    }

    fn attach(memory: &Memory) -> Result<Self> {
        let (body, body_bytes) = memory.body();
        // SAFETY: aligned and of that size; the owner, which it keeps, keeps the memory, and is
        // one of its table.
        unsafe { RawCondvar::attach(body, body_bytes, memory.owner()) }
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiters", &self.waiters()).finish_non_exhaustive()
    }
}

impl Condvar {
    /// Makes a condition variable.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] without memory for it; [`Error::Os`].
    ///
    /// [`Error::NoSpace`]: crate::Error::NoSpace
    /// [`Error::Os`]: crate::Error::Os
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(brigade::shared::Condvar::new()?.waiters(), 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new() -> Result<Condvar> {
        ObjectHandle::new(&()).map(Condvar)
    }

    /// How many waiters have not been notified. The number may be outdated at once.
    #[must_use]
    pub fn waiters(&self) -> usize {
        self.0.get().map_or(0, RawCondvar::waiters)
    }

    /// Wakes one waiter.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] in a child that was forked by hand.
    ///
    /// [`Error::Closed`]: crate::Error::Closed
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(0u8)?, Condvar::new()?);
    /// std::thread::scope(|scope| {
    ///     let wait = || *changed.wait_while(number.lock().unwrap(), |n| *n == 0).unwrap();
    ///     let waiter = scope.spawn(wait);
    ///     *number.lock().unwrap() = 7;
    ///     changed.notify_one().unwrap();
    ///     assert_eq!(waiter.join().unwrap(), 7);
    /// });
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn notify_one(&self) -> Result<()> {
        self.notify(1).map(drop)
    }

    /// Wakes all waiters.
    ///
    /// # Errors
    ///
    /// As for [`notify_one`](Condvar::notify_one).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(0u8)?, Condvar::new()?);
    /// std::thread::scope(|scope| {
    ///     let wait = || *changed.wait_while(number.lock().unwrap(), |n| *n == 0).unwrap();
    ///     let waiter = scope.spawn(wait);
    ///     *number.lock().unwrap() = 7;
    ///     changed.notify_all().unwrap();
    ///     assert_eq!(waiter.join().unwrap(), 7);
    /// });
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn notify_all(&self) -> Result<()> {
        self.notify(usize::MAX).map(drop)
    }

    /// Wakes `waiters` waiters, or all if there are fewer, and returns how many. Change the
    /// condition under the lock before the call; the call itself needs no lock.
    ///
    /// # Errors
    ///
    /// As for [`notify_one`](Condvar::notify_one).
    ///
    /// # Examples
    ///
    /// ```
    /// let changed = brigade::shared::Condvar::new()?;
    /// assert_eq!(changed.notify(3)?, 0, "no thread waits");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn notify(&self, waiters: usize) -> Result<usize> {
        Ok(self.0.get()?.notify(waiters))
    }

    /// Unlocks, waits for a notification, and locks again.
    ///
    /// It may return without a notification if a process died: test the condition in a loop, or
    /// use [`wait_while`](Condvar::wait_while).
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, if a holder died or panicked meanwhile;
    /// [`LockError::Failed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(0u8)?, Condvar::new()?);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| {
    ///         *number.lock().unwrap() = 7;
    ///         changed.notify_one().unwrap();
    ///     });
    ///     let mut guard = number.lock()?;
    ///     while *guard == 0 {
    ///         guard = changed.wait(guard)?;
    ///     }
    ///     assert_eq!(*guard, 7);
    ///     Ok::<(), brigade::Error>(())
    /// })?;
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait<'a, T: Pod>(&self, guard: LockGuard<'a, T>) -> WaitResult<'a, T, LockGuard<'a, T>> {
        let condvar = self.0.get()?;
        guard.through(|guard| condvar.wait(guard, Timeout::Never)).0
    }

    /// As [`wait`](Condvar::wait), at most for `timeout`; then waits for the lock, without a limit.
    /// Also returns whether it was notified (or a process died) in time.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Condvar::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(0u8)?, Condvar::new()?);
    /// let (guard, was_notified) = changed.wait_timeout(number.lock()?, Duration::from_millis(1))?;
    /// assert_eq!((*guard, was_notified), (0, false));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_timeout<'a, T: Pod>(
        &self,
        guard: LockGuard<'a, T>,
        timeout: Duration,
    ) -> WaitResult<'a, T, (LockGuard<'a, T>, bool)> {
        let condvar = self.0.get()?;
        let (guard, in_time) = guard.through(|guard| condvar.wait(guard, Timeout::after(timeout)));
        Ok((guard?, in_time.unwrap_or(false)))
    }

    /// Waits while `condition` is true; it is tested with the lock held.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Condvar::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(7u8)?, Condvar::new()?);
    /// // The condition is false already: it does not wait.
    /// assert_eq!(*changed.wait_while(number.lock()?, |n| *n == 0)?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_while<'a, T: Pod>(
        &self,
        mut guard: LockGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> WaitResult<'a, T, LockGuard<'a, T>> {
        while condition(&mut guard) {
            guard = self.wait(guard)?;
        }
        Ok(guard)
    }

    /// Waits until `predicate` is true, at most for `timeout`. Returns its last result, from a test
    /// with the lock held: false only after `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`wait`](Condvar::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use brigade::shared::{Condvar, Lock};
    /// let (number, changed) = (Lock::new(0u8)?, Condvar::new()?);
    /// let timeout = Duration::from_millis(1);
    /// let (_guard, is_set) = changed.wait_for(number.lock()?, timeout, |n| *n > 0)?;
    /// assert!(!is_set);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn wait_for<'a, T: Pod>(
        &self,
        mut guard: LockGuard<'a, T>,
        timeout: Duration,
        mut predicate: impl FnMut(&mut T) -> bool,
    ) -> WaitResult<'a, T, (LockGuard<'a, T>, bool)> {
        // None if the clock cannot represent the end.
        let end = Instant::now().checked_add(timeout);
        while !predicate(&mut guard) {
            let left = end.map_or(timeout, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok((guard, false));
            }
            (guard, _) = self.wait_timeout(guard, left)?;
        }
        Ok((guard, true))
    }
}

named_object! {
    impl [] Condvar {
        create() = ();
        example "brigade::shared" "Condvar" "" "";
    }
}
