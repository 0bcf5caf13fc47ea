//! A death at every labelled step of the protocols.
//!
//! `cargo test --all-features --test features failpoints::`
#![allow(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use crate::common::alone::{Runner, against_host_with, progress, say, workers};
use crate::common::processes::send;
use crate::common::time::{ThreadId, wait_for};
use crate::points::{Points, alone};
use brigade::failpoint::{self, Action, Point, clear, hits, set, wait_held};
use brigade::{Error, ExitReason, Handle, Phase, Pool, Process, TaskError};
use nix::sys::signal::Signal;

/// The steps that a worker takes for every task, with the phase that its death there must report:
/// `None` if the task has not started or is committed, so that its value still arrives.
pub(crate) const OF_A_TASK: [(Point, Option<Phase>); 8] = [
    (Point::WorkerBeforeClaim, None),
    (Point::WorkerAfterClaim, Some(Phase::Decoding)),
    (Point::WorkerBeforeRun, Some(Phase::Running)),
    (Point::WorkerAfterRun, Some(Phase::Publishing)),
    (Point::WorkerMidCopy, Some(Phase::Publishing)),
    (Point::WorkerBeforeCommit, Some(Phase::Publishing)),
    (Point::WorkerAfterCommit, None),
    (Point::WorkerBeforePark, None),
];

/// Appends a byte to a file: a trace that survives the task's death.
fn trace(path: PathBuf) -> Vec<u8> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(b"x").unwrap();
    vec![7; 100]
}

fn traced(path: &PathBuf) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.len())
}

/// Submits two traced tasks to a pool of one worker, one of which reaches the point, and checks the
/// outcomes of both.
fn survives(point: Point, action: Action, expected: Option<Phase>) {
    let path = std::env::temp_dir().join(crate::common::unique("trace"));
    let pool = Pool::builder().workers(1).build().unwrap();
    pool.submit(|()| (), ()).unwrap().join().unwrap();
    set(point, action, 0);
    let first = pool.submit(trace, path.clone()).unwrap();
    let second = pool.submit(trace, path.clone()).unwrap();
    match (first.join(), expected) {
        (Ok(value), None) => assert_eq!(value.len(), 100),
        (Err(Error::Task(TaskError::Died(death))), Some(phase)) => {
            assert_eq!(death.phase, phase, "{point:?}");
            let signal = if action == Action::Kill { 9 } else { 6 };
            assert_eq!(death.reason, ExitReason::Signal(signal));
        }
        (outcome, _) => panic!("{point:?} {action:?}: {outcome:?}"),
    }
    assert_eq!(second.join().unwrap().len(), 100, "{point:?}");
    let ran = match expected {
        Some(Phase::Decoding) => 1,
        Some(Phase::Running) => 1,
        _ => 2,
    };
    assert_eq!(traced(&path), ran, "{point:?}");
    let _ = std::fs::remove_file(path);
    wait_for(|| pool.stats().restarts == 1);
    clear(point);
    pool.shutdown().unwrap();
    progress();
}

#[test]
fn a_worker_that_dies_at_any_step_of_a_task_loses_what_it_had_begun_alone() {
    alone(|| {
        for action in [Action::Kill, Action::Abort] {
            for (point, expected) in OF_A_TASK {
                survives(point, action, expected);
            }
        }
    });
}

#[test]
fn a_worker_that_dies_while_it_rings_wakes_its_joiner_all_the_same() {
    alone(|| {
        for point in [Point::WorkerBeforeRing, Point::WorkerMidRing] {
            let pool = Pool::builder().workers(1).build().unwrap();
            set(point, Action::Kill, 0);
            // The joiner is asleep when the task ends, so the worker has to wake it.
            let slow = |joining: ThreadId| {
                joining.wait_until_blocked();
                5u8
            };
            // Repeated if the machine was so busy that the joiner polled at that moment.
            while hits(point) == 0 {
                assert_eq!(
                    pool.submit(slow, ThreadId::current()).unwrap().join().unwrap(),
                    5,
                    "{point:?}"
                );
            }
            wait_for(|| pool.stats().restarts == 1);
            clear(point);
            progress();
        }
    });
}

