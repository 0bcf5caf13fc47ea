//! Hosts that adopt their fork server, like a container's first process.

use std::fs;

use brigade::{Error, ExitReason, Process};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use crate::common::alone::{alone, alone_with, own_processes, server};
use crate::common::processes::{self, send, wait_for};
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
        // The supervisor may be the last to have it.
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

// It was started, could not be greeted, and was never reaped.
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

// The fork server could reap nobody, and span; after 20 s it was killed for it.
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
