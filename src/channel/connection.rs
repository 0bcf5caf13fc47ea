//! One end of a pipe, for users: values and bytes.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::channel::codec;
use crate::channel::held_end::HeldEnd;
use crate::channel::message_ring::within;
use crate::error::{Error, Result};
use crate::object::Kind;
use crate::object::transfer::{self, Hold, LentObject};
use crate::sync::{ClaimInTransit, Ring, Timeout};

/// One end of a [`Pipe`](crate::Pipe).
///
/// Messages are bytes, or serde values of any types that the two ends agree on. They arrive in
/// order and whole. Clones are the same end, also those in tasks: with several receivers each
/// message goes to one of them.
///
/// An end is closed when its last handle is dropped, in whatever process, or when no living process
/// has one. Then the peer receives what was sent before, and after that [`Error::Closed`], the end
/// of file; sending is [`Error::Closed`] at once. A handle in transit to a task keeps the end open.
/// A handle that was given to the pool's initializer, or as a shared value, keeps it open while the
/// pool, or the call, may give it to another worker.
///
/// An end cannot be the result of a task.
///
/// # Examples
///
/// ```
/// use brigade::Pipe;
/// let (one, other) = Pipe::duplex()?;
/// let clone = one.clone();
/// drop(one);
/// // A clone is the same end.
/// clone.send("soup")?;
/// assert_eq!(other.recv::<String>()?, "soup");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Clone)]
pub struct Connection {
    end: Arc<HeldEnd>,
}

impl Connection {
    pub(super) fn new(end: HeldEnd) -> Connection {
        Connection { end: Arc::new(end) }
    }

    pub(super) fn end(&self) -> &HeldEnd {
        &self.end
    }

    fn send_within(&self, bytes: &[u8], timeout: Timeout) -> Result<()> {
        let ring = self.end.outgoing()?;
        self.end.retry(timeout, |timeout| ring.push_bytes(bytes, timeout))
    }

    fn recv_within(&self, message: &mut Vec<u8>, timeout: Timeout) -> Result<()> {
        let ring = self.end.incoming()?;
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

    /// Sends a value; waits for room, without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the peer is closed or dead; [`Error::TooLarge`] if the message can
    /// never fit; [`Error::Codec`]; [`Error::InvalidArgument`] on an end that only receives;
    /// [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// one.send("soup")?;
    /// assert_eq!(other.recv::<String>()?, "soup");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn send<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send_value(value, Timeout::Never)
    }

