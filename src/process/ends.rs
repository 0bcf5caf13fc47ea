//! Watching for the ends of a fork server and its children.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};

use crate::process::connection::Connection;
use crate::process::events::Handler;

/// The end of a child, seen without the server: which may be stopped, and then does not report.
pub(super) struct ChildEnd {
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) connection: Weak<Connection>,
}

/// The end of the server, seen by its pidfd: a process that the host forked at the wrong moment
/// may keep the other end of the socket open.
pub(super) struct ServerEnd(pub(super) Weak<Connection>, pub(super) OwnedFd);

impl Handler for ChildEnd {
    fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn readable(&self) {
        if let Some(connection) = self.connection.upgrade() {
            connection.child_ended(self);
        }
    }

    fn deadline(&self) {}
}

impl Handler for ServerEnd {
    fn fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    fn readable(&self) {
        if let Some(connection) = self.0.upgrade() {
            // What it said before it ended comes first.
            connection.readable();
            connection.server_gone();
        }
    }

    fn deadline(&self) {}
}
