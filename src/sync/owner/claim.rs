//! One process's claim on an owner table.
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

/// One process's claim on a table: what its locks are taken in the name of.
///
/// Clones are the same owner. When the last one is dropped, locks still held (by forgotten
/// guards) come free as if the owner had died, and the entry is freed. In a forked child a clone
/// is inert when dropped, and must not be used: locks would be taken in the parent's name.
#[derive(Clone)]
pub struct Owner(Arc<Claim>);

struct Claim {
    table: OwnerTable,
    token: Token,
    watch: Watch,
    made_in: Instance,
    /// Where the token goes when it is given up.
    purse: Option<Purse>,
    /// Never read: what keeps the table's memory, for as long as the claim must be given up there.
    _keep: Option<Keep>,
}

/// Something that is dropped last.
pub(crate) type Keep = Arc<dyn Any + Send + Sync>;

/// The token that this process gave up in one table, to be claimed with again: without it, a
/// process that comes and goes would use a token up each time.
///
/// Nobody else can have it meanwhile: the table never gives it out again, no word holds it after
/// [`OwnerTable::leave`], and whoever sweeps it has seen that this process has ended.
pub(crate) type Purse = Arc<Mutex<Option<Token>>>;

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
    pub fn claim(table: &OwnerTable, watch: Watch) -> Result<Owner> {
        Owner::claim_as(table, watch, Identity::current()?)
    }

    /// The same with the token in `purse`, if there is one; it goes back there. Keeps `keep` until
    /// no clone, and no lock made with one, is left.
    #[cfg(not(loom))]
    pub(crate) fn claim_keeping(
        table: &OwnerTable,
        watch: Watch,
        purse: Option<Purse>,
        keep: Keep,
    ) -> Result<Owner> {
        Owner::claim_with(table, watch, Identity::current()?, purse, Some(keep))
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
        purse: Option<Purse>,
        keep: Option<Keep>,
    ) -> Result<Owner> {
        let known = purse.as_ref().and_then(|purse| in_purse(purse).take());
        let (token, made_in) = (table.claim_for(who, known)?, Instance::current());
        Ok(Owner(Arc::new(Claim { table: *table, token, watch, made_in, purse, _keep: keep })))
    }

    /// The token that stands for this owner in lock words.
    #[must_use]
    pub fn token(&self) -> Token {
        self.0.token
    }

    /// The table in which it is claimed.
    #[must_use]
    pub fn table(&self) -> &OwnerTable {
        &self.0.table
    }

    /// Who notices the deaths of other owners.
    #[must_use]
    pub fn watch(&self) -> Watch {
        self.0.watch
    }
}

fn in_purse(purse: &Purse) -> std::sync::MutexGuard<'_, Option<Token>> {
    // One word: a panic cannot leave it half made.
    purse.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("token", &self.0.token).field("watch", &self.0.watch).finish()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.made_in.is_current() {
            // SAFETY: locks and guards of this owner hold a clone or borrow from one, so none is
            // left but forgotten ones, which are never used again.
            unsafe { self.table.leave(self.token) };
            if let Some(purse) = &self.purse {
                *in_purse(purse) = Some(self.token);
            }
        }
    }
}
