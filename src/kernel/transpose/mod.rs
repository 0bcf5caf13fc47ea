//! Transposes and permutations of axes, into a new array.
//!
//! Elements are moved as whole words of 1, 2, 4, 8 or 16 bytes, whose bits do not change.

mod block;
mod matrix;
mod permute;

pub(crate) use block::Word;
pub(crate) use permute::Permutation;
