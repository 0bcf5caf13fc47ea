//! An end of a pipe that this process holds.
#![allow(unsafe_code)]

use std::time::{Duration, Instant};

use crate::channel::codec;
use crate::error::{Error, Result};
use crate::object::Memory;
use crate::sync::{
    CHECK_INTERVAL, EndpointClaim, EndpointWords, Endpoints, PipeSide, Ring, Serials, Timeout,
};

/// The name in errors.
const NAME: &str = "the connection";

/// The size of the words before the rings, in bytes.
pub(super) const WORDS_BYTES: usize = size_of::<EndpointWords>();

/// Tags of the two kinds of pipe: the number of rings.
pub(super) const DUPLEX: u64 = 2;
pub(super) const SIMPLEX: u64 = 1;

/// The words at the start of a memory's body.
///
/// # Safety
///
/// - The body begins with a pipe's words, and `memory` is kept as long as the result is used.
pub(super) unsafe fn endpoints(memory: &Memory) -> Endpoints<'static> {
    // SAFETY: the contract; a body is aligned to 128 bytes.
    unsafe { Endpoints::new(memory.body().0.cast(), Serials::own()) }
}

/// The rings into which side 0 and side 1 send. A simplex pipe has only the one of side 1.
pub(super) fn rings(memory: &Memory) -> Result<[Option<Ring>; 2]> {
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
        // SAFETY: aligned, `room` bytes long, kept by the owner, which the ring keeps, and used
        // only through rings; the owner is of the memory's own table.
        unsafe { Ring::attach(place, room, memory.owner()) }.map(Some)
    };
    let first = if count == 2 { attach(1)? } else { None };
    Ok([first, attach(0)?])
}

/// A claim on an end of a pipe. Dropping it releases the claim. Dropping the last claim on a side
/// closes both directions.
#[derive(Debug)]
pub(super) struct HeldEnd {
    endpoints: Endpoints<'static>,
    claim: EndpointClaim,
    rings: [Option<Ring>; 2],
    memory: Memory,
}

impl HeldEnd {
    /// Holds an end of the pipe in `memory`, with the claim that `claim` makes.
    pub(super) fn new(
        memory: Memory,
        claim: impl FnOnce(&Endpoints<'static>) -> Result<EndpointClaim>,
    ) -> Result<HeldEnd> {
        let rings = rings(&memory)?;
        // SAFETY: `rings` has found rings after the words; the memory is kept beside them.
        let endpoints = unsafe { endpoints(&memory) };
        let claim = claim(&endpoints)?;
        Ok(HeldEnd { endpoints, claim, rings, memory })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(super) fn endpoints(&self) -> &Endpoints<'static> {
        &self.endpoints
    }

    pub(super) fn claim(&self) -> &EndpointClaim {
        &self.claim
    }

    pub(super) fn side(&self) -> PipeSide {
        self.claim.side()
    }

    pub(super) fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.rings.iter().flatten()
    }

    /// The ring into which this end sends.
    pub(super) fn outgoing(&self) -> Result<&Ring> {
        self.ring(self.side(), "one that only receives")
    }

    /// The ring from which this end receives.
    pub(super) fn incoming(&self) -> Result<&Ring> {
        self.ring(1 - self.side(), "one that only sends")
    }

    fn ring(&self, sender: PipeSide, verb: &'static str) -> Result<&Ring> {
        self.memory.check()?;
        self.rings[sender].as_ref().ok_or_else(|| {
            let expected = "the other end, or a connection of a duplex pipe";
            Error::invalid("the end of a simplex pipe", verb, expected)
        })
    }

    /// Whether no living process holds the peer. If so, the pipe is closed now.
    pub(super) fn is_peer_gone(&self) -> bool {
        if self.memory.check().is_err() {
            return false;
        }
        let is_gone =
            self.endpoints.has_no_living_holder(1 - self.side(), self.memory.owner().table());
        if is_gone {
            self.rings().for_each(Ring::close_without_producers);
        }
        is_gone
    }

    /// Calls `attempt` until it returns anything but an error for having to wait. The waits are
    /// divided into slices, and after each it checks whether the peer is alive.
    pub(super) fn retry<R>(
        &self,
        timeout: Timeout,
        mut attempt: impl FnMut(Timeout) -> Result<R>,
    ) -> Result<R> {
        let start = matches!(timeout, Timeout::At(_)).then(Instant::now);
        loop {
            let step = match timeout {
                Timeout::At(end) => Timeout::At(end.min(Instant::now() + CHECK_INTERVAL)),
                // One sleep is a slice, and needs no clock.
                Timeout::Never => Timeout::Sleeps(1),
                timeout => timeout,
            };
            let error = match attempt(step) {
                Err(
                    error @ (Error::Empty { .. } | Error::Full { .. } | Error::TimedOut { .. }),
                ) => error,
                outcome => return outcome.map_err(|error| codec::of(NAME, error)),
            };
            if self.is_peer_gone() {
                // No process can send any more: everything that the peer has sent is there now.
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

    /// Waits until there is a message or the peer is gone; returns whether it is so.
    pub(super) fn poll(&self, timeout: Duration) -> Result<bool> {
        let ring = self.incoming()?;
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if ring.poll(left.min(CHECK_INTERVAL)) || self.is_peer_gone() {
                return Ok(true);
            }
            if start.elapsed() >= timeout {
                return Ok(false);
            }
        }
    }
}

impl Drop for HeldEnd {
    fn drop(&mut self) {
        if self.memory.check().is_ok() && self.endpoints.release(&self.claim, self.memory.owner()) {
            self.rings().for_each(Ring::close_without_producers);
        }
    }
}
