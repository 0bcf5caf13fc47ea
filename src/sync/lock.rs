//! The lock: a 32-bit futex word that holds its owner.
//!
//! It excludes processes and threads from each other and costs two compare-and-swaps without
//! contention. If its owner dies, the next locker gets a guard that is
//! [`recovered`](RobustLockGuard::recovered). It is not fair, and not reentrant: a thread that
//! locks twice deadlocks.
//!
//! | WAITERS (bit 31) | OWNER_DIED (bit 30) | token (bits 29-0) | state |
//! |---|---|---|---|
//! | 0 | 0 | 0 | free |
//! | 0 | 0 | t | held by t, no sleeper |
//! | 1 | 0 | t | held by t, maybe sleepers |
//! | 0 or 1 | 1 | 0 | free, but its last owner died |
//! | 1 | 0 | 0 | free, maybe sleepers: left by |
//! |  |  |  | a waiter that gave up |
//! | 0 or 1 | 1 | t | never written; taken as held by t |
//!
//! The steps, and the state that a death leaves after each:
//!
//! 1. lock: CAS `0 -> t`. Before it, nothing; after it, the sweep finds `t`.
//! 2. wait: CAS to set WAITERS, then sleep while the word is unchanged. A needless WAITERS costs
//!    its unlocker one system call.
//! 3. unlock: CAS `t -> 0`. If WAITERS was set, a sleeper must be woken now, but the word no longer
//!    contains the token. So a sweep wakes the sleepers of every word, whatever its value.
//! 4. wake one sleeper. It may die before it takes the lock: the same unconditional wake-up
//!    applies.
//!
//! A sleeper cannot lose its wake-up, because the kernel compares the word under the lock of the
//! futex's bucket. Either it sees the unlocker's CAS and does not sleep, or the unlocker's CAS
//! comes later, sees WAITERS, and wakes it. A sleeper that has slept takes the lock with WAITERS
//! set, since there may be others. A waiter that gives up passes on a wake-up that it may have
//! consumed.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;
use std::time::Duration;

use super::directory::WordKind;
use super::lock_word::{LockWord, OWNER_DIED, TOKEN, Token, WAITERS, mark_word};
use super::owner::Owner;
use super::timeout::{Backoff, Timeout, Watch};
use crate::atomics::{AtomicU32, Ordering};
use crate::error::{Error, Result};
use crate::sys::futex;

/// A lock as one owner sees it.
///
/// # Examples
///
/// ```
/// # use std::ptr::NonNull;
/// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
/// # #[repr(align(128))] struct Region([u8; 4096]);
/// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
/// # let owner = Owner::claim(&table, Watch::Waiters)?;
/// // SAFETY: zeros after the table, within its region, are a free lock.
/// let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
/// lock.register()?;
/// let guard = lock.lock();
/// assert!(lock.try_lock().is_none());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone)]
pub struct RobustLock {
    word: NonNull<LockWord>,
    token: Token,
    owner: Owner,
}

// SAFETY: the word is an atomic, valid wherever the lock goes by the contract of `new`.
unsafe impl Send for RobustLock {}
// SAFETY: as for `Send`.
unsafe impl Sync for RobustLock {}

