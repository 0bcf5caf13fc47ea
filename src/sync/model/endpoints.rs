//! Models of the end points of a pipe.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::{check, check_deaths};
use crate::atomics::AtomicU64;
use crate::atomics::mortal::live_for;
use crate::sync::endpoints::{EndpointWords, Endpoints, Serials};
use crate::sync::owner::{Owner, OwnerEntry, OwnerTable, TableHeader};
use crate::sync::timeout::Watch;
use crate::sys::identity::Identity;

/// What the processes of a model share, and what each has for itself.
struct PipeWords {
    header: TableHeader,
    owners: [OwnerEntry; 2],
    slots: [AtomicU64; 2],
    endpoints: EndpointWords,
    host_serials: Serials,
    worker_serials: Serials,
}

// SAFETY: all atomics and locks.
unsafe impl Sync for PipeWords {}
// SAFETY: as for `Sync`.
unsafe impl Send for PipeWords {}

impl PipeWords {
    /// With an owner for the host and one for a worker.
    fn new() -> (Arc<PipeWords>, [Owner; 2]) {
        let words = Arc::new(PipeWords {
            header: TableHeader::new(2, 2, 0),
            owners: std::array::from_fn(|_| OwnerEntry::free()),
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            endpoints: EndpointWords::new(),
            host_serials: Serials::default(),
            worker_serials: Serials::default(),
        });
        words.host().register(&words.table()).unwrap();
        let owners = [words.owner(), words.owner()];
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

    /// The end points as the host sees them.
    fn host(&self) -> Endpoints<'_> {
        // SAFETY: the model keeps the words until its end.
        unsafe { Endpoints::new(NonNull::from(&self.endpoints), &self.host_serials) }
    }

    /// The end points as the worker sees them.
    fn worker(&self) -> Endpoints<'_> {
        // SAFETY: the model keeps the words until its end.
        unsafe { Endpoints::new(NonNull::from(&self.endpoints), &self.worker_serials) }
    }
}

#[test]
fn loom_an_end_on_its_way_to_a_worker_has_a_holder_at_every_moment() {
    check(|| {
        let (words, [host, worker]) = PipeWords::new();
        let sent = words.host().claim(0, &host).unwrap();
        let transit = words.host().transit(&sent, &host, false);
        let receiving = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let claim = words.worker().receive(0, transit, &worker).unwrap();
                (claim, worker)
            })
        };
        // The host makes and drops another handle meanwhile.
        let other = words.host().claim(0, &host).unwrap();
        assert!(!words.host().release(&other, &host), "the end was on its way");
        assert!(!words.host().is_deserted(0), "the end was on its way");
        let (received, worker) = receiving.join().unwrap();
        // The lease ends after the worker has decoded the message: it has nothing left to release.
        assert!(!words.host().release(&sent, &host), "the worker holds the end");
        assert!(words.worker().release(&received, &worker), "it was the last holder");
    });
}

#[test]
fn loom_a_claim_that_was_released_is_not_taken_over_from_its_successor() {
    check(|| {
        let (words, [host, worker]) = PipeWords::new();
        let sent = words.host().claim(0, &host).unwrap();
        let transit = words.host().transit(&sent, &host, false);
        // The message is late: the host has given up, and holds the same slot for another handle.
        words.host().release(&sent, &host);
        let successor = words.host().claim(0, &host).unwrap();
        let receiving = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                let claim = words.worker().receive(0, transit, &worker).unwrap();
                words.worker().release(&claim, &worker)
            })
        };
        assert!(!words.host().is_deserted(0), "the host holds the end");
        assert!(!receiving.join().unwrap(), "the host holds the end");
        assert!(words.host().release(&successor, &host), "it was the last holder");
    });
}

#[test]
fn loom_a_worker_that_dies_while_it_takes_an_end_over_leaves_it_to_the_host_or_free() {
    check_deaths(|operations| {
        let (words, [host, worker]) = PipeWords::new();
        let sent = words.host().claim(0, &host).unwrap();
        let transit = words.host().transit(&sent, &host, false);
        let victim = {
            let (words, worker) = (Arc::clone(&words), worker.clone());
            thread::spawn(move || {
                let receive = || words.worker().receive(0, transit, &worker).map(drop).unwrap();
                live_for(operations, receive).is_none()
            })
        };
        let died = victim.join().unwrap();
        // SAFETY: the victim is dead, or has finished.
        unsafe { words.table().sweep(worker.token()) };
        assert!(words.host().release(&sent, &host), "nobody who lives holds the end");
        died
    });
}

#[test]
fn loom_a_process_that_takes_over_its_own_claim_keeps_it() {
    check(|| {
        let (words, [host, _]) = PipeWords::new();
        let sent = words.host().claim(0, &host).unwrap();
        let transit = words.host().transit(&sent, &host, false);
        // The task runs in the host: sender and receiver have the same token.
        let received = words.host().receive(0, transit, &host).unwrap();
        assert!(!words.host().release(&sent, &host), "it was taken over");
        assert!(words.host().release(&received, &host), "it was the last holder");
    });
}
