//! The word of a lock: a token and two flags.

use std::num::NonZeroU32;

use crate::atomics::{AtomicU32, Ordering};

/// A process may sleep on the word.
pub(super) const WAITERS: u32 = 1 << 31;
/// The last owner died while it held the lock.
pub(super) const OWNER_DIED: u32 = 1 << 30;
/// The bits of the owner's token, 0 if there is no owner.
pub(super) const TOKEN: u32 = OWNER_DIED - 1;

/// A lock in shared memory: four bytes, zero when free.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | word | lockers, waiters, sweepers | the same | compare-and-swap | see `lock.rs` |
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
/// // SAFETY: after the table, within its region.
/// let word = unsafe { place.add(1024) }.cast::<LockWord>();
/// // SAFETY: aligned, and used for nothing else.
/// unsafe { word.write(LockWord::new()) };
/// // SAFETY: initialised above; registered next.
/// let lock = unsafe { RobustLock::new(word, &owner) };
/// lock.register()?;
/// assert!(!lock.is_locked());
/// # Ok::<(), brigade::Error>(())
/// ```
#[repr(transparent)]
#[derive(Debug)]
pub struct LockWord(pub(super) AtomicU32);

#[cfg(not(loom))]
const _: () = assert!(size_of::<LockWord>() == 4);

impl LockWord {
    /// A free lock.
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
    /// // SAFETY: after the table, within its region.
    /// let word = unsafe { place.add(1024) }.cast::<LockWord>();
    /// // SAFETY: aligned, and used for nothing else.
    /// unsafe { word.write(LockWord::new()) };
    /// // SAFETY: initialised above; registered next.
    /// let lock = unsafe { RobustLock::new(word, &owner) };
    /// lock.register()?;
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some() && lock.is_locked());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn new() -> LockWord {
        LockWord(AtomicU32::new(0))
    }
}

impl Default for LockWord {
    fn default() -> LockWord {
        LockWord::new()
    }
}

/// The number of an owner in a lock word: 1 to 2^30 - 1, never given to two processes of a table.
///
/// # Examples
///
/// ```
/// # use std::ptr::NonNull;
/// # use brigade::sync::{Owner, OwnerTable, Watch};
/// # #[repr(align(128))] struct Region([u8; 4096]);
/// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
/// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
/// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
/// # let owner = Owner::claim(&table, Watch::Waiters)?;
/// let other = Owner::claim(&table, Watch::Waiters)?;
/// assert_ne!(owner.token(), other.token());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(NonZeroU32);

impl Token {
    /// Makes a token from its number, as received in a message; `None` if it cannot be one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Token;
    /// assert_eq!(Token::from_bits(7).map(Token::bits), Some(7));
    /// assert_eq!(Token::from_bits(0), None);
    /// ```
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Token> {
        NonZeroU32::new(bits).filter(|token| token.get() <= TOKEN).map(Token)
    }

    /// The token's number.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0.get()
    }
}

/// Replaces the token `dead` in one word by OWNER_DIED. Returns whether the word had it.
pub(super) fn mark_word(word: &AtomicU32, dead: Token) -> bool {
    let mut seen = word.load(Ordering::Relaxed);
    while seen & TOKEN == dead.bits() {
        let marked = (seen & WAITERS) | OWNER_DIED;
        // AcqRel: Release pairs with the Acquire of the next locker. Acquire makes visible to that
        // locker what the dead owner saw when it took the lock.
        match word.compare_exchange(seen, marked, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}
