//! Tests of `HostSide` over memory that a worker overwrites.

use super::*;
use crate::object::transfer::LeaseList;
use crate::process::function::FunctionOffset;

/// A queue pair with `count` offers, made at the time `offered_ns`.
fn offered(count: u32, offered_ns: u64) -> HostSide {
    let mut queues = HostSide::new(&Arena::host().unwrap()).unwrap();
    for index in 0..count {
        let function = FunctionOffset::of(queue_pair_in as *const ()).unwrap();
        let (payload, leases) = (Encoded::default(), LeaseList::default());
        let call = Call { function, name: "test", number: 0, payload, leases, shared_input: None };
        queues.offer(TaskId { index, generation: 0 }, &call, offered_ns).unwrap();
    }
    queues
}

fn write(word: &std::sync::atomic::AtomicU64, value: u64) {
    word.store(value, Ordering::Relaxed);
}

const OFFERED: u64 = 1;
const CLAIMED: u64 = 2;
const RECALLED: u64 = 3;

#[test]
fn readiness_and_process_id_stay_once_they_were_read() {
    let queues = offered(0, 0);
    assert!(!queues.is_ready());
    for word in [7, 0, 9] {
        queues.queues().header.ready.store(word, Ordering::Relaxed);
        assert!(queues.is_ready());
        assert_eq!(queues.pid(), 7);
    }
}

#[test]
fn a_worker_that_has_begun_a_task_is_ready_whatever_its_word() {
    let queues = offered(1, 0);
    write(&queues.queues().task(1).claim, 1 << 2 | CLAIMED);
    assert!(queues.running().is_some() && queues.is_ready());
}

#[test]
fn a_start_time_is_limited_to_between_the_offer_and_the_first_look() {
    let offered_ns = clock::now_ns();
    let queues = offered(2, offered_ns);
    assert_eq!(queues.running(), None);
    write(&queues.queues().task(1).claim, 1 << 2 | CLAIMED);
    let (_, _, first_ns) = queues.running().unwrap();
    assert!((offered_ns..=clock::now_ns()).contains(&first_ns));
    for phase in [0, 1 << 2, 1 << 2 | 1, 1 << 2 | 3, 2 << 2 | 1, u64::MAX] {
        for started_ns in [0, 1, offered_ns, 1 << 62, u64::MAX] {
            write(&queues.queues().header.phase, phase);
            write(&queues.queues().header.started_ns, started_ns);
            let (seq, _, since_ns) = queues.running().unwrap();
            assert_eq!(seq, 1, "the first that is not over");
            let possible = offered_ns..=first_ns;
            assert!(possible.contains(&since_ns), "{phase:#x} since {started_ns}: {since_ns}");
        }
    }
}

#[test]
fn a_claim_word_that_neither_side_wrote_is_found() {
    let queues = offered(2, 0);
    let claim = &queues.queues().task(1).claim;
    for right in [OFFERED, CLAIMED] {
        write(claim, 1 << 2 | right);
        assert!(!queues.is_corrupt());
    }
    for wrong in [0, 1 << 2, 1 << 2 | RECALLED, 2 << 2 | CLAIMED, 257 << 2 | OFFERED, u64::MAX] {
        write(claim, wrong);
        assert!(queues.is_corrupt(), "{wrong:#x}");
    }
}

#[test]
fn a_recall_that_was_written_over_is_found() {
    let mut queues = offered(1, 0);
    assert!(queues.recall(1) && !queues.is_corrupt());
    for wrong in [0, 1 << 2 | OFFERED, 1 << 2 | CLAIMED] {
        write(&queues.queues().task(1).claim, wrong);
        assert!(queues.is_corrupt(), "{wrong:#x}");
    }
}

#[test]
fn a_commit_that_was_written_over_is_found_when_the_next_task_begins() {
    let queues = offered(2, 0);
    write(&queues.queues().task(1).claim, 1 << 2 | CLAIMED);
    write(&queues.queues().result(1).seq, 1);
    write(&queues.queues().task(2).claim, 2 << 2 | CLAIMED);
    assert!(!queues.is_corrupt());
    write(&queues.queues().result(1).seq, 0);
    assert!(queues.is_corrupt());
}

// A thread that polled a worker's commit word once read on when the memory had another owner.
#[test]
fn a_queue_pair_is_not_reused_while_a_thread_polls_it() {
    let queues = offered(1, 0);
    let (next, offset) = (queues.pending_commit().unwrap(), queues.offset());
    drop(queues);
    let others: Vec<HostSide> = (0..40).map(|_| offered(0, 0)).collect();
    for other in &others {
        assert_ne!(other.offset(), offset);
        write(&other.queues().result(1).seq, 1);
    }
    assert!(!next.is_committed());
}
