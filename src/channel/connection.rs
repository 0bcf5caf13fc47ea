//! One end of a pipe.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::codec;
use crate::channel::ends::{Claim, Ends, Side, Transit, Words};
use crate::channel::tube::within;
use crate::error::{Error, Result};
use crate::object::transfer::{self, Hold, LentObject};
use crate::object::{Kind, Memory};
use crate::sync::{Ring, Timeout};

/// What errors call it.
const NAME: &str = "the connection";

/// How long a wait goes on before it looks whether the peer lives.
const SLICE: Duration = Duration::from_millis(50);

/// What the words take up in front of the rings.
pub(super) const WORDS_BYTES: usize = size_of::<Words>();

/// Tags of the two kinds of pipe.
pub(super) const DUPLEX: u64 = 2;
pub(super) const SIMPLEX: u64 = 1;

/// The words at the start of a memory's body.
pub(super) fn ends(memory: &Memory) -> Ends {
    // SAFETY: the body is aligned to 128 bytes and begins with the words: `pipe.rs` reserved them,
    // and `rings` checked for them. Whoever has the words has the memory as well.
    unsafe { Ends::new(memory.body().0) }
}

/// One end of a [`Pipe`](crate::Pipe).
///
/// Messages are serde values, each of any type that the two ends agree on, or bytes. They arrive in
/// order and whole. Clones are the same end, and so is what a task is given: with several receivers
/// each message goes to one of them.
///
/// An end is closed when its last handle is dropped, in whatever process, or the last process that
/// has one is dead. Then the peer receives what was sent before, and after that
/// [`Error::Closed`], the end of file; sending is [`Error::Closed`] at once. A handle on its way to
/// a task keeps the end open. A handle that was given to the pool's initializer, or as a shared
/// value, keeps it open for as long as the pool, or the call, may give it to another worker.
///
/// An end cannot be the result of a task.
#[derive(Clone)]
pub struct Connection {
    end: Arc<End>,
}

struct End {
    incoming: Option<Ring>,
    outgoing: Option<Ring>,
    ends: Ends,
    side: Side,
    claim: Claim,
    memory: Memory,
}

/// A handle on its way, kept by its lease.
#[derive(Debug)]
struct InTransit {
    ends: Ends,
    claim: Claim,
    rings: [Option<Ring>; 2],
    memory: Memory,
}

/// The rings from side 0 and from side 1.
fn rings(memory: &Memory) -> Result<[Option<Ring>; 2]> {
    let (body, body_bytes) = memory.body();
    let count = if memory.tag() == DUPLEX { 2 } else { 1 };
    let room = body_bytes.checked_sub(WORDS_BYTES).map(|room| room / count);
    let Some(room) = room.filter(|room| room.is_multiple_of(Ring::ALIGN)) else {
        let found = format!("{body_bytes} bytes");
        let expected = format!("{WORDS_BYTES} and {count} rings");
        return Err(Error::Layout { place: "pipe".to_owned(), found, expected });
    };
    let attach = |index: usize| {
        // SAFETY: `WORDS_BYTES + count * room <= body_bytes`, and `index < count`.
        let place = unsafe { body.add(WORDS_BYTES + index * room) };
        // SAFETY: aligned, `room` bytes long, kept by the owner that the ring keeps, and used by
        // everybody through rings; the owner is of the memory's own table.
        unsafe { Ring::attach(place, room, memory.owner()) }.map(Some)
    };
    // Of a simplex pipe there is only the ring that side 1 sends into.
    let first = if count == 2 { attach(1)? } else { None };
    Ok([first, attach(0)?])
}

/// Ends both directions, because one side has no holder any more.
fn hang_up<'a>(rings: impl IntoIterator<Item = &'a Ring>) {
    rings.into_iter().for_each(Ring::close_without_producers);
}

