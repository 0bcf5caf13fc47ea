//! The consumers' side of the ring.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::super::eventcount::Moment;
use super::{CLOSED, DRAINING, Ring, RingLock, Timeout, closed, record};
use crate::atomics::Ordering;
use crate::error::{Error, Result};

/// Messages that were taken together, in private memory.
///
/// Reuse one: it keeps its memory.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// How many messages it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The messages, in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start..end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The pop lock, held, with a message of `length` bytes at `head` and records up to `tail`.
struct Popping<'a, L: RingLock + 'a> {
    ring: &'a Ring<L>,
    guard: L::Guard<'a>,
    head: u64,
    tail: u64,
    length: usize,
}

impl<L: RingLock> Popping<'_, L> {
    /// How many messages were ever popped.
    #[inline]
    fn popped(&self) -> u64 {
        self.ring.header().pop.0.tally.count(self.head)
    }

    /// Frees everything up to `head`, `messages` messages, and gives the lock up.
    #[inline]
    fn commit(self, head: u64, messages: u64) {
        let header = self.ring.header();
        header.pop.0.tally.prepare(self.head, self.popped().wrapping_add(messages));
        // Release pairs with the Acquire in `Ring::has_room`: we have done reading.
        header.head.0.store(head, Ordering::Release);
        drop(self.guard);
        self.ring.notify_unlocked(&header.rare.0.drained);
    }

    #[inline]
    fn start(&self) -> u64 {
        self.head.wrapping_add(record::WORD_BYTES)
    }

    /// Takes the message out of the ring and appends it to `message`.
    #[inline]
    fn take_into(self, message: &mut Vec<u8>) {
        self.ring.span.append(self.start(), self.length, message);
        let next = self.head.wrapping_add(record::record_bytes(self.length as u64));
        self.commit(next, 1);
    }
}

impl<L: RingLock> Ring<L> {
    /// Takes the oldest message; waits for one, without a bound.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the ring is closed and (unless that was at once) empty;
    /// [`Error::Corrupt`].
    pub fn pop(&self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.pop_within(&mut message, Timeout::Never, empty)?;
        Ok(message)
    }

    /// Takes the oldest message if there is one.
    ///
    /// It never waits for one, and at most 10 ms for a lock that another consumer holds.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`], and as for [`pop`](Ring::pop); [`Error::TimedOut`] if the lock was held
    /// all the time.
    pub fn try_pop(&self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.pop_within(&mut message, Timeout::Now, empty)?;
        Ok(message)
    }

