//! Workers forked from a process in which a function has run.
#![allow(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crate::common::alone::{against_host, alone, own_processes, progress, say, server, workers};
use crate::common::processes::{Process, send};
use crate::common::tasks::{count, counted, death, forever, hanging, raise, tally, with};
use crate::common::time::{ThreadId, wait_for};
use brigade::{Error, Pool, PoolBuilder, SharedArray, Start, TaskError};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

static LOADED: OnceLock<Vec<u64>> = OnceLock::new();

/// Leaves something in a static, and a trace in a file.
fn load(path: String) -> Result<(), String> {
    count(&path);
    LOADED.set((0..1000).collect()).map_err(|_| "loaded twice".to_owned())
}

fn sum(_: ()) -> u64 {
    LOADED.get().unwrap().iter().sum()
}

fn works(pool: &Pool) {
    assert_eq!(pool.submit(sum, ()).unwrap().join().unwrap(), 499_500);
}

fn all_work(pool: &Pool, workers: usize) {
    let results = pool.broadcast(sum, ()).unwrap();
    assert_eq!(results.len(), workers);
    assert!(results.iter().all(|one| one.result == Ok(499_500)), "{results:?}");
}

fn preloads() -> Vec<Process> {
    let mut found = own_processes();
    found.retain(|process| process.name == "brigade-preload");
    found
}

/// The error of `build`, which leaves no process.
fn refused(builder: PoolBuilder) -> Error {
    let error = builder.build().map(drop).unwrap_err();
    wait_for(|| own_processes().is_empty());
    error
}

fn dies(_: ()) {
    raise(Signal::SIGKILL);
}

