//! The claim word and the commit word of a task slot.
//!
//! ```text
//! bits 63..2  sequence number of the task, from 1     bits 1..0  state
//!
//! EMPTY --host stores--> OFFERED(seq) --worker CAS--> CLAIMED(seq)
//!                              \--------host CAS----> RECALLED(seq)
//! ```
//!
//! Exactly one of the two compare-and-swaps can succeed, so a task is either taken back or has
//! started, never both. An unexpected word means that something overwrote it.
//!
//! The worker commits every task, also one that was recalled, in the result slot of the same index.
//! The host offers a slot again only after it has seen that commit, so the fields of the
//! task and those of the result are each written by one process at a time:
//!
//! 1. The host writes the task's fields, and offers it.
//! 2. The worker claims it, reads the fields, and writes those of the result. Or it sees that the
//!    task was recalled, and reads none.
//! 3. It commits.
//! 4. The host sees the commit, and reads the fields of the result. Then it may go on with 1.

use crate::atomics::{AtomicU64, Ordering};

const OFFERED: u64 = 1;
const CLAIMED: u64 = 2;
const RECALLED: u64 = 3;

/// The state of a claim word for one sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClaimState {
    /// It may be claimed or recalled.
    Offered,
    /// A worker has started it.
    Claimed,
    /// The host has taken it back.
    Recalled,
    /// The word has another sequence number, or none.
    Other,
}

/// Offers task `seq`. The slot's fields must be written before; the worker reads them after
/// [`try_claim`].
pub(crate) fn offer(word: &AtomicU64, seq: u64) {
    // Release: pairs with the Acquire of `try_claim` and `read`.
    word.store(seq << 2 | OFFERED, Ordering::Release);
}

/// The state of the word for `seq`.
pub(crate) fn read(word: &AtomicU64, seq: u64) -> ClaimState {
    let value = word.load(Ordering::Acquire);
    match value.wrapping_sub(seq << 2) {
        OFFERED => ClaimState::Offered,
        CLAIMED => ClaimState::Claimed,
        RECALLED => ClaimState::Recalled,
        _ => ClaimState::Other,
    }
}

/// Worker: starts task `seq`. False if the host recalled it first.
pub(crate) fn try_claim(word: &AtomicU64, seq: u64) -> bool {
    swap(word, seq, CLAIMED)
}

/// Host: recalls task `seq`. False if the worker claimed it first.
pub(crate) fn try_recall(word: &AtomicU64, seq: u64) -> bool {
    swap(word, seq, RECALLED)
}

/// Worker: commits the result of task `seq`. The slot's fields must be written before; the host
/// reads them after [`is_committed`].
pub(crate) fn commit(word: &AtomicU64, seq: u64) {
    // Release: pairs with the Acquire of `is_committed`.
    word.store(seq, Ordering::Release);
}

/// Host: whether the result of task `seq` is committed.
pub(crate) fn is_committed(word: &AtomicU64, seq: u64) -> bool {
    // Acquire: pairs with the Release of `commit`.
    word.load(Ordering::Acquire) == seq
}

fn swap(word: &AtomicU64, seq: u64, to: u64) -> bool {
    let (from, to) = (seq << 2 | OFFERED, seq << 2 | to);
    word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_claimed_or_recalled_but_never_both() {
        let word = AtomicU64::new(0);
        assert_eq!(read(&word, 1), ClaimState::Other);
        offer(&word, 1);
        assert_eq!(read(&word, 1), ClaimState::Offered);
        assert!(try_claim(&word, 1));
        assert!(!try_recall(&word, 1));
        assert_eq!(read(&word, 1), ClaimState::Claimed);
        offer(&word, 2);
        assert!(!try_claim(&word, 1), "the offer of another round is not ours");
        assert!(try_recall(&word, 2));
        assert!(!try_claim(&word, 2));
        assert_eq!(read(&word, 2), ClaimState::Recalled);
        assert_eq!(read(&word, 1), ClaimState::Other);
    }
}

#[cfg(all(test, loom))]
#[path = "claim_loom.rs"]
mod loom_tests;
