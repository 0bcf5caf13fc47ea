//! A function once on each worker.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::alone::{alone, progress, workers};
use crate::common::processes::send;
use crate::common::tasks::{count, counted, hanging, raise, same, tally, with};
use crate::common::time::wait_for;
use brigade::{Error, ExitReason, Pool, SharedArray, Start, TaskError, WorkerResult};
use nix::sys::signal::Signal;

/// How often a broadcast ran in this process.
static RUNS: AtomicU32 = AtomicU32::new(0);

fn note(path: String) -> (Option<usize>, u32) {
    RUNS.fetch_add(1, Ordering::Relaxed);
    count(&path);
    (brigade::worker_index(), std::process::id())
}

fn runs(_: ()) -> u32 {
    RUNS.load(Ordering::Relaxed)
}

fn values<R: std::fmt::Debug>(results: Vec<WorkerResult<R>>) -> Vec<(usize, R)> {
    results.into_iter().map(|one| (one.worker, one.result.unwrap())).collect()
}

/// Calls `meanwhile` while `broadcast` waits in its slots.
fn while_it_waits<T: Send>(
    pool: &Pool,
    tasks: usize,
    broadcast: impl FnOnce() -> T + Send,
    meanwhile: impl FnOnce(),
) -> T {
    thread::scope(|scope| {
        let broadcasts = scope.spawn(broadcast);
        wait_for(|| pool.stats().queued == tasks);
        meanwhile();
        broadcasts.join().unwrap()
    })
}

#[test]
fn a_function_runs_once_on_each_worker_also_on_a_busy_one() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(3).build().unwrap());
        let gate = tally("gate");
        let waits = |gate: String| wait_for(|| counted(&gate) == 1);
        let busy = pool.submit(waits, gate.clone()).unwrap();
        wait_for(|| busy.is_running());
        let broadcast = || pool.broadcast(note, path.clone()).unwrap();
        let ran = values(while_it_waits(&pool, 1, broadcast, || count(&gate)));
        std::fs::remove_file(gate).unwrap();
        assert!(ran.iter().map(|(worker, _)| *worker).eq(0..3));
        assert!(ran.iter().all(|(worker, (own, _))| *own == Some(*worker)));
        assert_eq!(ran.iter().map(|(_, (_, pid))| pid).collect::<BTreeSet<_>>().len(), 3);
        assert_eq!(counted(&path), 3);
        busy.join().unwrap();
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn broadcasts_among_many_tasks_run_once_on_each_worker_and_lose_no_task() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(3).build().unwrap());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let ran = values(pool.broadcast(note, path.clone()).unwrap());
                        assert!(ran.iter().all(|(worker, (own, _))| *own == Some(*worker)));
                        assert_eq!(ran.len(), 3);
                        progress();
                    }
                });
            }
            for _ in 0..20 {
                let tasks: Vec<_> = (0..200).map(|n| pool.submit(same, n).unwrap()).collect();
                assert!(tasks.into_iter().map(|task| task.join().unwrap()).eq(0..200));
                progress();
            }
        });
        assert_eq!(counted(&path), 300);
        assert!(values(pool.broadcast(runs, ()).unwrap()).iter().all(|(_, runs)| *runs == 100));
        assert_eq!((pool.stats().failed, pool.stats().restarts), (0, 0));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_worker_that_dies_in_a_broadcast_fails_its_entry_alone() {
    alone(|| {
        let pool = with(2).build().unwrap();
        let dies_in_1 = |()| {
            if brigade::worker_index() == Some(1) {
                raise(Signal::SIGABRT);
            }
            7
        };
        let results = pool.broadcast(dies_in_1, ()).unwrap();
        assert_eq!(results[0].result, Ok(7));
        let Err(TaskError::Died(death)) = &results[1].result else { panic!("{results:?}") };
        assert_eq!((death.worker, death.reason), (1, ExitReason::Signal(6)));
        let panics = |()| assert!(brigade::worker_index() == Some(0), "only there");
        let results = pool.broadcast(panics, ()).unwrap();
        assert_eq!(results[0].result, Ok(()));
        assert!(matches!(results[1].result, Err(TaskError::Panicked { .. })));
    });
}

