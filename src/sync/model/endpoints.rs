//! Models of the end points of a pipe.
#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;

use super::{ModelMemory, check, check_deaths, spawn, spawn_victim};
use crate::sync::endpoints::{EndpointWords, Endpoints, Serials};
use crate::sync::owner::Owner;

/// The shared words of a model, and the private state of each process.
struct PipeWords {
    endpoints: EndpointWords,
    host_serials: Serials,
    worker_serials: Serials,
}

impl PipeWords {
    /// Makes the words, an owner for the host and one for a worker.
    fn new() -> (Arc<ModelMemory<PipeWords>>, [Owner; 2]) {
        let words = PipeWords {
            endpoints: EndpointWords::new(),
            host_serials: Serials::default(),
            worker_serials: Serials::default(),
        };
        let shared = ModelMemory::with_table(2, 2, words);
        shared.host().register(&shared.table()).unwrap();
        let owners = [shared.owner(), shared.owner()];
        (shared, owners)
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
fn loom_an_end_in_transit_to_a_worker_always_has_a_holder() {
    check(|| {
        let (words, [host, worker]) = PipeWords::new();
        let sent = words.host().claim(0, &host).unwrap();
        let transit = words.host().transit(&sent, &host, false);
        let receiving = spawn(&words, move |words| {
            let claim = words.worker().receive(0, transit, &worker).unwrap();
            (claim, worker)
        });
        // The host makes and drops another handle meanwhile.
        let other = words.host().claim(0, &host).unwrap();
        assert!(!words.host().release(&other, &host), "the end was on its way");
        assert!(!words.host().has_no_holder(0), "the end was on its way");
        let (received, worker) = receiving.join().unwrap();
        // The lease ends after the worker has decoded the message: its release has no effect.
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
        // The message is late: the host has released it, and holds the same slot for another
        // handle.
        words.host().release(&sent, &host);
        let successor = words.host().claim(0, &host).unwrap();
        let receiving = spawn(&words, move |words| {
            let claim = words.worker().receive(0, transit, &worker).unwrap();
            words.worker().release(&claim, &worker)
        });
        assert!(!words.host().has_no_holder(0), "the host holds the end");
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
        let theirs = worker.clone();
        let victim = spawn_victim(&words, operations, move |words| {
            words.worker().receive(0, transit, &theirs).map(drop).unwrap();
        });
        let died = victim.join().unwrap();
        words.sweep(&worker);
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
