//! Many readers, or one writer, of data in shared memory.
#![allow(unsafe_code)]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::data::{Data, DataAccess};
use super::guard::{self, Held, LockError, LockResult, Poison, WriteAccess};
use crate::error::{Error, Result};
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::sync::Timeout;
use crate::sync::raw::{RawReadGuard, RawRwLock, RawWriteGuard};

/// The most concurrent readers of one lock. More wait.
const READERS: u32 = 252;

/// A lock for many readers or one writer of a value of type `T` in shared memory.
///
/// Writers have priority: while one waits, no new reader takes the lock. When a writer unlocks,
/// readers and other writers have equal chances. The lock is not reentrant: a thread that reads
/// twice may deadlock with a waiting writer. At most 252 readers hold it at a time; others wait.
///
/// If a writer is killed while it holds the lock or waits for readers to leave, or panics with it,
/// the lock is poisoned: each reader and writer gets [`LockError::OwnerDied`] with its guard, until
/// a writer has repaired the value. If a reader is killed, its share is released, and the lock is
/// not poisoned.
///
/// The guards of a lock with a name hold copies of the value, as do those of a
/// [`Lock`](super::Lock) with a name.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::RwLock;
///
/// let prices = RwLock::new([10u32, 20, 30])?;
/// let pool = Pool::builder().workers(2).build()?;
/// let sum = |prices: RwLock<[u32; 3]>| prices.read().unwrap().iter().sum::<u32>();
/// assert_eq!(pool.submit(sum, prices.clone())?.join()?, 60);
/// prices.write()?[0] += 1;
/// assert_eq!(pool.submit(sum, prices.clone())?.join()?, 61);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Pod")]
pub struct RwLock<T: Pod>(ObjectHandle<RwLockWords<T>>);

#[derive(Debug)]
struct RwLockWords<T> {
    lock: RawRwLock,
    data: Data<T>,
}

const WORDS_BYTES: usize = RawRwLock::size_bytes(READERS);

impl<T: Pod> Primitive for RwLockWords<T> {
    type Init = T;
    const KIND: Kind = Kind::RwLock;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(_: &T) -> Result<(u32, usize)> {
        Ok((2, Data::<T>::end(WORDS_BYTES)))
    }

    fn make(memory: &Memory, value: &T) -> Result<RwLockWords<T>> {
        check_body(memory, Data::<T>::end(WORDS_BYTES))?;
        // SAFETY: aligned, inside, checked above, without another user; the owner, which the lock
        // keeps, keeps the memory.
        let lock = unsafe { RawRwLock::create(memory.body().0, READERS, memory.owner()) }?;
        // SAFETY: checked above.
        let data = unsafe { Data::of(memory, WORDS_BYTES) };
        // SAFETY: the memory is being made.
        unsafe { data.init(*value) };
        Ok(RwLockWords { lock, data })
    }

    fn attach(memory: &Memory) -> Result<RwLockWords<T>> {
        check_body(memory, Data::<T>::end(WORDS_BYTES))?;
        // SAFETY: aligned, inside, checked above; the owner, which the lock keeps, keeps the
        // memory, and is one of its table.
        let lock = unsafe { RawRwLock::attach(memory.body().0, WORDS_BYTES, memory.owner()) }?;
        // SAFETY: checked above.
        Ok(RwLockWords { lock, data: unsafe { Data::of(memory, WORDS_BYTES) } })
    }
}

impl<T> Clone for RwLockWords<T> {
    fn clone(&self) -> RwLockWords<T> {
        RwLockWords { lock: self.lock.clone(), data: self.data }
    }
}

impl<T: Pod> Clone for RwLock<T> {
    fn clone(&self) -> RwLock<T> {
        RwLock(self.0.clone())
    }
}

impl<T: Pod> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("readers", &self.readers()).finish_non_exhaustive()
    }
}

