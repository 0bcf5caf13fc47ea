//! The host's signals, handlers and children are not affected.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::alone::{
    Runner, against_host, against_host_with, alone, own_processes, progress, say, workers,
};
use crate::common::processes::send;
use crate::common::tasks::{forever, tally};
use crate::common::time::{spend_millis, wait_for, wait_until};
use brigade::{Error, ExitReason, Handle, Pool, Process, TaskError};
use nix::errno::Errno;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Gid, Pid, Uid, geteuid, setgroups, setresgid, setresuid};

static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn note(_: i32) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

fn handle(signal: Signal, handler: SigHandler, flags: SaFlags) {
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handler only adds to an atomic.
    unsafe { signal::sigaction(signal, &action) }.unwrap();
}

/// A pool that runs tasks, restarts a worker, and ends.
fn live() {
    let pool = Pool::builder().workers(2).build().unwrap();
    let dies = |()| signal::kill(Pid::this(), Signal::SIGKILL).unwrap();
    let error = pool.submit(dies, ()).unwrap().join().unwrap_err();
    assert_eq!(error.death().map(|death| death.reason), Some(ExitReason::Signal(9)));
    for n in 0..100u32 {
        assert_eq!(pool.submit(|n: u32| n, n).unwrap().join().unwrap(), n);
    }
    pool.shutdown().unwrap();
}

#[test]
fn a_host_that_ignores_sigchld_has_pools() {
    alone(|| {
        handle(Signal::SIGCHLD, SigHandler::SigIgn, SaFlags::empty());
        live();
    });
}

#[test]
fn a_host_whose_children_leave_no_zombies_has_pools() {
    alone(|| {
        handle(Signal::SIGCHLD, SigHandler::SigDfl, SaFlags::SA_NOCLDWAIT);
        live();
    });
}

#[test]
fn the_hosts_sigchld_handler_is_never_called_for_workers() {
    alone(|| {
        handle(Signal::SIGCHLD, SigHandler::Handler(note), SaFlags::SA_RESTART);
        live();
        assert_eq!(HANDLED.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn a_host_that_waits_for_any_child_sees_none_of_ours() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        let waiter = thread::spawn(|| {
            let mut seen = 0;
            while !OVER.load(Ordering::Relaxed) {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(_) => seen += 1,
                    Err(errno) => assert_eq!(errno, Errno::ECHILD),
                }
                thread::yield_now();
            }
            seen
        });
        live();
        OVER.store(true, Ordering::Relaxed);
        assert_eq!(waiter.join().unwrap(), 0);
    });
}

#[test]
fn signals_that_the_host_blocks_are_not_blocked_in_workers_and_stay_blocked_in_it() {
    alone(|| {
        let mut before = SigSet::empty();
        signal::pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
        signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut before)).unwrap();
        let pool = Pool::builder().workers(1).build().unwrap();
        // When it runs tasks, its start-up, during which it ignores SIGTERM, is over.
        pool.submit(|()| (), ()).unwrap().join().unwrap();
        let endless = |()| loop {
            thread::park();
        };
        let handle: brigade::Handle<()> = pool.submit(endless, ()).unwrap();
        // A worker that ends before it has started the task passes it on.
        wait_for(|| handle.is_running());
        send(workers()[0].pid, Signal::SIGTERM);
        let error = handle.join().unwrap_err();
        assert_eq!(error.death().map(|death| death.reason), Some(ExitReason::Signal(15)));
        let mut after = SigSet::empty();
        signal::pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut after)).unwrap();
        assert_eq!(before, after);
    });
}

#[test]
fn workers_have_default_dispositions_whatever_the_host_has() {
    alone(|| {
        let masks = |_: ()| {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
            };
            (field("SigBlk"), field("SigIgn"))
        };
        handle(Signal::SIGUSR1, SigHandler::SigIgn, SaFlags::empty());
        handle(Signal::SIGTERM, SigHandler::Handler(note), SaFlags::empty());
        let pool = Pool::builder().workers(1).build().unwrap();
        let (blocked, ignored) = pool.submit(masks, ()).unwrap().join().unwrap();
        let expected: u64 = 1 << (libc::SIGPIPE - 1);
        // glibc ignores its two internal signals.
        let of_glibc: u64 = 1 << 31 | 1 << 32;
        assert_eq!((blocked, ignored & !of_glibc), (0, expected));
    });
}

