//! A lock that guards data in shared memory.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bytemuck::Pod;
use serde::{Deserialize, Serialize};

use super::data::{Data, DataAccess};
use super::guard::{self, LockError, LockResult, Poison};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, ObjectHandle, Primitive, check_body, named_object};
use crate::sync::{self, LockWord, RobustLock};

/// A lock that guards a value of type `T` in shared memory.
///
/// It excludes threads, tasks and processes from each other. It is not fair, and not reentrant: a
/// thread that locks twice deadlocks. Its clones are handles of the same lock.
///
/// If a process is killed, at any instruction, or panics while it holds the lock, the next locker
/// gets [`LockError::OwnerDied`] with the guard. It repairs the value, or leaves the lock poisoned
/// for the next locker. The death of a waiting process has no effect.
///
/// A lock with a name can be opened by any program that knows the name and the type, and such a
/// program can write to the memory without taking the lock. So the guard of a lock with a name
/// holds a copy of the value, made when the lock is taken. If the copy was borrowed mutably, it is
/// written back when the guard is dropped or waits for a condition. A holder that is killed before
/// that has changed nothing, and changes of a guard that is [forgotten](std::mem::forget) are lost.
/// See [the module](super#names) for the effects that a hostile program can have.
///
/// # Examples
///
/// ```
/// use brigade::Pool;
/// use brigade::shared::Lock;
///
/// fn deposit((account, amount): (Lock<[u64; 2]>, u64)) {
///     let mut account = account.lock().unwrap();
///     account[0] += amount;
///     account[1] += 1;
/// }
///
/// let pool = Pool::builder().workers(2).build()?;
/// let account = Lock::new([0, 0])?;
/// pool.map((1..=10).map(|amount| (account.clone(), amount)), deposit)?.for_each(drop);
/// assert_eq!(*account.lock()?, [55, 10]);
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// Two programs, and one lock with a name:
///
/// ```
/// use brigade::Error;
/// use brigade::shared::Lock;
/// let name = format!("doc-lock-{}", std::process::id());
/// let ours = Lock::create(&name, [0u32; 2])?;
/// // In another program:
/// let theirs = Lock::<[u32; 2]>::open(&name)?;
/// theirs.lock()?[1] = 5;
/// assert_eq!(*ours.lock()?, [0, 5]);
/// // Another type is not opened.
/// assert!(matches!(Lock::<f64>::open(&name), Err(Error::Layout { .. })));
/// # Ok::<(), brigade::Error>(())
/// ```
///
/// A guard cannot outlive the handle of its lock:
///
/// ```compile_fail,E0597
/// use brigade::shared::Lock;
/// let guard = {
///     let lock = Lock::new(0u8).unwrap();
///     lock.lock().unwrap()
/// };
/// drop(guard);
/// ```
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "T: Pod")]
pub struct Lock<T: Pod>(ObjectHandle<LockWords<T>>);

#[derive(Debug)]
struct LockWords<T> {
    lock: RobustLock,
    data: Data<T>,
}

const WORDS_BYTES: usize = size_of::<LockWord>();

impl<T: Pod> LockWords<T> {
    fn over(memory: &Memory) -> Result<LockWords<T>> {
        check_body(memory, Data::<T>::end(WORDS_BYTES))?;
        let word = memory.body().0.cast::<LockWord>();
        // SAFETY: inside, checked above, and zero or a lock word since it was made; the owner,
        // which the lock keeps, keeps the memory. Registered by `make`.
        let lock = unsafe { RobustLock::new(word, memory.owner()) };
        // SAFETY: checked above.
        Ok(LockWords { lock, data: unsafe { Data::of(memory, WORDS_BYTES) } })
    }
}

impl<T: Pod> Primitive for LockWords<T> {
    type Init = T;
    const KIND: Kind = Kind::Lock;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(_: &T) -> Result<(u32, usize)> {
        Ok((1, Data::<T>::end(WORDS_BYTES)))
    }

    fn make(memory: &Memory, value: &T) -> Result<LockWords<T>> {
        let words = LockWords::over(memory)?;
        words.lock.register()?;
        // SAFETY: the memory is being made.
        unsafe { words.data.init(*value) };
        Ok(words)
    }

