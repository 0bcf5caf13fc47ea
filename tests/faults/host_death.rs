//! A dead host leaves no process and no name.
//!
//! Every test runs its host in a separate process, kills it from outside and then searches for
//! leftovers: see `crate::common::alone::against_host`.
#![allow(unsafe_code)]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::common::alone::{Runner, against_host, alone, own_processes, say};
use crate::common::processes::send;
use crate::common::tasks::forever;
use crate::common::time::wait_for;
use crate::common::unique;
use brigade::{Pool, Process};
use nix::sys::signal::Signal;

/// A pool with one busy and one idle worker.
fn busy_pool() -> Pool {
    let pool = Pool::builder().workers(2).build().unwrap();
    drop(pool.submit(|()| forever(), ()).unwrap());
    pool.submit(|()| (), ()).unwrap().join().unwrap();
    pool
}

/// Kills a host that is ready with this signal.
fn killed(runner: &mut Runner, signal: Signal) {
    runner.expect("ready");
    runner.send(signal);
    assert_eq!(runner.end().signal(), Some(signal as i32));
}

fn waits() {
    let _pool = busy_pool();
    assert_eq!(own_processes().len(), 3, "a server and two workers");
    say("ready");
    forever();
}

#[test]
fn a_host_that_is_killed_leaves_nothing() {
    against_host(waits, |runner| killed(runner, Signal::SIGKILL));
}

#[test]
fn a_host_that_is_terminated_leaves_nothing() {
    against_host(waits, |runner| killed(runner, Signal::SIGTERM));
}

#[test]
fn a_host_that_is_hung_up_on_leaves_nothing() {
    against_host(waits, |runner| killed(runner, Signal::SIGHUP));
}

#[test]
fn a_host_that_is_killed_leaves_none_of_its_one_off_processes() {
    let host = || {
        let held = Process::spawn(|()| forever(), ()).unwrap();
        Process::spawn(|()| forever(), ()).unwrap().detach();
        let nests = |()| {
            let inner = Process::spawn(|()| forever(), ()).unwrap();
            inner.join().unwrap();
        };
        let outer = Process::spawn(nests, ()).unwrap();
        wait_for(|| own_processes().len() == 6);
        say("ready");
        outer.join().unwrap();
        drop(held);
    };
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        against_host(host, |runner| killed(runner, signal));
    }
}

#[test]
fn a_host_that_aborts_leaves_nothing() {
    let host = || {
        let _pool = busy_pool();
        std::process::abort();
    };
    against_host(host, |runner| assert_eq!(runner.end().signal(), Some(6)));
}

#[test]
fn a_host_that_exits_while_workers_are_busy_leaves_nothing() {
    let host = || {
        let _pool = busy_pool();
        std::process::exit(7);
    };
    against_host(host, |runner| assert_eq!(runner.end().code(), Some(7)));
}

#[test]
fn a_host_that_forgets_its_pool_leaves_nothing() {
    let host = || std::mem::forget(busy_pool());
    against_host(host, |runner| assert_eq!(runner.end().code(), Some(0)));
}

#[test]
fn a_host_that_execs_something_else_leaves_nothing() {
    use std::os::unix::process::CommandExt;
    let host = || {
        let _pool = busy_pool();
        panic!("{}", Command::new("cat").exec());
    };
    against_host(host, |runner| assert_eq!(runner.end().code(), Some(0)));
}

#[test]
fn a_host_that_panics_with_a_pool_on_its_stack_leaves_nothing() {
    alone(|| {
        let unwound = std::panic::catch_unwind(|| {
            let pool = Pool::builder().workers(2).build().unwrap();
            pool.submit(|()| (), ()).unwrap().join().unwrap();
            panic!("with a pool on the stack");
        });
        assert!(unwound.is_err());
    });
}

#[test]
fn the_host_and_its_server_killed_together_leave_nothing() {
    against_host(waits, |runner| {
        runner.expect("ready");
        let processes = runner.processes();
        let chosen = processes.iter().filter(|process| process.is_server());
        chosen.for_each(|process| send(process.pid, Signal::SIGKILL));
        runner.send(Signal::SIGKILL);
        runner.end();
    });
}

#[test]
fn a_stopped_worker_does_not_outlive_its_host() {
    against_host(waits, |runner| {
        runner.expect("ready");
        let processes = runner.processes();
        let chosen = processes.iter().filter(|process| process.is_worker());
        chosen.for_each(|process| send(process.pid, Signal::SIGSTOP));
        runner.send(Signal::SIGKILL);
        runner.end();
    });
}

#[test]
fn what_tasks_have_forked_does_not_outlive_the_host() {
    fn fork() -> bool {
        // SAFETY: the worker has one thread, so the child may call anything.
        unsafe { nix::unistd::fork() }.unwrap().is_child()
    }
    let host = || {
        let pool = Pool::builder().workers(1).build().unwrap();
        let forks = |()| {
            // Three generations that wait: killing each orphans the next.
            if fork() {
                if fork() {
                    fork();
                }
                forever();
            }
        };
        pool.submit(forks, ()).unwrap().join().unwrap();
        wait_for(|| own_processes().len() == 5);
        say("ready");
        forever();
    };
    against_host(host, |runner| killed(runner, Signal::SIGKILL));
}

#[test]
fn nested_pools_end_with_the_host() {
    let host = || {
        let pool = Pool::builder().workers(1).build().unwrap();
        let nests = |()| {
            let inner = Pool::builder().workers(1).build().unwrap();
            inner.submit(|()| forever(), ()).unwrap().join().unwrap();
        };
        drop(pool.submit(nests, ()).unwrap());
        // Two servers, two workers.
        wait_for(|| own_processes().iter().filter(|p| p.name.starts_with("brigade-")).count() == 4);
        say("ready");
        forever();
    };
    against_host(host, |runner| killed(runner, Signal::SIGKILL));
}

#[test]
fn the_name_of_a_killed_host_is_reclaimed_and_that_of_a_living_one_is_not() {
    let host = || {
        let _pool = busy_pool();
        let name = unique("orphaned");
        let array = brigade::SharedArray::<u64>::named(&name, [1000]).unwrap();
        say(&name);
        forever();
        drop(array);
    };
    let outside = |runner: &mut Runner| {
        let name = runner.hear().unwrap();
        let path = std::path::Path::new("/dev/shm").join(&name);
        brigade::reclaim().unwrap();
        assert!(path.exists(), "reclaimed under its owner");
        runner.send(Signal::SIGKILL);
        runner.end();
        wait_for(|| runner.processes().is_empty());
        assert!(path.exists());
        brigade::reclaim().unwrap();
        assert!(!path.exists(), "not reclaimed");
    };
    against_host(host, outside);
}