    /// Takes the oldest message; waits for one at most for `timeout`, by CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], and as for [`pop`](Ring::pop).
    pub fn pop_timeout(&self, timeout: Duration) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.pop_within(&mut message, Timeout::after(timeout), || timed_out(timeout))?;
        Ok(message)
    }

    /// As [`pop`](Ring::pop), into memory that can be reused: `message` is cleared first.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Ring::pop).
    #[inline]
    pub fn pop_into(&self, message: &mut Vec<u8>) -> Result<()> {
        self.pop_within(message, Timeout::Never, empty)
    }

    /// As [`try_pop`](Ring::try_pop), into memory that can be reused: `message` is cleared first.
    ///
    /// # Errors
    ///
    /// As for [`try_pop`](Ring::try_pop).
    #[inline]
    pub fn try_pop_into(&self, message: &mut Vec<u8>) -> Result<()> {
        self.pop_within(message, Timeout::Now, empty)
    }

    /// As [`pop_timeout`](Ring::pop_timeout), into memory that can be reused: `message` is
    /// cleared first.
    ///
    /// # Errors
    ///
    /// As for [`pop_timeout`](Ring::pop_timeout).
    pub fn pop_into_timeout(&self, message: &mut Vec<u8>, timeout: Duration) -> Result<()> {
        self.pop_within(message, Timeout::after(timeout), || timed_out(timeout))
    }

    /// As [`pop_into`](Ring::pop_into), until `timeout`.
    #[cfg(not(loom))]
    pub(crate) fn pop_until(&self, message: &mut Vec<u8>, timeout: Timeout) -> Result<()> {
        self.pop_within(message, timeout, || timed_out(Duration::ZERO))
    }

    /// As [`read`](Ring::read), until `timeout`.
    #[cfg(not(loom))]
    pub(crate) fn read_until(&self, timeout: Timeout) -> Result<Message<'_, L>> {
        self.read_within(timeout, || timed_out(Duration::ZERO))
    }

    #[inline]
    fn pop_within(
        &self,
        message: &mut Vec<u8>,
        timeout: Timeout,
        refusal: impl FnOnce() -> Error,
    ) -> Result<()> {
        message.clear();
        let Some(popping) = self.message_now() else {
            return self.pop_slow(message, timeout, refusal);
        };
        popping.take_into(message);
        Ok(())
    }

    #[cold]
    fn pop_slow(
        &self,
        message: &mut Vec<u8>,
        timeout: Timeout,
        refusal: impl FnOnce() -> Error,
    ) -> Result<()> {
        let Some(popping) = self.message(timeout)? else { return Err(refusal()) };
        popping.take_into(message);
        Ok(())
    }

    /// Takes the oldest messages in one step, at most `messages_max`; waits for the first,
    /// without a bound. `batch` is cleared first.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Ring::pop).
    pub fn pop_batch(&self, batch: &mut Batch, messages_max: usize) -> Result<()> {
        self.pop_some(batch, messages_max, Timeout::Never, empty)
    }

    /// As [`pop_batch`](Ring::pop_batch), but never waits.
    ///
    /// # Errors
    ///
    /// As for [`try_pop`](Ring::try_pop).
    pub fn try_pop_batch(&self, batch: &mut Batch, messages_max: usize) -> Result<()> {
        self.pop_some(batch, messages_max, Timeout::Now, empty)
    }

    /// As [`pop_batch`](Ring::pop_batch), but waits at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`pop_timeout`](Ring::pop_timeout).
    pub fn pop_batch_timeout(
        &self,
        batch: &mut Batch,
        messages_max: usize,
        timeout: Duration,
    ) -> Result<()> {
        self.pop_some(batch, messages_max, Timeout::after(timeout), || timed_out(timeout))
    }

    fn pop_some(
        &self,
        batch: &mut Batch,
        messages_max: usize,
        timeout: Timeout,
        refusal: impl FnOnce() -> Error,
    ) -> Result<()> {
        batch.clear();
        if messages_max == 0 {
            return Ok(());
        }
        let Some(popping) = self.message(timeout)? else { return Err(refusal()) };
        let (mut head, mut tail, mut length) = (popping.head, popping.tail, popping.length);
        loop {
            self.span.append(head.wrapping_add(record::WORD_BYTES), length, &mut batch.bytes);
            batch.ends.push(batch.bytes.len());
            head = head.wrapping_add(record::record_bytes(length as u64));
            if batch.len() == messages_max {
                break;
            }
            // What was taken is sound: if a fault comes next, the next call will meet it first.
            match self.next_length(head, &mut tail) {
                Ok(Some(next)) => length = next,
                Ok(None) | Err(_) => break,
            }
        }
        popping.commit(head, batch.len() as u64);
        Ok(())
    }

    /// Opens the oldest message to be read in place; waits for one, without a bound. Other
    /// consumers wait until it is consumed or dropped.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Ring::pop).
    pub fn read(&self) -> Result<Message<'_, L>> {
        self.read_within(Timeout::Never, empty)
    }

    /// As [`read`](Ring::read), but never waits for a message.
    ///
    /// # Errors
    ///
    /// As for [`try_pop`](Ring::try_pop).
    pub fn try_read(&self) -> Result<Message<'_, L>> {
        self.read_within(Timeout::Now, empty)
    }

    /// As [`read`](Ring::read), but waits at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`pop_timeout`](Ring::pop_timeout).
    pub fn read_timeout(&self, timeout: Duration) -> Result<Message<'_, L>> {
        self.read_within(Timeout::after(timeout), || timed_out(timeout))
    }

    fn read_within(
        &self,
        timeout: Timeout,
        refusal: impl FnOnce() -> Error,
    ) -> Result<Message<'_, L>> {
        let popping = self.message(timeout)?.ok_or_else(refusal)?;
        Ok(Message { popping })
    }

    /// The pop lock with a message, if nothing at all stands against it: the first attempt of a
    /// pop, which leaves its errors to the next. Nothing in it passes through memory, as in
    /// `room_now`, and it takes no lock where there is no message.
    #[inline]
    fn message_now(&self) -> Option<Popping<'_, L>> {
        // Before the look for messages, as in `attempt_message`.
        if self.state() >= CLOSED {
            return None;
        }
        // Relaxed, both: a hint.
        let hint = self.header().head.0.load(Ordering::Relaxed);
        if hint == self.seen_tail.0.load(Ordering::Relaxed) && self.is_empty() {
            return None;
        }
        let guard = self.pop_lock.try_acquire().ok()??;
        // Relaxed: written under the lock that we hold.
        let head = self.header().head.0.load(Ordering::Relaxed);
        let tail = self.arrived_at(head)?;
        let length =
            if head == tail { None } else { self.length_in(self.span.load(head), head, tail) };
        Some(Popping { ring: self, guard, head, tail, length: length? })
    }

    /// Takes the pop lock when there is a message; `None` if the time is over.
    fn message(&self, timeout: Timeout) -> Result<Option<Popping<'_, L>>> {
        let mut looks = 0;
        let attempt = |moment| {
            if moment == Moment::Passing {
                looks += 1;
                self.pop_pace.before_look(looks);
            }
            let look_first = moment != Moment::First || !matches!(timeout, Timeout::Now);
            self.attempt_message(timeout, look_first).transpose()
        };
        let filled = &self.header().rare.0.filled;
        let popping = filled.wait_for(timeout, self.watch, attempt).transpose()?;
        if let (Some(popping), 1..) = (&popping, looks) {
            let ahead = popping.tail.wrapping_sub(popping.head);
            let several = ahead > record::record_bytes(popping.length as u64);
            self.pop_pace.after_wait(looks, several);
        }
        Ok(popping)
    }

    fn attempt_message(
        &self,
        timeout: Timeout,
        look_first: bool,
    ) -> Result<Option<Popping<'_, L>>> {
        // Before the look for messages: a producer that pushed before the closing has committed
        // by the time that we see it closed.
        let state = self.state();
        if state >= CLOSED {
            return Err(closed());
        }
        // A waiter looks before it takes the lock, so as not to disturb those who work.
        if look_first && state < DRAINING && self.is_empty() {
            return Ok(None);
        }
        let guard = self.acquire(&self.pop_lock, timeout)?;
        // Relaxed: written under the lock that we hold.
        let head = self.header().head.0.load(Ordering::Relaxed);
        let tail = self.arrived(head)?;
        if head == tail {
            return if state >= DRAINING { Err(closed()) } else { Ok(None) };
        }
        let length = self.length_at(head, tail)?;
        Ok(Some(Popping { ring: self, guard, head, tail, length }))
    }

    /// A `tail` that shows a message at `head`, or the present one. Under the pop lock.
    #[inline]
    fn arrived(&self, head: u64) -> Result<u64> {
        self.arrived_at(head).ok_or_else(|| {
            self.corrupt_positions(head, self.header().tail.0.load(Ordering::Relaxed))
        })
    }

    /// The same, or `None` if the two cannot be positions of this ring.
    #[inline]
    fn arrived_at(&self, head: u64) -> Option<u64> {
        // Relaxed: written under the lock that we hold.
        let seen = self.seen_tail.0.load(Ordering::Relaxed);
        let ahead = seen.wrapping_sub(head);
        if ahead != 0 && ahead <= self.data_bytes && head.is_multiple_of(record::WORD_BYTES) {
            return Some(seen);
        }
        // Acquire pairs with the Release in `Pushing::commit`.
        let tail = self.header().tail.0.load(Ordering::Acquire);
        self.used(head, tail)?;
        self.seen_tail.0.store(tail, Ordering::Relaxed);
        Some(tail)
    }

    /// The length of the message at `head`, if there is one; looks for a new `tail` at the old.
    #[inline]
    fn next_length(&self, head: u64, tail: &mut u64) -> Result<Option<usize>> {
        if head == *tail {
            *tail = self.arrived(head)?;
            if head == *tail {
                return Ok(None);
            }
        }
        self.length_at(head, *tail).map(Some)
    }

    /// The length of the message at `head`, of which records up to `tail` are there.
    #[inline]
    fn length_at(&self, head: u64, tail: u64) -> Result<usize> {
        let word = self.span.load(head);
        self.length_in(word, head, tail).ok_or_else(|| corrupt_record(word, head))
    }

    /// The length that `word` says, if it is the first of a record at `head` that ends by `tail`.
    #[inline]
    fn length_in(&self, word: u64, head: u64, tail: u64) -> Option<usize> {
        let length = record::unpack(word, head)
            .filter(|&length| record::record_bytes(length) <= tail.wrapping_sub(head))?;
        usize::try_from(length).ok()
    }
}

