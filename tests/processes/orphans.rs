//! Which process adopts a fork server when its parent ends.

use std::fs;
use std::process::Command;

use brigade::{Error, ExitReason, Pool, Process};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::common::alone::{alone, alone_with, own_processes, server};
use crate::common::processes::{self, send};
use crate::common::tasks::{forever, with};
use crate::common::time::wait_for;
use crate::{IGNORES_CHILDREN, sleeps};

fn has_no_child() -> bool {
    let own = std::process::id();
    processes::all().iter().all(|process| process.parent != own)
}

#[test]
fn a_host_that_adopts_its_fork_server_reaps_it_even_if_it_was_stopped_or_killed() {
    alone(|| {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        assert_eq!(Process::spawn(|n: u8| n, 7).unwrap().join().unwrap(), 7);
        // The supervisor may hold the last reference to it.
        wait_for(has_no_child);
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            let process = Process::spawn(|n: u8| n, 7).unwrap();
            process.wait().unwrap();
            let server = server().unwrap();
            assert_eq!(server.parent, std::process::id(), "adopted");
            send(server.pid, signal);
            drop(process);
            wait_for(has_no_child);
        }
    });
}

// Class of bug: a process that the host adopts is never reaped. Its workers, and what tasks had
// started, stayed zombies.
#[test]
fn a_host_that_adopts_what_a_killed_fork_server_leaves_reaps_all_of_it() {
    alone(|| {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        for _ in 0..3 {
            let pool = with(2).build().unwrap();
            let leaves = |()| {
                let script = "sleep 1000 & sleep 1000 & wait";
                drop(Command::new("sh").args(["-c", script]).spawn().unwrap());
            };
            pool.submit(leaves, ()).unwrap().join().unwrap();
            // The kernel takes a while to end it.
            let is_large = |()| {
                let bytes = std::hint::black_box(vec![1u8; 128 << 20]);
                forever();
                drop(bytes);
            };
            let task = pool.submit(is_large, ()).unwrap();
            let sleeping = || own_processes().iter().filter(|found| found.name == "sleep").count();
            wait_for(|| task.is_running() && sleeping() == 2);
            send(server().unwrap().pid, Signal::SIGKILL);
            task.join().unwrap_err();
            drop(pool);
            wait_for(has_no_child);
        }
    });
}

// It was started, the handshake failed, and it was never reaped.
#[test]
fn a_host_without_descriptors_to_spare_for_a_fork_server_leaves_none_and_no_zombie() {
    alone(|| {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let used = fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        let mut spawned = 0;
        for spare in 0..16 {
            setrlimit(Resource::RLIMIT_NOFILE, used - 1 + spare, hard).unwrap();
            let outcome = Process::spawn(|n: u8| n, 1).and_then(Process::join);
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            match outcome {
                Ok(value) => {
                    assert_eq!(value, 1);
                    spawned += 1;
                }
                Err(error) => {
                    let says = matches!(error, Error::Os { .. } | Error::Spawn { .. });
                    assert!(says, "{spare}: {error}");
                }
            }
            wait_for(has_no_child);
        }
        assert!(spawned > 0);
        assert!(own_processes().is_empty());
    });
}

// The fork server could reap no child and used a whole processor; after 20 s it was killed for
// that.
#[test]
fn a_library_that_ignores_the_ends_of_children_when_it_is_loaded_hides_none() {
    alone_with(&[(IGNORES_CHILDREN, "yes")], || {
        let exits = Process::spawn(|code: i32| -> () { std::process::exit(code) }, 3).unwrap();
        assert_eq!(exits.wait().unwrap(), ExitReason::Code(3));
        let killed = sleeps();
        killed.kill().unwrap();
        assert_eq!(killed.wait().unwrap(), ExitReason::Signal(9));
        // Children of a process as well.
        let runs = |()| std::process::Command::new("true").status().is_ok_and(|s| s.success());
        assert!(Process::spawn(runs, ()).unwrap().join().unwrap());
    });
}

const UNREAPED: &str = "BRIGADE_TEST_UNREAPED";

/// The most servers that are left unreaped before one is kept.
const UNREAPED_MAX: usize = 256;

// Class of bug: each pool that ends leaves something in the system that only others can remove.
// Here it was a zombie, until no process could be started. A server that was kept had what the host
// had when it was started, for example the limit of addresses.
#[test]
fn where_fork_servers_are_not_reaped_one_is_kept_and_has_what_a_new_one_would_have() {
    alone(|| {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let test = "orphans::has_many_pools";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--nocapture", "--include-ignored", "--test-threads=1"]);
        let output = command.env(UNREAPED, "1").output().unwrap();
        let own = std::process::id();
        let left = || processes::all().into_iter().filter(|left| left.parent == own);
        wait_for(|| left().all(|process| process.state == 'Z'));
        let zombies = left().count();
        while nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(-1), None).is_ok() {}
        assert!(output.status.success(), "{output:?}");
        // The one that was kept, and one for each change of the limit.
        assert!(zombies <= UNREAPED_MAX + 4, "{zombies}");
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn has_many_pools() {
    if std::env::var_os(UNREAPED).is_none() {
        return;
    }
    let mut servers = std::collections::BTreeSet::new();
    let mut is_new = |limit: u64| {
        let pool = Pool::builder().workers(1).build().unwrap();
        let found = pool.submit(|()| getrlimit(Resource::RLIMIT_AS).unwrap().0, ()).unwrap();
        assert_eq!(found.join().unwrap(), limit);
        servers.insert(server().unwrap().pid)
    };
    let (limit, hard) = getrlimit(Resource::RLIMIT_AS).unwrap();
    let kept_after = (0..=UNREAPED_MAX + 1).find(|_| !is_new(limit));
    assert!(kept_after.is_some());
    for (limit, expected) in [(1 << 46, true), (1 << 46, false), (1 << 45, true), (1 << 45, false)]
    {
        setrlimit(Resource::RLIMIT_AS, limit, hard).unwrap();
        assert_eq!(is_new(limit), expected);
    }
}
