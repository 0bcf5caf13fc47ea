//! Guards: inert after a fork, poisoned after a death.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use crate::error::Error;
use crate::object::Memory;
use crate::sync::raw::RawWriteGuard;

/// A guard of `sync`. Dropping it in a child that was forked meanwhile does nothing.
pub(super) struct Held<'a, G> {
    guard: ManuallyDrop<G>,
    memory: &'a Memory,
}

impl<'a, G> Held<'a, G> {
    #[inline]
    pub(super) fn new(guard: G, memory: &'a Memory) -> Held<'a, G> {
        Held { guard: ManuallyDrop::new(guard), memory }
    }

    pub(super) fn memory(&self) -> &'a Memory {
        self.memory
    }

    /// Takes out the inner guard, for ending it other than by a drop.
    pub(super) fn into_guard(self) -> (G, &'a Memory) {
        let mut held = ManuallyDrop::new(self);
        // SAFETY: taken once: `held` is neither used nor dropped after this.
        (unsafe { ManuallyDrop::take(&mut held.guard) }, held.memory)
    }
}

impl<G> Deref for Held<'_, G> {
    type Target = G;

    #[inline]
    fn deref(&self) -> &G {
        &self.guard
    }
}

impl<G> DerefMut for Held<'_, G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut G {
        &mut self.guard
    }
}

impl<G> Drop for Held<'_, G> {
    #[inline]
    fn drop(&mut self) {
        if self.memory.check().is_ok() {
            // SAFETY: dropped once: `self` is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.guard) };
        }
    }
}

impl<G: fmt::Debug> fmt::Debug for Held<'_, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.guard.fmt(f)
    }
}

/// Exclusive write access. If the holder panics, the lock is poisoned instead of released.
pub(super) struct WriteAccess<'a> {
    /// None while it is being dropped.
    held: Option<Held<'a, RawWriteGuard<'a>>>,
    is_poisoned: bool,
    was_panicking: bool,
}

impl<'a> WriteAccess<'a> {
    #[inline]
    pub(super) fn new(guard: RawWriteGuard<'a>, memory: &'a Memory) -> WriteAccess<'a> {
        let was_panicking = std::thread::panicking();
        WriteAccess { held: Some(Held::new(guard, memory)), is_poisoned: false, was_panicking }
    }

    pub(super) fn poison(&mut self) {
        self.is_poisoned = true;
    }
}

impl Drop for WriteAccess<'_> {
    #[inline]
    fn drop(&mut self) {
        let is_poisoned = self.is_poisoned || (std::thread::panicking() && !self.was_panicking);
        let Some(held) = self.held.take() else { return };
        if is_poisoned && held.memory.check().is_ok() {
            held.into_guard().0.poison();
        }
    }
}

/// A guard that can leave its lock poisoned.
pub(super) trait Poison {
    fn poison(&mut self);
}

/// The outcome of an attempt to take a lock.
pub(super) type LockResult<G> = std::result::Result<G, LockError<G>>;

/// The guard of a lock that was taken, in [`LockError::OwnerDied`] if the lock is poisoned.
pub(super) fn checked<G: Repair>(guard: G, poisoned: bool) -> LockResult<G> {
    if poisoned { Err(LockError::OwnerDied(Poisoned(ManuallyDrop::new(guard)))) } else { Ok(guard) }
}

/// Why a lock was not taken, or that its last holder died.
///
/// `?` converts it into an [`Error`]. A lock whose last holder died is then released, and the next
/// holder gets the same error.
///
/// # Examples
///
/// ```
/// use brigade::shared::{Lock, LockError};
///
/// let balance = Lock::new(10u64)?;
/// let guard = match balance.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(mut poisoned)) => {
///         **poisoned = 10; // repair it
///         poisoned.into_guard()
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// assert_eq!(*guard, 10);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub enum LockError<G: Repair> {
    /// The lock was taken, but its last holder died or panicked, and the guarded data may be half
    /// written.
    OwnerDied(Poisoned<G>),
    /// The lock was not taken, for example because of a timeout.
    Failed(Error),
}

impl<G: Repair> LockError<G> {
    /// Returns the guard without a repair.
    ///
    /// # Errors
    ///
    /// The error, if there is no guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Lock, LockError};
    /// let lock = Lock::new(0u8)?;
    /// let guard = lock.lock().or_else(LockError::into_guard)?;
    /// assert_eq!(*guard, 0);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn into_guard(self) -> std::result::Result<G, Error> {
        match self {
            LockError::OwnerDied(poisoned) => Ok(poisoned.into_guard()),
            LockError::Failed(error) => Err(error),
        }
    }
}

