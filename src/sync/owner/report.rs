//! What a table says, for those who only look.

use super::table::{OwnerEntry, OwnerTable};
use crate::atomics::Ordering;
use crate::sync::directory::WordKind;
use crate::sync::lock_word::{OWNER_DIED, TOKEN, Token};

/// A process that has claimed an entry of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimant {
    pub(crate) pid: u32,
    pub(crate) token: Token,
    pub(crate) lives: bool,
}

/// A futex word of a lock that is not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// By the owner of this token.
    By(Token),
    /// Its owner died, and nobody has taken it since.
    Dead,
}

/// How many claimants, and how many taken locks, are looked at: more than a table of this crate
/// has on 512 processors, and few enough to look up if somebody wrote over it.
const SHOWN_MAX: usize = 2048;

impl OwnerTable {
    /// Who has claimed an entry, the first [`SHOWN_MAX`] of them. Changes meanwhile are seen or
    /// not.
    pub(crate) fn claimants(&self) -> Vec<Claimant> {
        let claimant = |entry: &OwnerEntry| {
            let (pid, token) = entry.claimant()?;
            Some(Claimant { pid, token, lives: entry.lives(pid, token) })
        };
        self.owners().iter().filter_map(claimant).take(SHOWN_MAX).collect()
    }

    /// The lock words that are taken, in the order of the directory, the first [`SHOWN_MAX`].
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let mut taken = Vec::new();
        self.directory().for_each(|kind, word| {
            let word = word.load(Ordering::Relaxed);
            match Token::from_bits(word & TOKEN) {
                _ if taken.len() == SHOWN_MAX => {}
                Some(token) if kind == WordKind::Lock => taken.push(Taken::By(token)),
                None if kind == WordKind::Lock && word & OWNER_DIED != 0 => {
                    taken.push(Taken::Dead);
                }
                _ => {}
            }
        });
        taken
    }
}
