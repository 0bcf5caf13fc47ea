//! Ending what is left below a fork server that was killed.
//!
//! The kernel ends the server's children with it, but not what their tasks have started: that
//! passes to init. All of it has the server's mark in its environment, by which it is found.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::sys::poll::{Interest, wait_any};
use crate::sys::{process, thread};

/// The variable that a fork server, and all below it, has in its environment: a number of that
/// server's own.
pub(super) const MARK: &str = "BRIGADE_STARTED_BY";

/// What starts processes faster than this many rounds end them wins.
const ROUNDS_MAX: usize = 100;
/// How long the caller waits. A process that changes its memory at the moment, and is stuck in the
/// kernel, may keep its environment from being read for ever.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a process that was killed may take to end before the next round.
const END: Duration = Duration::from_millis(100);
const STACK_BYTES: usize = 256 << 10;

/// Ends all processes below the server with this number.
pub(super) fn sweep(token: u64) {
    let (tell, told) = mpsc::channel::<()>();
    let sweeps = move || {
        let mark = format!("{MARK}={token}").into_bytes();
        // A process that begins another program has no environment for a moment: none are left
        // when none are found twice.
        let mut clean = 0;
        for _ in 0..ROUNDS_MAX {
            match end_marked(&mark) {
                0 if clean == 1 => break,
                0 => clean += 1,
                _ => clean = 0,
            }
        }
        drop(tell);
    };
    if let Ok(thread) = thread::start("brigade-sweep", STACK_BYTES, sweeps)
        && told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Disconnected)
    {
        thread.join();
    }
}

/// Kills each process that has `mark` in its environment; how many it has found.
fn end_marked(mark: &[u8]) -> usize {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let killed: Vec<OwnedFd> = pids.filter_map(|pid| kill_if_marked(pid, mark)).collect();
    for pidfd in &killed {
        let interest = [Interest { fd: pidfd.as_fd(), writable: false }];
        let _ = wait_any(&interest, Some(END));
        process::reap_if_adopted(pidfd.as_fd());
    }
    killed.len()
}

fn kill_if_marked(pid: u32, mark: &[u8]) -> Option<OwnedFd> {
    if pid == process::pid() {
        return None;
    }
    // Opened first: if the number passes to another process now, nobody is killed.
    let pidfd = process::pidfd_open(pid).ok()?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let is_marked = environment.split(|&byte| byte == 0).any(|entry| entry == mark);
    (is_marked && process::pidfd_kill(pidfd.as_fd()).is_ok_and(|sent| sent)).then_some(pidfd)
}
