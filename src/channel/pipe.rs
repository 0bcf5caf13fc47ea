//! Pipes: two connections, each the other's peer.
#![allow(unsafe_code)]

use crate::channel::connection::{Connection, DUPLEX, SIMPLEX, WORDS_BYTES, ends};
use crate::channel::ends::ENTRIES;
use crate::channel::tube::RING_ENTRIES;
use crate::error::Result;
use crate::object::{Kind, Memory, Spec};
use crate::sync::Ring;

/// The longest message of a pipe that says nothing else, in bytes.
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
    /// Two connections that both send and receive, messages of 64 KiB and more:
    /// [`capacity_bytes`](Connection::capacity_bytes) says how much more.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`](crate::Error::NoSpace).
    pub fn duplex() -> Result<(Connection, Connection)> {
        Pipe::builder().duplex()
    }

    /// A connection that only receives, and its peer, which only sends.
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

    /// Settings for a pipe.
    pub fn builder() -> PipeBuilder {
        PipeBuilder { capacity_bytes: CAPACITY_BYTES }
    }
}

/// Configures a [`Pipe`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing before `duplex` or `simplex`"]
pub struct PipeBuilder {
    capacity_bytes: usize,
}

impl PipeBuilder {
    /// A message of this length has to fit, each way, in bytes when encoded, 1 to 2^31; the room is
    /// rounded up ([`Connection::capacity_bytes`]). It costs memory only as it is used. Default:
    /// 64 KiB.
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
    pub fn duplex(self) -> Result<(Connection, Connection)> {
        self.build(DUPLEX)
    }

    /// As [`Pipe::simplex`].
    ///
    /// # Errors
    ///
    /// [`InvalidArgument`](crate::Error::InvalidArgument) for a capacity outside its range;
    /// [`NoSpace`](crate::Error::NoSpace).
    pub fn simplex(self) -> Result<(Connection, Connection)> {
        self.build(SIMPLEX)
    }

    fn build(self, rings: u64) -> Result<(Connection, Connection)> {
        let ring_bytes = ring_bytes(self.capacity_bytes)?;
        let count = if rings == DUPLEX { 2 } else { 1 };
        let entries = ENTRIES + RING_ENTRIES * if rings == DUPLEX { 2 } else { 1 };
        let body_bytes = WORDS_BYTES + count * ring_bytes;
        let spec = Spec { kind: Kind::Pipe, tag: rings, entries, body_bytes };
        let make = |memory: &Memory| {
            ends(memory).register(memory.owner().table())?;
            for index in 0..count {
                // SAFETY: the body has room for `count` rings behind the words.
                let place = unsafe { memory.body().0.add(WORDS_BYTES + index * ring_bytes) };
                // SAFETY: aligned, as body, words and a ring's size are; large enough; nobody else
                // knows it yet. The handle is not kept, the ring is.
                unsafe { Ring::create(place, self.capacity_bytes, memory.owner()) }?;
            }
            Ok(())
        };
        let ((), memory) = Memory::create(&spec, make)?;
        let end = |side| {
            let claim = ends(&memory).claim(side, memory.owner())?;
            Connection::of(memory.clone(), side, claim)
        };
        Ok((end(0)?, end(1)?))
    }
}

/// The size of a ring, with its alignment, in bytes.
fn ring_bytes(capacity_bytes: usize) -> Result<usize> {
    Ok(Ring::size_bytes(capacity_bytes)?.next_multiple_of(Ring::ALIGN))
}
