//! Messages of bytes between ranks, without blocking calls of MPI.
//!
//! | tag | message | pieces after the first |
//! |---|---|---|
//! | `LEAVE` | the sender has dropped its cluster; empty | none |
//! | `CALL` | a part of a call that all ranks make | `CALL + 1` |
//! | `FARM` | items and results | `FARM + 1` |
//! | `ARRAY` | elements, or a long item, of a length that both sides know | `ARRAY` |
//!
//! MPI counts in `i32`, so a message travels in pieces of at most [`PIECE_BYTES`]. Between two
//! ranks messages of one tag stay in order, so a receiver finds each piece where it expects it.
//!
//! All ranks make the same calls in the same order. A rank that waits for another one which has
//! left the cluster would wait forever; then it ends the job, and says who waited for whom.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpi::request::{LocalScope, Request, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Equivalence, Source};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backoff::Backoff;
use crate::error::{Error, Result};
use crate::outgoing::{Outgoing, as_rank};

/// What a message is about; its number is its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Call = 2,
    Farm = 4,
}

const LEAVE: i32 = 1;
const ARRAY: i32 = 6;

/// The most bytes that one call of MPI moves.
pub(crate) const PIECE_BYTES: usize = 1 << 30;

/// The same for a long item of a farm: a rank that has no memory for one still has it for this.
const ITEM_PIECE_BYTES: usize = 4 << 20;

/// How long messages of a rank that has left may still be under way.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// The bytes in front of a message: its length.
const PREFIX: usize = size_of::<u64>();

/// This rank's connection to the others.
pub(crate) struct Link {
    world: SimpleCommunicator,
    rank: usize,
    size: usize,
    piece_bytes: usize,
    /// The node of each rank; empty before the handshake.
    hosts: Vec<String>,
    /// When it was noticed that a rank has left.
    left: RefCell<Vec<Option<Instant>>>,
    /// Whether this is rank 0 in a call of `imap_unordered`: the other ranks are at its service.
    is_farming: Cell<bool>,
}

impl Link {
    pub(crate) fn new(world: SimpleCommunicator, piece_bytes: usize) -> Link {
        let index = |number: i32| usize::try_from(number).unwrap_or_default();
        let (rank, size) = (index(world.rank()), index(world.size()));
        let left = RefCell::new(vec![None; size]);
        let is_farming = Cell::new(false);
        Link { world, rank, size, piece_bytes, hosts: Vec::new(), left, is_farming }
    }

    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn set_hosts(&mut self, hosts: Vec<String>) {
        self.hosts = hosts;
    }

    /// From now on, one call of MPI moves at most this many bytes, at least 8. All ranks must set
    /// the same number, at the same point.
    pub(crate) fn set_piece_bytes(&mut self, bytes: usize) {
        self.piece_bytes = bytes;
    }

    pub(crate) fn hosts(&self) -> &[String] {
        &self.hosts
    }

    pub(crate) fn host(&self, rank: usize) -> &str {
        self.hosts.get(rank).map_or("a node", String::as_str)
    }

    /// Ends the job: MPI ends the processes on every node.
    pub(crate) fn end_job(&self, why: &str) -> ! {
        eprintln!(
            "brigade-mpi: rank {} on {} {why}; the job ends",
            self.rank,
            self.host(self.rank)
        );
        self.world.abort(1)
    }

    /// Starts to send a value, encoded.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`].
    pub(crate) fn send<T: Serialize + ?Sized>(
        &self,
        to: usize,
        kind: Kind,
        value: &T,
    ) -> Result<Outgoing> {
        Ok(self.start(to, kind, encode(value)?))
    }

    /// Starts to send an encoded message.
    pub(crate) fn start(&self, to: usize, kind: Kind, body: Arc<Vec<u8>>) -> Outgoing {
        let tags = (kind as i32, kind as i32 + 1);
        Outgoing::start(&self.world, to, tags, body, self.piece_bytes)
    }

    /// Starts to send bytes whose length the receiver knows; it calls `receive_bytes`.
    pub(crate) fn send_bytes(&self, to: usize, bytes: Vec<u8>) -> Outgoing {
        let piece = self.item_piece_bytes();
        Outgoing::start(&self.world, to, (ARRAY, ARRAY), Arc::new(bytes), piece)
    }

    /// The bytes of a long item that one call of MPI moves.
    pub(crate) fn item_piece_bytes(&self) -> usize {
        self.piece_bytes.min(ITEM_PIECE_BYTES)
    }

