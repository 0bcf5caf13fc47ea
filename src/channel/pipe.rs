//! Pipes: two connections, each the other's peer.
#![allow(unsafe_code)]

use crate::channel::connection::Connection;
use crate::channel::held_end::{DUPLEX, HeldEnd, SIMPLEX, WORDS_BYTES, endpoints};
use crate::channel::message_ring::RING_ENTRIES;
use crate::error::Result;
use crate::object::{Kind, Memory, Spec};
use crate::sync::{ENDPOINT_ENTRIES, Ring};

/// The default for the longest message that must fit, in bytes.
const CAPACITY_BYTES: usize = 64 << 10;

/// Makes pairs of [`Connection`]s.
///
/// # Examples
///
/// ```
/// use brigade::{Connection, Pipe, Pool};
///
/// let pool = Pool::builder().workers(1).build()?;
/// let (here, there) = Pipe::duplex()?;
/// let echo = |there: Connection| {
///     while let Ok(text) = there.recv::<String>() {
///         there.send(&text.to_uppercase()).unwrap();
///     }
/// };
/// let task = pool.submit(echo, there)?;
/// here.send("service")?;
/// assert_eq!(here.recv::<String>()?, "SERVICE");
/// drop(here);
/// task.join()?;
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug)]
pub struct Pipe(());

impl Pipe {
    /// Makes two connections that both send and receive messages of at least 64 KiB;
    /// [`capacity_bytes`](Connection::capacity_bytes) returns the exact limit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (here, there) = Pipe::duplex()?;
    /// here.send(&1)?;
    /// there.send(&2)?;
    /// assert_eq!((here.recv::<i32>()?, there.recv::<i32>()?), (2, 1));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn duplex() -> Result<(Connection, Connection)> {
        Pipe::builder().duplex()
    }

    /// Makes a connection that only receives, and its peer, which only sends.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{Error, Pipe};
    /// let (receiver, sender) = Pipe::simplex()?;
    /// sender.send(&(1, "two"))?;
    /// assert_eq!(receiver.recv::<(i32, String)>()?, (1, "two".to_owned()));
    /// assert!(matches!(receiver.send(&3), Err(Error::InvalidArgument { .. })));
    /// drop(sender);
    /// assert!(matches!(receiver.recv::<i32>(), Err(Error::Closed { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn simplex() -> Result<(Connection, Connection)> {
        Pipe::builder().simplex()
    }

    /// Returns settings for a pipe.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (receiver, _sender) = Pipe::builder().capacity_bytes(1 << 20).simplex()?;
    /// assert!(receiver.capacity_bytes() >= 1 << 20);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn builder() -> PipeBuilder {
        PipeBuilder { capacity_bytes: CAPACITY_BYTES }
    }
}

/// Configures a [`Pipe`].
///
/// # Examples
///
/// ```
/// use brigade::Pipe;
/// let (_one, other) = Pipe::builder().capacity_bytes(100).duplex()?;
/// assert!(other.capacity_bytes() >= 100);
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `duplex` or `simplex`"]
pub struct PipeBuilder {
    capacity_bytes: usize,
}

impl PipeBuilder {
    /// Sets the longest message that must fit, each way, in bytes when encoded, 1 to 2^31. The room
    /// is rounded up ([`Connection::capacity_bytes`]), and occupies memory only as it is used.
    /// Default: 64 KiB.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (here, _there) = Pipe::builder().capacity_bytes(100).duplex()?;
    /// assert_eq!(here.capacity_bytes(), 120);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn capacity_bytes(mut self, bytes: usize) -> PipeBuilder {
        self.capacity_bytes = bytes;
        self
    }

    /// As [`Pipe::duplex`].
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for a capacity outside its range;
    /// [`NoSpace`](crate::Error::NoSpace).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (here, there) = Pipe::builder().duplex()?;
    /// here.send(&1)?;
    /// assert_eq!(there.recv::<i32>()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn duplex(self) -> Result<(Connection, Connection)> {
        self.build(DUPLEX)
    }

    /// As [`Pipe::simplex`].
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for a capacity outside its range;
    /// [`NoSpace`](crate::Error::NoSpace).
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::Pipe;
    /// let (receiver, sender) = Pipe::builder().simplex()?;
    /// sender.send(&1)?;
    /// assert_eq!(receiver.recv::<i32>()?, 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn simplex(self) -> Result<(Connection, Connection)> {
        self.build(SIMPLEX)
    }

    fn build(self, tag: u64) -> Result<(Connection, Connection)> {
        let count = if tag == DUPLEX { 2u32 } else { 1 };
        let ring_bytes = ring_bytes(self.capacity_bytes)?;
        let body_bytes = WORDS_BYTES + count as usize * ring_bytes;
        let entries = ENDPOINT_ENTRIES + RING_ENTRIES * count;
        let spec = Spec { kind: Kind::Pipe, tag, entries, body_bytes };
        let make = |memory: &Memory| {
            // SAFETY: the body was made for the words, zero, and outlives this use of them.
            unsafe { endpoints(memory) }.register(memory.owner().table())?;
            for index in 0..count as usize {
                // SAFETY: the body has room for `count` rings after the words.
                let place = unsafe { memory.body().0.add(WORDS_BYTES + index * ring_bytes) };
                // SAFETY: aligned, as body, words and a ring's size are; large enough, and zero;
                // without another user yet. The memory is kept, this handle of the ring is not.
                unsafe { Ring::create(place, self.capacity_bytes, memory.owner()) }?;
            }
            Ok(())
        };
        let ((), memory) = Memory::create(&spec, make)?;
        let end = |side| {
            let owner = memory.owner();
            HeldEnd::new(memory.clone(), |endpoints| endpoints.claim(side, owner))
                .map(Connection::new)
        };
        Ok((end(0)?, end(1)?))
    }
}

/// The size of a ring in bytes, rounded up to its alignment.
fn ring_bytes(capacity_bytes: usize) -> Result<usize> {
    Ok(Ring::size_bytes(capacity_bytes)?.next_multiple_of(Ring::ALIGN))
}