#[test]
fn an_interrupt_of_the_whole_group_reaches_the_host_and_no_worker() {
    alone(|| {
        handle(Signal::SIGINT, SigHandler::Handler(note), SaFlags::SA_RESTART);
        let pool = Pool::builder().workers(2).build().unwrap();
        let before: BTreeSet<_> = own_processes().iter().map(|process| process.pid).collect();
        for round in 1..=20u64 {
            // This process leads a process group, which contains the server and the workers.
            signal::killpg(nix::unistd::getpgrp(), Signal::SIGINT).unwrap();
            wait_for(|| HANDLED.load(Ordering::Relaxed) == round);
            assert_eq!(pool.submit(|n: u8| n, 3).unwrap().join().unwrap(), 3);
        }
        let after: BTreeSet<_> = own_processes().iter().map(|process| process.pid).collect();
        assert_eq!((before, pool.stats().restarts), (after, 0));
    });
}

#[test]
fn a_storm_of_signals_disturbs_nothing() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        handle(Signal::SIGUSR1, SigHandler::Handler(note), SaFlags::empty());
        let storm = thread::spawn(|| {
            while !OVER.load(Ordering::Relaxed) {
                signal::kill(Pid::this(), Signal::SIGUSR1).unwrap();
                spend_millis(1);
            }
        });
        for _ in 0..5 {
            live();
        }
        OVER.store(true, Ordering::Relaxed);
        storm.join().unwrap();
        assert!(HANDLED.load(Ordering::Relaxed) > 0);
    });
}

// The intermediate process that starts the server also ran the handler, in shared memory.
#[test]
fn starting_a_server_runs_no_handler_twice() {
    alone(|| {
        static OVER: AtomicBool = AtomicBool::new(false);
        static SENT: AtomicU64 = AtomicU64::new(0);
        handle(Signal::SIGINT, SigHandler::Handler(note), SaFlags::SA_RESTART);
        let storm = thread::spawn(|| {
            while !OVER.load(Ordering::Relaxed) {
                signal::killpg(nix::unistd::getpgrp(), Signal::SIGINT).unwrap();
                let sent = SENT.fetch_add(1, Ordering::Relaxed) + 1;
                wait_for(|| HANDLED.load(Ordering::Relaxed) >= sent);
            }
        });
        for _ in 0..20 {
            drop(Pool::builder().workers(1).build().unwrap());
        }
        OVER.store(true, Ordering::Relaxed);
        storm.join().unwrap();
        assert_eq!(HANDLED.load(Ordering::Relaxed), SENT.load(Ordering::Relaxed));
    });
}

#[test]
fn a_group_that_is_stopped_and_continued_goes_on() {
    let host = || {
        let pool = Pool::builder().workers(2).build().unwrap();
        say("ready");
        let mut sum = 0;
        for n in 0..20_000u64 {
            sum += pool.submit(|n: u64| n, n).unwrap().join().unwrap();
            progress();
        }
        assert_eq!(sum, 19_999 * 10_000);
        assert_eq!(pool.stats().restarts, 0);
    };
    let outside = |runner: &mut Runner| {
        runner.expect("ready");
        let group = Pid::from_raw(runner.pid().cast_signed());
        for _ in 0..5 {
            let stopped = signal::killpg(group, Signal::SIGSTOP);
            let is_stopped = wait_until(Duration::from_secs(20), || {
                runner.processes().iter().all(|process| process.state == 'T')
            });
            let continued = signal::killpg(group, Signal::SIGCONT);
            assert_eq!((stopped, continued, is_stopped), (Ok(()), Ok(()), true));
        }
        assert!(runner.end().success());
    };
    against_host(host, outside);
}

#[test]
fn the_thread_that_made_a_pool_may_end() {
    alone(|| {
        let made = thread::spawn(|| {
            let pool = Pool::builder().workers(2).build().unwrap();
            pool.submit(|()| (), ()).unwrap().join().unwrap();
            pool
        });
        let pool = made.join().unwrap();
        for n in 0..100u32 {
            assert_eq!(pool.submit(|n: u32| n, n).unwrap().join().unwrap(), n);
        }
        assert_eq!(pool.stats().restarts, 0);
    });
}

