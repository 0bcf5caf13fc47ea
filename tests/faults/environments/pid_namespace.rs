//! Hosts whose `/proc` is that of another pid namespace.
//!
//! Class of bug: a process id in `/proc` is taken for one of this process's namespace.

use std::fs;
use std::process::Command;

use super::{said, unshared};
use crate::common::alone::{alone, own_processes, server};
use crate::common::processes;
use crate::common::tasks::with;
use crate::common::time::wait_for;
use nix::sys::signal::Signal;

// A child of the host was killed, and reaped by somebody else before the host could reap it.
#[test]
fn a_killed_fork_server_takes_no_process_with_it_whose_number_proc_gives_to_another() {
    alone(|| {
        let first = "test -w /proc/sys/kernel/ns_last_pid";
        let test = "pid_namespace::proc_shows_others";
        let Some(output) = unshared(&["-p", "-f"], first, test) else { return };
        assert_eq!(said(&output), ["the stranger lives"], "{output:?}");
    });
}

/// What the test above runs; by itself it does nothing.
#[test]
#[ignore = "part of another test"]
fn proc_shows_others() {
    let shown = fs::read_link("/proc/self").unwrap();
    if shown.to_str() == Some(&std::process::id().to_string()) {
        return;
    }
    let leaves = |()| drop(Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap());
    let pool = with(1).build().unwrap();
    pool.submit(leaves, ()).unwrap().join().unwrap();
    let sleeps = || own_processes().into_iter().find(|process| process.name == "sleep");
    wait_for(|| sleeps().is_some());
    let left = sleeps().unwrap().pid;
    let mut stranger = loop {
        fs::write("/proc/sys/kernel/ns_last_pid", (left - 1).to_string()).unwrap();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        if child.id() == left {
            break child;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    };
    let status = fs::read_to_string(format!("/proc/{}/status", server().unwrap().pid)).unwrap();
    let numbers = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
    let server = numbers.split_ascii_whitespace().last().unwrap().parse().unwrap();
    processes::send(server, Signal::SIGKILL);
    wait_for(|| own_processes().iter().all(|process| process.pid != left));
    assert_eq!(stranger.try_wait().unwrap(), None, "killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    println!("\n@the stranger lives");
}