impl<G: Repair> From<Error> for LockError<G> {
    fn from(error: Error) -> LockError<G> {
        LockError::Failed(error)
    }
}

impl<G: Repair> From<LockError<G>> for Error {
    fn from(error: LockError<G>) -> Error {
        match error {
            LockError::OwnerDied(_) => Error::Broken {
                what: "the guarded value",
                cause: "its last holder died or panicked; match on OwnerDied to repair it".into(),
            },
            LockError::Failed(error) => error,
        }
    }
}

impl<G: Repair> fmt::Display for LockError<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::OwnerDied(_) => {
                f.write_str("the last holder of the lock died or panicked; repair what it guards")
            }
            LockError::Failed(error) => error.fmt(f),
        }
    }
}

impl<G: Repair + fmt::Debug> std::error::Error for LockError<G> {}

/// The guard of a lock whose last holder died: the content may be half written.
///
/// It dereferences to the guard, for reading and repairing. [`into_guard`](Poisoned::into_guard)
/// declares the content repaired. Dropping it instead releases the lock, and the next holder gets
/// [`LockError::OwnerDied`] as well.
///
/// # Examples
///
/// ```
/// use brigade::shared::{Lock, LockError};
/// let lock = Lock::new(1u8)?;
/// let panicked = std::thread::scope(|scope| {
///     let panics = || {
///         let _guard = lock.lock().unwrap();
///         panic!("half-way");
///     };
///     scope.spawn(panics).join().is_err()
/// });
/// assert!(panicked);
/// let Err(LockError::OwnerDied(mut poisoned)) = lock.lock() else { unreachable!() };
/// **poisoned = 2;
/// // Dropped without a repair: the next holder gets it as well.
/// drop(poisoned);
/// assert!(matches!(lock.lock(), Err(LockError::OwnerDied(_))));
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Poisoned<G: Repair>(ManuallyDrop<G>);

/// A guard that a [`Poisoned`] can hold.
///
/// This trait is sealed: only the guards of this module implement it.
///
/// # Examples
///
/// ```
/// use brigade::shared::{LockError, Repair};
///
/// /// Accepts the value of a lock as it is.
/// fn accept<G: Repair>(error: LockError<G>) -> brigade::Result<G> {
///     error.into_guard()
/// }
///
/// let lock = brigade::shared::Lock::new(7u32)?;
/// let guard = lock.lock().or_else(accept)?;
/// assert_eq!(*guard, 7);
/// # Ok::<(), brigade::Error>(())
/// ```
#[expect(private_bounds, reason = "seals the trait")]
pub trait Repair: Poison {}

impl<G: Poison> Repair for G {}

impl<G: Repair> Poisoned<G> {
    /// Declares that the content is repaired or intact, and returns the guard.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::shared::{Lock, LockError};
    /// let lock = Lock::new(1u8)?;
    /// let panicked = std::thread::scope(|scope| {
    ///     let panics = || {
    ///         let _guard = lock.lock().unwrap();
    ///         panic!("half-way");
    ///     };
    ///     scope.spawn(panics).join().is_err()
    /// });
    /// assert!(panicked);
    /// let Err(LockError::OwnerDied(mut poisoned)) = lock.lock() else { unreachable!() };
    /// **poisoned = 2;
    /// drop(poisoned.into_guard());
    /// assert_eq!(*lock.lock()?, 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn into_guard(self) -> G {
        let mut poisoned = ManuallyDrop::new(self);
        // SAFETY: taken once: `poisoned` is neither used nor dropped after this.
        unsafe { ManuallyDrop::take(&mut poisoned.0) }
    }
}

impl<G: Repair> Deref for Poisoned<G> {
    type Target = G;

    fn deref(&self) -> &G {
        &self.0
    }
}

impl<G: Repair> DerefMut for Poisoned<G> {
    fn deref_mut(&mut self) -> &mut G {
        &mut self.0
    }
}

impl<G: Repair> Drop for Poisoned<G> {
    fn drop(&mut self) {
        self.0.poison();
        // SAFETY: dropped once: `self` is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.0) };
    }
}

impl<G: Repair + fmt::Debug> fmt::Debug for Poisoned<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Poisoned").field(&*self.0).finish()
    }
}