    /// Sends a value if there is room now.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], and as for [`send`](Connection::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// while one.try_send(&[0u8; 4096].to_vec()).is_ok() {}
    /// assert!(matches!(one.try_send(&[0u8; 4096].to_vec()), Err(brigade::Error::Full { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_send<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send_value(value, Timeout::Now)
    }

    /// Sends a value; waits for room at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`send`](Connection::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// use std::time::Duration;
    /// one.send_timeout(&7, Duration::from_secs(1))?;
    /// assert_eq!(other.recv::<i32>()?, 7);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn send_timeout<T: Serialize + ?Sized>(&self, value: &T, timeout: Duration) -> Result<()> {
        self.send_value(value, within(timeout))
    }

    /// Sends bytes unencoded; waits for room, without a limit.
    ///
    /// # Errors
    ///
    /// As for [`send`](Connection::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// one.send_bytes(b"raw")?;
    /// assert_eq!(other.recv_bytes()?, b"raw");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.send_within(bytes, Timeout::Never)
    }

    /// Receives a value; waits for one, without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] at the end of file: the peer is closed or dead, and everything that it
    /// sent has been received; [`Error::Codec`] if the message is not a `T`: it is removed, and
    /// later ones can be received; [`Error::InvalidArgument`] on an end that only sends;
    /// [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// one.send(&1)?;
    /// drop(one);
    /// assert_eq!(other.recv::<i32>()?, 1);
    /// assert!(matches!(other.recv::<i32>(), Err(brigade::Error::Closed { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn recv<T: DeserializeOwned>(&self) -> Result<T> {
        self.recv_value(Timeout::Never)
    }

    /// Receives a value if there is one now.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for [`recv`](Connection::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// assert!(matches!(other.try_recv::<i32>(), Err(brigade::Error::Empty { .. })));
    /// one.send(&1)?;
    /// assert_eq!(other.try_recv::<i32>()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn try_recv<T: DeserializeOwned>(&self) -> Result<T> {
        self.recv_value(Timeout::Now)
    }

    /// Receives a value; waits for one at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`recv`](Connection::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// use std::time::Duration;
    /// let late = other.recv_timeout::<i32>(Duration::from_millis(1));
    /// assert!(matches!(late, Err(brigade::Error::TimedOut { .. })));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn recv_timeout<T: DeserializeOwned>(&self, timeout: Duration) -> Result<T> {
        self.recv_value(within(timeout))
    }

    /// Receives the bytes of a message; waits for one, without a limit.
    ///
    /// # Errors
    ///
    /// As for [`recv`](Connection::recv).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// one.send_bytes(b"raw")?;
    /// assert_eq!(other.recv_bytes()?, b"raw");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn recv_bytes(&self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.recv_within(&mut message, Timeout::Never)?;
        Ok(message)
    }

    /// Receives a message into the first bytes of `buffer`, and returns its length; waits for one,
    /// without a limit.
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
        let ring = self.end.incoming()?;
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

    /// Waits until there is a message or the end of file, at most for `timeout`, and returns
    /// whether there is. Another receiver may take the message first.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] on an end that only sends; [`Error::Closed`] in a child that was
    /// forked from the process that has this handle.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// use std::time::Duration;
    /// assert!(!other.poll(Duration::ZERO)?);
    /// one.send(&1)?;
    /// assert!(other.poll(Duration::ZERO)?);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn poll(&self, timeout: Duration) -> Result<bool> {
        self.end.poll(timeout)
    }

    /// The longest message that the pipe takes, encoded, in bytes. It may be more than was
    /// requested, because the room is rounded up.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (one, other) = Pipe::duplex()?;
    /// assert!(one.capacity_bytes() >= 64 << 10);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        let bytes = self.end.rings().map(Ring::capacity_bytes).min().unwrap_or(0);
        if self.end.memory().check().is_err() {
            return 0;
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("side", &self.end.side()).finish_non_exhaustive()
    }
}

/// A connection in a payload.
#[derive(Serialize, Deserialize)]
struct WireConnection {
    object: LentObject,
    claim: ClaimInTransit,
}

/// Succeeds only inside the codec of a task's argument.
impl Serialize for Connection {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let end = &*self.end;
        let memory = end.memory();
        let in_transit = Cell::new(None);
        let hold = |is_shared: bool| -> Result<Hold> {
            let owner = memory.owner();
            let held =
                HeldEnd::new(memory.clone(), |endpoints| endpoints.claim(end.side(), owner))?;
            in_transit.set(Some(end.endpoints().transit(held.claim(), owner, is_shared)));
            Ok(Box::new(held))
        };
        let object = transfer::lend_object(memory, Some(&hold))
            .map_err(|refusal| S::Error::custom(transfer::noted(refusal)))?;
        let Some(claim) = in_transit.take() else {
            let refusal = "a connection cannot be the result of a task".to_owned();
            return Err(S::Error::custom(transfer::noted(refusal)));
        };
        WireConnection { object, claim }.serialize(serializer)
    }
}

/// Succeeds only inside the codec of a task's argument.
impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let WireConnection { object, claim } = WireConnection::deserialize(deserializer)?;
        let take = || -> std::result::Result<Connection, String> {
            let side = claim.side().ok_or("a pipe has two ends")?;
            let memory = transfer::take_object(&object, Kind::Pipe, object.tag())?;
            let owner = memory.owner().clone();
            HeldEnd::new(memory, |endpoints| endpoints.receive(side, claim, &owner))
                .map(Connection::new)
                .map_err(|error| error.to_string())
        };
        take().map_err(|refusal| D::Error::custom(transfer::noted(refusal)))
    }
}
