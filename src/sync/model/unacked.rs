//! Models of the messages that are taken and not acknowledged.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::{check, check_deaths};
use crate::atomics::mortal::live_for;
use crate::atomics::{AtomicU32, AtomicU64, Ordering};
use crate::sync::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use crate::sync::ring::{LockKind, Ring, RingHeader};
use crate::sync::timeout::{Timeout, Watch};
use crate::sync::unacked::{Unacked, UnackedWords};
use crate::sys::identity::Identity;

/// What the processes of a model share: a table, a ring with room for one message, the words.
struct JoinableWords {
    header: TableHeader,
    owners: [OwnerEntry; 2],
    slots: [AtomicU64; 5],
    ring: RingHeader,
    data: [AtomicU64; 2],
    unacked: UnackedWords,
    /// Set before the message is acknowledged.
    is_done: AtomicU32,
}

// SAFETY: all atomics.
unsafe impl Sync for JoinableWords {}
// SAFETY: as for `Sync`.
unsafe impl Send for JoinableWords {}

impl JoinableWords {
    /// With one message in the ring, and two owners.
    fn new() -> (Arc<JoinableWords>, [Owner; 2]) {
        let words = Arc::new(JoinableWords {
            header: TableHeader::new(2, 5, 0),
            owners: std::array::from_fn(|_| OwnerEntry::free()),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            ring: RingHeader::new(16, LockKind::Robust),
            data: std::array::from_fn(|_| AtomicU64::new(0)),
            unacked: UnackedWords::new(),
            is_done: AtomicU32::new(0),
        });
        let owners = [words.owner(), words.owner()];
        let ring = words.ring(&owners[0]);
        ring.register(&owners[0]).unwrap();
        words.unacked().register(&words.table()).unwrap();
        ring.push([7; 8], Timeout::Now).unwrap();
        (words, owners)
    }

    fn table(&self) -> OwnerTable {
        let region = NonNull::from(self).cast::<u8>();
        let (owners, slots) = (NonNull::from(&self.owners[..]), NonNull::from(&self.slots[..]));
        let header = NonNull::from(&self.header);
        // SAFETY: all parts lie in `self`, which the model keeps until its end.
        unsafe { OwnerTable::from_parts(header, owners, slots, region, size_of::<Self>()) }
    }

    fn owner(&self) -> Owner {
        let nobody = Identity { pid: 0, start_ticks: 0 };
        Owner::claim_as(&self.table(), Watch::Supervisor, nobody).unwrap()
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
        // The observer is the thread that is spawned: so loom first runs the consumer to its end,
        // and then tries the observer before each of its stores.
        let observing = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                if words.unacked().unfinished(&words.ring(&observer)) == 0 {
                    // SeqCst, as the store below.
                    assert_eq!(words.is_done.load(Ordering::SeqCst), 1, "it is unfinished");
                }
            })
        };
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
        let victim = {
            let (words, ring) = (Arc::clone(&words), words.ring(&doomed));
            thread::spawn(move || {
                let take = || words.unacked().take(index, &ring, &mut Vec::new(), Timeout::Now);
                live_for(operations, || take().unwrap()).is_none()
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has finished.
        unsafe { words.table().sweep(doomed.token()) };
        // The heir takes what is there while a third process counts what was lost.
        let counting = {
            let (words, ring, heir) = (Arc::clone(&words), words.ring(&heir), heir.clone());
            thread::spawn(move || words.unacked().count_lost_of_swept(&heir, || ring.popped()))
        };
        let (unacked, ring) = (words.unacked(), words.ring(&heir));
        let is_taken = unacked.take(own, &ring, &mut Vec::new(), Timeout::Now).is_ok();
        counting.join().unwrap();
        assert!(died || !is_taken, "a message was taken twice");
        assert_eq!(unacked.lost(), u64::from(!is_taken), "each message is lost or taken");
        assert_eq!(unacked.unfinished(&ring), u64::from(is_taken));
        died
    });
}
