//! The behaviour of a handle in each state of its task.

use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::alone::{alone, workers};
use crate::common::processes::send;
use crate::common::tasks::{count, counted, same, tally};
use crate::common::time::{ThreadId, spend_millis, wait_for};
use brigade::{
    Error, Handle, Pool, Process, ReturnWhen, SharedArray, Start, TaskError, as_completed, wait,
};
use nix::sys::signal::Signal;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

fn one() -> Pool {
    Pool::builder().workers(1).grace(Duration::from_millis(50)).build().unwrap()
}

fn forever() {
    loop {
        thread::park();
    }
}

/// A task that runs, and one that waits behind it.
fn running_and_queued(pool: &Pool) -> (Handle<()>, Handle<u8>) {
    let path = std::env::temp_dir().join(crate::common::unique("runs"));
    let marks = |path: std::path::PathBuf| {
        std::fs::write(path, "").unwrap();
        forever();
    };
    let running = pool.submit(marks, path.clone()).unwrap();
    wait_for(|| path.exists());
    std::fs::remove_file(path).unwrap();
    (running, pool.submit(|n: u8| n, 7).unwrap())
}

fn is_cancelled<R: std::fmt::Debug>(outcome: Result<R, Error>) -> bool {
    matches!(outcome, Err(Error::Task(TaskError::Cancelled)))
}

#[test]
fn what_has_not_started_can_be_cancelled_and_what_has_cannot() {
    alone(|| {
        let pool = one();
        let (running, queued) = running_and_queued(&pool);
        assert!(!running.cancel());
        assert!(queued.cancel());
        assert!(queued.cancel(), "it is cancelled still");
        assert!(queued.is_finished() && !running.is_finished());
        assert!(is_cancelled(queued.join()));
        running.kill(Duration::ZERO).unwrap();
        assert!(is_cancelled(running.join()));
        let done = pool.submit(|n: u8| n, 7).unwrap();
        wait_for(|| done.is_finished());
        assert!(!done.cancel());
        done.kill(Duration::ZERO).unwrap();
        assert_eq!(done.join().unwrap(), 7);
    });
}

#[test]
fn a_wait_of_no_time_says_whether_the_task_is_over() {
    alone(|| {
        let pool = one();
        let (mut running, mut queued) = running_and_queued(&pool);
        for _ in 0..3 {
            let now = Duration::ZERO;
            assert!(matches!(running.join_timeout(now), Err(Error::TimedOut { .. })));
            assert!(matches!(queued.join_timeout(now), Err(Error::TimedOut { .. })));
        }
        running.kill(Duration::ZERO).unwrap();
        assert_eq!(queued.join_timeout(Duration::MAX).unwrap(), 7);
        assert!(matches!(queued.join_timeout(Duration::ZERO), Err(Error::Closed { .. })));
        assert!(is_cancelled(running.join_timeout(Duration::from_secs(60))));
    });
}

#[test]
fn a_wait_lasts_as_long_as_its_timeout() {
    alone(|| {
        let pool = one();
        let (mut running, _queued) = running_and_queued(&pool);
        for millis in [1, 20, 120] {
            let (start, timeout) = (Instant::now(), Duration::from_millis(millis));
            assert!(running.join_timeout(timeout).is_err());
            assert!(start.elapsed() >= timeout);
        }
        drop(running);
    });
}

/// Waits for the end of a task through a shared handle.
fn waits<R>(handle: &Handle<R>, begun: &mpsc::Sender<ThreadId>) {
    begun.send(ThreadId::current()).unwrap();
    wait([handle], ReturnWhen::All, None).unwrap();
}

// The joiner that drives sleeps on a different word than the one that was woken.
#[test]
fn a_join_ends_when_another_thread_cancels_or_kills_its_task() {
    alone(|| {
        for _ in 0..10 {
            let pool = one();
            let (running, queued) = running_and_queued(&pool);
            thread::scope(|scope| {
                let (running, queued) = (&running, &queued);
                // Two joiners: one sleeps as the driver, the other does not.
                let (begun, ids) = mpsc::channel();
                let first = scope.spawn({
                    let begun = begun.clone();
                    move || waits(queued, &begun)
                });
                let second = scope.spawn(move || waits(running, &begun));
                ids.iter().take(2).for_each(ThreadId::wait_until_blocked);
                assert!(queued.cancel());
                first.join().unwrap();
                running.kill(Duration::ZERO).unwrap();
                second.join().unwrap();
            });
        }
    });
}

