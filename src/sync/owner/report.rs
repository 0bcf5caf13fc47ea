//! Describes a table for listings.

use super::table::{OwnerEntry, OwnerTable};
use crate::atomics::Ordering;
use crate::sync::directory::WordKind;
use crate::sync::lock_word::{OWNER_DIED, TOKEN, Token};

/// A process with a claim on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) pid: u32,
    pub(crate) token: Token,
    pub(crate) lives: bool,
}

/// A futex word of a lock that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TakenLock {
    /// By the owner of this token.
    By(Token),
    /// Its owner died, and it was not taken since.
    Dead,
}

/// The most claimants, and taken locks, that are reported: more than a table of this crate has on
/// 512 processors, and few enough to report even if the table was overwritten.
const SHOWN_MAX: usize = 2048;

impl OwnerTable {
    /// The claimants, the first [`SHOWN_MAX`] of them. Concurrent changes may be missing.
    pub(crate) fn claimants(&self) -> Vec<Claimant> {
        let claimant = |entry: &OwnerEntry| {
            let (pid, token) = entry.claimant()?;
            Some(Claimant { pid, token, lives: entry.lives(pid, token) })
        };
        self.owners().iter().filter_map(claimant).take(SHOWN_MAX).collect()
    }

    /// The taken lock words, in the order of the directory, the first [`SHOWN_MAX`].
    pub(crate) fn taken(&self) -> Vec<TakenLock> {
        let mut taken = Vec::new();
        self.directory().for_each(|kind, word| {
            let word = word.load(Ordering::Relaxed);
            match Token::from_bits(word & TOKEN) {
                _ if taken.len() == SHOWN_MAX => {}
                Some(token) if kind == WordKind::Lock => taken.push(TakenLock::By(token)),
                None if kind == WordKind::Lock && word & OWNER_DIED != 0 => {
                    taken.push(TakenLock::Dead);
                }
                _ => {}
            }
        });
        taken
    }
}