    /// Waits until a message is sent. Ends the job if its receiver has left the cluster.
    pub(crate) fn finish(&self, mut outgoing: Outgoing) {
        let mut backoff = Backoff::default();
        while !outgoing.is_sent() {
            if backoff.pause() {
                self.expect_present(outgoing.to());
            }
        }
    }

    /// Sends a value and waits until it is sent.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`].
    pub(crate) fn send_whole<T: Serialize + ?Sized>(
        &self,
        to: usize,
        kind: Kind,
        value: &T,
    ) -> Result<()> {
        self.finish(self.send(to, kind, value)?);
        Ok(())
    }

    /// Notes whether the other ranks are at the service of a farm of this rank.
    pub(crate) fn set_farming(&self, is_farming: bool) {
        self.is_farming.set(is_farming);
    }

    /// Checks that the other ranks can join a call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if they are at the service of a farm of this rank.
    pub(crate) fn expect_idle(&self) -> Result<()> {
        if self.is_farming.get() {
            let expected = "an iterator that was exhausted or dropped before the next call";
            let what = "the last call of imap_unordered";
            return Err(Error::invalid(what, "under way", expected));
        }
        Ok(())
    }

    /// A message that has arrived, from any rank or from one.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`].
    pub(crate) fn try_receive<T: DeserializeOwned>(
        &self,
        from: Option<usize>,
        kind: Kind,
    ) -> Result<Option<(usize, T)>> {
        let found = match from {
            None => self.world.any_process().immediate_matched_probe_with_tag(kind as i32),
            Some(rank) => {
                let process = self.world.process_at_rank(as_rank(rank));
                process.immediate_matched_probe_with_tag(kind as i32)
            }
        };
        let Some((message, status)) = found else { return Ok(None) };
        let from = usize::try_from(status.source_rank()).unwrap_or_default();
        let count = status.count(u8::equivalent_datatype());
        let len = usize::try_from(count).unwrap_or_default();
        let mut bytes = Vec::new();
        self.lengthen(&mut bytes, len);
        scope(|scope| {
            let request = message.immediate_matched_receive_into(scope, &mut bytes[..]);
            self.complete(vec![Pending::receive(from, len, request)]);
        });
        let len = bytes.first_chunk().map_or(0, |len| u64::from_le_bytes(*len));
        let first = bytes.len();
        self.lengthen(&mut bytes, PREFIX + usize::try_from(len).unwrap_or_default());
        self.receive_pieces(from, kind as i32 + 1, &mut bytes[first..]);
        let value = postcard::from_bytes(&bytes[PREFIX..]);
        value.map(|value| Some((from, value))).map_err(|error| Error::decode("a message", &error))
    }

    /// Lengthens a message. Ends the job if there is no memory for it: a message that has begun
    /// must be received.
    fn lengthen(&self, bytes: &mut Vec<u8>, len: usize) {
        if bytes.try_reserve_exact(len.saturating_sub(bytes.len())).is_err() {
            self.end_job(&format!("has no memory for a message of {len} bytes"));
        }
        bytes.resize(len, 0);
    }

    /// Waits for a message of one rank.
    ///
    /// # Errors
    ///
    /// [`Error::Codec`].
    pub(crate) fn receive<T: DeserializeOwned>(&self, from: usize, kind: Kind) -> Result<T> {
        let mut backoff = Backoff::default();
        loop {
            if let Some((_, value)) = self.try_receive(Some(from), kind)? {
                return Ok(value);
            }
            if backoff.pause() {
                self.expect_present(from);
            }
        }
    }

    fn receive_pieces(&self, from: usize, tag: i32, into: &mut [u8]) {
        scope(|scope| {
            let process = self.world.process_at_rank(as_rank(from));
            let pieces = into.chunks_mut(self.piece_bytes);
            let start = |piece| process.immediate_receive_into_with_tag(scope, piece, tag);
            let pending = pieces.map(|piece| Pending::receive(from, piece.len(), start(piece)));
            self.complete(pending.collect());
        });
    }

    /// Starts to receive `into` from one rank, in pieces.
    pub(crate) fn start_receive<'a, 's>(
        &self,
        scope: &'s LocalScope<'a>,
        from: usize,
        into: &'a mut [u8],
        pending: &mut Vec<Pending<'a, 's>>,
    ) {
        let process = self.world.process_at_rank(as_rank(from));
        let pieces = into.chunks_mut(self.piece_bytes);
        let start = |piece| process.immediate_receive_into_with_tag(scope, piece, ARRAY);
        let receives = pieces.map(|piece| Pending::receive(from, piece.len(), start(piece)));
        pending.extend(receives);
    }

