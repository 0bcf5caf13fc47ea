//! A message that is being sent, with its bytes.
#![allow(unsafe_code)]

use std::sync::Arc;

use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination};

use crate::backoff::Backoff;

/// A message that is being sent. It owns the bytes until MPI needs them no more.
pub(crate) struct Outgoing {
    /// The pieces that are still under way. They refer to `body`.
    pieces: Vec<Request<'static, [u8], StaticScope>>,
    /// Never changed or freed while `pieces` is not empty.
    #[expect(dead_code, reason = "owns what the pieces refer to")]
    body: Arc<Vec<u8>>,
    /// The rank that it goes to.
    to: usize,
}

impl Outgoing {
    /// Starts to send `body`: a first piece of at most `piece` bytes with the tag `tags.0`, and
    /// all others with the tag `tags.1`.
    pub(crate) fn start(
        world: &SimpleCommunicator,
        to: usize,
        tags: (i32, i32),
        body: Arc<Vec<u8>>,
        piece: usize,
    ) -> Outgoing {
        // SAFETY: the bytes lie on the heap, so moving `body` does not move them, and nobody
        // changes what is in an `Arc`. They stay allocated while a request refers to them: the
        // struct owns `body` before the first request begins, `drop` waits for all requests before
        // `body` is dropped, and if the struct is leaked, so is `body`.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(body.as_ptr(), body.len()) };
        let mut outgoing = Outgoing { pieces: Vec::new(), body, to };
        let process = world.process_at_rank(as_rank(to));
        let send =
            |bytes: &'static [u8], tag| process.immediate_send_with_tag(StaticScope, bytes, tag);
        let (first, rest) = bytes.split_at(piece.min(bytes.len()));
        outgoing.pieces.push(send(first, tags.0));
        for bytes in rest.chunks(piece) {
            outgoing.pieces.push(send(bytes, tags.1));
        }
        outgoing
    }

    /// The rank that it goes to.
    pub(crate) fn to(&self) -> usize {
        self.to
    }

    /// Whether all of it was sent; asks MPI.
    pub(crate) fn is_sent(&mut self) -> bool {
        while let Some(request) = self.pieces.pop() {
            if let Err(pending) = request.test() {
                self.pieces.push(pending);
                return false;
            }
        }
        true
    }
}

/// Messages that are being sent.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Vec<Outgoing>);

impl Outbox {
    pub(crate) fn extend(&mut self, messages: impl IntoIterator<Item = Outgoing>) {
        self.0.extend(messages);
    }

    /// Lets MPI go on with them; returns whether it has sent a piece of one.
    pub(crate) fn advance(&mut self) -> bool {
        let pieces = |outbox: &Outbox| outbox.0.iter().map(|one| one.pieces.len()).sum::<usize>();
        let before = pieces(self);
        self.0.retain_mut(|message| !message.is_sent());
        pieces(self) < before
    }

    /// Takes out all that are not sent yet.
    pub(crate) fn take(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Outgoing {
    /// Waits until it is sent. It does not notice that the other rank has left the cluster:
    /// `Link::finish` does.
    fn drop(&mut self) {
        let mut backoff = Backoff::default();
        while !self.is_sent() {
            backoff.pause();
        }
    }
}

/// A rank as MPI counts it.
pub(crate) fn as_rank(rank: usize) -> i32 {
    i32::try_from(rank).unwrap_or(i32::MAX)
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}
