//! A process's claim on an owner table.
#![allow(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::table::OwnerTable;
use crate::error::Result;
use crate::sync::lock_word::Token;
use crate::sync::timeout::Watch;
use crate::sys::fork::Instance;
use crate::sys::identity::Identity;

/// A process's claim on a table. Its locks are taken for this owner.
///
/// Clones are the same owner. When the last one is dropped, locks that are still held (by forgotten
/// guards) come free as if the owner had died, and the entry is freed. In a forked child, dropping
/// a clone has no effect. It must not be used there: it would lock for the parent.
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
/// let clone = owner.clone();
/// assert_eq!(clone.token(), owner.token());
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone)]
pub struct Owner(Arc<OwnerInner>);

struct OwnerInner {
    table: OwnerTable,
    token: Token,
    watch: Watch,
    made_in: Instance,
    /// Receives the token when the claim is dropped.
    reusable_token: Option<ReusableToken>,
    /// Never read; keeps the table's memory until the claim is dropped.
    _keep_alive: Option<KeepAlive>,
}

/// A value that is dropped last.
pub(crate) type KeepAlive = Arc<dyn Any + Send + Sync>;

/// The token of an earlier claim of this process in one table, to be claimed again. Without it, a
/// process that leaves and returns would use a new token each time.
///
/// No other process can have it meanwhile: the table never gives it out again, no word holds it
/// after [`OwnerTable::leave`], and a sweep of it requires that this process has ended.
pub(crate) type ReusableToken = Arc<Mutex<Option<Token>>>;

impl Owner {
    /// Claims an entry for the calling process.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if every entry belongs to a process that lives; [`Error::Broken`] if all
    /// 2^30 - 1 tokens have been used; [`Error::Os`] if `/proc` cannot be read.
    ///
    /// [`Error::Full`]: crate::Error::Full
    /// [`Error::Broken`]: crate::Error::Broken
    /// [`Error::Os`]: crate::Error::Os
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
    /// let owners: Vec<_> = (0..8).map(|_| Owner::claim(&table, Watch::Waiters)).collect();
    /// assert!(owners.iter().all(Result::is_ok));
    /// assert!(Owner::claim(&table, Watch::Waiters).is_err(), "the table has eight entries");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn claim(table: &OwnerTable, watch: Watch) -> Result<Owner> {
        Owner::claim_as(table, watch, Identity::current()?)
    }

    /// As `claim`, with the token in `reusable_token`, if any, to which it returns. Holds
    /// `keep_alive` until no clone, and no lock made with one, is left.
    #[cfg(not(loom))]
    pub(crate) fn claim_with_token(
        table: &OwnerTable,
        watch: Watch,
        reusable_token: Option<ReusableToken>,
        keep_alive: KeepAlive,
    ) -> Result<Owner> {
        Owner::claim_with(table, watch, Identity::current()?, reusable_token, Some(keep_alive))
    }

    pub(in crate::sync) fn claim_as(
        table: &OwnerTable,
        watch: Watch,
        who: Identity,
    ) -> Result<Owner> {
        Owner::claim_with(table, watch, who, None, None)
    }

    fn claim_with(
        table: &OwnerTable,
        watch: Watch,
        who: Identity,
        reusable_token: Option<ReusableToken>,
        keep_alive: Option<KeepAlive>,
    ) -> Result<Owner> {
        let known =
            reusable_token.as_ref().and_then(|reusable_token| lock_token(reusable_token).take());
        let (token, made_in) = (table.claim_for(who, known)?, Instance::current());
        Ok(Owner(Arc::new(OwnerInner {
            table: *table,
            token,
            watch,
            made_in,
            reusable_token,
            _keep_alive: keep_alive,
        })))
    }

    /// The token that stands for this owner in lock words.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.token
    }

    /// The table of the claim.
    #[must_use]
    pub fn table(&self) -> &OwnerTable {
        &self.0.table
    }

    /// What notices the deaths of other owners.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.0.watch
    }
}

fn lock_token(reusable_token: &ReusableToken) -> std::sync::MutexGuard<'_, Option<Token>> {
    // A single value is always consistent.
    reusable_token.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("token", &self.0.token).field("watch", &self.0.watch).finish()
    }
}

impl Drop for OwnerInner {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            // SAFETY: locks and guards of this owner hold a clone or borrow from one, so only
            // forgotten ones are left, which are never used again.
            unsafe { self.table.leave(self.token) };
            if let Some(reusable_token) = &self.reusable_token {
                *lock_token(reusable_token) = Some(self.token);
            }
        }
    }
}
