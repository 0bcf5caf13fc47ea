//! Guards: inert after a fork, and torn after a death.
#![allow(unsafe_code)]

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use crate::error::Error;
use crate::object::Memory;
use crate::sync::raw::RawWriteGuard;

/// A guard of `sync`, that does nothing when it is dropped in a child forked meanwhile.
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

    /// The guard itself, to do something else with it than dropping it.
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

/// The right to write, which is given up rather than back by whoever panics with it.
pub(super) struct Right<'a> {
    /// None while it is dropped.
    held: Option<Held<'a, RawWriteGuard<'a>>>,
    is_poisoned: bool,
    was_panicking: bool,
}

impl<'a> Right<'a> {
    #[inline]
    pub(super) fn new(guard: RawWriteGuard<'a>, memory: &'a Memory) -> Right<'a> {
        let was_panicking = std::thread::panicking();
        Right { held: Some(Held::new(guard, memory)), is_poisoned: false, was_panicking }
    }

    pub(super) fn poison(&mut self) {
        self.is_poisoned = true;
    }
}

impl Drop for Right<'_> {
    #[inline]
    fn drop(&mut self) {
        let is_poisoned = self.is_poisoned || (std::thread::panicking() && !self.was_panicking);
        let Some(held) = self.held.take() else { return };
        if is_poisoned && held.memory.check().is_ok() {
            held.into_guard().0.poison();
        }
    }
}

/// A guard that can be left so that the next is told what its holder was told.
pub(super) trait Poison {
    fn poison(&mut self);
}

/// Why a lock was not got, or was got from a dead holder.
///
/// It becomes an [`Error`] by `?`; a lock that was got from a dead holder is given up then, and
/// the next who takes it is told the same.
///
/// # Examples
///
/// ```
/// use brigade::shared::{Lock, LockError};
///
/// let balance = Lock::new(10u64)?;
/// let guard = match balance.lock() {
///     Ok(guard) => guard,
///     Err(LockError::OwnerDied(mut torn)) => {
///         **torn = 10; // make it whole
///         torn.into_guard()
///     }
///     Err(LockError::Failed(error)) => return Err(error),
/// };
/// assert_eq!(*guard, 10);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub enum LockError<G: Repair> {
    /// Here is the lock, but its last holder died or panicked in the middle, and what the lock
    /// guards may be half written.
    OwnerDied(Poisoned<G>),
    /// There is no lock: the time was over, say.
    Failed(Error),
}

impl<G: Repair> LockError<G> {
    /// The guard as it is, for who has nothing to repair.
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
            LockError::OwnerDied(torn) => Ok(torn.into_guard()),
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
                what: "what the lock guards",
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

/// A guard over content that may be half written: that of a lock whose holder died.
///
/// It is the guard, to look and to repair with. [`into_guard`](Poisoned::into_guard) says that the
/// content is whole; dropping it instead gives the lock up, and the next who takes it is told as
/// well.
pub struct Poisoned<G: Repair>(ManuallyDrop<G>);

/// A guard that a [`Poisoned`] can hold.
///
/// This trait is sealed: only the guards of this module implement it.
#[expect(private_bounds, reason = "seals the trait")]
pub trait Repair: Poison {}

impl<G: Poison> Repair for G {}

impl<G: Repair> Poisoned<G> {
    pub(super) fn new(guard: G) -> Poisoned<G> {
        Poisoned(ManuallyDrop::new(guard))
    }

    /// The guard, as of a lock whose content is whole: because it was repaired, or because there
    /// is nothing to repair.
    pub fn into_guard(self) -> G {
        let mut torn = ManuallyDrop::new(self);
        // SAFETY: taken once: `torn` is neither used nor dropped after this.
        unsafe { ManuallyDrop::take(&mut torn.0) }
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
