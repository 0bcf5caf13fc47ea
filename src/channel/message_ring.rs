//! A ring of messages in object memory, and values as messages.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Level;

use crate::array::SendError;
use crate::channel::codec;
use crate::channel::deliveries::Deliveries;
use crate::error::{Error, Result};
use crate::object::transfer::type_tag;
use crate::object::{Kind, Memory, Primitive};
use crate::process::diagnostics;
use crate::sync::{
    BatchError, MessageBatch, Ring, Timeout, UNACKED_ENTRIES, Unacked, UnackedWords,
};

/// The number of directory entries of a ring.
pub(super) const RING_ENTRIES: u32 = 3;

/// A timeout after this duration. Unlike [`Timeout::after`], a zero `timeout` makes a call that
/// would wait fail with [`Error::TimedOut`].
pub(super) fn within(timeout: Duration) -> Timeout {
    Instant::now().checked_add(timeout).map_or(Timeout::Never, Timeout::At)
}

/// The size of a new ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingSize {
    /// The most messages.
    pub(super) messages_max: u64,
    /// The size of the longest message, in bytes.
    pub(super) capacity_bytes: usize,
}

/// The use of a ring.
#[derive(Debug)]
pub(super) struct Usage {
    /// The name in errors.
    pub(super) name: &'static str,
    /// Whether consumers acknowledge messages.
    pub(super) is_joinable: bool,
}

impl Usage {
    /// The size of the words before the ring, a multiple of its alignment, and their directory
    /// entries.
    fn words(&self) -> (usize, u32) {
        if self.is_joinable { (size_of::<UnackedWords>(), UNACKED_ENTRIES) } else { (0, 0) }
    }

    /// The number of all directory entries, and the size of the body in bytes.
    pub(super) fn size(&self, ring: RingSize) -> Result<(u32, usize)> {
        let (words_bytes, entries) = self.words();
        Ok((RING_ENTRIES + entries, words_bytes + Ring::size_bytes(ring.capacity_bytes)?))
    }
}

/// A ring, after the words for acknowledgments if it has them, as one process sees it.
///
/// It keeps its memory.
#[derive(Debug)]
pub(super) struct MessageRing {
    ring: Ring,
    deliveries: Option<Deliveries>,
    memory: Memory,
    name: &'static str,
}

thread_local! {
    static BATCH: Cell<MessageBatch> = Cell::new(MessageBatch::new());
}

impl MessageRing {
    /// Makes the ring in a body of the size that [`Usage::size`] returned for `size`.
    pub(super) fn make(memory: &Memory, usage: &Usage, size: RingSize) -> Result<MessageRing> {
        let (words_bytes, _) = usage.words();
        if usage.is_joinable {
            // SAFETY: the body begins with these words, zero; the memory outlives this use.
            let unacked = unsafe { Unacked::new(memory.body().0.cast()) };
            unacked.register(memory.owner().table())?;
        }
        // SAFETY: the body has `words_bytes` and the ring's size, so this is inside.
        let place = unsafe { memory.body().0.add(words_bytes) };
        // SAFETY: aligned, as the body and `words_bytes` are; large enough, and zero; without
        // another user yet; the owner, which the ring keeps, keeps the bytes.
        let ring = unsafe {
            Ring::create_bounded(place, size.capacity_bytes, size.messages_max, memory.owner())
        }?;
        Ok(MessageRing::over(ring, memory, usage))
    }

    /// The ring in a memory that another process has made.
    pub(super) fn attach(memory: &Memory, usage: &Usage) -> Result<MessageRing> {
        let (words_bytes, _) = usage.words();
        let (body, body_bytes) = memory.body();
        let Some(ring_bytes) = body_bytes.checked_sub(words_bytes) else {
            let expected = format!("at least {words_bytes}");
            let found = format!("{body_bytes} bytes");
            return Err(Error::Layout { place: usage.name.to_owned(), found, expected });
        };
        // SAFETY: `words_bytes <= body_bytes`, checked above.
        let place = unsafe { body.add(words_bytes) };
        // SAFETY: aligned, `ring_bytes` long, kept by the owner, which the ring keeps, and used
        // only through rings; the owner is of the memory's own table.
        let ring = unsafe { Ring::attach(place, ring_bytes, memory.owner()) }?;
        Ok(MessageRing::over(ring, memory, usage))
    }