    /// Starts to send `bytes` to one rank, in pieces.
    pub(crate) fn start_send<'a, 's>(
        &self,
        scope: &'s LocalScope<'a>,
        to: usize,
        bytes: &'a [u8],
        pending: &mut Vec<Pending<'a, 's>>,
    ) {
        let process = self.world.process_at_rank(as_rank(to));
        let pieces = bytes.chunks(self.piece_bytes);
        let start = |piece| process.immediate_send_with_tag(scope, piece, ARRAY);
        pending.extend(pieces.map(|piece| Pending::send(to, start(piece))));
    }

    /// Waits until all requests are complete. Ends the job if a rank has sent less than this one
    /// expects: the ranks have made different calls.
    pub(crate) fn complete(&self, mut pending: Vec<Pending<'_, '_>>) {
        let mut backoff = Backoff::default();
        while let Some(Pending { peer, expected, request }) = pending.pop() {
            match request.test() {
                Ok(status) => {
                    backoff.reset();
                    let Some(expected) = expected else { continue };
                    let count = status.count(u8::equivalent_datatype());
                    if usize::try_from(count) != Ok(expected) {
                        let host = self.host(peer);
                        self.end_job(&format!(
                            "received {count} bytes from rank {peer} on {host} and expected \
                             {expected}: the two make different calls"
                        ));
                    }
                }
                Err(request) => {
                    pending.push(Pending { peer, expected, request });
                    if backoff.pause() {
                        self.expect_present(peer);
                    }
                }
            }
        }
    }

    /// Ends the job if `peer`, for which this rank waits, has left the cluster.
    pub(crate) fn expect_present(&self, peer: usize) {
        self.note_left();
        let left = self.left.borrow()[peer];
        if left.is_some_and(|since| since.elapsed() > LAST_MESSAGES) {
            let host = self.host(peer);
            self.end_job(&format!(
                "waits for rank {peer} on {host}, whose program has left the cluster"
            ));
        }
    }

    /// Receives the notes of ranks that have left.
    fn note_left(&self) {
        while let Some((message, status)) =
            self.world.any_process().immediate_matched_probe_with_tag(LEAVE)
        {
            let from = usize::try_from(status.source_rank()).unwrap_or_default();
            scope(|scope| {
                message.immediate_matched_receive_into(scope, &mut [0u8; 0][..]).wait();
            });
            self.left.borrow_mut()[from].get_or_insert_with(Instant::now);
        }
    }

    /// Tells the other ranks that this one leaves, and waits until all have left.
    pub(crate) fn leave(&self) {
        let others = || (0..self.size).filter(|&rank| rank != self.rank);
        let tell = |to| Outgoing::start(&self.world, to, (LEAVE, LEAVE), Arc::default(), 1);
        let sent: Vec<Outgoing> = others().map(tell).collect();
        let mut backoff = Backoff::default();
        loop {
            self.note_left();
            let left = self.left.borrow();
            if others().all(|rank| left[rank].is_some()) {
                break;
            }
            drop(left);
            backoff.pause();
        }
        drop(sent);
    }
}

type LocalRequest<'a, 's> = Request<'a, [u8], &'s LocalScope<'a>>;

/// A request that was started.
pub(crate) struct Pending<'a, 's> {
    /// The rank at its other end.
    peer: usize,
    /// The bytes that it must receive, if it receives.
    expected: Option<usize>,
    request: LocalRequest<'a, 's>,
}

impl<'a, 's> Pending<'a, 's> {
    fn send(peer: usize, request: LocalRequest<'a, 's>) -> Pending<'a, 's> {
        Pending { peer, expected: None, request }
    }

    fn receive(peer: usize, expected: usize, request: LocalRequest<'a, 's>) -> Pending<'a, 's> {
        Pending { peer, expected: Some(expected), request }
    }
}

/// A message with its length in front.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Arc<Vec<u8>>> {
    let encoded = postcard::to_extend(value, vec![0; PREFIX]);
    let mut body = encoded.map_err(|error| Error::encode("a message", &error))?;
    let len = (body.len() - PREFIX) as u64;
    body[..PREFIX].copy_from_slice(&len.to_le_bytes());
    Ok(Arc::new(body))
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Link { rank, size, hosts, .. } = self;
        f.debug_struct("Link")
            .field("rank", rank)
            .field("size", size)
            .field("hosts", hosts)
            .finish_non_exhaustive()
    }
}