#[test]
fn a_worker_that_dies_over_the_span_of_a_large_result_gives_the_span_back() {
    alone(|| {
        for point in [Point::WorkerSpanRequest, Point::WorkerSpanGranted] {
            let pool = Pool::builder().workers(1).build().unwrap();
            for _ in 0..20 {
                set(point, Action::Kill, 0);
                let large = pool.submit(|()| vec![1u8; 8 << 20], ()).unwrap();
                let error = large.join().unwrap_err();
                assert_eq!(error.death().unwrap().phase, Phase::Publishing);
                progress();
            }
            clear(point);
            let large = pool.submit(|()| vec![1u8; 8 << 20], ()).unwrap();
            assert_eq!(large.join().unwrap().len(), 8 << 20);
        }
    });
}

#[test]
fn a_worker_that_dies_in_its_start_up_is_replaced() {
    alone(|| {
        for point in [Point::ChildStart, Point::WorkerStart, Point::WorkerBeforeReady] {
            for action in [Action::Kill, Action::Abort] {
                set(point, action, 1);
                let pool = Pool::builder().workers(2).build().unwrap();
                let handles: Vec<_> =
                    (0..20u32).map(|n| pool.submit(|n: u32| n, n).unwrap()).collect();
                for (n, handle) in (0..).zip(handles) {
                    assert_eq!(handle.join().unwrap(), n);
                }
                wait_for(|| pool.stats().restarts == 1);
                clear(point);
                progress();
            }
        }
    });
}

#[test]
fn a_server_that_dies_at_any_step_costs_no_more_than_its_workers() {
    alone(|| {
        for point in [Point::ServerAfterFork, Point::ServerBeforeReport] {
            let pool = Pool::builder().workers(1).build().unwrap();
            pool.submit(|()| (), ()).unwrap().join().unwrap();
            set(point, Action::Kill, 0);
            send(workers()[0].pid, Signal::SIGKILL);
            for n in 0..20u32 {
                assert_eq!(pool.submit(|n: u32| n, n).unwrap().join().unwrap(), n, "{point:?}");
            }
            clear(point);
            progress();
        }
        for point in [Point::ServerStart, Point::ServerAfterFork, Point::ServerBeforeReport] {
            set(point, Action::Kill, 0);
            let built = Pool::builder().workers(1).build();
            if let Ok(pool) = built {
                assert_eq!(pool.submit(|n: u32| n, 7).unwrap().join().unwrap(), 7);
            }
            clear(point);
            drop(Pool::builder().workers(1).build().unwrap());
            progress();
        }
    });
}

#[test]
fn a_server_that_dies_at_any_step_of_a_spawn_loses_no_process_and_starts_none_twice() {
    alone(|| {
        for point in [Point::ServerStart, Point::ServerAfterFork, Point::ServerBeforeReport] {
            let mut values = 0;
            // Fewer in all than the number of unreaped servers at which one is kept.
            for _ in 0..4 {
                let path = std::env::temp_dir().join(crate::common::unique("trace"));
                set(point, Action::Kill, 0);
                match Process::spawn(trace, path.clone()).and_then(Process::join) {
                    // Another server has started it, once.
                    Ok(value) => {
                        assert_eq!((value.len(), traced(&path)), (100, 1), "{point:?}");
                        values += 1;
                    }
                    Err(Error::Task(TaskError::Died(death))) => {
                        assert_eq!(death.reason, ExitReason::Unknown, "{point:?}");
                        assert!(traced(&path) <= 1);
                    }
                    Err(Error::Spawn { .. }) => assert_eq!(traced(&path), 0, "{point:?}"),
                    Err(other) => panic!("{point:?}: {other}"),
                }
                clear(point);
                let _ = std::fs::remove_file(path);
                progress();
            }
            // A child that lost its server right after the fork has hardly ever started its work.
            assert!(values > 0 || point != Point::ServerAfterFork);
            assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        }
    });
}

// The supervisor waited for its handshake under the pool's mutex.
#[test]
fn a_server_that_is_slow_to_start_blocks_only_its_users() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        set(Point::ServerStart, Action::Pause, 0);
        send(crate::common::alone::server().unwrap().pid, Signal::SIGKILL);
        wait_held(Point::ServerStart);
        let mut handle = pool.submit(|n: u8| n, 7).unwrap();
        for _ in 0..3 {
            let late = handle.join_timeout(Duration::from_millis(20)).unwrap_err();
            assert!(matches!(late, Error::TimedOut { .. }), "{late}");
        }
        let cancelled = pool.submit(|n: u8| n, 8).unwrap();
        assert!(cancelled.cancel());
        clear(Point::ServerStart);
        assert_eq!(handle.join().unwrap(), 7);
    });
}

