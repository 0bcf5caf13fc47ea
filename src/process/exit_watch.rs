//! Watches for the ends of a fork server and its children.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::exit::ExitReason;
use crate::process::child_handle::{ChildEvent, Watcher};
use crate::process::supervisor::{Handler, HandlerId, Supervisor};
use crate::sys::poll::is_readable;
use crate::sys::process;

/// Called on the supervisor's thread when the watched process has ended.
pub(super) type OnExit = Box<dyn Fn() + Send + Sync>;

/// The end of a child, noticed without the server, which may be stopped and thus unable to report.
pub(super) struct ChildExitWatch {
    pub(super) pidfd: Arc<OwnedFd>,
    /// Called at the end of a child whose server has not ended.
    on_exit: OnExit,
    orphan: Mutex<Option<Orphan>>,
}

/// The watcher of a child whose server has ended.
struct Orphan {
    watcher: Arc<Watcher>,
    token: HandlerId,
    supervisor: Weak<Supervisor>,
}

impl ChildExitWatch {
    pub(super) fn new(pidfd: Arc<OwnedFd>, on_exit: OnExit) -> ChildExitWatch {
        ChildExitWatch { pidfd, on_exit, orphan: Mutex::new(None) }
    }

    /// Ends the child of a server that has ended because of `cause`. `watcher` is called when the
    /// child has ended: now, or later by the supervisor, because a child that sleeps in the kernel
    /// does not end at once.
    pub(super) fn orphan(
        &self,
        watcher: Arc<Watcher>,
        token: HandlerId,
        supervisor: Weak<Supervisor>,
        cause: Option<String>,
    ) {
        // The kernel sends SIGKILL when the server ends, but a task may have disabled that.
        let _ = process::pidfd_kill(self.pidfd.as_fd());
        watcher(ChildEvent::Killed(cause));
        *self.lock() = Some(Orphan { watcher, token, supervisor });
        if is_readable(self.pidfd.as_fd()) {
            self.report_orphan();
        }
    }

    /// Reports the end of an orphan, once; false if the child is not an orphan.
    fn report_orphan(&self) -> bool {
        let Some(orphan) = self.lock().take() else { return false };
        if let Some(supervisor) = orphan.supervisor.upgrade() {
            supervisor.remove(orphan.token);
        }
        // This process may have adopted the orphan.
        process::reap_if_adopted(self.pidfd.as_fd());
        let reason = ExitReason::Unknown;
        (orphan.watcher)(ChildEvent::Ended { reason, peak_rss_bytes: None });
        true
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Orphan>> {
        // No code under this lock panics.
        self.orphan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the server, noticed by its pidfd: a process that the host forked at the wrong moment
/// may keep the other end of the socket open.
pub(super) struct ServerExitWatch {
    pub(super) pidfd: OwnedFd,
    pub(super) on_exit: OnExit,
}

impl Handler for ChildExitWatch {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readable(&self) {
        if !self.report_orphan() {
            (self.on_exit)();
        }
    }

    fn deadline(&self) {}
}

impl Handler for ServerExitWatch {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readable(&self) {
        (self.on_exit)();
    }

    fn deadline(&self) {}
}
