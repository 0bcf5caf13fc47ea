//! Processes as seen in /proc.

use std::fs;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// A process, as `/proc/PID/stat` and `/proc/PID/comm` show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) name: String,
    /// R, S, D, T, t, Z or X.
    pub(crate) state: char,
}

impl Process {
    /// The process `pid`, unless it has been reaped.
    pub(crate) fn of(pid: u32) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = (stat.find('(')?, stat.rfind(')')?);
        let mut fields = stat[rest + 2..].split(' ');
        let state = fields.next()?.chars().next()?;
        let parent = fields.next()?.parse().ok()?;
        Some(Process { pid, parent, name: stat[name + 1..rest].to_owned(), state })
    }

    /// A worker of a pool with the usual name. A process that is about to become a server has
    /// the name of the thread that starts it.
    pub(crate) fn is_worker(&self) -> bool {
        let index = self.name.strip_prefix("brigade-");
        index.is_some_and(|index| index.bytes().all(|byte| byte.is_ascii_digit()))
    }

    pub(crate) fn is_server(&self) -> bool {
        self.name == "brigade-server"
    }
}

/// All processes.
pub(crate) fn all() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Process::of).collect()
}

/// All processes whose environment has exactly this `NAME=value`, without zombies: everything that
/// a test has started, directly or not, even if its parents have ended.
pub(crate) fn marked(entry: &str) -> Vec<Process> {
    let is_marked = |process: &Process| {
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|found| found == entry.as_bytes())
    };
    all().into_iter().filter(is_marked).collect()
}

/// Sends a signal to a process that this test has started, directly or not.
pub(crate) fn send(pid: u32, signal: Signal) {
    // It may already have ended.
    let _ = signal::kill(Pid::from_raw(pid.cast_signed()), signal);
}
