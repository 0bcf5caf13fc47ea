//! What stands for an owner in a word.

use std::num::NonZeroU32;

use crate::sync::lock::TOKEN;

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
