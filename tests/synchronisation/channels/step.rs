//! Workers killed after their k-th instruction in a channel operation.
//!
//! The server reaps the worker and the host sweeps, as after any death. These tests step through
//! whole calls; `tests/synchronisation/kill_points` tests the instructions of the ring below a
//! channel.

use brigade::{Connection, Error, JoinableQueue, Pipe, Pool, Queue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LONG;
use crate::common::alone::alone;
use crate::common::skipped;
use crate::common::tasks::with;
use crate::tracer::{Tracer, for_each_kill_point, mark, wait_until_traced};

/// Sends its process id, waits until it is traced, and calls `section` between two marks.
fn sectioned<T>(queue: &Queue<u32>, value: T, section: impl Fn(T)) {
    queue.put(std::process::id()).unwrap();
    wait_until_traced();
    mark();
    section(value);
    mark();
}

/// For points all over the section that `task` runs: makes a stage by `stage`, kills a worker at
/// the point, and calls `check` with the stage.
fn for_points<S, A, F>(stage: impl Fn(&Pool) -> (S, A), task: F, mut check: impl FnMut(&Pool, S))
where
    F: Fn((Queue<u32>, A)) + Copy + Send + 'static,
    A: Serialize + DeserializeOwned,
{
    let pool = with(1).build().unwrap();
    if !Tracer::may_seize(pool.submit(|()| std::process::id(), ()).unwrap().join().unwrap()) {
        return skipped("this process may not trace workers");
    }
    let pids = Queue::<u32>::new(1).unwrap();
    for_each_kill_point(|point| {
        let (staged, argument) = stage(&pool);
        let handle = pool.submit(task, (pids.clone(), argument)).unwrap();
        point.kill(Tracer::seize(pids.get().unwrap()));
        assert!(handle.join().unwrap_err().death().is_some());
        check(&pool, staged);
    });
}

#[test]
fn a_put_is_there_or_not_and_the_next_works_wherever_a_producer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<String>::new(2).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<String>)| {
            sectioned(&pids, queue, |queue| queue.put("from the dead".to_owned()).unwrap());
        };
        for_points(stage, task, |_, queue| {
            let before = queue.len();
            queue.put("from the living".to_owned()).unwrap();
            let got = queue.get_many(9).unwrap();
            assert_eq!(got.len(), before + 1);
            assert!(before == 0 || got[0] == "from the dead");
            assert_eq!(got[before], "from the living");
        });
    });
}

#[test]
fn a_get_has_taken_the_message_or_left_it_wherever_a_consumer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<u32>::new(2).unwrap();
            queue.put_many([1, 2]).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<u32>)| {
            sectioned(&pids, queue, |queue| drop(queue.get()));
        };
        for_points(stage, task, |_, queue| {
            let left = queue.len();
            assert_eq!(queue.get_many(9).unwrap(), [1, 2][2 - left..]);
            queue.put_many([3, 4]).unwrap();
            assert!(queue.is_full(), "two, as ever");
        });
    });
}

#[test]
fn a_join_ends_wherever_a_consumer_is_killed_between_get_and_task_done() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = JoinableQueue::<u32>::new(9).unwrap();
            queue.put_many([1, 2, 3]).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, JoinableQueue<u32>)| {
            sectioned(&pids, queue, |queue| {
                queue.get().unwrap();
                queue.task_done().unwrap();
            });
        };
        let (mut lost, mut done) = (0, 0);
        for_points(stage, task, |_, queue| {
            let left = queue.len();
            while queue.try_get().is_ok() {
                queue.task_done().unwrap();
            }
            match queue.join_timeout(LONG) {
                Ok(()) => done += 1,
                Err(Error::Broken { cause, .. }) => {
                    assert!(left == 2 && cause.starts_with("1 messages"), "{cause}");
                    lost += 1;
                }
                Err(error) => panic!("{error}"),
            }
            assert!(queue.task_done().is_err(), "nothing is counted twice");
            queue.put(4).unwrap();
            assert_eq!(queue.unfinished(), 1);
        });
        assert!(lost > 0 && done > 0, "{lost} lost, {done} done");
    });
}

#[test]
fn a_pipe_ends_wherever_the_holder_of_its_other_end_is_killed() {
    alone(|| {
        let stage = |_: &Pool| Pipe::duplex().unwrap();
        let task = |(pids, there): (Queue<u32>, Connection)| {
            sectioned(&pids, there, |there| {
                there.send(&5u32).unwrap();
                drop(there);
            });
        };
        for_points(stage, task, |_, here| {
            match here.recv_timeout::<u32>(LONG) {
                Ok(5) => {
                    assert!(matches!(here.recv_timeout::<u32>(LONG), Err(Error::Closed { .. })))
                }
                outcome => assert!(matches!(outcome, Err(Error::Closed { .. })), "{outcome:?}"),
            }
            assert!(matches!(here.send(&1), Err(Error::Closed { .. })));
        });
    });
}

#[test]
fn a_closing_is_heard_of_or_can_be_repeated_wherever_the_closer_is_killed() {
    alone(|| {
        let stage = |_: &Pool| {
            let queue = Queue::<u32>::new(2).unwrap();
            queue.put(1).unwrap();
            (queue.clone(), queue)
        };
        let task = |(pids, queue): (Queue<u32>, Queue<u32>)| {
            sectioned(&pids, queue, |queue| queue.close().unwrap());
        };
        for_points(stage, task, |_, queue| {
            if !queue.is_closed() {
                queue.close().unwrap();
            }
            assert_eq!(queue.get().unwrap(), 1);
            assert!(matches!(queue.get_timeout(LONG), Err(Error::Closed { .. })));
        });
    });
}