impl End {
    fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.incoming.iter().chain(&self.outgoing)
    }

    /// Whether the peer is gone, as against slow; if so, the pipe is closed now.
    fn look_after_peer(&self) -> bool {
        let is_gone = self.ends.is_dead(1 - self.side, self.memory.owner().table());
        if is_gone {
            hang_up(self.rings());
        }
        is_gone
    }

    fn ring<'a>(&self, ring: &'a Option<Ring>, verb: &'static str) -> Result<&'a Ring> {
        self.memory.check()?;
        ring.as_ref().ok_or_else(|| {
            let expected = "the other end, or a connection of a duplex pipe";
            Error::invalid("the end of a simplex pipe", verb, expected)
        })
    }

    /// Calls `attempt` until it has an outcome other than having had to wait. The waits are cut
    /// into slices, and between slices it checks whether the peer is alive.
    fn retry<R>(
        &self,
        timeout: Timeout,
        mut attempt: impl FnMut(Timeout) -> Result<R>,
    ) -> Result<R> {
        let start = matches!(timeout, Timeout::At(_)).then(Instant::now);
        loop {
            let step = match timeout {
                Timeout::At(end) => Timeout::At(end.min(Instant::now() + SLICE)),
                // A sleep is a slice, and needs no clock.
                Timeout::Never => Timeout::Sleeps(1),
                timeout => timeout,
            };
            let outcome = attempt(step);
            let error = match outcome {
                Err(
                    error @ (Error::Empty { .. } | Error::Full { .. } | Error::TimedOut { .. }),
                ) => error,
                outcome => return outcome.map_err(|error| codec::of(NAME, error)),
            };
            if self.look_after_peer() {
                // Nobody can send any more: what the peer has sent is there now.
                return attempt(Timeout::Now).map_err(|error| codec::of(NAME, error));
            }
            match timeout {
                Timeout::Now => return Err(codec::of(NAME, error)),
                Timeout::At(end) if Instant::now() >= end => {
                    let after = start.map_or(Duration::ZERO, |start| start.elapsed());
                    return Err(Error::TimedOut { what: NAME, after });
                }
                _ => {}
            }
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let owner = self.memory.owner();
        if self.memory.check().is_ok() && self.ends.release(&self.claim, owner) {
            hang_up(self.rings());
        }
    }
}

impl Drop for InTransit {
    fn drop(&mut self) {
        let owner = self.memory.owner();
        if self.memory.check().is_ok() && self.ends.release(&self.claim, owner) {
            hang_up(self.rings.iter().flatten());
        }
    }
}

impl Connection {
    pub(super) fn of(memory: Memory, side: Side, claim: Claim) -> Result<Connection> {
        let [from_0, from_1] = rings(&memory)?;
        let (outgoing, incoming) = if side == 0 { (from_0, from_1) } else { (from_1, from_0) };
        let ends = ends(&memory);
        Ok(Connection { end: Arc::new(End { incoming, outgoing, ends, side, claim, memory }) })
    }

    fn outgoing(&self) -> Result<&Ring> {
        self.end.ring(&self.end.outgoing, "one that only receives")
    }

    fn incoming(&self) -> Result<&Ring> {
        self.end.ring(&self.end.incoming, "one that only sends")
    }

    fn send_within(&self, bytes: &[u8], timeout: Timeout) -> Result<()> {
        let ring = self.outgoing()?;
        self.end.retry(timeout, |timeout| ring.push_bytes(bytes, timeout))
    }

    fn recv_within(&self, message: &mut Vec<u8>, timeout: Timeout) -> Result<()> {
        let ring = self.incoming()?;
        self.end.retry(timeout, |timeout| ring.pop_into(message, timeout))
    }

    fn send_value<T: Serialize + ?Sized>(&self, value: &T, timeout: Timeout) -> Result<()> {
        codec::with_scratch(|buffer| {
            codec::encode_onto(buffer, value)?;
            self.send_within(buffer, timeout)
        })
    }

    fn recv_value<T: DeserializeOwned>(&self, timeout: Timeout) -> Result<T> {
        codec::with_scratch(|buffer| {
            self.recv_within(buffer, timeout)?;
            codec::decode(buffer)
        })
    }

