//! Models of two tasks in one slot, with three preemptions.
#![allow(unsafe_code)]

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A task slot and its result slot, with one field each.
struct Slot {
    claim: AtomicU64,
    commit: AtomicU64,
    task: UnsafeCell<u64>,
    result: UnsafeCell<u64>,
}

impl Slot {
    fn new() -> Slot {
        let (claim, commit) = (AtomicU64::new(0), AtomicU64::new(0));
        Slot { claim, commit, task: UnsafeCell::new(0), result: UnsafeCell::new(0) }
    }

    /// The worker's part for one task, as in `WorkerSide`. Returns whether it ran.
    fn work(&self, seq: u64) -> bool {
        let is_claimed = loop {
            match read(&self.claim, seq) {
                ClaimState::Offered if try_claim(&self.claim, seq) => break true,
                ClaimState::Recalled => break false,
                _ => thread::yield_now(),
            }
        };
        if is_claimed {
            // SAFETY: the host writes it before the offer only; loom checks that.
            let task = self.task.with(|task| unsafe { *task });
            assert_eq!(task, 10 * seq, "the fields of another task");
        }
        // SAFETY: the host reads it after the commit only; loom checks that.
        self.result.with_mut(|result| unsafe { *result = 100 * seq });
        commit(&self.commit, seq);
        is_claimed
    }

    fn offer(&self, seq: u64) {
        // SAFETY: the worker reads it after the offer only; loom checks that.
        self.task.with_mut(|task| unsafe { *task = 10 * seq });
        offer(&self.claim, seq);
    }

    /// The host's part when the result is committed.
    fn drain(&self, seq: u64) {
        // SAFETY: the worker writes it before the commit only; loom checks that.
        let result = self.result.with(|result| unsafe { *result });
        assert_eq!(result, 100 * seq, "the result of another task");
    }
}

/// Two tasks in one slot. The host recalls the first, if it comes in time.
fn use_a_slot_twice(is_committed: fn(&AtomicU64, u64) -> bool) {
    let slot = Arc::new(Slot::new());
    let worker = {
        let slot = Arc::clone(&slot);
        thread::spawn(move || [slot.work(1), slot.work(2)])
    };
    slot.offer(1);
    let is_recalled = try_recall(&slot.claim, 1);
    for seq in [1, 2] {
        if seq == 2 {
            slot.offer(2);
        }
        while !is_committed(&slot.commit, seq) {
            thread::yield_now();
        }
        slot.drain(seq);
    }
    assert_eq!(worker.join().unwrap(), [!is_recalled, true], "claimed or recalled");
}

// Small enough for every interleaving.
#[test]
fn loom_claim_and_recall_exclude_each_other() {
    loom::model(|| {
        let slot = Arc::new(Slot::new());
        slot.offer(1);
        let worker = Arc::clone(&slot);
        let claimed = thread::spawn(move || try_claim(&worker.claim, 1));
        let recalled = try_recall(&slot.claim, 1);
        assert!(claimed.join().unwrap() ^ recalled);
    });
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn loom_a_slot_is_used_again_after_its_commit_whether_claimed_or_recalled() {
    check(|| use_a_slot_twice(is_committed));
}

// The negative control: without Acquire the result may be read before it is written.
#[test]
#[should_panic(expected = "Causality violation")]
fn loom_a_commit_that_is_seen_without_its_order_shows_no_result() {
    check(|| use_a_slot_twice(|word, seq| word.load(Ordering::Relaxed) == seq));
}
