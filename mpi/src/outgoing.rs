//! A message that is being sent, with its bytes.
#![allow(unsafe_code)]

use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination};

use crate::backoff::Backoff;

/// A message that is being sent. It owns the bytes until MPI needs them no more.
pub(crate) struct Outgoing {
    /// The pieces that are still under way. They refer to `body`.
    pieces: Vec<Request<'static, [u8], StaticScope>>,
    /// Never changed, moved or freed while `pieces` is not empty.
    #[expect(dead_code, reason = "owns what the pieces refer to")]
    body: Vec<u8>,
}

impl Outgoing {
    /// Starts to send `body`: a first piece of at most `piece` bytes with the tag `tags.0`, and
    /// all others with the tag `tags.1`.
    pub(crate) fn start(
        world: &SimpleCommunicator,
        to: i32,
        tags: (i32, i32),
        body: Vec<u8>,
        piece: usize,
    ) -> Outgoing {
        // SAFETY: the bytes lie on the heap, so moving `body` does not move them. They stay
        // unchanged and allocated while a request refers to them: `drop` waits for all requests
        // before `body` is dropped, and if the struct is leaked, so is `body`.
        let bytes: &'static [u8] = unsafe { std::slice::from_raw_parts(body.as_ptr(), body.len()) };
        let process = world.process_at_rank(to);
        let send =
            |bytes: &'static [u8], tag| process.immediate_send_with_tag(StaticScope, bytes, tag);
        let (first, rest) = bytes.split_at(piece.min(bytes.len()));
        let mut pieces = vec![send(first, tags.0)];
        pieces.extend(rest.chunks(piece).map(|bytes| send(bytes, tags.1)));
        Outgoing { pieces, body }
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

impl Drop for Outgoing {
    fn drop(&mut self) {
        let mut backoff = Backoff::default();
        while !self.is_sent() {
            backoff.pause();
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("pieces", &self.pieces.len()).finish_non_exhaustive()
    }
}