#[test]
fn sleeping_joiners_wake_at_every_end_that_others_cause() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for round in 0..20u32 {
            let (running, _) = running_and_queued(&pool);
            let (other, _) = running_and_queued(&pool);
            let queued: Vec<_> = (0..4u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
            let pids = crate::common::alone::workers();
            thread::scope(|scope| {
                let joins: Vec<_> =
                    queued.into_iter().map(|handle| scope.spawn(|| handle.join())).collect();
                let first = scope.spawn(|| running.join());
                let second = scope.spawn(|| other.join());
                spend_millis(u64::from(round % 4));
                for pid in pids {
                    crate::common::processes::send(pid.pid, nix::sys::signal::Signal::SIGKILL);
                }
                assert!(first.join().unwrap().unwrap_err().death().is_some());
                assert!(second.join().unwrap().unwrap_err().death().is_some());
                for (n, join) in (0..).zip(joins) {
                    assert_eq!(join.join().unwrap().unwrap(), n);
                }
            });
            crate::common::alone::progress();
        }
    });
}

#[test]
fn a_killed_task_is_cancelled_and_costs_the_others_nothing() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        for _ in 0..10 {
            let (running, queued) = running_and_queued(&pool);
            running.kill(Duration::ZERO).unwrap();
            running.kill(Duration::ZERO).unwrap();
            assert!(is_cancelled(running.join()));
            assert_eq!(queued.join().unwrap(), 7);
        }
        assert_eq!((pool.stats().cancelled, pool.stats().failed), (10, 0));
    });
}