    fn attach(memory: &Memory) -> Result<LockWords<T>> {
        LockWords::over(memory)
    }
}

impl<T> Clone for LockWords<T> {
    fn clone(&self) -> LockWords<T> {
        LockWords { lock: self.lock.clone(), data: self.data }
    }
}

impl<T: Pod> Clone for Lock<T> {
    fn clone(&self) -> Lock<T> {
        Lock(self.0.clone())
    }
}

impl<T: Pod> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("locked", &self.is_locked()).finish_non_exhaustive()
    }
}

impl<T: Pod> Lock<T> {
    /// Makes a lock that guards `value`.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] without memory for it; [`Error::Os`].
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::Lock::new(7)?;
    /// assert_eq!(*lock.lock()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn new(value: T) -> Result<Lock<T>> {
        ObjectHandle::new(&value).map(Lock)
    }

    /// Waits for the lock, without a limit.
    ///
    /// # Errors
    ///
    /// [`LockError::OwnerDied`] with the guard, if the last holder died or panicked;
    /// [`LockError::Failed`] in a child that was forked by hand.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::Lock::new(7)?;
    /// *lock.lock()? += 1;
    /// assert_eq!(*lock.lock()?, 8);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn lock(&self) -> LockResult<LockGuard<'_, T>> {
        match self.lock_now() {
            Some(guard) => Ok(guard),
            None => self.lock_slow(),
        }
    }

    /// Takes the lock if it is free and its last owner did not die.
    #[inline]
    fn lock_now(&self) -> Option<LockGuard<'_, T>> {
        let is_taken = self.0.is_usable() && self.0.primitive().lock.lock_now();
        // SAFETY: taken just now.
        is_taken.then(|| unsafe { LockGuard::over(self) })
    }

    #[cold]
    fn lock_slow(&self) -> LockResult<LockGuard<'_, T>> {
        let words = self.0.get()?;
        LockGuard::checked(words.lock.lock(), self)
    }

    /// Takes the lock if it is free, or returns `None`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`lock`](Lock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = brigade::shared::Lock::new(7)?;
    /// let guard = lock.try_lock()?;
    /// assert!(guard.is_some() && lock.try_lock()?.is_none());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn try_lock(
        &self,
    ) -> std::result::Result<Option<LockGuard<'_, T>>, LockError<LockGuard<'_, T>>> {
        if let Some(guard) = self.lock_now() {
            return Ok(Some(guard));
        }
        let words = self.0.get()?;
        match words.lock.try_lock() {
            Some(guard) => LockGuard::checked(guard, self).map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the lock at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] in [`LockError::Failed`] if it was held until then; and as for
    /// [`lock`](Lock::lock).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let lock = brigade::shared::Lock::new(7)?;
    /// let _guard = lock.lock()?;
    /// assert!(lock.lock_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> LockResult<LockGuard<'_, T>> {
        let words = self.0.get()?;
        LockGuard::checked(words.lock.lock_timeout(timeout)?, self)
    }

    /// Whether a process holds it. The answer may be outdated at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.0.get().is_ok_and(|words| words.lock.is_locked())
    }
}

named_object! {
    impl [T: Pod] Lock<T> {
        create(value: T) = value;
        example "brigade::shared" "Lock" "::<u32>" ", 7";
    }
}

/// What happens to the lock when its guard is dropped.
#[derive(Debug, Clone, Copy)]
enum DropAction {
    /// It is unlocked, but poisoned if the thread panics.
    Usual,
    /// It is unlocked: it was taken while the thread panicked, so that is not a new panic.
    InPanic,
    /// It is poisoned.
    Poisoned,
}

/// A lock that is held until this is dropped.
struct Holding<'a, T: Pod> {
    lock: &'a Lock<T>,
    drop_action: DropAction,
}

impl<'a, T: Pod> Holding<'a, T> {
    /// The guard of the inner lock, and the lock.
    fn into_guard(self) -> (sync::RobustLockGuard<'a>, &'a Lock<T>) {
        let lock = ManuallyDrop::new(self).lock;
        // SAFETY: held since `LockGuard::over` made `self`, which is not dropped.
        (unsafe { lock.0.primitive().lock.kept() }, lock)
    }
}

