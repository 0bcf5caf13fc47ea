//! A fork server that another forks, to run a function first.
//!
//! 1. The host makes a socket, sends its handshake, and requests a child of the server above, which
//!    gets the other end. Requests for children of the new server wait in that socket.
//! 2. The child waits for its permit, which the host sends when it has the child's pidfd, and runs
//!    its entry. If that fails, it reports the reason and ends ([`refuse`]). Else it
//!    serves ([`serve`]): it reads the handshake, and answers as every server does, so it must have
//!    one thread.
//! 3. The server above reports its end, with the reason. If the socket closes before that, the host
//!    kills it. It ends when the server above ends (parent-death signal), when the host ends, or
//!    when the host closes the socket. It does not watch the host or the socket while it runs its
//!    entry; then the host kills it.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::process::child::{self, EXIT_SETUP};
use crate::process::child_handle::{ChildEvent, ChildHandle, ServerChild};
use crate::process::handshake::{self, Handshake};
use crate::process::message::{Report, Request};
use crate::process::peer;
use crate::process::server_connection::{ServerConnection, lock};
use crate::process::server_main;
use crate::process::supervisor::{Handler, Supervisor};
use crate::sys::pipe::{self, Read};
use crate::sys::socket::Socket;
use crate::sys::{process, random};

/// The name of such a server.
pub(crate) const NAME: &str = "brigade-preload";

/// The most bytes of a reason; a pipe has room for them.
const REASON_BYTES_MAX: usize = 4096;

/// Serves at this socket, in the child. The handshake must repeat `token`.
pub(crate) fn serve(socket: OwnedFd, token: u64) -> ! {
    match peer::socket(socket) {
        Ok((socket, peer)) => server_main::serve(socket, peer, token, NAME),
        Err(found) => child::end_unready(&found),
    }
}

/// Reports why the child cannot serve at this socket, and ends it.
pub(crate) fn refuse(socket: OwnedFd, reason: &str) -> ! {
    let cut = &reason.as_bytes()[..reason.len().min(REASON_BYTES_MAX)];
    let sent = pipe::pair().and_then(|(read, write)| {
        std::fs::File::from(write).write_all(cut)?;
        let report = Report::Unprepared.message();
        Socket::from(socket).send(bytemuck::bytes_of(&report), &[read.as_fd()])
    });
    match sent {
        Ok(()) => process::exit_now(EXIT_SETUP),
        Err(_) => child::end_unready(&reason),
    }
}

/// Handles an event of the child that is, or becomes, the server of this connection.
pub(super) fn child_event(connection: &Weak<ServerConnection>, event: ChildEvent) {
    match (connection.upgrade(), event) {
        (Some(connection), event) => connection.below_event(event),
        (None, ChildEvent::Started { child, .. }) => kill(&child),
        (None, _) => {}
    }
}

fn kill(child: &ChildHandle) {
    // An error is ignored: it has ended, or the server above has, which ends it.
    let _ = child.signal(process::SIGKILL);
}

impl ServerConnection {
    /// Greets a server that will be forked by another. Returns its end of the socket too.
    pub(super) fn open_below(
        supervisor: &Arc<Supervisor>,
        answer_within: Option<Duration>,
    ) -> Result<(Arc<ServerConnection>, Socket)> {
        let os = |call| move |error: io::Error| Error::os(call, NAME, error);
        let (socket, theirs) = Socket::pair().map_err(os("socketpair"))?;
        let own = process::pidfd_open(process::pid()).map_err(os("pidfd_open"))?;
        let token = random::random_u64()?;
        let hello = Request::Hello { token }.message();
        socket.send(bytemuck::bytes_of(&hello), &[own.as_fd()]).map_err(os("sendmsg"))?;
        let handshake = Handshake { socket, token, pidfd: None };
        let answer_by =
            answer_within.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        let below = Some(ServerChild { answer_by, ..ServerChild::default() });
        Ok((ServerConnection::listen_to(supervisor, handshake, below)?, theirs))
    }