// A worker whose start was not reported has no pidfd by which it could be killed.
#[test]
fn a_task_can_be_killed_while_its_worker_is_still_starting() {
    alone(|| {
        let pool = one();
        for _ in 0..50 {
            let dies = |()| std::process::exit(1);
            let died: Handle<()> = pool.submit(dies, ()).unwrap();
            died.join().unwrap_err();
            // Its worker has just been requested.
            let endless = pool.submit(|()| forever(), ()).unwrap();
            endless.kill(Duration::ZERO).unwrap();
            assert!(is_cancelled(endless.join()));
        }
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_dropped_handle_detaches_its_task() {
    alone(|| {
        let pool = one();
        for _ in 0..100 {
            drop(pool.submit(|n: u8| n, 7).unwrap());
        }
        let (running, queued) = running_and_queued(&pool);
        drop(queued);
        running.kill(Duration::ZERO).unwrap();
        drop(running);
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        wait_for(|| pool.stats().succeeded == 102);
        pool.shutdown().unwrap();
    });
}

#[test]
fn ten_threads_share_a_pool_and_each_gets_its_own() {
    alone(|| {
        let pool = Pool::builder().workers(3).build().unwrap();
        let barrier = Barrier::new(10);
        thread::scope(|scope| {
            for thread in 0..10u64 {
                let (pool, barrier) = (&pool, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for n in 0..300u64 {
                        let kept = pool.submit(|(a, b): (u64, u64)| a * 1000 + b, (thread, n));
                        let other = pool.submit(|()| (), ()).unwrap();
                        let was_cancelled = other.cancel();
                        assert_eq!(is_cancelled(other.join()), was_cancelled);
                        assert_eq!(kept.unwrap().join().unwrap(), thread * 1000 + n);
                    }
                });
            }
        });
        assert_eq!((pool.stats().failed, pool.stats().restarts), (0, 0));
    });
}

#[test]
fn in_process_nothing_can_be_killed_and_that_is_an_error() {
    alone(|| {
        let pool = Pool::builder().start(Start::InProcess).build().unwrap();
        let handle = pool.submit(|n: u8| n, 7).unwrap();
        assert!(matches!(handle.kill(Duration::ZERO), Err(Error::InvalidArgument { .. })));
        assert!(!handle.cancel());
        assert!(handle.is_finished());
        assert_eq!(handle.join().unwrap(), 7);
        let refused =
            Pool::builder().start(Start::InProcess).timeout(Duration::from_secs(1)).build();
        assert!(matches!(refused, Err(Error::InvalidArgument { .. })));
    });
}

fn counts_until_cancelled(path: std::path::PathBuf) -> u64 {
    std::fs::write(path, "").unwrap();
    let mut count = 0;
    while !brigade::is_cancelled() {
        count += 1;
        thread::yield_now();
    }
    count
}

/// A task that runs until it is asked to end.
fn polite(pool: &Pool) -> Handle<u64> {
    let path = std::env::temp_dir().join(crate::common::unique("polite"));
    let task = pool.submit(counts_until_cancelled, path.clone()).unwrap();
    wait_for(|| path.exists());
    std::fs::remove_file(path).unwrap();
    task
}

#[test]
fn a_running_task_that_is_cancelled_sees_it_and_may_return_a_value() {
    alone(|| {
        assert!(!brigade::is_cancelled());
        let pool = one();
        for _ in 0..20 {
            let task = polite(&pool);
            assert!(task.is_running() && !task.is_finished());
            assert!(!task.cancel());
            assert!(task.join().is_ok());
            // The next task of the same worker was not asked to end.
            assert!(!pool.submit(|()| brigade::is_cancelled(), ()).unwrap().join().unwrap());
        }
        assert_eq!((pool.stats().cancelled, pool.stats().restarts), (0, 0));
    });
}

#[test]
fn each_state_of_a_task_answers_as_documented() {
    alone(|| {
        let pool = one();
        let (running, mut queued) = running_and_queued(&pool);
        assert!(running.is_running() && !running.is_finished());
        assert!(!queued.is_running() && !queued.is_finished());
        assert!(queued.cancel() && !queued.is_running() && queued.is_finished());
        assert!(is_cancelled(queued.join_timeout(Duration::ZERO)));
        assert!(queued.is_finished() && !queued.is_running() && !queued.cancel());
        running.kill(Duration::ZERO).unwrap();
        wait_for(|| running.is_finished());
        assert!(running.cancel() && !running.is_running());
        let mut failed = pool.submit(|n: u8| -> u8 { panic!("{n}") }, 7).unwrap();
        wait_for(|| failed.is_finished());
        assert!(!failed.cancel() && !failed.is_running());
        let outcome = failed.join_timeout(Duration::ZERO);
        assert!(matches!(outcome, Err(Error::Task(TaskError::Panicked { .. }))));
    });
}

#[test]
fn a_kill_with_grace_lets_the_polite_return_and_kills_the_others() {
    alone(|| {
        let pool = Pool::builder().workers(2).retries(3).build().unwrap();
        let (polite, (running, _queued)) = (polite(&pool), running_and_queued(&pool));
        let (start, grace) = (Instant::now(), Duration::from_millis(60));
        running.kill(grace).unwrap();
        polite.kill(Duration::from_secs(3600)).unwrap();
        assert!(polite.join().is_ok());
        // A longer grace does not replace the first one, and the death causes no retry.
        running.kill(Duration::MAX).unwrap();
        assert!(is_cancelled(running.join()));
        assert!(start.elapsed() >= grace);
        let (running, _queued) = running_and_queued(&pool);
        running.kill(Duration::from_secs(3600)).unwrap();
        assert!(!running.is_finished());
        running.kill(Duration::from_millis(1)).unwrap();
        assert!(is_cancelled(running.join()));
        assert_eq!((pool.stats().retried, pool.stats().cancelled), (0, 2));
    });
}

#[test]
fn a_queued_task_is_killed_at_once_whatever_the_grace() {
    alone(|| {
        let pool = one();
        let (running, queued) = running_and_queued(&pool);
        queued.kill(Duration::from_secs(3600)).unwrap();
        assert!(is_cancelled(queued.join()));
        running.kill(Duration::ZERO).unwrap();
    });
}

// It was not replaced: the pool waited for a worker that it had asked to leave, however long that
// took.
#[test]
fn a_worker_that_is_stopped_when_it_is_to_leave_is_replaced() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        // When the worker has reported that it is ready, only joiners poll for its results.
        pool.wait_ready(Duration::from_secs(20)).unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        let path = std::env::temp_dir().join(crate::common::unique("quick"));
        let quick = pool.submit(|path| std::fs::write(path, "").unwrap(), path.clone()).unwrap();
        wait_for(|| path.exists());
        std::fs::remove_file(&path).unwrap();
        // Its result is available when it sleeps, and was not collected.
        wait_for(|| workers().iter().any(|worker| worker.state == 'S'));
        let worker = workers().remove(0);
        send(worker.pid, Signal::SIGSTOP);
        quick.kill(Duration::ZERO).unwrap();
        assert_eq!(pool.submit(|n: u8| n, 3).unwrap().join().unwrap(), 3);
        quick.join().unwrap();
    });
}

