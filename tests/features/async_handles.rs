//! Handles as futures.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use crate::common::alone::{alone, progress};
use crate::common::tasks::{forever, with};
use crate::common::time::{ThreadId, spend_millis, wait_for};
use brigade::{Error, Handle, TaskError};

/// Unparks a thread, and counts how often.
struct Unpark(Thread, AtomicUsize);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.unpark();
    }
}

/// Runs a future on this thread, which sleeps until it is woken.
fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = Arc::new(Unpark(thread::current(), AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

/// A waker, and the count of its calls.
fn counted() -> (Arc<Unpark>, Waker) {
    let unpark = Arc::new(Unpark(thread::current(), AtomicUsize::new(0)));
    (Arc::clone(&unpark), Waker::from(unpark))
}

fn slow(n: u32) -> u32 {
    spend_millis(u64::from(n % 7));
    n
}

#[test]
fn a_handle_can_be_awaited() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let sum = block_on(async {
            let tasks: Vec<_> = (0..50).map(|n| pool.submit(slow, n).unwrap()).collect();
            let mut sum = 0;
            for task in tasks {
                sum += task.await.unwrap();
            }
            sum
        });
        assert_eq!(sum, 49 * 50 / 2);
        let died = block_on(pool.submit(|_: ()| -> u32 { std::process::abort() }, ()).unwrap());
        assert!(died.unwrap_err().death().is_some());
    });
}

#[test]
fn a_future_that_is_dropped_detaches_its_task_and_a_borrowed_one_keeps_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut task = pool.submit(slow, 3).unwrap();
        assert!(pin!(&mut task).poll(&mut context).is_pending() || task.is_finished());
        let mut dropped = pool.submit(slow, 5).unwrap();
        let _ = Pin::new(&mut dropped).poll(&mut context);
        drop(dropped);
        wait_for(|| pool.stats().succeeded == 2);
        let is_ready = |task: &mut Handle<u32>| match Pin::new(task)
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("pending"),
        };
        if task.is_finished() {
            let first = is_ready(&mut task);
            assert!(matches!(first, Ok(3) | Err(Error::Closed { .. })), "{first:?}");
            assert!(matches!(is_ready(&mut task), Err(Error::Closed { .. })));
        }
    });
}

#[test]
fn the_latest_waker_is_woken_and_only_it() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let mut task = pool
            .submit(
                |_: ()| -> u32 {
                    loop {
                        forever()
                    }
                },
                (),
            )
            .unwrap();
        let wakers: Vec<_> =
            (0..3).map(|_| Arc::new(Unpark(thread::current(), AtomicUsize::new(0)))).collect();
        for unpark in &wakers {
            let waker = Waker::from(Arc::clone(unpark));
            assert!(Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        task.kill(Duration::ZERO).unwrap();
        wait_for(|| wakers[2].1.load(Ordering::Relaxed) == 1);
        assert_eq!(wakers[0].1.load(Ordering::Relaxed) + wakers[1].1.load(Ordering::Relaxed), 0);
        let killed = block_on(task).unwrap_err();
        assert!(matches!(killed, Error::Task(TaskError::Cancelled)), "{killed}");
    });
}

#[test]
fn futures_of_many_threads_share_one_thread_that_wakes_them() {
    alone(|| {
        let pool = with(2).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..6 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..40u32 {
                        let mut task = pool.submit(slow, thread * 100 + n).unwrap();
                        let value = block_on(poll_fn(|context| Pin::new(&mut task).poll(context)));
                        assert_eq!(value.unwrap(), thread * 100 + n);
                    }
                    progress();
                });
            }
        });
    });
}

/// A waker that panics when it wakes; it counts how often.
struct Panicking(AtomicUsize);

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
        panic!("a waker");
    }
}

#[test]
fn a_waker_that_panics_delays_no_other() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let (sender, values) = mpsc::channel();
        let same = |n: u32| n;
        for n in 0..3 {
            let mut task = pool.submit(same, n).unwrap();
            let wakes = Arc::new(Panicking(AtomicUsize::new(0)));
            let waker = Waker::from(Arc::clone(&wakes));
            if Pin::new(&mut task).poll(&mut Context::from_waker(&waker)).is_pending() {
                wait_for(|| wakes.0.load(Ordering::SeqCst) == 1);
            }
            let sender = sender.clone();
            let later = pool.submit(same, n).unwrap();
            later.then(move |value| sender.send(value.unwrap()).unwrap()).unwrap();
        }
        assert_eq!((0..3).map(|_| values.recv().unwrap()).sum::<u32>(), 3);
        pool.shutdown().unwrap();
    });
}

