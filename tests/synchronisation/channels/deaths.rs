//! The state of a queue after workers were killed.

use std::collections::BTreeMap;

use brigade::sync::Timeout;
use brigade::{Error, Handle, Queue, SimpleQueue};
use nix::sys::signal::Signal;

use super::LONG;
use crate::common::alone::{alone, workers};
use crate::common::processes::send;
use crate::common::tasks::{forever, raise, with};
use crate::common::time::wait_for;

#[test]
fn what_a_producer_has_put_is_there_when_it_is_gone_and_it_waits_for_no_reader() {
    alone(|| {
        let pool = with(1).build().unwrap();
        for ending in 0..3 {
            let queue = Queue::<u32>::new(100).unwrap();
            let put = |(queue, ending): (Queue<u32>, i32)| {
                queue.put_many(0..100).unwrap();
                match ending {
                    0 => {}
                    1 => std::process::exit(0),
                    _ => raise(Signal::SIGKILL),
                }
            };
            assert_eq!(
                pool.submit(put, (queue.clone(), ending)).unwrap().join().is_ok(),
                ending == 0
            );
            assert_eq!(queue.len(), 100);
            assert_eq!(queue.get_many(1000).unwrap(), Vec::from_iter(0..100));
        }
    });
}

// cpython#96062: a worker killed while it waits for the queue keeps the queue's lock for ever.
#[test]
fn a_consumer_that_is_killed_while_it_waits_takes_nothing_with_it() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (started, told) =
            (SimpleQueue::<u32>::simple().unwrap(), Queue::<u32>::new(1).unwrap());
        let wait = |(queue, started): (Queue<u32>, SimpleQueue<u32>)| {
            started.put(std::process::id()).unwrap();
            drop(queue.get());
        };
        let waiting: Handle<()> = pool.submit(wait, (told.clone(), started.clone())).unwrap();
        send(started.get().unwrap(), Signal::SIGKILL);
        assert!(waiting.join().is_err());
        told.put(5).unwrap();
        let next = pool.submit(|queue: Queue<u32>| queue.get().unwrap(), told).unwrap();
        assert_eq!(next.join().unwrap(), 5);
    });
}

#[test]
fn the_locks_of_a_worker_that_dies_with_them_are_free_for_the_next() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<u32>::new(10).unwrap();
        queue.put_many([1, 2]).unwrap();
        let die = |queue: Queue<u32>| {
            let ring = queue.raw().unwrap();
            let (_push, _pop) =
                (ring.reserve(8, Timeout::Never).unwrap(), ring.read(Timeout::Never).unwrap());
            raise(Signal::SIGKILL);
        };
        for _ in 0..3 {
            assert!(pool.submit(die, queue.clone()).unwrap().join().unwrap_err().death().is_some());
            // The death was swept before it was reported.
            queue.try_put(3).unwrap();
            queue.try_get().unwrap();
        }
        assert_eq!(queue.get_many(10).unwrap(), [3, 3]);
    });
}

// A lock that its holder kept for later tasks, in memory that no running task had been lent.
#[test]
fn locks_in_memory_that_a_worker_kept_are_free_when_it_dies_idle() {
    use std::sync::OnceLock;
    static KEPT: OnceLock<Queue<u32>> = OnceLock::new();
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<u32>::new(10).unwrap();
        let keep = |queue: Queue<u32>| {
            let queue = KEPT.get_or_init(|| queue);
            std::mem::forget(queue.raw().unwrap().reserve(8, Timeout::Never).unwrap());
        };
        pool.submit(keep, queue.clone()).unwrap().join().unwrap();
        assert!(matches!(*queue.try_put(1).unwrap_err().error, Error::TimedOut { .. }));
        wait_for(|| workers().len() == 1);
        send(workers()[0].pid, Signal::SIGKILL);
        wait_for(|| pool.stats().restarts > 0);
        queue.try_put(1).unwrap();
    });
}

#[test]
fn a_waiter_in_another_worker_goes_on_when_the_holder_of_the_lock_is_killed() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (queue, ready) = (Queue::<u32>::new(10).unwrap(), Queue::<()>::new(10).unwrap());
        let hold = |(queue, ready): (Queue<u32>, Queue<()>)| {
            let _room = queue.raw().unwrap().reserve(8, Timeout::Never).unwrap();
            ready.put(()).unwrap();
            forever();
        };
        let holder = pool.submit(hold, (queue.clone(), ready.clone())).unwrap();
        ready.get().unwrap();
        let put = |queue: Queue<u32>| queue.put(1).unwrap();
        let waiter = pool.submit(put, queue.clone()).unwrap();
        assert!(!waiter.is_finished());
        holder.kill(std::time::Duration::ZERO).unwrap();
        waiter.join().unwrap();
        assert_eq!(queue.get().unwrap(), 1);
    });
}

/// The sender, the number, and text that takes room.
type Numbered = (u32, u64, String);

#[test]
fn no_message_is_duplicated_or_damaged_however_workers_are_killed() {
    const KILLS: usize = 25;
    alone(|| {
        let pool = with(4).retries(1000).build().unwrap();
        let queue = Queue::<Numbered>::builder().capacity(20).build().unwrap();
        let produce = |queue: Queue<Numbered>| {
            for n in 0.. {
                let text = "x".repeat(usize::try_from(n % 300).unwrap());
                if queue.put((std::process::id(), n, text)).is_err() {
                    return;
                }
            }
        };
        let pass = |(from, to): (Queue<Numbered>, Queue<Numbered>)| {
            while let Ok(message) = from.get() {
                if to.put(message).is_err() {
                    return;
                }
            }
        };
        let through = Queue::<Numbered>::builder().capacity(20).build().unwrap();
        let tasks: Vec<Handle<()>> = (0..4)
            .map(|role| match role % 2 {
                0 => pool.submit(produce, queue.clone()).unwrap(),
                _ => pool.submit(pass, (queue.clone(), through.clone())).unwrap(),
            })
            .collect();
        let mut seen: BTreeMap<(u32, u64), u32> = BTreeMap::new();
        for kill in 0..KILLS {
            for _ in 0..50 {
                let (pid, n, text) = through.get_timeout(LONG).unwrap();
                assert_eq!(text.len() as u64, n % 300);
                *seen.entry((pid, n)).or_default() += 1;
            }
            let alive = workers();
            if !alive.is_empty() {
                send(alive[kill % alive.len()].pid, Signal::SIGKILL);
            }
        }
        assert!(seen.values().all(|&count| count == 1), "a message came twice");
        queue.close_now().unwrap();
        through.close_now().unwrap();
        tasks.into_iter().for_each(|task| task.join().unwrap());
    });
}
