//! Children that a test forks without brigade's knowledge.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use super::processes::send;
use super::time::wait_until;

/// How long a child may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `child` in a fork of this process, and waits for it; it must return.
pub(crate) fn in_a_fork(child: impl FnOnce()) {
    // SAFETY: the child of a process with several threads calls functions that may allocate, which
    // glibc's allocator allows; the other calls are what the test is about.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let done = catch_unwind(AssertUnwindSafe(child)).is_ok();
            // SAFETY: `_exit` takes any number and does not return.
            unsafe { libc::_exit(if done { 0 } else { 1 }) }
        }
        ForkResult::Parent { child } => {
            let mut status = WaitStatus::StillAlive;
            let ended = wait_until(PATIENCE, || {
                status = waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap();
                status != WaitStatus::StillAlive
            });
            if !ended {
                let pid = child.to_string();
                let arguments = ["-p", &pid, "-batch", "-nx", "-ex", "thread apply all bt 30"];
                if let Ok(output) = Command::new("gdb").args(arguments).output() {
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                }
                send(child.as_raw().cast_unsigned(), Signal::SIGKILL);
                waitpid(child, None).unwrap();
            }
            assert!(ended, "a forked child hangs");
            assert_eq!(status, WaitStatus::Exited(child, 0));
        }
    }
}
