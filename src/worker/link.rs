//! The host's end of the socket to a child.
//!
//! The child requests memory for large results. The host sends the permit to begin, and the
//! answers. Neither side waits for room in the socket.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use crate::error::Result;
use crate::process::child::PERMIT;
use crate::process::outbox::{Outbox, RETRY_AFTER, SendState};
use crate::process::supervisor::{Handler, HandlerId, Supervisor};
use crate::sys::socket::{Received, Socket};
use crate::worker::logs::delivery;
use crate::worker::logs::source::LogSource;

/// A message of a child, or the host's answer.
///
/// `len` is the number of bytes requested, and in the answer the number granted, or 0. A message
/// with 0 means that the child has copied its argument, or is [`SpanMessage::LOGS`]; it has no
/// answer.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct SpanMessage {
    pub(crate) len: u64,
    /// In a request the sequence number of the task, in the answer the offset of the granted span
    /// in the arena.
    pub(crate) offset: u64,
}

impl SpanMessage {
    /// The child has log records.
    pub(crate) const LOGS: SpanMessage = SpanMessage { len: 0, offset: 1 };
}

/// Handles the messages of a child. Called on the supervisor's thread.
pub(crate) trait LinkOwner: Send + Sync {
    /// Reserves a span for the result of task `seq`. Returns its offset, or `None` without memory.
    fn grant(&self, seq: u64, len: u64) -> Option<u64>;

    /// The child has copied its argument.
    fn argument_copied(&self) {}

    /// No more messages will arrive: the child ends, has closed its end, or has sent an invalid
    /// message.
    fn closed(&self);

    /// The child has not received its answers for seconds, so it cannot continue.
    fn stalled(&self);
}

/// The host's end of a child's socket.
pub(crate) struct ChildLink {
    socket: Socket,
    outbox: Outbox,
    supervisor: Weak<Supervisor>,
    token: OnceLock<HandlerId>,
    owner: Box<dyn LinkOwner>,
    logs: Option<Arc<LogSource>>,
}

impl ChildLink {
    /// Listens on `socket` from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if the socket cannot be watched.
    pub(crate) fn open(
        socket: Socket,
        supervisor: &Arc<Supervisor>,
        owner: Box<dyn LinkOwner>,
        logs: Option<Arc<LogSource>>,
    ) -> Result<Arc<ChildLink>> {
        let (outbox, token) = (Outbox::default(), OnceLock::new());
        let supervised_by = Arc::downgrade(supervisor);
        let link = ChildLink { socket, outbox, supervisor: supervised_by, token, owner, logs };
        let link = Arc::new(link);
        let token = supervisor.add(Arc::clone(&link) as Arc<dyn Handler>)?;
        let _ = link.token.set(token);
        Ok(link)
    }

    /// Sends the permit to begin. Call it without any lock that the owner takes.
    pub(crate) fn permit(&self) {
        self.outbox.add(&PERMIT);
        self.send();
    }

    /// Stops listening.
    pub(crate) fn close(&self) {
        if let (Some(supervisor), Some(&token)) = (self.supervisor.upgrade(), self.token.get()) {
            supervisor.remove(token);
        }
    }

    /// Sends the pending messages. If there is no room, retries later.
    fn send(&self) {
        match (self.outbox.send(&self.socket), self.supervisor.upgrade(), self.token.get()) {
            (SendState::Done, ..) => {}
            (SendState::Pending, Some(supervisor), Some(&token)) => {
                supervisor.set_deadline(token, Instant::now() + RETRY_AFTER);
            }
            _ => self.owner.stalled(),
        }
    }
}

impl Handler for ChildLink {
    fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn readable(&self) {
        let mut message = SpanMessage { len: 0, offset: 0 };
        match self.socket.try_receive(bytemuck::bytes_of_mut(&mut message)) {
            Ok(Received::WouldBlock) => {}
            Ok(Received::Message(bytes, _)) if bytes == size_of::<SpanMessage>() => {
                let len = message.len;
                if len == 0 && message.offset == SpanMessage::LOGS.offset {
                    return self.logs.iter().for_each(delivery::notify);
                }
                if len == 0 {
                    return self.owner.argument_copied();
                }
                let answer = match self.owner.grant(message.offset, len) {
                    Some(offset) => SpanMessage { len, offset },
                    None => SpanMessage { len: 0, offset: 0 },
                };
                self.outbox.add(bytemuck::bytes_of(&answer));
                self.send();
            }
            Ok(Received::Closed | Received::Message(..)) | Err(_) => self.owner.closed(),
        }
    }

    fn deadline(&self) {
        self.send();
    }
}

impl std::fmt::Debug for ChildLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildLink").finish_non_exhaustive()
    }
}
