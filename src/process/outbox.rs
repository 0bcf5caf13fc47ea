//! Messages kept until there is room for them in a socket.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sys::socket::{self, Socket};

/// Messages that were not sent yet, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<PendingMessages>);

#[derive(Debug, Default)]
struct PendingMessages {
    messages: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// How often the first of them could not be sent.
    tries: u32,
}

/// What became of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendState {
    /// None waits; those to a process that is gone are dropped.
    Done,
    /// Try again after [`RETRY_AFTER`].
    Pending,
    /// There has been no room for them for five seconds.
    Stalled,
}

/// When to try again.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(10);
/// How often a message is tried.
const TRIES_MAX: u32 = 500;

impl Outbox {
    /// Adds a message; the next [`send`](Outbox::send) sends it.
    pub(crate) fn add(&self, message: &[u8]) {
        self.lock().messages.push_back((message.to_vec(), Vec::new()));
    }

    /// Sends a message behind those that wait, or adds it to them; never waits.
    ///
    /// # Errors
    ///
    /// The peer is gone; or there is no room, and no descriptor to spare for keeping `fds`.
    pub(crate) fn post(
        &self,
        socket: &Socket,
        message: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<SendState> {
        let mut waiting = self.lock();
        if waiting.messages.is_empty() && try_send(socket, message, fds)? {
            return Ok(SendState::Done);
        }
        let fds = fds.iter().map(|fd| fd.try_clone_to_owned()).collect::<io::Result<_>>()?;
        waiting.messages.push_back((message.to_vec(), fds));
        Ok(SendState::Pending)
    }

    /// Sends what there is room for, without waiting.
    pub(crate) fn send(&self, socket: &Socket) -> SendState {
        let mut waiting = self.lock();
        while let Some((message, fds)) = waiting.messages.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            // On an error the peer is gone, and its end is reported elsewhere.
            if try_send(socket, message, &fds).unwrap_or(true) {
                waiting.messages.pop_front();
                waiting.tries = 0;
                continue;
            }
            waiting.tries = waiting.tries.saturating_add(1);
            return if waiting.tries < TRIES_MAX { SendState::Pending } else { SendState::Stalled };
        }
        SendState::Done
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PendingMessages> {
        // Nothing under this lock panics half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a message without waiting; `Ok(false)` if there is no room, or no kernel memory, now.
fn try_send(socket: &Socket, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<bool> {
    match socket.try_send(message, fds) {
        Err(error) if socket::is_shortage(&error) => Ok(false),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket::Received;

    // A host that sent an order while its fork server was stopped waited for room, under the mutex
    // of its pool. The kind: a send that waits for a process that may be stopped.
    #[test]
    fn what_a_full_socket_has_no_room_for_waits_in_the_outbox_and_arrives_in_order() {
        let (ours, theirs) = Socket::pair().unwrap();
        let outbox = Outbox::default();
        let message = |n: u32| n.to_le_bytes();
        let mut count = 0;
        while outbox.post(&ours, &message(count), &[theirs.as_fd()]).unwrap() == SendState::Done {
            count += 1;
        }
        assert_eq!(outbox.post(&ours, &message(count + 1), &[]).unwrap(), SendState::Pending);
        assert_eq!(outbox.send(&ours), SendState::Pending);
        let mut buffer = [0; 4];
        for n in 0..count + 2 {
            let got = theirs.try_receive(&mut buffer).unwrap();
            let Received::Message(4, fds) = got else { panic!("nothing in place of {n}") };
            assert_eq!((u32::from_le_bytes(buffer), fds.len()), (n, usize::from(n <= count)));
            outbox.send(&ours);
        }
        assert!(outbox.is_empty());
        drop(theirs);
        assert!(outbox.post(&ours, &message(0), &[]).is_err());
    }
}
