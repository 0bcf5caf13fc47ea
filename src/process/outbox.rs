//! Keeps messages until a socket has room for them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sys::socket::{self, Socket};

/// Unsent messages, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<PendingMessages>);

#[derive(Debug, Default)]
struct PendingMessages {
    messages: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    /// How often sending the first of them has failed.
    tries: u32,
}

/// The result of sending the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendState {
    /// None is left; those to a process that has ended are dropped.
    Done,
    /// Try again after [`RETRY_AFTER`].
    Pending,
    /// There has been no room for five seconds.
    Stalled,
}

/// When to retry.
pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(10);
/// How often sending a message is attempted.
const TRIES_MAX: u32 = 500;

impl Outbox {
    /// Adds a message; the next [`send`](Outbox::send) sends it.
    pub(crate) fn add(&self, message: &[u8]) {
        self.lock().messages.push_back((message.to_vec(), Vec::new()));
    }

    /// Sends a message after the pending ones, or adds it to them; never waits.
    ///
    /// # Errors
    ///
    /// The peer is gone; or there is no room, and no free descriptor for keeping `fds`.
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

    /// Sends as many messages as there is room for, without waiting.
    pub(crate) fn send(&self, socket: &Socket) -> SendState {
        let mut waiting = self.lock();
        while let Some((message, fds)) = waiting.messages.front() {
            let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            // An error means that the peer is gone, and its end is reported elsewhere.
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

    /// Whether no message is pending.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().messages.is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, PendingMessages> {
        // No code under this lock panics in the middle of a change.
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

    // A host that sent a request while its fork server was stopped once waited for room, under the
    // mutex of its pool.
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