#[test]
fn a_future_waits_for_room_without_its_thread_and_submits_when_there_is_some() {
    alone(|| {
        let pool = with(1).queue_limit(1).build().unwrap();
        let hangs = pool.submit(|()| forever(), ()).unwrap();
        let waits = pool.submit(slow, 3).unwrap();
        let submitter = ThreadId::current();
        thread::scope(|scope| {
            scope.spawn(|| {
                // It is parked by its executor, and not in the pool.
                submitter.wait_until_blocked();
                hangs.kill(Duration::ZERO).unwrap();
            });
            // More futures than there is room.
            let sum = block_on(async {
                let mut sum = 0;
                for n in 0..50u32 {
                    sum += pool.submit_async(slow, n).await.unwrap().await.unwrap();
                }
                sum
            });
            assert_eq!(sum, 49 * 50 / 2);
        });
        assert_eq!(waits.join().unwrap(), 3);
        assert!(hangs.join().is_err());
    });
}

#[test]
fn futures_of_many_threads_share_the_room_of_a_pool() {
    alone(|| {
        let pool = with(2).queue_limit(1).build().unwrap();
        thread::scope(|scope| {
            for thread in 0..6 {
                let pool = &pool;
                scope.spawn(move || {
                    for n in 0..40u32 {
                        let task = block_on(pool.submit_async(slow, thread * 100 + n)).unwrap();
                        assert_eq!(block_on(task).unwrap(), thread * 100 + n);
                    }
                    progress();
                });
            }
        });
    });
}

#[test]
fn a_future_that_waits_for_room_ends_with_its_pool_and_may_be_dropped() {
    alone(|| {
        let pool = with(1).queue_limit(1).build().unwrap();
        let hangs = pool.submit(|()| forever(), ()).unwrap();
        let waits = pool.submit(slow, 3).unwrap();
        let [(dropped_wakes, dropped_waker), (end_wakes, end_waker)] = [counted(), counted()];
        for _ in 0..3 {
            let mut context = Context::from_waker(&dropped_waker);
            let mut dropped = pin!(pool.submit_async(slow, 1));
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
        }
        assert!(waits.cancel());
        let fills = block_on(pool.submit_async(slow, 2)).unwrap();
        let mut ends = pin!(pool.submit_async(slow, 1));
        assert!(ends.as_mut().poll(&mut Context::from_waker(&end_waker)).is_pending());
        pool.terminate().unwrap();
        wait_for(|| end_wakes.1.load(Ordering::Relaxed) == 1);
        // Wakers are called in order.
        assert_eq!(dropped_wakes.1.load(Ordering::Relaxed), 0);
        let error = block_on(ends).map(drop).unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(hangs.join().is_err() && fills.join().is_err());
    });
}

#[test]
fn room_for_one_task_wakes_one_future_which_passes_it_on_if_it_is_dropped() {
    alone(|| {
        let pool = with(1).queue_limit(1).build().unwrap();
        let hangs = pool.submit(|()| forever(), ()).unwrap();
        let waits = pool.submit(slow, 3).unwrap();
        let [(first_wakes, first_waker), (second_wakes, second_waker)] = [counted(), counted()];
        let mut first = Box::pin(pool.submit_async(slow, 1));
        let mut second = Box::pin(pool.submit_async(slow, 2));
        assert!(first.as_mut().poll(&mut Context::from_waker(&first_waker)).is_pending());
        assert!(second.as_mut().poll(&mut Context::from_waker(&second_waker)).is_pending());
        assert!(waits.cancel());
        wait_for(|| first_wakes.1.load(Ordering::Relaxed) == 1);
        assert_eq!(second_wakes.1.load(Ordering::Relaxed), 0);
        drop(first);
        wait_for(|| second_wakes.1.load(Ordering::Relaxed) == 1);
        let task = match second.as_mut().poll(&mut Context::from_waker(&second_waker)) {
            Poll::Ready(task) => task.unwrap(),
            Poll::Pending => panic!("there is room, and nobody else waits"),
        };
        hangs.kill(Duration::ZERO).unwrap();
        assert_eq!(task.join().unwrap(), 2);
        assert!(hangs.join().is_err());
    });
}

#[test]
fn a_future_that_cancels_on_drop_cancels_its_task() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let until_cancelled = |()| while !brigade::is_cancelled() {};
        let mut context = Context::from_waker(Waker::noop());
        let mut dropped = pool.submit(until_cancelled, ()).unwrap().cancel_on_drop();
        assert!(Pin::new(&mut dropped).poll(&mut context).is_pending());
        drop(dropped);
        assert_eq!(block_on(pool.submit(slow, 2).unwrap()).unwrap(), 2);
    });
}
