//! The identity of a process, and whether it still lives.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};
use crate::sys::per_process::PerProcess;
use crate::sys::{process, procfs};

/// Identifies a process even after its pid was reused (fact P6 of `docs/internals/assumptions.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its pid in the pid namespace of the process that reads this.
    pub(crate) pid: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

impl Identity {
    /// The calling process.
    ///
    /// `/proc` is read once for each process, also for a forked one.
    pub(crate) fn current() -> Result<Identity> {
        /// `u64::MAX` until it is known.
        static START_TICKS: PerProcess<AtomicU64> = PerProcess::new(|| AtomicU64::new(u64::MAX));
        let (pid, known) = (process::pid(), START_TICKS.get());
        // Relaxed: every thread would store the same number.
        let mut ticks = known.load(Ordering::Relaxed);
        if ticks == u64::MAX {
            // Of the process, not of the thread: it can be read when the main thread has ended.
            ticks = start_ticks("/proc/self/stat")?;
            known.store(ticks, Ordering::Relaxed);
        }
        Ok(Identity { pid, start_ticks: ticks })
    }
}

/// The pid and time namespaces in which the calling process reads pids and start times. Two
/// processes with different values cannot check whether the other is alive.
///
/// The low half is the inode of the pid namespace, the high half that of the time namespace, or 0
/// on a kernel without time namespaces. The kernel uses 32-bit inodes for both.
pub(crate) fn namespaces() -> Result<u64> {
    let inode = |path| {
        let namespace = fs::metadata(path).map_err(|source| Error::os("stat", path, source))?;
        Ok::<u64, Error>(namespace.ino() & u64::from(u32::MAX))
    };
    // Not `/proc/self`, which has no namespaces when the main thread has ended.
    let pid = inode("/proc/thread-self/ns/pid")?;
    Ok(inode("/proc/thread-self/ns/time").unwrap_or(0) << 32 | pid)
}

/// The error for an object `what` whose [`namespaces`] are `theirs`, not `ours`.
pub(crate) fn other_namespaces(what: &str, theirs: u64, ours: u64) -> Error {
    let (what, low) = (what.to_owned(), u64::from(u32::MAX));
    if theirs & low == ours & low {
        return Error::TimeNamespace { what, theirs: theirs >> 32, ours: ours >> 32 };
    }
    Error::PidNamespace { what, theirs: theirs & low, ours: ours & low }
}

/// A text that differs from one boot of the machine to the next; empty if `/proc` lacks it.
pub(crate) fn boot() -> String {
    procfs::text("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// Whether process `pid` lives and its start time satisfies `is_start`, if that can be read.
///
/// A process whose main thread has ended lives as long as any of its threads does; a zombie does
/// not. If the answer cannot be determined, it is yes.
pub(crate) fn lives(pid: u32, is_start: impl FnOnce(u64) -> bool) -> bool {
    let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return false };
    match pidfd_open(number, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return false,
        Err(_) => return true,
        Ok(pidfd) => {
            let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut watched, Some(&at_once)) == Ok(1) {
                return false;
            }
        }
    }
    // Read after the descriptor was opened, so both refer to the same process; the start time
    // identifies it.
    start_ticks(&format!("/proc/{pid}/stat")).map_or(true, is_start)
}

/// Field 22 of a `/proc/PID/stat`. The command in field 2 may contain anything, so fields are
/// counted from the last parenthesis.
fn start_ticks(path: &str) -> Result<u64> {
    let stat = procfs::text(path).map_err(|source| Error::os("read", path, source))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_ascii_whitespace().nth(19).and_then(|field| field.parse().ok()).ok_or_else(|| {
        Error::Layout {
            place: path.to_owned(),
            found: stat.clone(),
            expected: "22 fields, the last a number".to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_lives() {
        let me = Identity::current().unwrap();
        assert!(lives(me.pid, |start| start == me.start_ticks));
    }

    #[test]
    fn a_process_of_another_start_time_is_another_process() {
        let me = Identity::current().unwrap();
        assert!(!lives(me.pid, |start| start == me.start_ticks + 1));
    }

    #[test]
    fn a_zombie_and_a_reaped_process_do_not_live() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
        assert!(!lives(child.id(), |_| true), "a zombie");
        child.wait().unwrap();
        assert!(!lives(child.id(), |_| true), "a reaped one");
    }
}
