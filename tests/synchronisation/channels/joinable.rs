//! When a joinable queue can be joined.

use brigade::{Error, JoinableQueue, Queue};
use nix::sys::signal::Signal;

use super::{LONG, SHORT};
use crate::common::alone::alone;
use crate::common::tasks::{raise, with};

#[test]
fn a_join_returns_only_when_every_message_is_done() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let (queue, orders) =
            (JoinableQueue::<u32>::new(50).unwrap(), Queue::<()>::new(9).unwrap());
        queue.put_many(0..2).unwrap();
        let work = |(queue, orders): (JoinableQueue<u32>, Queue<()>)| {
            while orders.get().is_ok() {
                queue.get().unwrap();
                orders.get().unwrap();
                queue.task_done().unwrap();
            }
        };
        let task = pool.submit(work, (queue.clone(), orders.clone())).unwrap();
        for _ in 0..4 {
            assert!(matches!(queue.join_timeout(SHORT), Err(Error::TimedOut { .. })));
            orders.put(()).unwrap();
        }
        queue.join_timeout(LONG).unwrap();
        assert_eq!((queue.unfinished(), queue.len()), (0, 0));
        queue.join().unwrap();
        orders.close().unwrap();
        task.join().unwrap();
    });
}

#[test]
fn a_task_done_too_many_is_an_error() {
    alone(|| {
        let queue = JoinableQueue::<u32>::new(5).unwrap();
        assert!(matches!(queue.task_done(), Err(Error::InvalidArgument { .. })));
        queue.put_many([1, 2]).unwrap();
        assert_eq!((queue.get().unwrap(), queue.try_get().unwrap()), (1, 2));
        queue.task_done().unwrap();
        assert_eq!(queue.unfinished(), 1);
        queue.task_done().unwrap();
        assert!(matches!(queue.task_done(), Err(Error::InvalidArgument { .. })));
        queue.join().unwrap();
    });
}

#[test]
fn another_process_may_say_that_a_message_is_done() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = JoinableQueue::<u32>::new(5).unwrap();
        queue.put(1).unwrap();
        queue.get().unwrap();
        pool.submit(|queue: JoinableQueue<u32>| queue.task_done().unwrap(), queue.clone())
            .unwrap()
            .join()
            .unwrap();
        queue.join().unwrap();
    });
}

#[test]
fn a_consumer_that_dies_with_messages_does_not_hold_up_a_join_and_is_reported_once() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let queue = JoinableQueue::<u32>::new(50).unwrap();
        queue.put_many(0..10).unwrap();
        let die = |queue: JoinableQueue<u32>| {
            for _ in 0..4 {
                queue.get().unwrap();
            }
            queue.task_done().unwrap();
            raise(Signal::SIGKILL);
        };
        let dying = pool.submit(die, queue.clone()).unwrap();
        std::thread::scope(|scope| {
            let joiner = scope.spawn(|| queue.join());
            assert!(dying.join().unwrap_err().death().is_some());
            for _ in 4..10 {
                queue.get_timeout(LONG).unwrap();
                queue.task_done().unwrap();
            }
            let error = joiner.join().unwrap().unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Broken { .. }) && text.contains("3 messages"), "{text}");
        });
        queue.join().unwrap();
        assert_eq!(queue.unfinished(), 0);
    });
}

#[test]
fn a_task_that_ends_without_saying_so_has_lost_what_it_took() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let queue = JoinableQueue::<u32>::new(5).unwrap();
        queue.put(1).unwrap();
        let task = pool.submit(|queue: JoinableQueue<u32>| queue.get().unwrap(), queue.clone());
        assert_eq!(task.unwrap().join().unwrap(), 1);
        assert!(matches!(queue.join(), Err(Error::Broken { .. })));
        queue.join().unwrap();
    });
}

#[test]
fn a_message_that_is_no_value_counts_as_done() {
    alone(|| {
        let odd = JoinableQueue::<bool>::new(5).unwrap();
        odd.put(true).unwrap();
        assert!(odd.get().unwrap());
        odd.task_done().unwrap();
        odd.join().unwrap();
    });
}