/// A number that can be decoded in workers, but panics in the host.
#[derive(Debug)]
struct Touchy(u32);

impl Serialize for Touchy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for Touchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Touchy, D::Error> {
        let host = u32::deserialize(deserializer)?;
        assert!(host != std::process::id(), "not here");
        Ok(Touchy(host))
    }
}

// Class of bug: user code that decodes a result unwound through the code that passes it on, and a
// callback was never called.
#[test]
fn a_result_whose_decoding_panics_is_a_codec_error_for_every_caller() {
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let check = |result: Result<Touchy, Error>| match result {
            Err(Error::Task(TaskError::Codec { what: "result", reason, .. })) => {
                assert!(reason.contains("not here"), "{reason}");
            }
            other => panic!("{other:?}"),
        };
        let host = std::process::id();
        let submit = || pool.submit(Touchy, host).unwrap();
        check(submit().join());
        check(submit().join_timeout(Duration::from_secs(600)));
        let (told, hears) = std::sync::mpsc::channel();
        submit().then(move |result| told.send(result).unwrap()).unwrap();
        check(hears.recv().unwrap());
        for completed in as_completed([submit(), submit()], None) {
            check(completed.unwrap().1);
        }
        check(pool.map([host; 3], Touchy).map(|_| Touchy(0)));
        let touchy: Vec<_> = pool.imap([host; 3], 2, Touchy).unwrap().collect();
        assert_eq!(touchy.len(), 3);
        touchy.into_iter().for_each(check);
        let x = SharedArray::from_slice(&[host; 8]).unwrap();
        check(pool.par_chunks(&x, 1).map(|x| Touchy(x[0])).collect().map(|_| Touchy(0)));
        check(pool.par_chunks(&x, 1).map(|x| Touchy(x[0])).reduce(Touchy(1), |a, _| a));
        let failed = pool.par_chunks(&x, 1).try_for_each(|x| Err::<(), _>(Touchy(x[0])));
        check(failed.map(|_| Touchy(0)));
        check(Process::spawn(Touchy, host).unwrap().join());
        assert_eq!(pool.submit(|n: u8| n + 1, 1).unwrap().join().unwrap(), 2);
    });
}

#[test]
fn a_handle_that_cancels_on_drop_cancels_a_task_that_waits_or_runs() {
    alone(|| {
        let pool = one();
        let path = tally("dropped");
        let until_cancelled = |path: String| {
            count(&path);
            while !brigade::is_cancelled() {}
        };
        let runs = pool.submit(until_cancelled, path.clone()).unwrap().cancel_on_drop();
        wait_for(|| counted(&path) == 1);
        let waits = pool.submit(count_in, path.clone()).unwrap().cancel_on_drop();
        let detached = pool.submit(count_in, path.clone()).unwrap();
        drop((waits, runs));
        drop(detached);
        let joined = pool.submit(same, 3).unwrap().cancel_on_drop();
        assert_eq!(joined.join().unwrap(), 3);
        assert_eq!(counted(&path), 2, "the one that waited has not run");
        assert_eq!((pool.stats().cancelled, pool.stats().succeeded), (1, 3));
        std::fs::remove_file(path).unwrap();
    });
}

fn count_in(path: String) {
    count(&path);
}
