//! Sweeps all owners whose process has ended.

use super::table::{OwnerEntry, OwnerTable};
use crate::atomics::Ordering;
use crate::sync::directory::WordKind;
use crate::sync::lock_word::{TOKEN, Token, mark_word};

impl OwnerTable {
    /// Sweeps every owner whose process has ended. Returns their number.
    ///
    /// Takes about 10 us for each owner, so it is for programs without a supervisor, and for
    /// reclaiming. It reads the directory once, however many owners have ended, or entries were
    /// forged.
    pub fn sweep_dead(&self) -> usize {
        // The process has ended: its pidfd is readable, its pid is free, or its pid was given to a
        // process with another start time.
        let ended = |entry: &OwnerEntry| {
            let (pid, token) = entry.claimant()?;
            (!entry.lives(pid, token)).then_some(token)
        };
        let mut dead: Vec<Token> = self.owners().iter().filter_map(ended).collect();
        if dead.is_empty() {
            return 0;
        }
        dead.sort_unstable();
        let is_dead = |token: Token| dead.binary_search(&token).is_ok();
        // The steps of `sweep`, for all of them together.
        self.directory().for_each(|kind, word| {
            let holder = Token::from_bits(word.load(Ordering::Relaxed) & TOKEN);
            if let (WordKind::Lock, Some(holder)) = (kind, holder.filter(|&held| is_dead(held))) {
                mark_word(word, holder);
            }
        });
        self.wake_all();
        self.free_entries(is_dead);
        dead.len()
    }
}