#[test]
fn a_server_that_is_stopped_while_it_starts_is_continued() {
    alone(|| {
        set(Point::ServerStart, Action::Stop, 0);
        let pool = Pool::builder().workers(1).build().unwrap();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        drop(pool);
        set(Point::ServerStart, Action::Stop, 0);
        assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_process_that_dies_in_its_set_up_has_died_and_is_not_lost() {
    alone(|| {
        for (action, signal) in [(Action::Kill, 9), (Action::Abort, 6)] {
            set(Point::ChildStart, action, 0);
            let process = Process::spawn(|n: u8| n, 7).unwrap();
            let error = process.join().unwrap_err();
            let death = error.death().unwrap();
            assert_eq!((death.reason, death.phase), (ExitReason::Signal(signal), Phase::Decoding));
            clear(Point::ChildStart);
        }
        // Only its name distinguishes a process that is held there from one that runs.
        set(Point::ChildStart, Action::Pause, 0);
        let process = Process::spawn(|n: u8| n, 7).unwrap();
        wait_held(Point::ChildStart);
        process.terminate().unwrap();
        assert!(process.is_alive());
        clear(Point::ChildStart);
        assert_eq!(process.wait().unwrap(), ExitReason::Signal(15));
    });
}

// The end of file on its socket was taken for its end, but a task can close the socket and live.
// Class of bug: a decision about a worker's death rests on something that a live worker can do.
#[test]
fn a_worker_whose_start_was_never_reported_runs_nothing() {
    alone(|| {
        let path = std::env::temp_dir().join(crate::common::unique("trace"));
        let pool = Pool::builder().workers(1).build().unwrap();
        // It has its name when it runs tasks.
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        set(Point::ServerAfterFork, Action::Pause, 0);
        send(workers()[0].pid, Signal::SIGKILL);
        wait_held(Point::ServerAfterFork);
        // The new worker exists, but its start was not reported.
        let handles: Vec<_> = (0..50).map(|_| pool.submit(trace, path.clone()).unwrap()).collect();
        wait_for(|| workers().iter().any(|worker| worker.state == 'S'));
        assert_eq!(traced(&path), 0);
        set(Point::ServerAfterFork, Action::Pass, 0);
        let server = crate::common::alone::server().unwrap().pid;
        send(server, Signal::SIGKILL);
        for handle in handles {
            assert_eq!(handle.join().unwrap().len(), 100);
        }
        assert_eq!(traced(&path), 50);
        std::fs::remove_file(path).unwrap();
    });
}

// It has claimed the task, and has not reported that it runs.
#[test]
fn a_worker_that_is_stuck_between_claim_and_start_times_out() {
    alone(|| {
        let timeout = Duration::from_millis(50);
        let pool = Pool::builder().workers(1).timeout(timeout).build().unwrap();
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        set(Point::WorkerAfterClaim, Action::Stop, 0);
        let error = pool.submit(|n: u8| n, 7).unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_task_killed_before_its_workers_start_is_known_ends() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let path = std::env::temp_dir().join(crate::common::unique("trace"));
        // It has its name when it runs tasks.
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        set(Point::ServerBeforeReport, Action::Pause, 1);
        send(workers()[0].pid, Signal::SIGKILL);
        wait_held(Point::ServerBeforeReport);
        let endless = |path: PathBuf| {
            trace(path);
            loop {
                std::thread::park();
            }
        };
        let handle: Handle<()> = pool.submit(endless, path.clone()).unwrap();
        handle.kill(Duration::ZERO).unwrap();
        clear(Point::ServerBeforeReport);
        let error = handle.join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Cancelled)), "{error}");
        assert_eq!(traced(&path), 0);
    });
}

#[test]
fn a_result_committed_under_a_kill_is_delivered() {
    alone(|| {
        let pool = Pool::builder().workers(1).build().unwrap();
        set(Point::WorkerAfterCommit, Action::Pause, 0);
        let handle = pool.submit(|n: u8| n, 7).unwrap();
        wait_held(Point::WorkerAfterCommit);
        handle.kill(Duration::ZERO).unwrap();
        clear(Point::WorkerAfterCommit);
        assert_eq!(handle.join().unwrap(), 7);
        assert_eq!(pool.submit(|n: u8| n, 8).unwrap().join().unwrap(), 8);
    });
}