#[test]
fn every_worker_has_what_the_function_left_and_it_runs_once() {
    alone(|| {
        let (path, idle) = (tally("preload"), Duration::from_millis(20));
        let pool = with(2).preload(load, path.clone()).build().unwrap();
        assert_eq!(preloads().len(), 1);
        let parent = preloads()[0].pid;
        all_work(&pool, 2);
        assert!(workers().len() == 2 && workers().iter().all(|worker| worker.parent == parent));
        assert!(pool.submit(dies, ()).unwrap().join().unwrap_err().death().is_some());
        pool.resize(4).unwrap();
        all_work(&pool, 4);
        assert_eq!(counted(&path), 1);
        let other = with(1).build().unwrap();
        let has_none = other.submit(|()| LOADED.get().is_none(), ()).unwrap();
        assert!(has_none.join().unwrap(), "another pool has nothing of it");
        drop(pool);
        assert_eq!(preloads().len(), 0);
        assert_eq!(other.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        drop(other);

        let builder = with(1).preload(load, path.clone());
        let pool = builder.idle_timeout(idle).max_tasks_per_worker(1).build().unwrap();
        for _ in 0..3 {
            works(&pool);
            wait_for(|| workers().is_empty());
        }
        assert_eq!((counted(&path), preloads().len()), (2, 1));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_function_that_leaves_a_thread_is_an_error_that_names_it() {
    alone(|| {
        let spawns = |()| {
            let thread = thread::Builder::new().name("left-behind".into()).spawn(forever);
            thread.map(drop).map_err(|error| error.to_string())
        };
        let error = refused(with(1).preload(spawns, ()));
        let Error::MultiThreaded { threads: 2, names } = &error else { panic!("{error}") };
        assert_eq!(names[..], ["left-behind"]);
        let joins = |()| thread::spawn(|| ()).join().map_err(|_| "it panicked".to_owned());
        let pool = with(1).preload(joins, ()).build().unwrap();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
    });
}

#[test]
fn a_function_that_fails_is_an_error_of_build_with_the_reason() {
    alone(|| {
        let fails = |()| Err("there is no licence".to_owned());
        let panics = |()| -> Result<(), String> { panic!("no disk") };
        let exits = |()| std::process::exit(3);
        let aborts = |()| std::process::abort();
        let long = |()| Err("x".repeat(1 << 20));
        let refusals = [
            (with(1).preload(fails, ()), "its function failed: there is no licence"),
            (with(1).preload(panics, ()), "no disk"),
            (with(1).preload(exits, ()), "exited with code 3"),
            (with(1).preload(aborts, ()), "SIGABRT"),
            (with(1).preload(long, ()), "xxxx"),
        ];
        for (builder, expected) in refusals {
            let error = refused(builder);
            assert!(matches!(error, Error::Spawn { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            progress();
        }
        let array = SharedArray::from_fn([8], |[i]| i as u64).unwrap().freeze();
        let holds = with(1).preload(|_: brigade::Frozen<u64>| Ok(()), array);
        let error = refused(holds);
        assert!(matches!(error, Error::Codec { .. }), "{error}");
    });
}

#[test]
fn a_function_that_hangs_is_killed_after_the_timeout() {
    alone(|| {
        let hangs = |()| -> Result<(), String> {
            loop {
                forever();
            }
        };
        let hasty = with(1).preload(hangs, ()).preload_timeout(Duration::from_millis(20));
        let error = refused(hasty);
        assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    });
}

#[test]
fn a_killed_preload_server_is_named_by_the_deaths_and_started_again() {
    alone(|| {
        let path = tally("preload");
        let pool = with(2).preload(load, path.clone()).build().unwrap();
        for round in 2..=4 {
            all_work(&pool, 2);
            let busy = hanging(&pool);
            send(preloads()[0].pid, Signal::SIGKILL);
            let error = busy.join().unwrap_err();
            let death = error.death().unwrap();
            let text = death.crash_message.as_deref().unwrap_or_default();
            assert!(text.contains("the preload server") && text.contains("SIGKILL"), "{error}");
            all_work(&pool, 2);
            assert_eq!(counted(&path), round);
            progress();
        }
        // The server of all pools takes it along.
        let busy = hanging(&pool);
        send(server().unwrap().pid, Signal::SIGKILL);
        busy.join().unwrap_err();
        all_work(&pool, 2);
        assert_eq!((preloads().len(), counted(&path)), (1, 5));
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_function_that_cannot_run_again_breaks_the_pool_with_its_reason() {
    alone(|| {
        let path = tally("preload");
        let once = |path: String| {
            count(&path);
            if counted(&path) == 1 { Ok(()) } else { Err("the licence was used".to_owned()) }
        };
        let pool = with(1).preload(once, path.clone()).build().unwrap();
        let waits = hanging(&pool);
        send(preloads()[0].pid, Signal::SIGKILL);
        waits.join().unwrap_err();
        let error = pool.submit(sum, ()).and_then(|task| task.join()).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
        assert!(error.to_string().contains("the licence was used"), "{error}");
        drop(pool);
        wait_for(|| own_processes().is_empty());
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_pool_whose_function_hangs_when_it_runs_again_can_be_ended() {
    alone(|| {
        let path = tally("preload");
        let once = |path: String| {
            count(&path);
            if counted(&path) > 1 {
                forever();
            }
            Ok(())
        };
        let builder = with(1).preload(once, path.clone()).grace(Duration::ZERO);
        let pool = builder.build().unwrap();
        let busy = hanging(&pool);
        send(preloads()[0].pid, Signal::SIGKILL);
        busy.join().unwrap_err();
        let task = pool.submit(sum, ()).unwrap();
        wait_for(|| counted(&path) == 2);
        drop(pool);
        assert!(matches!(task.join(), Err(Error::Task(TaskError::Cancelled))));
        wait_for(|| own_processes().is_empty());
        std::fs::remove_file(path).unwrap();
    });
}

// It kept all tasks waiting for ever.
#[test]
fn a_function_that_hangs_when_it_runs_again_is_killed_after_the_timeout() {
    alone(|| {
        let path = tally("preload");
        let second_hangs = |path: String| {
            count(&path);
            while counted(&path) == 2 {
                forever();
            }
            Ok(())
        };
        let limit = Duration::from_secs(3);
        let builder = with(1).preload(second_hangs, path.clone()).preload_timeout(limit);
        let pool = builder.build().unwrap();
        let busy = hanging(&pool);
        send(preloads()[0].pid, Signal::SIGKILL);
        busy.join().unwrap_err();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        assert!(counted(&path) >= 3);
        std::fs::remove_file(path).unwrap();
    });
}

#[test]
fn a_child_of_the_function_that_returns_from_it_ends() {
    alone(|| {
        // SAFETY: the process has one thread, so the child may call anything.
        let forks = |()| match unsafe { fork() }.unwrap() {
            ForkResult::Child => Ok(()),
            ForkResult::Parent { child } => match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 125)) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        };
        let pool = with(1).preload(forks, ()).build().unwrap();
        assert_eq!(pool.submit(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        assert_eq!(preloads().len(), 1);
    });
}

#[test]
fn no_worker_prints_what_the_function_has_buffered() {
    alone(|| {
        let prints = |()| {
            print!("half a line");
            Ok(())
        };
        let pool = with(1).capture_stdout().preload(prints, ()).build().unwrap();
        let flushes = |()| {
            print!("own words");
            std::io::stdout().flush().unwrap();
            raise(Signal::SIGKILL);
        };
        let found = death(pool.submit(flushes, ()).unwrap());
        assert_eq!(found.stdout_tail.as_deref(), Some("own words"));
    });
}

/// The soft limit of open descriptors of this process.
fn descriptors_max(_: ()) -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).unwrap().0
}

#[test]
fn the_preload_server_may_open_more_descriptors_than_its_host_and_workers() {
    alone(|| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let soft = hard - 1;
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let pool = with(1).preload(|()| Ok(()), ()).build().unwrap();
        let limits =
            std::fs::read_to_string(format!("/proc/{}/limits", preloads()[0].pid)).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[3..5], [hard.to_string(), hard.to_string()]);
        assert_eq!(pool.submit(descriptors_max, ()).unwrap().join().unwrap(), soft);
    });
}

#[test]
fn a_host_that_is_killed_leaves_nothing_of_a_preload() {
    let host = || {
        let _pool = with(2).preload(|()| Ok(()), ()).build().unwrap();
        say("ready");
        forever();
    };
    against_host(host, |runner| {
        runner.expect("ready");
        runner.send(Signal::SIGKILL);
    });
}

#[test]
fn a_host_that_is_killed_leaves_no_preload_that_has_not_returned() {
    let host = || {
        let hangs = |()| {
            say("ready");
            forever();
            Ok(())
        };
        with(2).preload(hangs, ()).build().map(drop).unwrap();
    };
    against_host(host, |runner| {
        runner.expect("ready");
        runner.send(Signal::SIGKILL);
    });
}

/// What a process has from its host: the directory, a variable, and its descriptors from 3 up that
/// are files.
fn surroundings(_: ()) -> (PathBuf, Option<String>, usize) {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let files = fds.filter(|fd| {
        std::fs::read_link(fd.path()).is_ok_and(|target| target == Path::new("/proc/version"))
    });
    let variable = std::env::var("BRIGADE_TEST_WORD").ok();
    (std::env::current_dir().unwrap(), variable, files.count())
}

#[test]
fn function_and_workers_have_the_environment_of_the_host_and_no_descriptor_of_the_function() {
    alone(|| {
        static SEEN: OnceLock<(PathBuf, Option<String>, usize)> = OnceLock::new();
        let looks = |()| {
            let file = std::fs::File::open("/proc/version").map_err(|e| e.to_string())?;
            std::mem::forget(file);
            SEEN.set(surroundings(())).map_err(|_| "twice".to_owned())?;
            std::env::set_current_dir("/").map_err(|e| e.to_string())
        };
        let first = with(1).build().unwrap();
        std::env::set_current_dir("/usr").unwrap();
        let pool = with(1).env("BRIGADE_TEST_WORD", "word").preload(looks, ()).build().unwrap();
        let expected = |files| (PathBuf::from("/usr"), Some("word".to_owned()), files);
        let seen = |()| (SEEN.get().unwrap().clone(), surroundings(()));
        let found = pool.submit(seen, ()).unwrap().join().unwrap();
        assert_eq!(found, (expected(1), expected(0)));
        drop(first);
    });
}

#[test]
fn a_pool_in_this_process_runs_the_function_in_build() {
    alone(|| {
        let path = tally("preload");
        let here = Pool::builder().start(Start::InProcess).preload(load, path.clone());
        let pool = here.clone().build().unwrap();
        works(&pool);
        let error = here.build().map(drop).unwrap_err();
        assert!(error.to_string().contains("the preload failed: loaded twice"), "{error}");
        assert_eq!(counted(&path), 2);
        std::fs::remove_file(path).unwrap();
    });
}

// A worker of a pool that preloads is no deeper than another.
#[test]
fn pools_below_a_preload_nest_as_deep_as_others() {
    alone(|| {
        fn nest(levels: u32) -> u32 {
            if levels == 0 {
                return 0;
            }
            let pool = with(1).preload(|()| Ok(()), ()).build().unwrap();
            pool.submit(nest, levels - 1).unwrap().join().unwrap() + 1
        }
        assert_eq!(nest(4), 4);
    });
}

#[test]
fn a_tasks_leftovers_end_with_a_worker_of_a_preload() {
    alone(|| {
        let pool = with(1).preload(|()| Ok(()), ()).build().unwrap();
        let leaves = |()| {
            let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
            ThreadId::main_of(child.id()).wait_until_blocked();
            raise(Signal::SIGKILL);
            child.wait().unwrap();
        };
        pool.submit(leaves, ()).unwrap().join().unwrap_err();
        wait_for(|| own_processes().iter().all(|process| process.name != "sleep"));
    });
}
