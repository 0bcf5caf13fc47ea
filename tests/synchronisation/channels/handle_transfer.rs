//! How handles get into tasks, and are kept there.

use std::sync::OnceLock;

use brigade::sync::Timeout;
use brigade::{Connection, Error, Pipe, Pool, Process, Queue, SharedArray, Start};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::common::alone::alone;
use crate::common::tasks::{raise, with};

static KEPT: OnceLock<Queue<u32>> = OnceLock::new();

fn keep(queue: Queue<u32>) -> Result<(), String> {
    KEPT.set(queue).map_err(|_| "twice".to_owned())
}

fn put_into_kept(n: u32) -> u32 {
    KEPT.get().unwrap().put(n).unwrap();
    std::process::id()
}

// As Python's `initializer=init, initargs=(queue,)`.
#[test]
fn an_initializer_keeps_a_queue_for_all_tasks_of_its_worker() {
    alone(|| {
        let queue = Queue::<u32>::new(100).unwrap();
        let pool = with(2).initializer(keep, queue.clone()).build().unwrap();
        let mut pids: Vec<u32> = pool.map(0..100, put_into_kept).unwrap().collect();
        pids.sort_unstable();
        pids.dedup();
        assert!(pids.len() <= 2 && pool.stats().restarts == 0, "no worker ends for it");
        let mut got = queue.get_many(1000).unwrap();
        got.sort_unstable();
        assert_eq!(got, Vec::from_iter(0..100));
    });
}

#[test]
fn a_worker_that_replaces_another_is_initialised_with_the_same_queue() {
    alone(|| {
        let queue = Queue::<u32>::new(100).unwrap();
        let pool =
            with(1).initializer(keep, queue.clone()).max_tasks_per_worker(1).build().unwrap();
        let pids: Vec<u32> =
            (0..3).map(|n| pool.submit(put_into_kept, n).unwrap().join().unwrap()).collect();
        assert!(pids[0] != pids[1] && pids[1] != pids[2]);
        assert_eq!(queue.get_many(9).unwrap(), [0, 1, 2]);
    });
}

#[test]
fn a_task_keeps_its_queue_in_a_static_and_later_tasks_of_that_worker_use_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = Queue::<u32>::new(10).unwrap();
        let first = |queue: Queue<u32>| KEPT.set(queue).unwrap();
        pool.submit(first, queue.clone()).unwrap().join().unwrap();
        let address = format!("{queue:?}");
        drop(queue);
        // The host no longer has it, and others allocate memory meanwhile.
        let others: Vec<Queue<u32>> = (0..50).map(|_| Queue::new(10).unwrap()).collect();
        let through = |n: u32| {
            let queue = KEPT.get().unwrap();
            queue.put(n).unwrap();
            queue.get().unwrap()
        };
        assert_eq!(pool.map(0..50, through).unwrap().collect::<Vec<_>>(), Vec::from_iter(0..50));
        assert!(others.iter().all(Queue::is_empty), "{address}");
        assert_eq!(pool.stats().restarts, 0);
    });
}

#[test]
fn memory_of_queues_without_a_user_is_used_again() {
    alone(|| {
        // Each takes at least 2 MiB; together they would exceed the limit many times over.
        brigade::set_memory_limit(96 << 20);
        let pool = with(1).build().unwrap();
        let kept = Queue::<u32>::new(10).unwrap();
        let keep = |queue: Queue<u32>| KEPT.set(queue).unwrap();
        pool.submit(keep, kept).unwrap().join().unwrap();
        let put = |queue: Queue<u32>| queue.put(5).unwrap();
        for _ in 0..200 {
            let queue = Queue::<u32>::builder().capacity_bytes(1 << 20).build().unwrap();
            pool.submit(put, queue.clone()).unwrap().join().unwrap();
            assert_eq!(queue.get().unwrap(), 5);
        }
    });
}

#[test]
fn a_queue_is_shared_with_all_items_of_a_map_and_all_chunks_of_a_loop() {
    alone(|| {
        for start in [Start::ForkServer, Start::InProcess] {
            let pool = with(2).start(start).build().unwrap();
            let queue = Queue::<u32>::new(1000).unwrap();
            let mapped = |queue: &Queue<u32>, n: u32| queue.put(n).unwrap();
            pool.with(queue.clone()).map(0..100, mapped).unwrap().for_each(drop);
            let mut x = SharedArray::<u32>::zeroed([100]).unwrap();
            pool.par_chunks_mut(&mut x, 10)
                .enumerate()
                .with(queue.clone())
                .for_each(|queue, (chunk, x)| {
                    for index in 0..x.len() {
                        queue.put(u32::try_from(100 + chunk * 10 + index).unwrap()).unwrap();
                    }
                })
                .unwrap();
            let mut got = queue.get_many(1000).unwrap();
            got.sort_unstable();
            assert_eq!(got, Vec::from_iter(0..200));
        }
    });
}