// A child that the host forks while it starts the server has both ends of the server's socket.
#[test]
fn a_lingering_child_of_the_host_hides_no_death() {
    alone(|| {
        set(Point::HostStartsServer, Action::Pause, 0);
        let builder = std::thread::spawn(|| Pool::builder().workers(2).build().unwrap());
        wait_held(Point::HostStartsServer);
        // SAFETY: the child only waits, and touches no memory.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => loop {
                // SAFETY: a plain system call without arguments.
                unsafe { libc::pause() };
            },
            nix::unistd::ForkResult::Parent { child } => {
                clear(Point::HostStartsServer);
                let pool = builder.join().unwrap();
                let before = crate::common::alone::server().unwrap().pid;
                send(before, Signal::SIGKILL);
                wait_for(|| crate::common::alone::server().is_some_and(|now| now.pid != before));
                assert_eq!(pool.submit(|n: u8| n, 9).unwrap().join().unwrap(), 9);
                drop(pool);
                send(child.as_raw().cast_unsigned(), Signal::SIGKILL);
                nix::sys::wait::waitpid(child, None).unwrap();
            }
        }
    });
}

#[test]
fn a_host_that_dies_at_any_step_leaves_nothing() {
    let points = Points::new();
    let host = || {
        for point in [
            Point::HostOffer,
            Point::HostAfterOffer,
            Point::HostDrain,
            Point::HostWorkerExit,
            Point::HostReplace,
        ] {
            // Each in a child of this process, so that this process can observe its death.
            let status = std::process::Command::new("/proc/self/exe")
                .args(["--exact", "failpoints::dies_at_a_step", "--nocapture", "--include-ignored"])
                .env("BRIGADE_STEP", format!("{point:?}"))
                .output()
                .unwrap()
                .status;
            assert_eq!(
                std::os::unix::process::ExitStatusExt::signal(&status),
                Some(9),
                "{point:?}"
            );
            assert!(hits(point) > 0);
            progress();
        }
        say("done");
    };
    let outside = |runner: &mut Runner| {
        runner.expect("done");
        assert!(runner.end().success());
    };
    against_host_with(&points.env(), host, outside);
}

/// The host of the test above; does nothing by itself.
#[test]
#[ignore = "part of another test"]
fn dies_at_a_step() {
    let Ok(step) = std::env::var("BRIGADE_STEP") else { return };
    let named = |point: &&Point| format!("{point:?}") == step;
    let point = *failpoint::POINTS.iter().find(named).unwrap();
    let pool = Pool::builder().workers(2).build().unwrap();
    pool.submit(|()| (), ()).unwrap().join().unwrap();
    set(point, Action::Kill, 0);
    let dies = |()| std::process::exit(1);
    let handle: Handle<()> = pool.submit(dies, ()).unwrap();
    let _ = handle.join();
    let _ = pool.submit(|n: u8| n, 7).unwrap().join();
    wait_for(|| pool.stats().restarts > 9);
}

/// A panic of the supervisor ended its thread, so every pool of the process waited for ever.
#[test]
fn a_supervisor_that_panics_breaks_its_pools_with_the_cause_and_goes_on() {
    fn is_broken(error: &Error) -> bool {
        matches!(error, Error::Broken { cause, .. } if cause.contains("HostWorkerExit"))
    }
    alone(|| {
        let pool = Pool::builder().workers(2).build().unwrap();
        let other = Pool::builder().workers(1).build().unwrap();
        let runs = |()| crate::common::tasks::forever();
        let (own, others) = (pool.submit(runs, ()).unwrap(), other.submit(runs, ()).unwrap());
        wait_for(|| own.is_running() && others.is_running());
        set(Point::HostWorkerExit, Action::Panic, 0);
        let dies = pool.submit(|()| std::process::abort(), ()).unwrap();
        let _: &Handle<()> = &dies;
        for task in [own, others] {
            let error = task.join().unwrap_err();
            assert!(is_broken(&error), "{error}");
        }
        let error = dies.join().unwrap_err();
        assert!(is_broken(&error), "{error}");
        for broken in [&pool, &other] {
            let error = broken.submit(|n: u8| n, 1).unwrap_err();
            assert!(is_broken(&error), "{error}");
        }
        drop((pool, other));
        let next = Pool::builder().workers(1).build().unwrap();
        assert_eq!(next.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}
