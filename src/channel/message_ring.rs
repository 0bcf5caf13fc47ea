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

/// Runs of futex words that a ring registers.
pub(super) const RING_ENTRIES: u32 = 3;

/// A timeout this long from now. Unlike [`Timeout::after`] it makes a call that would wait fail
/// with [`Error::TimedOut`] even if `timeout` is zero.
pub(super) fn within(timeout: Duration) -> Timeout {
    Instant::now().checked_add(timeout).map_or(Timeout::Never, Timeout::At)
}

/// How large a ring is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct RingSize {
    /// Messages at most.
    pub(super) messages_max: u64,
    /// Bytes that the longest message may have.
    pub(super) capacity_bytes: usize,
}

/// How a ring is used.
#[derive(Debug)]
pub(super) struct Usage {
    /// The name in errors.
    pub(super) name: &'static str,
    /// Whether consumers acknowledge messages.
    pub(super) is_joinable: bool,
}

impl Usage {
    /// Bytes in front of the ring, a multiple of its alignment, and runs of futex words in them.
    fn words(&self) -> (usize, u32) {
        if self.is_joinable { (size_of::<UnackedWords>(), UNACKED_ENTRIES) } else { (0, 0) }
    }

    /// Runs of futex words in all, and the size of the body in bytes.
    pub(super) fn size(&self, ring: RingSize) -> Result<(u32, usize)> {
        let (words_bytes, entries) = self.words();
        Ok((RING_ENTRIES + entries, words_bytes + Ring::size_bytes(ring.capacity_bytes)?))
    }
}

/// A ring, behind the words for acknowledgments if it has them, as one process sees it.
///
/// Its memory stays as long as it does.
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
        // SAFETY: aligned, as the body and `words_bytes` are; large enough, and zero; nobody else
        // knows it yet; the owner, which the ring keeps, keeps the bytes.
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
        // SAFETY: aligned, `ring_bytes` long, kept by the owner that the ring keeps, and used by
        // every process through rings; the owner is of the memory's own table.
        let ring = unsafe { Ring::attach(place, ring_bytes, memory.owner()) }?;
        Ok(MessageRing::over(ring, memory, usage))
    }

    /// `ring` lies in `memory`, behind the words of `usage`.
    fn over(ring: Ring, memory: &Memory, usage: &Usage) -> MessageRing {
        let deliveries = usage.is_joinable.then(|| {
            // SAFETY: the body is aligned to 128 bytes and begins with the words: a ring was made
            // or found behind them. The memory is kept beside them.
            Deliveries::new(unsafe { Unacked::new(memory.body().0.cast()) })
        });
        MessageRing { ring, deliveries, memory: memory.clone(), name: usage.name }
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

    /// The ring, for messages that are pushed and popped as bytes.
    #[inline]
    pub(super) fn raw(&self) -> Result<&Ring> {
        if self.deliveries.is_some() {
            return Err(Error::invalid("raw messages", self.name, "a queue that is not joinable"));
        }
        self.ring()
    }

    /// Acknowledgments, with the ring that they are about.
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

    /// Puts values, as many as fit at a time in one step. Those that were not put come back.
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

    /// How many values were put, and why the next one was not.
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
                // Nobody can deal with it.
                self.deliveries.as_ref().map(Deliveries::acknowledge);
            })
        })
    }

    /// Takes up to `values_max` values, and at least one. Messages that cannot be decoded are left
    /// out, with a warning; if that is all of them, it is an error.
    pub(super) fn get_many<T: DeserializeOwned>(
        &self,
        values_max: usize,
        timeout: Timeout,
    ) -> Result<Vec<T>> {
        if self.deliveries.is_some() {
            return self.get_each(values_max, timeout);
        }
        let ring = self.ring()?;
        // Gone in a destructor that runs after this thread's values.
        let mut batch = BATCH.try_with(Cell::take).unwrap_or_else(|_| MessageBatch::new());
        let popped = ring.pop_batch(&mut batch, values_max, timeout);
        let values = popped
            .map_err(|error| self.rename(error))
            .and_then(|()| decodable(batch.iter().map(codec::decode)));
        let _ = BATCH.try_with(|kept| kept.set(batch));
        values
    }

    /// As `get_many`, one message after the other: each is counted by itself.
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

    /// Closes at once; how many messages were lost.
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

/// The values that could be decoded. An error only if there is one, and no value.
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

/// Default space for messages, in bytes: for each message, and the least and most in all.
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

/// How large a queue is made, where that is set.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct QueueSize {
    pub(super) messages_max: Option<usize>,
    pub(super) capacity_bytes: Option<usize>,
}

impl QueueSize {
    /// The size for at most so many messages.
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
