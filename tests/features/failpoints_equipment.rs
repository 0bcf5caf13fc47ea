//! A death at each step of a broadcast or a preload.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::common::alone::{own_processes, progress, workers};
use crate::common::processes::send;
use crate::common::tasks::{count, counted, tally};
use crate::common::time::wait_for;
use crate::failpoints::OF_A_TASK;
use crate::points::alone;
use brigade::failpoint::{Action, Point, clear, hits, set};
use brigade::{Error, ExitReason, Phase, Pool, TaskError};
use nix::sys::signal::Signal;

/// How often the function has run in this process.
static RUNS: AtomicU32 = AtomicU32::new(0);

fn note(path: String) {
    RUNS.fetch_add(1, Ordering::Relaxed);
    count(&path);
}

fn runs(_: ()) -> u32 {
    RUNS.load(Ordering::Relaxed)
}

/// Kills the only worker at this step of a broadcast. Returns how often the function has run in the
/// replacement before its first task.
fn runs_after(point: Point, action: Action, expected: Option<Phase>, covers: bool) -> u32 {
    let (path, pool) = (tally("broadcast"), Pool::builder().workers(1).build().unwrap());
    pool.submit(|()| (), ()).unwrap().join().unwrap();
    set(point, action, 0);
    let mut options = pool.broadcast_options();
    if covers {
        options = options.cover_replacements();
    }
    let results = options.run(note, path.clone()).unwrap();
    assert_eq!(results.len(), 1);
    match (&results[0].result, expected) {
        (Ok(()), None) => {}
        (Err(TaskError::Died(death)), Some(phase)) => {
            let signal = if action == Action::Kill { 9 } else { 6 };
            assert_eq!((death.phase, death.reason), (phase, ExitReason::Signal(signal)));
        }
        (outcome, _) => panic!("{point:?} {action:?}: {outcome:?}"),
    }
    wait_for(|| pool.stats().restarts == 1);
    clear(point);
    let found = pool.submit(runs, ()).unwrap().join().unwrap();
    pool.shutdown().unwrap();
    std::fs::remove_file(path).unwrap_or_default();
    progress();
    found
}

#[test]
fn a_worker_that_dies_at_any_step_of_a_broadcast_is_replaced_by_one_that_has_run_it_once() {
    alone(|| {
        for action in [Action::Kill, Action::Abort] {
            for (point, expected) in OF_A_TASK {
                assert_eq!(runs_after(point, action, expected, true), 1, "{point:?} {action:?}");
            }
        }
    });
}

// The negative control: the deaths above do happen in a worker that has, or has not, run it.
#[test]
fn without_the_request_a_replacement_runs_only_what_the_dead_worker_had_not_begun() {
    alone(|| {
        // Whether it sleeps before or after the broadcast depends on timing.
        let certain = |(point, _): &(Point, _)| *point != Point::WorkerBeforePark;
        for (point, expected) in OF_A_TASK.into_iter().filter(certain) {
            let begun = u32::from(point == Point::WorkerBeforeClaim);
            assert_eq!(runs_after(point, Action::Kill, expected, false), begun, "{point:?}");
        }
    });
}

/// The steps of a start with a preload, by the number of earlier processes that pass the point: the
/// server of all pools, the preload's own, its two workers.
const OF_A_START: [(Point, u32); 9] = [
    (Point::ServerStart, 0),
    (Point::ChildStart, 0),
    (Point::ServerAfterFork, 0),
    (Point::ServerBeforeReport, 0),
    (Point::ServerStart, 1),
    (Point::ServerAfterFork, 1),
    (Point::ServerBeforeReport, 2),
    (Point::ChildStart, 1),
    (Point::WorkerBeforeReady, 0),
];

fn loaded(path: String) -> Result<(), String> {
    note(path);
    Ok(())
}

#[test]
fn a_process_that_dies_at_any_step_of_a_preload_leaves_a_pool_that_works_or_an_error() {
    alone(|| {
        for (point, passes) in OF_A_START {
            let path = tally("preload");
            let builder = Pool::builder().workers(2).preload(loaded, path.clone());
            let before = hits(point);
            set(point, Action::Kill, passes);
            match builder.clone().build() {
                Ok(pool) => assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1),
                Err(error) => assert!(matches!(error, Error::Spawn { .. }), "{point:?}: {error}"),
            }
            assert!(hits(point) > before + passes, "{point:?} was not reached");
            clear(point);
            wait_for(|| own_processes().is_empty());
            let ran = counted(&path);
            let pool = builder.build().unwrap();
            assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1, "{point:?}");
            assert_eq!(counted(&path), ran + 1, "{point:?}");
            drop(pool);
            std::fs::remove_file(path).unwrap();
            progress();
        }
    });
}

#[test]
fn a_preload_server_that_dies_while_it_replaces_a_worker_is_started_again() {
    alone(|| {
        for point in [Point::ServerAfterFork, Point::ServerBeforeReport] {
            let path = tally("preload");
            let pool = Pool::builder().workers(1).preload(loaded, path.clone()).build().unwrap();
            pool.submit(runs, ()).unwrap().join().unwrap();
            // The negative control: without the death the function does not run again.
            send(workers()[0].pid, Signal::SIGKILL);
            wait_for(|| pool.stats().restarts == 1);
            assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1);
            assert_eq!(counted(&path), 1);
            set(point, Action::Kill, 0);
            send(workers()[0].pid, Signal::SIGKILL);
            wait_for(|| counted(&path) == 2);
            assert_eq!(pool.submit(runs, ()).unwrap().join().unwrap(), 1, "{point:?}");
            clear(point);
            drop(pool);
            std::fs::remove_file(path).unwrap();
            progress();
        }
    });
}
