//! How a forked child begins, and how it leaves.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::process::message::{CHILD_WORDS, Manner};
#[cfg(feature = "failpoints")]
use crate::sys::failpoint::{self, Point};
use crate::sys::fork::Instance;
use crate::sys::process;
use crate::sys::signal::{self, Signal};

/// What a child has from the host: the argument of its entry function.
#[derive(Debug)]
pub(crate) struct Child {
    /// The descriptors that the host sent for it, in its order.
    pub(crate) fds: Vec<OwnedFd>,
    /// The words that the host sent for it.
    pub(crate) words: [u64; CHILD_WORDS - 1],
    pub(super) manner: Manner,
}

static DEPTH: AtomicU8 = AtomicU8::new(0);

/// How many processes stand between this one and the program that was started as usual: 0 in
/// that program, 1 in a worker of its pools, 2 in a worker of a pool in that.
pub(crate) fn depth() -> u8 {
    // Relaxed: set before anything else happens in a child.
    DEPTH.load(Ordering::Relaxed)
}

/// A process this deep starts no others.
pub(crate) const DEPTH_MAX: u8 = 4;

/// Whether this process is a fork server's child, or was forked from one.
pub(super) fn is_child() -> bool {
    depth() > 0
}

/// The function that a child runs. If it returns, the child exits with code 0.
pub(crate) type Entry = fn(Child);

/// Exit code of a child that could not set itself up.
pub(crate) const EXIT_SETUP: i32 = 125;

/// Makes a freshly forked process a proper child and runs `entry` in it.
///
/// Order matters: the parent-death signal first, then the check whether the parent died before
/// it was set; signals are unblocked last, when their dispositions are right.
pub(super) fn run(entry: Entry, mut child: Child, name: &str, server_pid: u32) -> ! {
    if set_up(&mut child, name, server_pid).is_err() {
        process::exit_now(EXIT_SETUP);
    }
    entry(child);
    process::exit_now(0)
}

fn set_up(child: &mut Child, name: &str, server_pid: u32) -> std::io::Result<()> {
    DEPTH.store(child.manner.depth.max(1), Ordering::Relaxed);
    #[cfg(feature = "failpoints")]
    failpoint::hit(Point::ChildStart);
    process::die_with_parent()?;
    if process::parent_pid() != server_pid {
        process::exit_now(EXIT_SETUP);
    }
    if child.manner.captures_stderr
        && let Some(pipe) = child.fds.pop()
    {
        process::replace_stderr(pipe)?;
    }
    let mut keep: Vec<i32> = child.fds.iter().map(AsRawFd::as_raw_fd).collect();
    keep.sort_unstable();
    process::close_all_but(3, &keep)?;
    // Code that closes what is not its own closes numbers from 3 up, and opens files that get
    // the lowest: what of ours it closed must not be mistaken for one of them.
    for fd in &mut child.fds {
        *fd = process::with_high_number(fd)?;
    }
    signal::default(&[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT])?;
    // Elsewhere SIGINT stays ignored, as it is in the server: Ctrl-C reaches the whole foreground
    // group, and what becomes of the work is the host's decision.
    if child.manner.interruptible {
        signal::default(&[Signal::SIGINT])?;
    }
    process::set_name(name)?;
    signal::unblock_all()
}

/// Ends this process if it is not `made_in`, but was forked from that by the function that it runs,
/// and has returned from it: it has no memory to go on with, and its parent answers for the task.
pub(crate) fn end_if_forked(made_in: Instance) {
    if made_in.is_current() {
        return;
    }
    eprintln!(
        "brigade: process {} was forked by a task and has returned from it; it ends here: \
         leave such a child by exec or exit",
        process::pid()
    );
    process::exit_now(EXIT_SETUP)
}