#[test]
fn a_function_for_replacements_runs_once_in_each_before_its_first_task() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(1).build().unwrap());
        let task = pool.submit(runs, ()).unwrap();
        assert_eq!(task.join().unwrap(), 0);
        values(pool.broadcast_options().cover_replacements().run(note, path.clone()).unwrap());
        pool.submit(raise_kill, ()).unwrap().join().unwrap_err();
        assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1, "after a death");
        pool.resize(3).unwrap();
        assert_eq!(values(pool.broadcast(runs, ()).unwrap()), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(counted(&path), 4);
        // Without the request a replacement runs what was covered, and nothing else.
        values(pool.broadcast(note, path.clone()).unwrap());
        assert_eq!(values(pool.broadcast(runs, ()).unwrap()), [(0, 2), (1, 2), (2, 2)]);
        pool.resize(1).unwrap();
        wait_for(|| workers().len() == 1);
        pool.submit(raise_kill, ()).unwrap().join().unwrap_err();
        assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1);
        drop(pool);

        let pool = with(1).max_tasks_per_worker(2).build().unwrap();
        values(pool.broadcast_options().cover_replacements().run(note, path.clone()).unwrap());
        for _ in 0..5 {
            assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1, "after recycling");
        }
        std::fs::remove_file(path).unwrap();
    });
}

fn raise_kill(_: ()) {
    raise(Signal::SIGKILL);
}

// A replacement ran what it found in its configuration, and then the task of its slot as well.
#[test]
fn a_worker_that_dies_before_it_has_begun_leaves_it_to_its_replacement_once() {
    alone(|| {
        for covers in [false, true] {
            let (path, pool) = (tally("broadcast"), with(2).build().unwrap());
            let busy = [hanging(&pool), hanging(&pool)];
            let mut options = pool.broadcast_options();
            if covers {
                options = options.cover_replacements();
            }
            let broadcast = || options.run(note, path.clone()).unwrap();
            let ran = while_it_waits(&pool, 2, broadcast, || {
                workers().iter().for_each(|worker| send(worker.pid, Signal::SIGKILL));
            });
            assert_eq!(values(ran).len(), 2);
            assert_eq!(counted(&path), 2);
            assert_eq!(values(pool.broadcast(runs, ()).unwrap()), [(0, 1), (1, 1)]);
            busy.into_iter().for_each(|task| drop(task.join().unwrap_err()));
            std::fs::remove_file(path).unwrap();
            progress();
        }
    });
}

#[test]
fn a_worker_that_left_as_idle_is_started_for_a_broadcast() {
    alone(|| {
        let (path, idle) = (tally("broadcast"), Duration::from_millis(20));
        let pool = with(2).idle_timeout(idle).build().unwrap();
        for round in 1..=3 {
            wait_for(|| workers().is_empty());
            assert_eq!(values(pool.broadcast(note, path.clone()).unwrap()).len(), 2);
            assert_eq!(counted(&path), 2 * round);
            progress();
        }
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_pool_that_shrinks_cancels_the_entries_of_the_workers_that_go() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(2).build().unwrap());
        let busy = [hanging(&pool), hanging(&pool)];
        let broadcast = || pool.broadcast(note, path.clone()).unwrap();
        let ran = while_it_waits(&pool, 2, broadcast, || {
            pool.resize(1).unwrap();
            wait_for(|| pool.stats().queued == 1);
            busy.iter().for_each(|task| task.kill(Duration::ZERO).unwrap());
        });
        let results: Vec<_> = ran.into_iter().map(|one| one.result.map(|_| ())).collect();
        assert!(results.contains(&Ok(())), "{results:?}");
        assert!(results.contains(&Err(TaskError::Cancelled)), "{results:?}");
        assert_eq!(counted(&path), 1);
        busy.into_iter().for_each(|task| drop(task.join().unwrap_err()));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_surplus_worker_that_has_missed_a_broadcast_does_not_stay_when_the_pool_grows() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(2).build().unwrap());
        let busy = [hanging(&pool), hanging(&pool)];
        pool.resize(1).unwrap();
        let all = pool.broadcast_options().cover_replacements();
        let broadcast = || all.run(note, path.clone()).unwrap();
        let ran = while_it_waits(&pool, 1, broadcast, || {
            // One of them runs in the worker that stays.
            pool.resize(2).unwrap();
            busy.iter().for_each(|task| task.kill(Duration::ZERO).unwrap());
        });
        assert_eq!(values(ran).len(), 1);
        let found = values(pool.broadcast(runs, ()).unwrap());
        assert!(found.len() == 2 && found.iter().all(|(_, runs)| *runs == 1), "{found:?}");
        busy.into_iter().for_each(|task| drop(task.join().unwrap_err()));
        std::fs::remove_file(path).unwrap();
    });
}

