//! A ring in object memory, and values through it.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Level;

use crate::array::SendError;
use crate::channel::codec;
use crate::error::{Error, Result};
use crate::object::{Kind, Memory, Site, Spec};
use crate::process::diagnostics;
use crate::sync::{BatchError, MessageBatch, Ring, Timeout};

/// Runs of futex words that a ring registers.
pub(super) const RING_ENTRIES: u32 = 3;

/// A timeout this long from now. Unlike [`Timeout::after`] it makes a call that would wait fail
/// with [`Error::TimedOut`] even if `timeout` is zero.
pub(super) fn within(timeout: Duration) -> Timeout {
    Instant::now().checked_add(timeout).map_or(Timeout::Never, Timeout::At)
}

/// How large a ring is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Messages at most.
    pub(super) messages_max: u64,
    /// Bytes that the longest message may have.
    pub(super) capacity_bytes: usize,
}

/// A ring behind `words_bytes` bytes of its primitive's own.
#[derive(Debug)]
pub(super) struct Tube {
    ring: Ring,
    memory: Memory,
    /// What errors call it.
    name: &'static str,
}

thread_local! {
    static BATCH: Cell<MessageBatch> = Cell::new(MessageBatch::new());
}

impl Tube {
    /// Makes the memory, and the ring in it; `make` makes the words in front, which take
    /// `words_bytes`, a multiple of the ring's alignment, and `entries` runs of futex words.
    pub(super) fn create(
        site: Site<'_>,
        (kind, tag, name): (Kind, u64, &'static str),
        size: Size,
        (words_bytes, entries): (usize, u32),
        make: impl Fn(&Memory) -> Result<()>,
    ) -> Result<Tube> {
        let body_bytes = words_bytes + Ring::size_bytes(size.capacity_bytes)?;
        let spec = Spec { kind, tag, entries: RING_ENTRIES + entries, body_bytes };
        let make = |memory: &Memory| {
            make(memory)?;
            // SAFETY: the body has `words_bytes` and the ring's size, so this is inside.
            let place = unsafe { memory.body().0.add(words_bytes) };
            // SAFETY: aligned, as the body and `words_bytes` are; large enough; nobody else knows
            // it yet; the owner, which the ring keeps, keeps the bytes.
            unsafe {
                Ring::create_bounded(place, size.capacity_bytes, size.messages_max, memory.owner())
            }
        };
        let attach = |memory: &Memory| ring_of(memory, words_bytes, name);
        let (ring, memory) = Memory::at(site, &spec, make, attach)?;
        Ok(Tube { ring, memory, name })
    }

    /// The ring of a memory that another process has made.
    pub(super) fn attach(memory: Memory, words_bytes: usize, name: &'static str) -> Result<Tube> {
        let ring = ring_of(&memory, words_bytes, name)?;
        Ok(Tube { ring, memory, name })
    }

    /// The ring that is under a name, behind `words_bytes` bytes of its primitive's own.
    pub(super) fn open(
        at: &str,
        (kind, tag, name): (Kind, u64, &'static str),
        words_bytes: usize,
    ) -> Result<Tube> {
        let attach = |memory: &Memory| ring_of(memory, words_bytes, name);
        let (ring, memory) = Memory::open_named(at, kind, tag, attach)?;
        Ok(Tube { ring, memory, name })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The ring, unless this process was forked from the one that has it.
    #[inline]
    pub(super) fn ring(&self) -> Result<&Ring> {
        self.memory.check()?;
        Ok(&self.ring)
    }

    /// An error of the ring in this channel's words.
    #[cold]
    pub(super) fn rename(&self, error: Error) -> Error {
        codec::of(self.name, error)
    }

    pub(super) fn put_bytes(&self, bytes: &[u8], timeout: Timeout) -> Result<()> {
        let ring = self.ring()?;
        ring.push_bytes(bytes, timeout).map_err(|error| self.rename(error))
    }

    pub(super) fn put<T: Serialize>(
        &self,
        value: T,
        timeout: Timeout,
    ) -> std::result::Result<(), SendError<T>> {
        let outcome = codec::with_scratch(|buffer| {
            codec::encode_onto(buffer, &value)?;
            self.put_bytes(buffer, timeout)
        });
        outcome.map_err(|error| SendError::new(value, error))
    }

    /// Puts values, as many as fit at a time in one step; those that were not put come back.
    pub(super) fn put_many<T: Serialize>(
        &self,
        mut values: Vec<T>,
        timeout: Timeout,
    ) -> std::result::Result<(), SendError<Vec<T>>> {
        let (done, outcome) = codec::with_scratch(|buffer| self.put_all(buffer, &values, timeout));
        match outcome {
            Ok(()) => Ok(()),
            Err(error) => {
                values.drain(..done);
                Err(SendError::new(values, error))
            }
        }
    }

    /// How many were put, and what kept the next from it.
    fn put_all<T: Serialize>(
        &self,
        buffer: &mut Vec<u8>,
        values: &[T],
        timeout: Timeout,
    ) -> (usize, Result<()>) {
        let ring = match self.ring() {
            Ok(ring) => ring,
            Err(error) => return (0, Err(error)),
        };
        let mut ends = Vec::with_capacity(values.len());
        let mut unencoded = Ok(());
        for value in values {
            if let Err(error) = codec::encode_onto(buffer, value) {
                unencoded = Err(error);
                break;
            }
            ends.push(buffer.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let messages: Vec<&[u8]> =
            starts.zip(&ends).map(|(start, &end)| &buffer[start..end]).collect();
        match ring.push_batch(&messages, timeout) {
            Ok(()) => (messages.len(), unencoded),
            Err(BatchError { pushed, error }) => (pushed, Err(self.rename(error))),
        }
    }

    pub(super) fn get_bytes_into(&self, message: &mut Vec<u8>, timeout: Timeout) -> Result<()> {
        let ring = self.ring()?;
        ring.pop_into(message, timeout).map_err(|error| self.rename(error))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, timeout: Timeout) -> Result<T> {
        codec::with_scratch(|buffer| {
            self.get_bytes_into(buffer, timeout)?;
            codec::decode(buffer)
        })
    }

    /// Takes up to `values_max` values in one step, and at least one. Those that cannot be decoded
    /// are left out, with a warning; if that is all of them, it is an error.
    pub(super) fn get_many<T: DeserializeOwned>(
        &self,
        values_max: usize,
        timeout: Timeout,
    ) -> Result<Vec<T>> {
        let ring = self.ring()?;
        // Gone in a destructor that runs after this thread's values.
        let mut batch = BATCH.try_with(Cell::take).unwrap_or_else(|_| MessageBatch::new());
        let popped = ring.pop_batch(&mut batch, values_max, timeout);
        let values = popped.map_err(|error| self.rename(error)).and_then(|()| {
            let mut values = Vec::with_capacity(batch.len());
            let mut failure = None;
            for message in batch.iter() {
                match codec::decode(message) {
                    Ok(value) => values.push(value),
                    Err(error) => {
                        let text = error.to_string();
                        diagnostics::event(Level::WARN, move || {
                            tracing::warn!(error = text, "a message was dropped");
                        });
                        failure = Some(error);
                    }
                }
            }
            match failure {
                Some(error) if values.is_empty() => Err(error),
                _ => Ok(values),
            }
        });
        let _ = BATCH.try_with(|kept| kept.set(batch));
        values
    }

    pub(super) fn close(&self) -> Result<()> {
        self.ring()?.close().map_err(|error| self.rename(error))
    }

    /// Closes at once; how many messages were lost.
    pub(super) fn close_now(&self) -> Result<u64> {
        let ring = self.ring()?;
        ring.close_now();
        Ok(ring.len())
    }

    pub(super) fn len(&self) -> usize {
        self.ring().map_or(0, |ring| usize::try_from(ring.len()).unwrap_or(usize::MAX))
    }

    pub(super) fn is_full(&self) -> bool {
        self.ring().is_ok_and(Ring::is_full)
    }
}

/// The ring in a memory that another process has made.
fn ring_of(memory: &Memory, words_bytes: usize, name: &'static str) -> Result<Ring> {
    let (body, body_bytes) = memory.body();
    let Some(room) = body_bytes.checked_sub(words_bytes) else {
        let expected = format!("at least {words_bytes}");
        let found = format!("{body_bytes} bytes");
        return Err(Error::Layout { place: name.to_owned(), found, expected });
    };
    // SAFETY: `words_bytes <= body_bytes`, checked above.
    let place = unsafe { body.add(words_bytes) };
    // SAFETY: aligned, `room` bytes long, kept by the owner that the ring keeps, and used by
    // everybody through rings; the owner is of the memory's own table.
    unsafe { Ring::attach(place, room, memory.owner()) }
}
