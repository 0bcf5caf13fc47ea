//! The claim word of a task slot: offered, claimed, recalled.
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
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn loom_claim_and_recall_exclude_each_other() {
        loom::model(|| {
            let shared = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
            shared.1.store(7, Ordering::Relaxed);
            offer(&shared.0, 1);
            let worker = Arc::clone(&shared);
            let claimed = thread::spawn(move || {
                let won = try_claim(&worker.0, 1);
                if won {
                    assert_eq!(worker.1.load(Ordering::Relaxed), 7, "claimed before the fields");
                }
                won
            });
            let recalled = try_recall(&shared.0, 1);
            assert!(claimed.join().unwrap() ^ recalled);
        });
    }
}
