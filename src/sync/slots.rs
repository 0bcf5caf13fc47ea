//! A row of words, each free or held by an owner.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use super::directory::WordKind;
use super::lock_word::{OWNER_DIED, TOKEN, Token};
use super::owner::OwnerTable;
use crate::atomics::{AtomicU32, Ordering};
use crate::error::Result;

/// The holder of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// None.
    Nobody,
    /// An owner that died, and was swept.
    Dead,
    /// This owner, which may have died since.
    Claimed(Token),
}

/// The row: words in shared memory, geometry in private memory.
///
/// | field  | written by                        | read by | guard            | if the writer dies |
/// |--------|-----------------------------------|---------|------------------|--------------------|
/// | a word | claimer 0 -> token, its owner     | all     | compare-and-swap | a sweep makes it   |
/// |        | token -> 0, sweeper -> OWNER_DIED |         |                  | OWNER_DIED         |
/// |        | bit 31: see the primitive         |         |                  | and leaves bit 31  |
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots(NonNull<[AtomicU32]>);

impl Slots {
    /// # Safety
    ///
    /// The words are initialised, stay valid while the row is used, and are atomics to all.
    pub(crate) unsafe fn new(words: NonNull<[AtomicU32]>) -> Slots {
        Slots(words)
    }

    #[inline]
    fn words(&self) -> &[AtomicU32] {
        // SAFETY: valid and atomic while the row is used, by the contract of `new`.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn register(&self, table: &OwnerTable) -> Result<()> {
        table.directory().register(WordKind::Lock, self.0.cast(), self.count())
    }

    pub(super) fn unregister(&self, table: &OwnerTable) {
        table.directory().unregister(WordKind::Lock, self.0.cast(), self.count());
    }

    /// Claims a slot that is free, and not marked as a dead owner's.
    pub(super) fn claim_free(&self, token: Token) -> Option<usize> {
        self.claim(token, |seen| seen == 0).map(|(index, _)| index)
    }

    /// Claims a slot that satisfies `is_free`. Returns its index and its old value.
    pub(super) fn claim(
        &self,
        token: Token,
        is_free: impl Fn(u32) -> bool,
    ) -> Option<(usize, u32)> {
        (0..self.count()).find_map(|index| {
            // Relaxed: a guess, which `change` tests.
            let seen = self.words()[index].load(Ordering::Relaxed);
            let is_ours = is_free(seen) && self.change(index, seen, token.bits());
            is_ours.then_some((index, seen))
        })
    }

    /// Changes a slot, if it still has the value `seen`.
    pub(super) fn change(&self, index: usize, seen: u32, new: u32) -> bool {
        // Acquire and Release pair with each other and with the Release in `release`: the next
        // holder of a slot sees what was done under it. The sweeper's Release is one as well.
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        self.words()[index].compare_exchange(seen, new, success, failure).is_ok()
    }

    /// The value of a slot. Acquire: pairs with the Release in `release` and `change`.
    #[inline]
    pub(super) fn get(&self, index: usize) -> u32 {
        self.words()[index].load(Ordering::Acquire)
    }

    /// The address of a slot.
    pub(super) fn word(&self, index: usize) -> NonNull<AtomicU32> {
        NonNull::from(&self.words()[index])
    }

    /// Claims a slot that no living owner holds.
    pub(crate) fn claim_any(&self, token: Token) -> Option<usize> {
        self.claim(token, |seen| seen & TOKEN == 0).map(|(index, _)| index)
    }

    /// The holder of a slot.
    pub(crate) fn holder(&self, index: usize) -> Holder {
        let seen = self.get(index);
        match Token::from_bits(seen & TOKEN) {
            Some(token) => Holder::Claimed(token),
            None if seen & OWNER_DIED != 0 => Holder::Dead,
            None => Holder::Nobody,
        }
    }

    /// Claims slot `index`, if a dead owner left it.
    pub(crate) fn claim_dead(&self, index: usize, token: Token) -> bool {
        self.change(index, OWNER_DIED, token.bits())
    }

    /// Changes the holder of a slot in one step; false if `from` did not hold it.
    pub(crate) fn pass_on(&self, index: usize, from: Token, to: Token) -> bool {
        index < self.count() && self.change(index, from.bits(), to.bits())
    }

    /// Whether no living owner holds a slot.
    pub(crate) fn is_unheld(&self) -> bool {
        self.words().iter().all(|word| word.load(Ordering::Acquire) & TOKEN == 0)
    }

    /// Frees a slot. A slot that does not hold `token` was overwritten, and is left.
    #[inline]
    pub(crate) fn release(&self, index: usize, token: Token) {
        // Release pairs with the Acquire in `change` and `get`.
        let (success, failure) = (Ordering::Release, Ordering::Relaxed);
        let _ = self.words()[index].compare_exchange(token.bits(), 0, success, failure);
    }

    /// Whether an owner died while it held a slot.
    pub(super) fn has_dead(&self) -> bool {
        // Relaxed: only the fact of a death is used.
        self.words().iter().any(|word| word.load(Ordering::Relaxed) & OWNER_DIED != 0)
    }

    /// Frees the slots of dead owners.
    pub(super) fn free_dead(&self) {
        for word in self.words() {
            // Relaxed: the next claimer reads nothing that the dead owner wrote.
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            let _ = word.compare_exchange(OWNER_DIED, 0, success, failure);
        }
    }
}