impl RobustLock {
    /// Makes a handle of the lock at `word`, which locks for `owner`.
    ///
    /// # Safety
    ///
    /// - `word` points to an initialised [`LockWord`] that stays valid while the handle, a clone
    ///   or a guard of it exists, and `owner` as well;
    /// - the word was [registered](RobustLock::register) with the table of `owner`, or no process
    ///   that uses it can die.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: zeros after the table, within its region, are a free lock; registered next.
    /// let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// lock.register()?;
    /// assert!(!lock.is_locked());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn new(word: NonNull<LockWord>, owner: &Owner) -> RobustLock {
        RobustLock { word, token: owner.token(), owner: owner.clone() }
    }

    /// Adds the lock to the directory of its owner's table. Called once, by its creator, before the
    /// first locking.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if the directory is; [`Error::InvalidArgument`] if the word is not in the
    /// table's region.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{LockWord, Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// let mut outside = LockWord::new();
    /// // SAFETY: only this process uses the word, which outlives the lock.
    /// let lock = unsafe { RobustLock::new(NonNull::from(&mut outside), &owner) };
    /// assert!(lock.register().is_err(), "the word is not in the table's region");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn register(&self) -> Result<()> {
        self.owner.table().directory().register(WordKind::Lock, self.word.cast(), 1)
    }

    /// Removes the lock from the directory, before its memory is used for another purpose.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// for _ in 0..10 {
    ///     // The directory has eight entries.
    ///     // SAFETY: zeros after the table, within its region, are a free lock.
    ///     let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    ///     lock.register()?;
    ///     drop(lock.lock());
    ///     lock.unregister();
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn unregister(&self) {
        self.owner.table().directory().unregister(WordKind::Lock, self.word.cast(), 1);
    }

    /// Waits for the lock without a limit.
    ///
    /// If its last owner died while it held it, the guard is
    /// [`recovered`](RobustLockGuard::recovered).
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// let guard = lock.lock();
    /// assert!(!guard.recovered());
    /// assert!(lock.is_locked());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn lock(&self) -> RobustLockGuard<'_> {
        loop {
            // `Timeout::Never` ends with the lock; the loop satisfies the compiler.
            if let Some(guard) = self.lock_within(Timeout::Never) {
                return guard;
            }
        }
    }

    /// Takes the lock if it is free. Never waits.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some());
    /// assert!(lock.try_lock().is_none());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn try_lock(&self) -> Option<RobustLockGuard<'_>> {
        self.lock_within(Timeout::Now)
    }

    /// Waits for the lock at most for `timeout`, by CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if it was held all the time.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// let guard = lock.lock_timeout(Duration::from_millis(1))?;
    /// assert!(lock.lock_timeout(Duration::from_millis(1)).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn lock_timeout(&self, timeout: Duration) -> Result<RobustLockGuard<'_>> {
        self.lock_within(Timeout::after(timeout))
            .ok_or(Error::TimedOut { what: "the lock", after: timeout })
    }

    /// Takes the lock if it is free and its last owner did not die. It is held until a guard is
    /// made for it by [`kept`](RobustLock::kept).
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn lock_now(&self) -> bool {
        self.lock_free()
    }

    /// Makes a guard for the lock that [`lock_now`](RobustLock::lock_now) has taken or
    /// [`RobustLockGuard::keep`] has kept.
    ///
    /// # Safety
    ///
    /// - It was taken or kept, and no other guard was made for it since.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) unsafe fn kept(&self) -> RobustLockGuard<'_> {
        RobustLockGuard { lock: self, recovered: false }
    }

    #[inline]
    pub(super) fn lock_within(&self, timeout: Timeout) -> Option<RobustLockGuard<'_>> {
        let recovered = if self.lock_free() { false } else { self.lock_contended(timeout)? };
        Some(RobustLockGuard { lock: self, recovered })
    }

    /// The token of its owner.
    #[inline]
    pub(super) fn token(&self) -> Token {
        self.token
    }

    /// The value of the word.
    #[inline]
    pub(super) fn peek(&self) -> u32 {
        // Acquire pairs with the Release in `unlock`, `unlock_contended` and `mark_word`.
        self.word().load(Ordering::Acquire)
    }

    /// Whether it is held. The answer may be outdated at once.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.peek() & TOKEN != 0
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: valid while `self` exists, by the contract of `new`.
        unsafe { &self.word.as_ref().0 }
    }

    #[inline]
    fn lock_free(&self) -> bool {
        // Acquire pairs with the Release in `unlock` and `unlock_contended`.
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        self.word().compare_exchange(0, self.token.bits(), success, failure).is_ok()
    }

    /// Returns Some(recovered) once the lock is taken, `None` when the time is over.
    #[cold]
    fn lock_contended(&self, mut timeout: Timeout) -> Option<bool> {
        let word = self.word();
        let mut backoff = Backoff::default();
        let mut slept = 0;
        loop {
            let seen = word.load(Ordering::Relaxed);
            if seen & TOKEN == 0 {
                let taken = self.token.bits() | (seen & WAITERS) | slept;
                // Acquire pairs with the Release in `unlock`, `unlock_contended`, `mark_word`.
                let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
                if word.compare_exchange(seen, taken, success, failure).is_ok() {
                    return Some(seen & OWNER_DIED != 0);
                }
                continue;
            }
            if !matches!(timeout, Timeout::Now) && seen & WAITERS == 0 && backoff.pass() {
                continue;
            }
            let Some(sleep) = timeout.next_sleep(self.owner.watch()) else {
                if slept != 0 {
                    self.pass_wake_up_on();
                }
                return None;
            };
            let waiting = seen | WAITERS;
            // Relaxed: setting the bit publishes nothing.
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            if seen != waiting && word.compare_exchange(seen, waiting, success, failure).is_err() {
                continue;
            }
            slept = WAITERS;
            futex::wait(word, waiting, sleep);
            if self.owner.watch() == Watch::Waiters {
                self.check_owner(waiting);
            }
        }
    }

    /// Gives up after having slept: this waiter may have consumed a wake-up, and others may sleep.
    fn pass_wake_up_on(&self) {
        // Relaxed: as for setting the bit in `lock_contended`.
        if self.word().fetch_or(WAITERS, Ordering::Relaxed) & TOKEN == 0 {
            futex::wake(self.word(), 1);
        }
    }

    /// If the word has not changed during a slice, checks whether its owner lives.
    fn check_owner(&self, waiting: u32) {
        let Some(holder) = Token::from_bits(waiting & TOKEN) else { return };
        if self.word().load(Ordering::Relaxed) != waiting || holder == self.token {
            return;
        }
        let table = self.owner.table();
        if !table.lives(holder) {
            // SAFETY: it has ended. A token that was in the word all the time and is not in the
            // table belongs to an owner that has left, or to none.
            unsafe { table.sweep(holder) };
            // The word may be missing from the directory if that was overwritten.
            if mark_word(self.word(), holder) {
                futex::wake(self.word(), futex::ALL);
            }
        }
    }

    #[inline]
    pub(super) fn unlock(&self) {
        // Release pairs with the Acquire in `lock_free` and `lock_contended`.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        if self.word().compare_exchange(self.token.bits(), 0, success, failure).is_err() {
            self.unlock_contended(0);
        }
    }

    /// Unlocks, and leaves `left` in the word: 0 or OWNER_DIED.
    #[cold]
    fn unlock_contended(&self, left: u32) {
        let word = self.word();
        let mut seen = word.load(Ordering::Relaxed);
        // A word without this token was overwritten and must not be freed.
        while seen & TOKEN == self.token.bits() {
            // Release pairs with the Acquire in `lock_free` and `lock_contended`.
            match word.compare_exchange(seen, left, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    if seen & WAITERS != 0 {
                        futex::wake(word, 1);
                    }
                    return;
                }
                Err(now) => seen = now,
            }
        }
    }
}