// The task of a stopped worker was recalled again and again, so that its timeout never began.
#[test]
fn a_worker_that_is_stopped_is_replaced_after_the_timeout() {
    alone(|| {
        let (path, pool) = (tally("broadcast"), with(2).build().unwrap());
        values(pool.broadcast(same_for_all, ()).unwrap());
        send(workers()[0].pid, Signal::SIGSTOP);
        let hasty = pool.broadcast_options().timeout(Duration::from_millis(500));
        assert_eq!(values(hasty.run(note, path.clone()).unwrap()).len(), 2);
        assert_eq!(counted(&path), 2);
        assert_eq!(pool.stats().restarts, 1);
        std::fs::remove_file(path).unwrap();
    });
}

fn same_for_all(_: ()) {}

#[test]
fn a_function_that_panics_in_every_replacement_breaks_the_pool_with_its_message() {
    alone(|| {
        let pool = with(1).build().unwrap();
        let path = tally("broadcast");
        let once = |path: String| {
            count(&path);
            assert!(counted(&path) == 1, "no second time");
        };
        values(pool.broadcast_options().cover_replacements().run(once, path.clone()).unwrap());
        pool.submit(raise_kill, ()).unwrap().join().unwrap_err();
        let error = pool.wait_ready(Duration::from_secs(60)).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("no second time"), "{error}");
        assert!(matches!(pool.broadcast(runs, ()), Err(Error::Broken { .. })));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn an_argument_with_arrays_reaches_every_worker_and_every_replacement() {
    alone(|| {
        let array = SharedArray::from_fn([1000], |[i]| i as u64).unwrap().freeze();
        let pool = with(2).build().unwrap();
        let sum = |array: brigade::Frozen<u64>| array.as_slice().iter().sum::<u64>();
        let all = pool.broadcast_options().cover_replacements();
        assert_eq!(values(all.run(sum, array).unwrap()), [(0, 499_500), (1, 499_500)]);
        pool.submit(raise_kill, ()).unwrap().join().unwrap_err();
        pool.wait_ready(Duration::from_secs(60)).unwrap();
        assert_eq!(values(pool.broadcast(runs, ()).unwrap()).len(), 2);
    });
}

#[test]
fn a_pool_in_this_process_has_one_entry() {
    alone(|| {
        let pool = Pool::builder().start(Start::InProcess).build().unwrap();
        let all = pool.broadcast_options().cover_replacements();
        let ran = values(all.run(|n: u32| (n, std::process::id()), 7).unwrap());
        assert_eq!(ran, [(0, (7, std::process::id()))]);
        let timed = pool.broadcast_options().timeout(Duration::from_secs(1));
        assert!(matches!(timed.run(runs, ()), Err(Error::InvalidArgument { .. })));
    });
}