impl<T: Pod> RwLock<T> {
    /// Makes a lock that guards `value`.
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
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// assert_eq!(*lock.read()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(value: T) -> Result<RwLock<T>> {
        ObjectHandle::new(&value).map(RwLock)
    }

    /// The number of readers. It may be outdated at once.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.0.get().map_or(0, |words| words.lock.readers())
    }

    /// Whether a writer has the lock, or waits for readers to leave.
    #[must_use]
    pub fn has_writer(&self) -> bool {
        self.0.get().is_ok_and(|words| words.lock.has_writer())
    }

    /// Waits until no writer has the lock or waits for it, without a limit.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, if the last writer died or panicked and no other
    /// has repaired the value; [`LockError::Failed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// let both = (lock.read()?, lock.read()?);
    /// assert_eq!((*both.0, *both.1, lock.readers()), (7, 7, 2));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn read(&self) -> LockResult<ReadGuard<'_, T>> {
        self.read_until(Timeout::Never, Duration::MAX)
    }

    /// Takes a share if no writer has the lock or waits for it, or returns `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`read`](RwLock::read).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// let writer = lock.write()?;
    /// assert!(lock.try_read()?.is_none());
    /// drop(writer);
    /// assert!(lock.try_read()?.is_some());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_read(
        &self,
    ) -> std::result::Result<Option<ReadGuard<'_, T>>, LockError<ReadGuard<'_, T>>> {
        let words = self.0.get()?;
        words.lock.read(Timeout::Now).map(|guard| self.reading(guard, words)).transpose()
    }

    /// Waits for a share at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] in [`LockError::Failed`]; and as for [`read`](RwLock::read).
    ///
    /// [`Error::TimedOut`]: crate::Error::TimedOut
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// let _writer = lock.write()?;
    /// assert!(lock.read_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn read_timeout(&self, timeout: Duration) -> LockResult<ReadGuard<'_, T>> {
        self.read_until(Timeout::after(timeout), timeout)
    }

    fn read_until(&self, timeout: Timeout, after: Duration) -> LockResult<ReadGuard<'_, T>> {
        let words = self.0.get()?;
        let guard = words.lock.read(timeout);
        self.reading(guard.ok_or(Error::TimedOut { what: "the lock for reading", after })?, words)
    }

    fn reading<'a>(
        &'a self,
        guard: RawReadGuard<'a>,
        words: &'a RwLockWords<T>,
    ) -> LockResult<ReadGuard<'a, T>> {
        let is_poisoned = guard.recovered();
        let memory = self.0.memory();
        // SAFETY: the data is that of the lock beside it, in this memory; the share, which is
        // dropped after it, keeps writers out, and every handle's user of the data takes the lock.
        let access = unsafe { DataAccess::new(&words.data, memory) };
        let guard = ReadGuard { access, _share: Held::new(guard, memory) };
        guard::checked(guard, is_poisoned)
    }

    /// Waits until no other process has the lock, without a limit. New readers wait meanwhile.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, if the last writer died or panicked;
    /// [`LockError::Failed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// *lock.write()? += 1;
    /// assert_eq!(*lock.read()?, 8);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn write(&self) -> LockResult<WriteGuard<'_, T>> {
        self.write_until(Timeout::Never, Duration::MAX)
    }

    /// Takes the lock if it is free, or returns `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`write`](RwLock::write).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// let reader = lock.read()?;
    /// assert!(lock.try_write()?.is_none());
    /// drop(reader);
    /// assert!(lock.try_write()?.is_some());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_write(
        &self,
    ) -> std::result::Result<Option<WriteGuard<'_, T>>, LockError<WriteGuard<'_, T>>> {
        let words = self.0.get()?;
        words.lock.write(Timeout::Now).map(|guard| self.writing(guard, words)).transpose()
    }

    /// Waits for the lock at most for `timeout`. After that, readers can take it again.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] in [`LockError::Failed`]; and as for [`write`](RwLock::write).
    ///
    /// [`Error::TimedOut`]: crate::Error::TimedOut
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = brigade::shared::RwLock::new(7)?;
    /// let _reader = lock.read()?;
    /// assert!(lock.write_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn write_timeout(&self, timeout: Duration) -> LockResult<WriteGuard<'_, T>> {
        self.write_until(Timeout::after(timeout), timeout)
    }

    fn write_until(&self, timeout: Timeout, after: Duration) -> LockResult<WriteGuard<'_, T>> {
        let words = self.0.get()?;
        let guard = words.lock.write(timeout);
        self.writing(guard.ok_or(Error::TimedOut { what: "the lock for writing", after })?, words)
    }

    fn writing<'a>(
        &'a self,
        guard: RawWriteGuard<'a>,
        words: &'a RwLockWords<T>,
    ) -> LockResult<WriteGuard<'a, T>> {
        let is_poisoned = guard.recovered();
        let write_access = WriteAccess::new(guard, self.0.memory());
        // SAFETY: the data is that of the lock beside it, in this memory; `write_access`, which is
        // dropped after it, holds that lock, and every handle's user of the data takes it.
        let access = unsafe { DataAccess::new(&words.data, self.0.memory()) };
        guard::checked(WriteGuard { access, write_access }, is_poisoned)
    }
}

named_object! {
    impl [T: Pod] RwLock<T> {
        create(value: T) = value;
        example "brigade::shared" "RwLock" "::<u32>" ", 7";
    }
}

/// A share of the lock, and read access to the value. Dropping it releases the share.
///
/// # Examples
///
/// ```
/// let lock = brigade::shared::RwLock::new(7)?;
/// let reader = lock.read()?;
/// assert_eq!((*reader, lock.readers()), (7, 1));
/// drop(reader);
/// assert_eq!(lock.readers(), 0);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct ReadGuard<'a, T: Pod> {
    // Dropped in this order: the share is held as long as the data is lent.
    access: DataAccess<'a, T>,
    _share: Held<'a, RawReadGuard<'a>>,
}

// SAFETY: it is a `&T`, and a share that any thread may release.
unsafe impl<T: Pod + Sync> Send for ReadGuard<'_, T> {}
// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: Pod + Sync> Sync for ReadGuard<'_, T> {}

impl<T: Pod> Poison for ReadGuard<'_, T> {
    /// Does nothing: only a writer can end the poisoned state.
    fn poison(&mut self) {}
}

impl<T: Pod> Deref for ReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.access.get()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for ReadGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The exclusive lock, and write access to the value. Dropping it unlocks; dropping it in a panic
/// poisons the lock.
///
/// # Examples
///
/// ```
/// let lock = brigade::shared::RwLock::new(7)?;
/// let mut writer = lock.write()?;
/// *writer = 8;
/// assert!(lock.has_writer());
/// drop(writer);
/// assert_eq!(*lock.read()?, 8);
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct WriteGuard<'a, T: Pod> {
    // Dropped in this order: changes are written back before the lock is released.
    access: DataAccess<'a, T>,
    write_access: WriteAccess<'a>,
}

// SAFETY: it is a `&mut T`, and a lock that any thread may unlock.
unsafe impl<T: Pod + Send> Send for WriteGuard<'_, T> {}
// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: Pod + Sync> Sync for WriteGuard<'_, T> {}

impl<T: Pod> Poison for WriteGuard<'_, T> {
    fn poison(&mut self) {
        self.write_access.poison();
    }
}

impl<T: Pod> Deref for WriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.access.get()
    }
}

impl<T: Pod> DerefMut for WriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.access.get_mut()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for WriteGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
