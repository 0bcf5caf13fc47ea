//! Models of messages that are delivered and not acknowledged.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::{ModelMemory, check, check_deaths, spawn, spawn_victim};
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sync::owner::Owner;
use crate::sync::ring::{LockKind, Ring, RingHeader};
use crate::sync::timeout::Timeout;
use crate::sync::unacked::{Unacked, UnackedWords};

/// A ring with space for one message, and the words for acknowledgments.
struct JoinableWords {
    ring: RingHeader,
    data: [AtomicU64; 2],
    unacked: UnackedWords,
    /// Set before the message is acknowledged.
    is_done: AtomicU32,
}

impl JoinableWords {
    /// With one message in the ring, and two owners.
    fn new() -> (Arc<ModelMemory<JoinableWords>>, [Owner; 2]) {
        let words = JoinableWords {
            ring: RingHeader::new(16, LockKind::Robust),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            unacked: UnackedWords::new(),
            is_done: AtomicU32::new(0),
        };
        let shared = ModelMemory::with_table(2, 5, words);
        let owners = [shared.owner(), shared.owner()];
        let ring = shared.ring(&owners[0]);
        ring.register(&owners[0]).unwrap();
        shared.unacked().register(&shared.table()).unwrap();
        ring.push([7; 8], Timeout::Now).unwrap();
        (shared, owners)
    }

    fn ring(&self, owner: &Owner) -> Ring {
        let parts = (NonNull::from(&self.ring), NonNull::from(&self.data[..]));
        // SAFETY: the model keeps header and data until its end; `new` registers the locks.
        unsafe { Ring::robust(parts, owner) }
    }

    fn unacked(&self) -> Unacked {
        // SAFETY: the model keeps the words until its end.
        unsafe { Unacked::new(NonNull::from(&self.unacked)) }
    }
}

#[test]
fn loom_a_message_is_unfinished_until_it_is_acknowledged() {
    check(|| {
        let (words, [consumer, observer]) = JoinableWords::new();
        // The observer is the spawned thread, so loom first runs the consumer to its end, and then
        // tries the observer before each of the consumer's stores.
        let observing = spawn(&words, move |words| {
            if words.unacked().unfinished(&words.ring(&observer)) == 0 {
                // SeqCst, as the store below.
                assert_eq!(words.is_done.load(Ordering::SeqCst), 1, "it is unfinished");
            }
        });
        let (ring, unacked) = (words.ring(&consumer), words.unacked());
        let index = unacked.claim(&consumer, ring.popped()).unwrap();
        unacked.take(index, &ring, &mut Vec::new(), Timeout::Now).unwrap();
        words.is_done.store(1, Ordering::SeqCst);
        assert!(unacked.acknowledge(Some(index)));
        observing.join().unwrap();
        assert_eq!((unacked.unfinished(&ring), unacked.lost()), (0, 0));
    });
}

#[test]
fn loom_a_consumer_that_dies_at_any_operation_has_lost_the_message_or_left_it() {
    check_deaths(|operations| {
        let (words, [doomed, heir]) = JoinableWords::new();
        let index = words.unacked().claim(&doomed, 0).unwrap();
        let own = words.unacked().claim(&heir, 0).unwrap();
        let ring = words.ring(&doomed);
        let victim = spawn_victim(&words, operations, move |words| {
            words.unacked().take(index, &ring, &mut Vec::new(), Timeout::Now).unwrap();
        });
        let died = victim.join().unwrap();
        words.sweep(&doomed);
        // The heir takes a message while a third process counts the lost ones.
        let (ring, own_name) = (words.ring(&heir), heir.clone());
        let counting = spawn(&words, move |words| {
            words.unacked().count_lost_of_swept(&own_name, || ring.popped());
        });
        let (unacked, ring) = (words.unacked(), words.ring(&heir));
        let is_taken = unacked.take(own, &ring, &mut Vec::new(), Timeout::Now).is_ok();
        counting.join().unwrap();
        assert!(died || !is_taken, "a message was taken twice");
        assert_eq!(unacked.lost(), u64::from(!is_taken), "each message is lost or taken");
        assert_eq!(unacked.unfinished(&ring), u64::from(is_taken));
        died
    });
}