    /// Sends a value; waits for room, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the peer is closed or dead; [`Error::TooLarge`] if the message can
    /// never fit; [`Error::Codec`]; [`Error::InvalidArgument`] on an end that only receives;
    /// [`Error::Corrupt`].
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send_value(value, Timeout::Never)
    }

    /// Sends a value if there is room now.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], and as for [`send`](Connection::send).
    pub fn try_send<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send_value(value, Timeout::Now)
    }

    /// Sends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`send`](Connection::send).
    pub fn send_timeout<T: Serialize + ?Sized>(&self, value: &T, timeout: Duration) -> Result<()> {
        self.send_value(value, within(timeout))
    }

    /// Sends bytes as they are; waits for room, without a bound.
    ///
    /// # Errors
    ///
    /// As for [`send`](Connection::send).
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_within(bytes, Timeout::Never)
    }

    /// Receives a value; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] at the end of file: the peer is closed or dead, and all that it sent has
    /// been received; [`Error::Codec`] if the message is no `T`: it is gone, and later ones can be
    /// received; [`Error::InvalidArgument`] on an end that only sends; [`Error::Corrupt`].
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T> {
        self.recv_value(Timeout::Never)
    }

    /// Receives a value if there is one now.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for [`recv`](Connection::recv).
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<T> {
        self.recv_value(Timeout::Now)
    }

    /// Receives a value; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`recv`](Connection::recv).
    pub fn recv_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<T> {
        self.recv_value(within(timeout))
    }

    /// Receives a message as it is; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Connection::recv).
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.recv_within(&mut message, Timeout::Never)?;
        Ok(message)
    }

    /// Receives a message into the first bytes of `buffer`, and returns its length; waits for one,
    /// without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] with the length of a message that does not fit, which stays to be
    /// received with a larger buffer; and as for [`recv`](Connection::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pipe};
    /// let (receiver, sender) = Pipe::simplex()?;
    /// sender.send_bytes(b"a la carte")?;
    /// let mut buffer = [0; 4];
    /// match receiver.recv_bytes_into(&mut buffer) {
    ///     Err(Error::TooLarge { size_bytes, limit_bytes, .. }) => {
    ///         assert_eq!((size_bytes, limit_bytes), (10, 4));
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// assert_eq!(receiver.recv_bytes()?, b"a la carte");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn recv_bytes_into(&self, buffer: &mut [u8]) -> Result<usize> {
        let ring = self.incoming()?;
        self.end.retry(Timeout::Never, |timeout| {
            let message = ring.read(timeout)?;
            let length = message.length();
            let Some(room) = buffer.get_mut(..length) else {
                let (size_bytes, limit_bytes) = (length as u64, buffer.len() as u64);
                return Err(Error::TooLarge { what: "the message", size_bytes, limit_bytes });
            };
            message.read_at(0, room);
            message.consume();
            Ok(length)
        })
    }

    /// Waits until there is something to receive, the end of file included, at most for `timeout`;
    /// whether there is. Another receiver may take it first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] on an end that only sends; [`Error::Closed`] in a child that was
    /// forked from the process that has this handle.
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        let ring = self.incoming()?;
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if ring.poll(left.min(SLICE)) || self.end.look_after_peer() {
                return Ok(true);
            }
            if start.elapsed() >= timeout {
                return Ok(false);
            }
        }
    }

    /// The longest message that the pipe takes, encoded, in bytes: at least what was asked for, as
    /// the room is rounded up.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let bytes = self.end.rings().map(Ring::capacity_bytes).min().unwrap_or(0);
        if self.end.memory.check().is_err() {
            return 0;
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// What [`wait_any`](crate::wait_any) looks at, and who else may have to be looked after.
    pub(super) fn watched(&self) -> Result<&Ring> {
        self.incoming()
    }

    pub(super) fn look_after_peer(&self) {
        if self.end.memory.check().is_ok() {
            self.end.look_after_peer();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("side", &self.end.side).finish_non_exhaustive()
    }
}

/// A connection in a payload.
#[derive(Serialize, Deserialize)]
struct Travelling {
    wire: LentObject,
    transit: Transit,
}

/// Inside the codec of a task's argument only.
impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let End { ends, side, memory, .. } = &*self.end;
        let transit = Cell::new(None);
        let hold = |is_shared: bool| -> Result<Hold> {
            let (owner, rings) = (memory.owner(), rings(memory)?);
            let claim = ends.claim(*side, owner)?;
            transit.set(Some(ends.transit(&claim, owner, is_shared)));
            Ok(Box::new(InTransit { ends: *ends, claim, rings, memory: memory.clone() }))
        };
        let wire = transfer::lend_object(memory, Some(&hold))
            .map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        let Some(transit) = transit.take() else {
            let refusal = "a connection cannot be the result of a task".to_owned();
            return Err(S::Error::custom(transfer::noted(refusal)));
        };
        Travelling { wire, transit }.serialize(serializer)
    }
}

/// Inside the codec of a task's argument only.
impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let Travelling { wire, transit } = Travelling::deserialize(deserializer)?;
        let take = || -> std::result::Result<Connection, String> {
            let side = transit.side().ok_or("a pipe has two ends")?;
            let memory = transfer::take_object(&wire, Kind::Pipe, wire.tag())?;
            rings(&memory).map_err(|error| error.to_string())?;
            let claim = ends(&memory).receive(side, transit, memory.owner());
            let claim = claim.map_err(|error| error.to_string())?;
            Connection::of(memory, side, claim).map_err(|error| error.to_string())
        };
        take().map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
    }
}