#[test]
fn a_queue_goes_into_a_task_and_comes_back_as_the_same() {
    alone(|| {
        for start in [Start::ForkServer, Start::InProcess] {
            let pool = with(1).start(start).build().unwrap();
            let queue = Queue::<u32>::new(10).unwrap();
            let task = |queue: Queue<u32>| {
                queue.put(1).unwrap();
                queue
            };
            let back = pool.submit(task, queue.clone()).unwrap().join().unwrap();
            back.put(2).unwrap();
            assert_eq!(queue.get_many(9).unwrap(), [1, 2]);
        }
    });
}

#[test]
fn a_queue_that_is_sent_through_a_queue_is_refused_with_the_reason() {
    alone(|| {
        let carrier = Queue::<Queue<u32>>::new(1).unwrap();
        let refused = carrier.put(Queue::new(1).unwrap()).unwrap_err();
        let text = refused.to_string();
        assert!(matches!(*refused.error, Error::Codec { .. }) && text.contains("task"), "{text}");
        refused.value.put(1).unwrap();
    });
}

#[test]
fn a_queue_that_was_made_in_a_task_is_no_result() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let task = pool.submit(|()| Queue::<u32>::new(1).unwrap(), ()).unwrap();
        let error = task.join().unwrap_err().to_string();
        assert!(error.contains("that a task made in shared memory"), "{error}");
    });
}

#[test]
fn a_handle_in_a_forked_child_is_inert() {
    alone(|| {
        let queue = Queue::<u32>::new(10).unwrap();
        queue.put(1).unwrap();
        // SAFETY: the child calls nothing that another thread may have locked.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let refused =
                    queue.try_put(2).is_err_and(|r| matches!(*r.error, Error::Closed { .. }));
                let is_inert = refused && queue.try_get().is_err() && queue.is_empty();
                drop(queue);
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(i32::from(!is_inert)) }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
        assert_eq!(queue.get().unwrap(), 1);
    });
}

#[test]
fn queues_and_pipes_connect_processes_whatever_becomes_of_them() {
    alone(|| {
        let queue = Queue::<u32>::new(3).unwrap();
        let put = |queue: Queue<u32>| (0..100).for_each(|n| queue.put(n).unwrap());
        let get = |queue: Queue<u32>| (0..100).map(|_| queue.get().unwrap()).sum::<u32>();
        let producer = Process::spawn(put, queue.clone()).unwrap();
        let consumer = Process::spawn(get, queue.clone()).unwrap();
        assert_eq!(consumer.join().unwrap(), 4950);
        producer.join().unwrap();
        let (here, there) = Pipe::duplex().unwrap();
        let die = |(queue, there): (Queue<u32>, Connection)| {
            there.send(&7u32).unwrap();
            let _room = queue.raw().unwrap().reserve(8, Timeout::Never).unwrap();
            raise(Signal::SIGKILL);
        };
        let dies = Process::spawn(die, (queue.clone(), there)).unwrap();
        assert_eq!(here.recv::<u32>().unwrap(), 7);
        assert!(matches!(here.recv::<u32>(), Err(Error::Closed { .. })));
        assert!(dies.join().is_err());
        queue.put(8).unwrap();
        assert_eq!(queue.get().unwrap(), 8);
    });
}

#[test]
fn a_queue_connects_the_tasks_of_two_pools() {
    alone(|| {
        let pools: [Pool; 2] = std::array::from_fn(|_| with(1).build().unwrap());
        let queue = Queue::<u32>::new(3).unwrap();
        let put = |queue: Queue<u32>| (0..100).for_each(|n| queue.put(n).unwrap());
        let get = |queue: Queue<u32>| (0..100).map(|_| queue.get().unwrap()).sum::<u32>();
        let producer = pools[0].submit(put, queue.clone()).unwrap();
        let consumer = pools[1].submit(get, queue).unwrap();
        assert_eq!(consumer.join().unwrap(), 4950);
        producer.join().unwrap();
    });
}
