//! Frozen processes, which do not end when they are killed.
//!
//! Class of bug: an endless wait for a death. A process in a frozen cgroup (version 1) keeps a
//! SIGKILL pending until it is thawed, as a process does that sleeps in the kernel.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use brigade::{Error, Handle, Pool, Process, SharedArray, TaskError};

use crate::common::alone::{alone, own_processes, server, workers};
use crate::common::processes::{self, Process as Seen, send};
use crate::common::tasks::{count, counted, death, forever, tally, with};
use crate::common::time::wait_for;
use crate::common::{skipped, unique};
use nix::sys::signal::Signal;

/// A frozen cgroup, and a process that thaws it after this one has ended, in any way.
struct Freezer(PathBuf, Child);

const THAW: &str = "cat; echo THAWED > \"$0/freezer.state\"; until rmdir \"$0\"; do :; done 2>&-";

impl Freezer {
    fn new() -> Option<Freezer> {
        let path = PathBuf::from("/sys/fs/cgroup/freezer").join(unique("frozen"));
        fs::create_dir(&path).ok()?;
        let mut thaws = Command::new("/bin/sh");
        thaws.args(["-c", THAW]).arg(&path).env_clear().stdin(Stdio::piped()).process_group(0);
        let thaws = thaws.spawn().unwrap();
        Some(Freezer(path, thaws))
    }

    fn freeze(&self, pid: u32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
        let state = self.0.join("freezer.state");
        fs::write(&state, "FROZEN").unwrap();
        wait_for(|| fs::read_to_string(&state).unwrap().trim() == "FROZEN");
    }

    fn thaw(&self) {
        fs::write(self.0.join("freezer.state"), "THAWED").unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        drop(self.1.stdin.take());
        let _ = self.1.wait();
    }
}

/// Runs a test that needs to freeze processes, in a separate process.
fn frozen(body: impl FnOnce(&Freezer)) {
    match Freezer::new() {
        Some(freezer) => body(&freezer),
        None => skipped("no freezer of the first version of control groups, or no root"),
    }
}

fn id(_: ()) -> u32 {
    std::process::id()
}

/// A pool of one worker, and that worker's process id.
fn pool() -> (Pool, u32) {
    let pool = with(1).grace(Duration::ZERO).build().unwrap();
    let worker = pool.submit(id, ()).unwrap().join().unwrap();
    (pool, worker)
}

fn hangs(pool: &Pool) -> Handle<()> {
    let task = pool.submit(|()| forever(), ()).unwrap();
    wait_for(|| task.is_running());
    task
}

fn works(pool: &Pool) {
    assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
}

fn is_there(pid: u32) -> bool {
    Seen::of(pid).is_some_and(|process| process.state != 'Z')
}

#[test]
fn a_worker_that_does_not_die_holds_up_no_task_no_pool_and_no_drop() {
    alone(|| {
        frozen(|freezer| {
            let ((pool, worker), (other, _)) = (pool(), pool());
            let task = hangs(&pool);
            freezer.freeze(worker);
            task.kill(Duration::ZERO).unwrap();
            let error = task.join().unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::Cancelled)), "{error}");
            assert!(is_there(worker));
            works(&pool);
            works(&other);
            assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
            drop((pool, other));
            assert!(is_there(worker));
            freezer.thaw();
            wait_for(|| own_processes().is_empty());
        });
    });
}

#[test]
fn a_task_of_a_worker_that_does_not_die_is_over_when_its_time_is() {
    alone(|| {
        frozen(|freezer| {
            let (pool, worker) = pool();
            let late = pool.options().timeout(Duration::from_secs(1)).submit(|()| forever(), ());
            let late = late.unwrap();
            wait_for(|| late.is_running());
            freezer.freeze(worker);
            let error = late.join().unwrap_err();
            assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
            works(&pool);
        });
    });
}

#[test]
fn a_pool_whose_workers_never_die_replaces_some_and_then_breaks_with_the_cause() {
    alone(|| {
        frozen(|freezer| {
            let (pool, mut worker) = pool();
            let error = loop {
                let task = hangs(&pool);
                freezer.freeze(worker);
                task.kill(Duration::ZERO).unwrap();
                assert!(task.join().is_err());
                // A process that enters a frozen group is frozen; the next worker is not in it yet.
                match pool.submit(id, ()).and_then(Handle::join) {
                    Ok(next) => worker = next,
                    Err(error) => break error,
                }
            };
            assert!(
                matches!(&error, Error::Broken { cause, .. } if cause.contains("has not ended"))
            );
            drop(pool);
        });
    });
}

#[test]
fn a_loop_waits_for_a_worker_that_does_not_die_and_the_end_of_its_pool_does_not() {
    alone(|| {
        frozen(|freezer| {
            let path = tally("loop");
            let (pool, worker) = pool();
            let mut array = SharedArray::<u64>::zeroed(8).unwrap();
            std::thread::scope(|scope| {
                let (pool, path) = (&pool, &path);
                let array = &mut array;
                let runs = scope.spawn(move || {
                    let chunks = pool.par_chunks_mut(array, 8).with(path.clone());
                    chunks.for_each(|path: &String, _| {
                        count(path);
                        forever();
                    })
                });
                wait_for(|| counted(path) > 0);
                freezer.freeze(worker);
                pool.kill().unwrap();
                // It may still write to the array.
                assert!(is_there(worker) && !runs.is_finished());
                freezer.thaw();
                assert!(runs.join().unwrap().is_err());
            });
            fs::remove_file(path).unwrap();
        });
    });
}

#[test]
fn the_orphan_of_a_task_that_does_not_die_holds_up_no_process() {
    alone(|| {
        frozen(|freezer| {
            let (pool, worker) = pool();
            let orphans = |()| {
                Command::new("sleep").arg("1000").status().unwrap();
            };
            let task: Handle<()> = pool.submit(orphans, ()).unwrap();
            let child = || processes::all().into_iter().find(|seen| seen.parent == worker);
            wait_for(|| child().is_some_and(|seen| seen.name == "sleep"));
            let orphan = child().unwrap().pid;
            freezer.freeze(orphan);
            send(worker, Signal::SIGKILL);
            death(task);
            works(&pool);
            assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
            drop(pool);
            assert!(is_there(orphan));
        });
    });
}

#[test]
fn a_process_that_does_not_die_is_left_behind_by_its_handle() {
    alone(|| {
        frozen(|freezer| {
            let process = Process::<()>::spawn(|()| forever(), ()).unwrap();
            let pid = process.pid();
            freezer.freeze(pid);
            drop(process);
            assert!(is_there(pid));
            assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        });
    });
}

#[test]
fn a_fork_server_that_dies_before_a_frozen_worker_costs_that_ones_tasks_alone() {
    alone(|| {
        frozen(|freezer| {
            let ((pool, worker), (other, _)) = (pool(), pool());
            let (task, others) = (hangs(&pool), hangs(&other));
            freezer.freeze(worker);
            send(server().unwrap().pid, Signal::SIGKILL);
            death(others);
            works(&other);
            let death = death(task);
            assert_eq!(death.pid, worker);
            works(&pool);
            assert!(is_there(worker) && workers().len() == 3);
        });
    });
}