    /// Checks a server that has not answered: it may take as long as its entry needs, but no longer
    /// than the limit. `is_unsent`: the socket had no room for a request.
    pub(super) fn check_silent(&self, is_unsent: bool) {
        let limit = self.below.as_ref().and_then(|below| below.answer_by);
        match limit {
            Some((at, time)) if at <= Instant::now() => {
                self.note_end(|| format!("the preload took longer than {time:?}"));
                self.below_gone();
            }
            _ if is_unsent => self.schedule_check(),
            Some((at, _)) => self.schedule(at),
            None => {}
        }
    }

    fn below_event(&self, event: ChildEvent) {
        let Some(below) = &self.below else { return };
        match event {
            ChildEvent::Started { child, .. } => {
                let _ = below.child.set(child);
                // The connection may have been closed before, without a child to kill.
                if lock(&self.handler_ids).is_none() {
                    self.child().into_iter().for_each(kill);
                }
            }
            ChildEvent::Killed(_) => {}
            ChildEvent::Failed(error) => self.below_ended(&format!("could not be forked: {error}")),
            ChildEvent::Ended { reason, .. } => self.below_ended(&reason.to_string()),
        }
    }

    fn below_ended(&self, how: &str) {
        // What it had sent comes first.
        self.readable();
        self.note_end(|| match self.answer.is_awaited() {
            true => format!("its function did not return: the process {how}"),
            false => format!("the preload server {how}"),
        });
        let reason = self.end_noted().unwrap_or_default();
        self.answer.set(Err(Error::Spawn { what: "the preload server", reason }));
        self.end_children();
    }

    fn child(&self) -> Option<&ChildHandle> {
        self.below.as_ref()?.child.get()
    }

    /// Nothing more is heard of the child. If the reason is not known, it comes from the server
    /// above, with the child's end.
    pub(super) fn below_gone(&self) {
        self.unregister();
        self.socket.shut_down();
        self.child().into_iter().for_each(kill);
        if self.end_noted().is_some() {
            self.end_children();
        }
    }

    /// Ends the child, and its children with it. Waits for that, unless the child's end is known:
    /// then this may be called under a mutex.
    pub(super) fn close_below(&self) {
        let was_open = self.is_open();
        self.unregister();
        self.socket.shut_down();
        if !was_open {
            return self.child().into_iter().for_each(kill);
        }
        if let Some(child) = self.child() {
            match self.answer.is_ready() {
                true => drop(process::pidfd_continue(child.as_fd())),
                false => kill(child),
            }
            if !handshake::wait_for_exit(child.as_fd()) {
                kill(child);
                handshake::wait_for_exit(child.as_fd());
            }
        }
        self.end_children();
    }

    /// The child cannot serve, for the reason in the pipe.
    pub(super) fn unprepared(&self, pipe: Option<OwnedFd>) {
        let mut bytes = [0; REASON_BYTES_MAX];
        let count = match pipe.map(|pipe| pipe::try_read(pipe.as_fd(), &mut bytes)) {
            Some(Read::Bytes(count)) => count,
            _ => 0,
        };
        let reason = String::from_utf8_lossy(&bytes[..count]).into_owned();
        self.refused(Error::Spawn { what: "the preload server", reason });
    }

    /// Notes why the server cannot serve, or has ended. Only the first note counts.
    pub(super) fn note_end(&self, why: impl FnOnce() -> String) {
        if let Some(below) = &self.below {
            below.end.get_or_init(why);
        }
    }

    pub(super) fn end_noted(&self) -> Option<String> {
        self.below.as_ref()?.end.get().cloned()
    }

    /// Why a child could not be started. `BrokenPipe` if the next server may succeed.
    pub(super) fn failure(&self) -> io::Error {
        match self.end_noted() {
            Some(reason) if !self.answer.is_ready() => io::Error::other(reason),
            _ => io::Error::from(io::ErrorKind::BrokenPipe),
        }
    }
}