impl fmt::Debug for RobustLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word().load(Ordering::Relaxed);
        f.debug_struct("RobustLock")
            .field("holder", &Token::from_bits(word & TOKEN))
            .field("owner_died", &(word & OWNER_DIED != 0))
            .field("waiters", &(word & WAITERS != 0))
            .finish()
    }
}

/// The lock, held. Dropping it unlocks.
///
/// # Examples
///
/// ```
/// # use std::ptr::NonNull;
/// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
/// # #[repr(align(128))] struct Region([u8; 4096]);
/// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
/// # let owner = Owner::claim(&table, Watch::Waiters)?;
/// # // SAFETY: zeros after the table, within its region, are a free lock.
/// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
/// # lock.register()?;
/// let guard = lock.lock();
/// drop(guard);
/// assert!(!lock.is_locked());
/// # Ok::<(), brigade::Error>(())
/// ```
#[must_use = "the lock is given up at once if the guard is not kept"]
#[derive(Debug)]
pub struct RobustLockGuard<'a> {
    lock: &'a RobustLock,
    recovered: bool,
}

impl<'a> RobustLockGuard<'a> {
    /// The lock of this guard, which outlives it.
    pub(super) fn lock(&self) -> &'a RobustLock {
        self.lock
    }

    /// Whether the last owner died while it held the lock, so that the guarded data may be half
    /// written. It is reported once: the next guard is not recovered, unless this owner dies too.
    #[must_use]
    pub fn recovered(&self) -> bool {
        self.recovered
    }

    /// Leaves the lock held, for [`RobustLock::kept`]. Returns whether it was recovered.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn keep(self) -> bool {
        let recovered = self.recovered;
        std::mem::forget(self);
        recovered
    }

    /// Unlocks as if the owner had died: the next guard is
    /// [`recovered`](RobustLockGuard::recovered). For callers that cannot repair the guarded data.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RobustLock, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// # // SAFETY: zeros after the table, within its region, are a free lock.
    /// # let lock = unsafe { RobustLock::new(place.add(1024).cast(), &owner) };
    /// # lock.register()?;
    /// lock.lock().poison();
    /// assert!(lock.lock().recovered());
    /// assert!(!lock.lock().recovered());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn poison(self) {
        self.lock.unlock_contended(OWNER_DIED);
        std::mem::forget(self);
    }
}

impl Drop for RobustLockGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.unlock();
    }
}

#[cfg(all(test, not(loom)))]
#[path = "lock_tests.rs"]
mod tests;