const NOBODY: u32 = 65534;

fn give_up_root() {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    setgroups(&[]).unwrap();
    setresgid(group, group, group).unwrap();
    setresuid(user, user, user).unwrap();
}

// The kernel refused its kills, and the error was ignored: timeouts never fired, and dropping the
// pool hung. Class of bug: a signal that could not be sent is taken for the end of its receiver.
#[test]
fn a_host_that_gives_up_root_ends_tasks_and_starts_workers_without_root() {
    let host = || {
        if !geteuid().is_root() {
            println!("skipped: only root can give it up");
            return say("done");
        }
        let pool = Pool::builder().workers(3).grace(Duration::ZERO).build().unwrap();
        let process = Process::<()>::spawn(|()| forever(), ()).unwrap();
        let user = |()| geteuid().as_raw();
        assert_eq!(pool.submit(user, ()).unwrap().join().unwrap(), 0);
        give_up_root();
        let hangs = |pool: &Pool| -> Handle<()> {
            let task = pool.submit(|()| forever(), ()).unwrap();
            wait_for(|| task.is_running());
            task
        };
        let late = pool.options().timeout(Duration::from_millis(50)).submit(|()| forever(), ());
        let error = late.unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        say("timed out");
        let task = hangs(&pool);
        task.kill(Duration::ZERO).unwrap();
        let error = task.join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::Cancelled)), "{error}");
        say("killed");
        process.terminate().unwrap();
        assert_eq!(process.wait().unwrap(), ExitReason::Signal(15));
        say("terminated");
        let (left, newer) = (hangs(&pool), Pool::builder().workers(1).build().unwrap());
        assert_eq!(newer.submit(user, ()).unwrap().join().unwrap(), NOBODY);
        assert_eq!(Process::spawn(user, ()).unwrap().join().unwrap(), NOBODY);
        drop(pool);
        assert!(left.join().is_err());
        drop(newer);
        say("done");
    };
    against_host(host, |host| {
        let mut heard = Vec::new();
        while let Some(word) = host.hear() {
            heard.push(word);
        }
        assert_eq!(heard.last().map(String::as_str), Some("done"), "{heard:?}");
        assert!(host.end().success());
    });
}

// After SIGCONT the task was killed at once, because it had been stopped for longer than its
// timeout. Class of bug: elapsed time is taken for time in which a process could have run.
#[test]
fn the_time_for_which_the_whole_group_is_stopped_is_no_tasks() {
    let path = tally("continued");
    let host = || {
        let pool = Pool::builder().workers(1).build().unwrap();
        let path = std::env::var("BRIGADE_CONTINUED").unwrap();
        let works = |path: String| {
            while !std::fs::exists(&path).unwrap() {}
            let start = std::time::Instant::now();
            while start.elapsed() < Duration::from_millis(300) {}
            7
        };
        let task = pool.options().timeout(Duration::from_secs(2)).submit(works, path).unwrap();
        wait_for(|| task.is_running());
        say("runs");
        assert_eq!(task.join().unwrap(), 7);
        let late = pool.options().timeout(Duration::from_millis(50)).submit(|()| forever(), ());
        let error = late.unwrap().join().unwrap_err();
        assert!(matches!(error, Error::Task(TaskError::TimedOut { .. })), "{error}");
        drop(pool);
        say("done");
    };
    against_host_with(&[("BRIGADE_CONTINUED", &path)], host, |host| {
        host.expect("runs");
        let group = Pid::from_raw(host.pid().cast_signed());
        signal::killpg(group, Signal::SIGSTOP).unwrap();
        wait_for(|| host.processes().iter().all(|process| process.state == 'T'));
        wait_until(Duration::from_secs(3), || false);
        std::fs::write(&path, "").unwrap();
        signal::killpg(group, Signal::SIGCONT).unwrap();
        host.expect("done");
        assert!(host.end().success());
        std::fs::remove_file(&path).unwrap();
    });
}
