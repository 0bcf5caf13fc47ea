//! Children of a fork server, and how to signal them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::exit::ExitReason;
use crate::sys::process;

/// The events of a child, in this order: `Started` or `Failed`; after `Started` possibly `Killed`,
/// and then `Ended`, once.
///
/// After `Failed` there is no child, or, if the error is `BrokenPipe`, one that never gets a permit
/// to begin (`child::await_permit`).
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// It runs.
    Started { pid: u32, child: ChildHandle },
    /// It could not be forked.
    Failed(io::Error),
    /// Its fork server has ended, for this reason if that is known, so it was sent SIGKILL.
    Killed(Option<String>),
    /// It has ended: it can write to shared memory no more.
    Ended { reason: ExitReason, peak_rss_bytes: Option<u64> },
}

/// Receives the events of a child; called on the supervisor's thread.
pub(crate) type Watcher = Box<dyn Fn(ChildEvent) + Send + Sync>;

/// Requests from the fork server that it sends a signal, by number, to one of its children.
pub(super) type SignalByServer = Box<dyn Fn(i32) -> io::Result<()> + Send + Sync>;

/// A child that was started, by its pidfd.
pub(crate) struct ChildHandle {
    /// Shared with the exit watch, because a process may have few descriptors.
    pidfd: Arc<OwnedFd>,
    signal_by_server: SignalByServer,
}

impl ChildHandle {
    pub(super) fn new(pidfd: Arc<OwnedFd>, signal_by_server: SignalByServer) -> ChildHandle {
        ChildHandle { pidfd, signal_by_server }
    }

    /// Sends it a signal by number; `Ok(false)` if it has been reaped.
    ///
    /// A host that gave up the rights that it had when it started the fork server may not signal
    /// the children any more. The fork server still may, so the signal is requested from it.
    pub(crate) fn signal(&self, number: i32) -> io::Result<bool> {
        match process::pidfd_signal(self.pidfd.as_fd(), number) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                (self.signal_by_server)(number).map(|()| true)
            }
            other => other,
        }
    }
}

/// What the host knows of a child that becomes a fork server itself; see `server_below`.
#[derive(Default)]
pub(super) struct ServerChild {
    /// When it must have answered, and the time that it was allowed; `None` without a limit.
    pub(super) answer_by: Option<(Instant, Duration)>,
    /// Set when it has started.
    pub(super) child: OnceLock<ChildHandle>,
    /// Why it cannot serve, or has ended.
    pub(super) end: OnceLock<String>,
}

impl AsFd for ChildHandle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl std::fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildHandle").field("pidfd", &self.pidfd).finish_non_exhaustive()
    }
}
