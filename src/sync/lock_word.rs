//! What stands for an owner in a word.

use std::num::NonZeroU32;

use crate::atomics::{AtomicU32, Ordering};
use crate::sync::lock::{OWNER_DIED, TOKEN, WAITERS};

/// What stands for one owner in a lock word: 1 to 2^30 - 1, never used twice in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(NonZeroU32);

impl Token {
    /// The token of this number, if it can be one: to pass a token through a message.
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

/// Swaps `dead` to OWNER_DIED in one word.
pub(in crate::sync) fn mark_word(word: &AtomicU32, dead: Token) -> bool {
    let mut seen = word.load(Ordering::Relaxed);
    while seen & TOKEN == dead.bits() {
        let marked = (seen & WAITERS) | OWNER_DIED;
        // AcqRel: Release pairs with the Acquire of the next locker; Acquire so that what the
        // dead wrote before it took the lock is ours to pass on.
        match word.compare_exchange(seen, marked, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return true,
            Err(now) => seen = now,
        }
    }
    false
}