    /// Wraps `ring`, which is in `memory`, after the words of `usage`.
    fn over(ring: Ring, memory: &Memory, usage: &Usage) -> MessageRing {
        let deliveries = usage.is_joinable.then(|| {
            // SAFETY: the body is aligned to 128 bytes and begins with the words: a ring was made
            // or found after them. The memory is kept beside them.
            Deliveries::new(unsafe { Unacked::new(memory.body().0.cast()) })
        });
        MessageRing { ring, deliveries, memory: memory.clone(), name: usage.name }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The ring; an error in a child that was forked from the process of this handle.
    #[inline]
    pub(super) fn ring(&self) -> Result<&Ring> {
        self.memory.check()?;
        Ok(&self.ring)
    }

    /// The ring, for messages that are pushed and popped as bytes.
    #[inline]
    pub(super) fn raw(&self) -> Result<&Ring> {
        if self.deliveries.is_some() {
            return Err(Error::invalid("raw messages", self.name, "a queue that is not joinable"));
        }
        self.ring()
    }

    /// The acknowledgments and their ring.
    pub(super) fn deliveries(&self) -> Result<(&Deliveries, &Ring)> {
        let ring = self.ring()?;
        let deliveries = self.deliveries.as_ref();
        let deliveries =
            deliveries.ok_or_else(|| Error::invalid("join", self.name, "a joinable queue"))?;
        Ok((deliveries, ring))
    }

    #[cold]
    fn rename(&self, error: Error) -> Error {
        codec::of(self.name, error)
    }

    pub(super) fn put<T: Serialize>(
        &self,
        value: T,
        timeout: Timeout,
    ) -> std::result::Result<(), SendError<T>> {
        let outcome = codec::with_scratch(|buffer| {
            codec::encode_onto(buffer, &value)?;
            self.ring()?.push_bytes(buffer, timeout).map_err(|error| self.rename(error))
        });
        outcome.map_err(|error| SendError::new(value, error))
    }

    /// Puts values, each time as many as fit in one step. Returns those that were not put.
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

    /// Returns how many values were put, and why the next one was not.
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

    pub(super) fn get<T: DeserializeOwned>(&self, timeout: Timeout) -> Result<T> {
        codec::with_scratch(|buffer| {
            let ring = self.ring()?;
            let taken = match &self.deliveries {
                None => ring.pop_into(buffer, timeout),
                Some(deliveries) => deliveries.take(ring, self.memory.owner(), buffer, timeout),
            };
            taken.map_err(|error| self.rename(error))?;
            codec::decode(buffer).inspect_err(|_| {
                // No consumer can process it.
                self.deliveries.as_ref().map(Deliveries::acknowledge);
            })
        })
    }

    /// Takes at least one and up to `values_max` values. Messages that cannot be decoded are
    /// skipped, with a warning; if none can be decoded, it is an error.
    pub(super) fn get_many<T: DeserializeOwned>(
        &self,
        values_max: usize,
        timeout: Timeout,
    ) -> Result<Vec<T>> {
        if self.deliveries.is_some() {
            return self.get_each(values_max, timeout);
        }
        let ring = self.ring()?;
        // Missing in a destructor after this thread's values are gone.
        let mut batch = BATCH.try_with(Cell::take).unwrap_or_else(|_| MessageBatch::new());
        let popped = ring.pop_batch(&mut batch, values_max, timeout);
        let values = popped
            .map_err(|error| self.rename(error))
            .and_then(|()| decodable(batch.iter().map(codec::decode)));
        let _ = BATCH.try_with(|kept| kept.set(batch));
        values
    }

    /// As `get_many`, but one message after the other, because each is counted separately.
    fn get_each<T: DeserializeOwned>(&self, values_max: usize, timeout: Timeout) -> Result<Vec<T>> {
        let mut values = Vec::new();
        if values_max > 0 {
            values.push(self.get(timeout)?);
        }
        while values.len() < values_max {
            match self.get(Timeout::Now) {
                Ok(value) => values.push(value),
                Err(error @ Error::Codec { .. }) => warn_dropped(&error),
                Err(_) => break,
            }
        }
        Ok(values)
    }

    pub(super) fn close(&self) -> Result<()> {
        self.ring()?.close().map_err(|error| self.rename(error))
    }

    /// Closes at once. Returns how many messages were lost.
    pub(super) fn close_now(&self) -> Result<u64> {
        let ring = self.ring()?;
        ring.close_now();
        Ok(ring.len())
    }

    pub(super) fn len(&self) -> usize {
        self.ring().map_or(0, |ring| usize::try_from(ring.len()).unwrap_or(usize::MAX))
    }
}

impl Drop for MessageRing {
    fn drop(&mut self) {
        if let (Some(deliveries), Ok(ring)) = (&self.deliveries, self.ring()) {
            deliveries.release(ring, self.memory.owner());
        }
    }
}

/// The values that could be decoded. An error only if there is one and no value.
fn decodable<T>(values: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut decoded = Vec::with_capacity(values.size_hint().0);
    let mut failure = None;
    for value in values {
        match value {
            Ok(value) => decoded.push(value),
            Err(error) => {
                warn_dropped(&error);
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if decoded.is_empty() => Err(error),
        _ => Ok(decoded),
    }
}

fn warn_dropped(error: &Error) {
    let text = error.to_string();
    diagnostics::event(Level::WARN, move || {
        tracing::warn!(error = text, "a message was dropped");
    });
}

/// The default room for messages, in bytes: for each message, and the least and most in all.
const BYTES_PER_MESSAGE: usize = 1024;
const BYTES_MIN: usize = 64 << 10;
const BYTES_MAX: usize = 4 << 20;

const QUEUE: Usage = Usage { name: "the queue", is_joinable: false };

/// The ring of a queue, for values of one type.
pub(super) struct Messages<T> {
    ring: Arc<MessageRing>,
    values: PhantomData<fn(T) -> T>,
}

impl<T> Messages<T> {
    pub(super) fn over(ring: MessageRing) -> Messages<T> {
        Messages { ring: Arc::new(ring), values: PhantomData }
    }

    #[inline]
    pub(super) fn ring(&self) -> &MessageRing {
        &self.ring
    }
}

impl<T> Clone for Messages<T> {
    fn clone(&self) -> Messages<T> {
        Messages { ring: Arc::clone(&self.ring), values: PhantomData }
    }
}

/// The settings for a new queue's size.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueSize {
    pub(super) messages_max: Option<usize>,
    pub(super) capacity_bytes: Option<usize>,
}

impl QueueSize {
    /// The size for at most `capacity` messages.
    pub(super) fn of(capacity: usize) -> QueueSize {
        QueueSize { messages_max: Some(capacity), capacity_bytes: None }
    }

    pub(super) fn ring(&self) -> Result<RingSize> {
        if self.messages_max == Some(0) {
            return Err(Error::invalid("the capacity of a queue", "0 messages", "at least 1"));
        }
        let messages = self.messages_max.unwrap_or(0);
        let default = messages.saturating_mul(BYTES_PER_MESSAGE).clamp(BYTES_MIN, BYTES_MAX);
        let messages_max = self.messages_max.map_or(u64::MAX, |messages| messages as u64);
        Ok(RingSize { messages_max, capacity_bytes: self.capacity_bytes.unwrap_or(default) })
    }
}

impl<T> Primitive for Messages<T> {
    type Init = QueueSize;
    const KIND: Kind = Kind::Queue;

    fn tag() -> u64 {
        type_tag::<T>()
    }

    fn size(size: &QueueSize) -> Result<(u32, usize)> {
        QUEUE.size(size.ring()?)
    }

    fn make(memory: &Memory, size: &QueueSize) -> Result<Messages<T>> {
        MessageRing::make(memory, &QUEUE, size.ring()?).map(Messages::over)
    }

    fn attach(memory: &Memory) -> Result<Messages<T>> {
        MessageRing::attach(memory, &QUEUE).map(Messages::over)
    }
}