impl<T: Pod> Drop for Holding<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // In a child that was forked meanwhile it does nothing.
        if !self.lock.0.is_usable() {
            return;
        }
        // SAFETY: held since `LockGuard::over` made `self`, which is not used after this.
        let guard = unsafe { self.lock.0.primitive().lock.kept() };
        let is_poisoned = match self.drop_action {
            DropAction::Usual => std::thread::panicking(),
            DropAction::InPanic => false,
            DropAction::Poisoned => true,
        };
        if is_poisoned {
            guard.poison();
        } else {
            drop(guard);
        }
    }
}

/// A held lock, and access to the value that it guards. Dropping the guard unlocks; dropping it in
/// a panic poisons the lock.
///
/// It is a few words that fit into registers: moving a guard through memory would cost more than
/// lock and unlock together.
///
/// # Examples
///
/// ```
/// let lock = brigade::shared::Lock::new(7)?;
/// let mut guard = lock.lock()?;
/// *guard = 8;
/// assert!(lock.is_locked());
/// drop(guard);
/// assert!(!lock.is_locked());
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the lock is released at once if the guard is not kept"]
pub struct LockGuard<'a, T: Pod> {
    // Dropped in this order: changes are written back before the lock is released.
    access: DataAccess<'a, T>,
    holding: Holding<'a, T>,
}

// SAFETY: it is a `&mut T`, and a lock that any thread may unlock.
unsafe impl<T: Pod + Send> Send for LockGuard<'_, T> {}
// SAFETY: a shared guard gives out `&T` only.
unsafe impl<T: Pod + Sync> Sync for LockGuard<'_, T> {}

impl<'a, T: Pod> LockGuard<'a, T> {
    /// The guard of a lock that was taken.
    ///
    /// # Safety
    ///
    /// - `lock` was taken by [`RobustLock::lock_now`], or its guard was
    ///   [kept](sync::RobustLockGuard::keep), and no guard was made for it since.
    #[inline]
    unsafe fn over(lock: &'a Lock<T>) -> LockGuard<'a, T> {
        let drop_action =
            if std::thread::panicking() { DropAction::InPanic } else { DropAction::Usual };
        let holding = Holding { lock, drop_action };
        // SAFETY: the data is that of the lock beside it, in the lock's memory; `holding`, which
        // is dropped after it, holds that lock, and every handle's user of the data takes it.
        let access = unsafe { DataAccess::new(&lock.0.primitive().data, lock.0.memory()) };
        LockGuard { access, holding }
    }

    /// The guard, or [`LockError::OwnerDied`] with it. `guard` is one of `lock`.
    fn checked(guard: sync::RobustLockGuard<'a>, lock: &'a Lock<T>) -> LockResult<Self> {
        let is_poisoned = guard.keep();
        // SAFETY: kept just now.
        guard::checked(unsafe { LockGuard::over(lock) }, is_poisoned)
    }

    /// Passes the guard of the inner lock through `wait`.
    pub(super) fn through<R>(
        self,
        wait: impl FnOnce(sync::RobustLockGuard<'a>) -> (sync::RobustLockGuard<'a>, R),
    ) -> (LockResult<LockGuard<'a, T>>, Option<R>) {
        if let Err(error) = self.holding.lock.0.get() {
            return (Err(error.into()), None);
        }
        let LockGuard { access, holding } = self;
        // Written back, if it was a copy.
        drop(access);
        let (guard, lock) = holding.into_guard();
        let (guard, outcome) = wait(guard);
        (LockGuard::checked(guard, lock), Some(outcome))
    }
}

impl<T: Pod> Poison for LockGuard<'_, T> {
    fn poison(&mut self) {
        self.holding.drop_action = DropAction::Poisoned;
    }
}

impl<T: Pod> Deref for LockGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.access.get()
    }
}

impl<T: Pod> DerefMut for LockGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.access.get_mut()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for LockGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
