//! A reentrant lock between processes.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::guard::Held;
use crate::error::{Error, Result};
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::sync::Timeout;
use crate::sync::raw::{RawReentrantGuard, RawReentrantLock, ReentrantWords};

/// A lock that its holding thread may take again.
///
/// Each `lock` needs one release; the last one frees the lock. It guards no value, since a thread
/// that holds it twice must not get two `&mut`.
///
/// If a process is killed while it holds the lock, the lock comes free at any depth, and the next
/// guard is [`recovered`](ReentrantGuard::recovered). The death of a waiting process has no effect.
///
/// # Examples
///
/// ```
/// use brigade::shared::ReentrantLock;
///
/// let lock = ReentrantLock::new()?;
/// let outer = lock.lock()?;
/// let inner = lock.lock()?;
/// assert_eq!(lock.depth(), 2);
/// drop((outer, inner));
/// assert!(!lock.is_locked());
/// assert!(lock.release().is_err(), "it is free");
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// Its guards stay on their thread:
///
/// ```compile_fail,E0277
/// let lock = brigade::shared::ReentrantLock::new().unwrap();
/// let guard = lock.lock().unwrap();
/// std::thread::scope(|scope| scope.spawn(move || drop(guard)));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReentrantLock(ObjectHandle<RawReentrantLock>);

impl Primitive for RawReentrantLock {
    type Init = ();
    const KIND: Kind = Kind::ReentrantLock;

    fn size((): &()) -> Result<(u32, usize)> {
        Ok((1, size_of::<ReentrantWords>()))
    }

    fn make(memory: &Memory, (): &()) -> Result<Self> {
        let lock = Self::attach(memory)?;
        lock.register()?;
        Ok(lock)
    }

    fn attach(memory: &Memory) -> Result<Self> {
        check_body(memory, size_of::<ReentrantWords>())?;
        // SAFETY: aligned, inside, checked above, and zero or such words since it was made; the
        // owner, which the lock keeps, keeps the memory. Registered by `make`.
        Ok(unsafe { Self::new(memory.body().0.cast(), memory.owner()) })
    }
}

impl fmt::Debug for ReentrantLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReentrantLock").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

impl ReentrantLock {
    /// Makes a lock.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace) without memory for it;
    /// [`Error::Os`](crate::Error::Os).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::ReentrantLock::new()?;
    /// assert!(!lock.is_locked());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new() -> Result<ReentrantLock> {
        ObjectHandle::new(&()).map(ReentrantLock)
    }

    /// Takes the lock: at once if the calling thread holds it, else it waits without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`](crate::Error::Closed) in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::ReentrantLock::new()?;
    /// let _both = (lock.lock()?, lock.lock()?);
    /// assert_eq!(lock.depth(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lock(&self) -> Result<ReentrantGuard<'_>> {
        self.lock_until(Timeout::Never, Duration::MAX)
    }

    /// Takes the lock if no other thread holds it, or returns `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`lock`](ReentrantLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::ReentrantLock::new()?;
    /// let _guard = lock.lock()?;
    /// assert!(lock.try_lock()?.is_some(), "this thread holds it");
    /// std::thread::scope(|scope| {
    ///     let is_refused = || lock.try_lock().unwrap().is_none();
    ///     assert!(scope.spawn(is_refused).join().unwrap());
    /// });
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_lock(&self) -> Result<Option<ReentrantGuard<'_>>> {
        let guard = self.0.get()?.lock(Timeout::Now);
        Ok(guard.map(|guard| ReentrantGuard(Held::new(guard, self.0.memory()))))
    }

    /// Waits for the lock at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`](crate::Error::TimedOut) if others held it until then; and as for
    /// [`lock`](ReentrantLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = brigade::shared::ReentrantLock::new()?;
    /// let _guard = lock.lock()?;
    /// std::thread::scope(|scope| {
    ///     let is_late = || lock.lock_timeout(Duration::from_millis(1)).is_err();
    ///     assert!(scope.spawn(is_late).join().unwrap());
    /// });
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> Result<ReentrantGuard<'_>> {
        self.lock_until(Timeout::after(timeout), timeout)
    }

    fn lock_until(&self, timeout: Timeout, after: Duration) -> Result<ReentrantGuard<'_>> {
        let guard = self.0.get()?.lock(timeout);
        let guard = guard.ok_or(Error::TimedOut { what: "the lock", after })?;
        Ok(ReentrantGuard(Held::new(guard, self.0.memory())))
    }

    /// Releases the lock once, as dropping a guard does; for a guard that was forgotten.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`](crate::Error::InvalidArgument) if the calling thread does not
    /// hold it; and as for [`lock`](ReentrantLock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::ReentrantLock::new()?;
    /// std::mem::forget(lock.lock()?);
    /// lock.release()?;
    /// assert!(lock.release().is_err(), "it is free");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn release(&self) -> Result<()> {
        self.0.get()?.release()
    }

    /// Whether a thread holds it. The answer may be outdated at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.get().is_ok_and(RawReentrantLock::is_locked)
    }

    /// How many times the calling thread holds it.
    #[must_use]
    pub fn depth(&self) -> u32 {
        self.0.get().map_or(0, RawReentrantLock::depth)
    }
}

named_object! {
    impl [] ReentrantLock {
        create() = ();
        example "brigade::shared" "ReentrantLock" "" "";
    }
}

/// The lock, taken once. Dropping it releases it once.
///
/// # Examples
///
/// ```
/// let lock = brigade::shared::ReentrantLock::new()?;
/// let outer = lock.lock()?;
/// drop(lock.lock()?);
/// assert_eq!(lock.depth(), 1);
/// drop(outer);
/// assert!(!lock.is_locked());
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
#[derive(Debug)]
pub struct ReentrantGuard<'a>(Held<'a, RawReentrantGuard<'a>>);

impl ReentrantGuard<'_> {
    /// Whether the last holder died, so that the guarded data may be half written. True only for
    /// the first guard after the death.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.0.recovered()
    }
}
