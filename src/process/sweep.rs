//! Ends the processes that are left below a killed fork server.
//!
//! The kernel ends the server's children with it, but not the processes that their tasks have
//! started: init adopts those. All of them have the server's mark in their environment.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::sys::poll::{Interest, wait_any};
use crate::sys::{process, procfs, thread};

/// The variable that a fork server, and all processes below it, have in their environment: a number
/// of that server.
pub(super) const MARK: &str = "BRIGADE_STARTED_BY";

/// The most rounds; processes that start others faster than that are not ended.
const ROUNDS_MAX: usize = 100;
/// How long the caller waits. The environment of a process that is stuck in the kernel while it
/// changes its memory may never be readable.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long killed processes may take to end before the next round.
const EXIT_TIMEOUT: Duration = Duration::from_millis(500);
const STACK_BYTES: usize = 256 << 10;

/// Ends all processes below the server with this number, after the processes of `above`, which are
/// ending, have ended: this process may adopt their children, and then reaps them.
pub(super) fn sweep(token: u64, above: Vec<Arc<OwnedFd>>) {
    let (sender, receiver) = mpsc::channel::<()>();
    let sweeps = move || {
        await_ends(above.iter().map(|pidfd| pidfd.as_fd()));
        let mark = format!("{MARK}={token}").into_bytes();
        // While a process executes another program it has no environment for a moment. So none are
        // left only after none were found twice.
        let mut clean = 0;
        for _ in 0..ROUNDS_MAX {
            match end_marked(&mark) {
                0 if clean == 1 => break,
                0 => clean += 1,
                _ => clean = 0,
            }
        }
        drop(sender);
    };
    if let Ok(thread) = thread::start("brigade-sweep", STACK_BYTES, sweeps)
        && receiver.recv_timeout(TIMEOUT) == Err(RecvTimeoutError::Disconnected)
    {
        thread.join();
    }
}

/// Kills each process that has `mark` in its environment. Returns how many it has found.
fn end_marked(mark: &[u8]) -> usize {
    let names = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = names.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let killed: Vec<OwnedFd> = numbers.filter_map(|number| kill_if_marked(number, mark)).collect();
    await_ends(killed.iter().map(AsFd::as_fd));
    // Only now: a process that ended before its parent is adopted when the parent ends.
    killed.iter().for_each(|pidfd| process::reap_if_adopted(pidfd.as_fd()));
    killed.len()
}

/// Waits for at most [`EXIT_TIMEOUT`].
fn await_ends<'a>(pidfds: impl Iterator<Item = BorrowedFd<'a>>) {
    let deadline = Instant::now() + EXIT_TIMEOUT;
    for fd in pidfds {
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = wait_any(&[Interest { fd, writable: false }], Some(left));
    }
}

fn kill_if_marked(number: u32, mark: &[u8]) -> Option<OwnedFd> {
    let is_marked = || {
        let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == mark)
    };
    if !is_marked() {
        return None;
    }
    let pidfd = pidfd_of(number)?;
    // Check again: the number may have been reused before the pidfd was opened. If it is reused
    // now, the pidfd still refers to the ended process.
    (is_marked() && process::pidfd_kill(pidfd.as_fd()).is_ok_and(|sent| sent)).then_some(pidfd)
}

/// A descriptor for the process that `/proc` shows under this number. `/proc` may belong to another
/// pid namespace, where the number is another process's.
fn pidfd_of(number: u32) -> Option<OwnedFd> {
    let open = |own: u32| {
        let pidfd = process::pidfd_open(own).ok()?;
        process::pid_of(pidfd.as_fd()).is_ok_and(|found| found.in_proc == number).then_some(pidfd)
    };
    open(number).or_else(|| {
        let status = procfs::text(format!("/proc/{number}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        numbers.split_ascii_whitespace().filter_map(|word| word.parse().ok()).find_map(open)
    })
}