/// A message in its place in the ring.
///
/// Dropping it without [`consume`](Message::consume) leaves it in the ring; so does the death of
/// its process.
pub struct Message<'a, L: RingLock + 'a> {
    popping: Popping<'a, L>,
}

impl<L: RingLock> fmt::Debug for Message<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("length", &self.popping.length).finish_non_exhaustive()
    }
}

impl<'a, L: RingLock> Message<'a, L> {
    /// Its length, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.popping.length
    }

    /// Copies out the bytes from `offset` on, as many as `into` takes.
    ///
    /// # Panics
    ///
    /// If `offset + into.len()` exceeds the length.
    pub fn read_at(&self, offset: usize, into: &mut [u8]) {
        let length = self.popping.length;
        let fits = offset.checked_add(into.len()).is_some_and(|end| end <= length);
        assert!(fits, "{} bytes at {offset} exceed a message of {length}", into.len());
        self.popping.ring.span.read(self.popping.start().wrapping_add(offset as u64), into);
    }

    /// The message's bytes in place: two parts, the second empty unless it wraps around the
    /// ring's end.
    ///
    /// # Safety
    ///
    /// - No other process writes the ring's bytes but through rings: no hostile one, that is.
    #[cfg(not(loom))]
    #[must_use]
    pub unsafe fn as_slices(&self) -> (&[u8], &[u8]) {
        let [first, second] =
            self.popping.ring.span.parts(self.popping.start(), self.popping.length);
        // SAFETY: in the ring's data, between `head` and `tail` where nobody writes while we hold
        // the pop lock; that nobody else does the caller promises.
        let first = unsafe { first.as_ref() };
        // SAFETY: as for the first part.
        (first, unsafe { second.as_ref() })
    }

    /// How many messages were taken before this one.
    pub(crate) fn number(&self) -> u64 {
        self.popping.popped()
    }

    /// Takes the message out of the ring.
    pub fn consume(self) {
        let length = self.popping.length as u64;
        let next = self.popping.head.wrapping_add(record::record_bytes(length));
        self.popping.commit(next, 1);
    }
}

#[cold]
fn corrupt_record(word: u64, position: u64) -> Error {
    let found = format!("{word:#018x} is no record's first word at position {position}");
    Error::Corrupt { what: "the ring", found }
}

#[cold]
fn empty() -> Error {
    Error::Empty { what: "the ring" }
}

#[cold]
fn timed_out(after: Duration) -> Error {
    Error::TimedOut { what: "a message in the ring", after }
}
