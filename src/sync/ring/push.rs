//! The producers' side of the ring.
#![allow(unsafe_code)]

use std::fmt;
use std::time::Duration;

use super::super::eventcount::Moment;
use super::{OPEN, Ring, RingLock, Timeout, closed, record};
use crate::atomics::Ordering;
use crate::error::{Error, Result};

/// A push that was refused, and the message with it.
pub struct PushError<T> {
    /// The message.
    pub value: T,
    /// Why it was refused.
    pub error: Error,
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushError").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<T> std::error::Error for PushError<T> {}

impl<T> From<PushError<T>> for Error {
    fn from(refused: PushError<T>) -> Error {
        refused.error
    }
}

/// A batch of which only the first messages could be pushed.
#[derive(Debug, thiserror::Error)]
#[error("{pushed} messages were pushed, then: {error}")]
pub struct BatchError {
    /// How many messages of the batch are in the ring.
    pub pushed: usize,
    /// Why the next was refused.
    pub error: Error,
}

impl From<BatchError> for Error {
    fn from(refused: BatchError) -> Error {
        refused.error
    }
}

/// The push lock, held, with room for a record at `tail`.
struct Pushing<'a, L: RingLock + 'a> {
    ring: &'a Ring<L>,
    guard: L::Guard<'a>,
    tail: u64,
    /// How many messages were ever pushed.
    pushed: u64,
}

impl<L: RingLock> Pushing<'_, L> {
    /// Makes everything up to `tail` visible, `messages` messages, and gives the lock up.
    #[inline]
    fn commit(self, tail: u64, messages: u64) {
        let header = self.ring.header();
        header.push.0.tally.prepare(self.tail, self.pushed.wrapping_add(messages));
        // The commit. Release pairs with the Acquire in `Ring::arrived`.
        header.tail.0.store(tail, Ordering::Release);
        drop(self.guard);
        self.ring.notify_unlocked(&header.rare.0.filled);
    }
}

impl<L: RingLock> Ring<L> {
    /// Appends a message; waits for room, without a bound.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::TooLarge`] at once if it can never fit, [`Error::Closed`],
    /// [`Error::Corrupt`].
    #[inline]
    pub fn push<B: AsRef<[u8]>>(&self, message: B) -> std::result::Result<(), PushError<B>> {
        match self.push_within(message.as_ref(), Timeout::Never, full) {
            Ok(()) => Ok(()),
            Err(error) => Err(PushError { value: message, error }),
        }
    }

    /// Appends a message if there is room.
    ///
    /// It never waits for room, and at most 10 ms for a lock that another producer holds.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::Full`], and as for [`push`](Ring::push);
    /// [`Error::TimedOut`] if the lock was held all the time.
    #[inline]
    pub fn try_push<B: AsRef<[u8]>>(&self, message: B) -> std::result::Result<(), PushError<B>> {
        match self.push_within(message.as_ref(), Timeout::Now, full) {
            Ok(()) => Ok(()),
            Err(error) => Err(PushError { value: message, error }),
        }
    }

    /// Appends a message; waits for room at most for `timeout`, by CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::TimedOut`], and as for [`push`](Ring::push).
    pub fn push_timeout<B: AsRef<[u8]>>(
        &self,
        message: B,
        timeout: Duration,
    ) -> std::result::Result<(), PushError<B>> {
        let end = Timeout::after(timeout);
        match self.push_within(message.as_ref(), end, |_| timed_out(timeout)) {
            Ok(()) => Ok(()),
            Err(error) => Err(PushError { value: message, error }),
        }
    }

    /// As [`push`](Ring::push), until `timeout`.
    #[cfg(not(loom))]
    pub(crate) fn push_until(&self, message: &[u8], timeout: Timeout) -> Result<()> {
        self.push_within(message, timeout, |_| timed_out(Duration::ZERO))
    }

    #[inline]
    fn push_within(
        &self,
        message: &[u8],
        timeout: Timeout,
        refusal: impl FnOnce(&Self) -> Error,
    ) -> Result<()> {
        let length = self.check_length(message.len())?;
        let bytes = record::record_bytes(length);
        let Some(pushing) = self.room_now(bytes) else {
            return self.push_slow(message, bytes, timeout, refusal);
        };
        let end = self.write_record(pushing.tail, message);
        pushing.commit(end, 1);
        Ok(())
    }

    #[cold]
    fn push_slow(
        &self,
        message: &[u8],
        bytes: u64,
        timeout: Timeout,
        refusal: impl FnOnce(&Self) -> Error,
    ) -> Result<()> {
        let Some(pushing) = self.room(bytes, timeout)? else { return Err(refusal(self)) };
        let end = self.write_record(pushing.tail, message);
        pushing.commit(end, 1);
        Ok(())
    }

    /// Appends messages in one step for as many as fit at a time; waits for room for the rest,
    /// without a bound.
    ///
    /// # Errors
    ///
    /// As for [`push`](Ring::push), with the number of messages that were pushed.
    pub fn push_batch<B: AsRef<[u8]>>(
        &self,
        messages: &[B],
    ) -> std::result::Result<(), BatchError> {
        self.push_all(messages, Timeout::Never, full)
    }

    /// As [`push_batch`](Ring::push_batch), but waits for room at most for `timeout` in all.
    ///
    /// # Errors
    ///
    /// As for [`push_timeout`](Ring::push_timeout), with the number of messages that were pushed.
    pub fn push_batch_timeout<B: AsRef<[u8]>>(
        &self,
        messages: &[B],
        timeout: Duration,
    ) -> std::result::Result<(), BatchError> {
        self.push_all(messages, Timeout::after(timeout), |_| timed_out(timeout))
    }

    /// Appends as many of the messages as there is room for, in one step, and returns their
    /// number. It is 0 only if there are none.
    ///
    /// # Errors
    ///
    /// As for [`try_push`](Ring::try_push), if not even the first could be pushed. A message that
    /// can never fit is refused once it is the first.
    pub fn try_push_batch<B: AsRef<[u8]>>(&self, messages: &[B]) -> Result<usize> {
        if messages.is_empty() {
            return Ok(0);
        }
        match self.push_some(messages, Timeout::Now)? {
            0 => Err(full(self)),
            pushed => Ok(pushed),
        }
    }

    fn push_all<B: AsRef<[u8]>>(
        &self,
        messages: &[B],
        timeout: Timeout,
        refusal: impl FnOnce(&Self) -> Error,
    ) -> std::result::Result<(), BatchError> {
        let mut pushed = 0;
        while pushed < messages.len() {
            match self.push_some(&messages[pushed..], timeout) {
                Ok(0) => return Err(BatchError { pushed, error: refusal(self) }),
                Ok(more) => pushed += more,
                Err(error) => return Err(BatchError { pushed, error }),
            }
        }
        Ok(())
    }

    /// Pushes the first of the messages and all that fit after it; 0 if the time is over.
    fn push_some<B: AsRef<[u8]>>(&self, messages: &[B], timeout: Timeout) -> Result<usize> {
        let length = self.check_length(messages[0].as_ref().len())?;
        let Some(pushing) = self.room(record::record_bytes(length), timeout)? else {
            return Ok(0);
        };
        let mut end = pushing.tail;
        let mut pushed = 0;
        for message in messages {
            let message = message.as_ref();
            let Ok(length) = self.check_length(message.len()) else { break };
            let count = pushing.pushed.wrapping_add(pushed);
            if !self.has_room(end, record::record_bytes(length))? || !self.admits(count)? {
                break;
            }
            end = self.write_record(end, message);
            pushed += 1;
        }
        pushing.commit(end, pushed);
        usize::try_from(pushed).map_err(|_| full(self))
    }

    /// Reserves room for a message of `length` bytes, to be written in place; waits for room,
    /// without a bound. Other producers wait until the reservation is committed or dropped.
    ///
    /// # Errors
    ///
    /// As for [`push`](Ring::push).
    pub fn reserve(&self, length: usize) -> Result<Reserved<'_, L>> {
        self.reserve_within(length, Timeout::Never, full)
    }

    /// As [`reserve`](Ring::reserve), but never waits for room.
    ///
    /// # Errors
    ///
    /// As for [`try_push`](Ring::try_push).
    pub fn try_reserve(&self, length: usize) -> Result<Reserved<'_, L>> {
        self.reserve_within(length, Timeout::Now, full)
    }

    /// As [`reserve`](Ring::reserve), but waits for room at most for `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`push_timeout`](Ring::push_timeout).
    pub fn reserve_timeout(&self, length: usize, timeout: Duration) -> Result<Reserved<'_, L>> {
        self.reserve_within(length, Timeout::after(timeout), |_| timed_out(timeout))
    }

    fn reserve_within(
        &self,
        length: usize,
        timeout: Timeout,
        refusal: impl FnOnce(&Self) -> Error,
    ) -> Result<Reserved<'_, L>> {
        let bytes = record::record_bytes(self.check_length(length)?);
        match self.room(bytes, timeout)? {
            Some(pushing) => Ok(Reserved { pushing, length }),
            None => Err(refusal(self)),
        }
    }

    #[inline]
    fn check_length(&self, length: usize) -> Result<u64> {
        let size_bytes = length as u64;
        let limit_bytes = self.capacity_bytes();
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { what: "the message", size_bytes, limit_bytes });
        }
        Ok(size_bytes)
    }

    /// The push lock with room for a record of `bytes`, if nothing at all stands against it: the
    /// first attempt of a push, which leaves its errors to the next.
    ///
    /// Nothing here may pass through memory: to load two words as one that were stored as two
    /// waits for all earlier stores, and so for the other side's processor to give up its lines.
    #[inline]
    fn room_now(&self, bytes: u64) -> Option<Pushing<'_, L>> {
        let guard = self.push_lock.try_acquire().ok()??;
        // Relaxed: written under the lock that we hold.
        let tail = self.header().tail.0.load(Ordering::Relaxed);
        let pushed = self.header().push.0.tally.count(tail);
        let is_free = self.state() == OPEN && self.room_at(tail, bytes)? >= bytes;
        (is_free && self.admits_now(pushed)).then_some(Pushing { ring: self, guard, tail, pushed })
    }

    /// Takes the push lock when there is room for a record of `bytes`; `None` if the time is over.
    fn room(&self, bytes: u64, timeout: Timeout) -> Result<Option<Pushing<'_, L>>> {
        let mut looks = 0;
        let attempt = |moment| {
            if moment == Moment::Passing {
                looks += 1;
                self.push_pace.before_look(looks);
            }
            self.attempt_room(bytes, timeout, moment != Moment::First).transpose()
        };
        let drained = &self.header().rare.0.drained;
        let pushing = drained.wait_for(timeout, self.watch, attempt).transpose()?;
        if let (Some(pushing), 1..) = (&pushing, looks) {
            let room = self.room_at(pushing.tail, 2 * bytes).unwrap_or(0);
            let several = room / 2 >= bytes && self.admits_now(pushing.pushed.wrapping_add(1));
            self.push_pace.after_wait(looks, several);
        }
        Ok(pushing)
    }

    fn attempt_room(
        &self,
        bytes: u64,
        timeout: Timeout,
        look_first: bool,
    ) -> Result<Option<Pushing<'_, L>>> {
        // A waiter looks before it takes the lock, so as not to disturb those who work.
        if look_first && self.state() == OPEN {
            let (head, tail) = self.positions();
            let is_full = self.messages_max != u64::MAX && self.len() >= self.messages_max;
            if is_full || self.data_bytes.wrapping_sub(tail.wrapping_sub(head)) < bytes {
                return Ok(None);
            }
        }
        let guard = self.acquire(&self.push_lock, timeout)?;
        if self.state() != OPEN {
            return Err(closed());
        }
        // Relaxed: written under the lock that we hold.
        let tail = self.header().tail.0.load(Ordering::Relaxed);
        let pushed = self.header().push.0.tally.count(tail);
        let has_room = self.has_room(tail, bytes)? && self.admits(pushed)?;
        Ok(has_room.then_some(Pushing { ring: self, guard, tail, pushed }))
    }

    /// As [`admits`](Ring::admits), as far as is known without a look at the consumers' side.
    #[inline]
    fn admits_now(&self, pushed: u64) -> bool {
        // Relaxed: a count of a moment ago only makes the ring look fuller.
        self.messages_max == u64::MAX
            || pushed.wrapping_sub(self.seen_popped.0.load(Ordering::Relaxed)) < self.messages_max
    }

    /// Whether one more message may come after the `pushed` that ever came. Under the push lock.
    #[inline]
    fn admits(&self, pushed: u64) -> Result<bool> {
        if self.admits_now(pushed) {
            return Ok(true);
        }
        let popped = self.popped();
        self.seen_popped.0.store(popped, Ordering::Relaxed);
        let held = pushed.wrapping_sub(popped);
        if held > self.data_bytes / record::WORD_BYTES {
            let found = format!("{pushed} messages pushed and {popped} popped");
            return Err(Error::Corrupt { what: "the ring", found });
        }
        Ok(held < self.messages_max)
    }

    /// Whether a record of `bytes` fits at `tail`. Under the push lock.
    #[inline]
    fn has_room(&self, tail: u64, bytes: u64) -> Result<bool> {
        match self.room_at(tail, bytes) {
            Some(room) => Ok(room >= bytes),
            None => Err(self.corrupt_positions(self.header().head.0.load(Ordering::Relaxed), tail)),
        }
    }

    /// The bytes of room at `tail`, with a new look at `head` only if they are less than `bytes`;
    /// `None` if the two cannot be positions of this ring. Under the push lock.
    #[inline]
    fn room_at(&self, tail: u64, bytes: u64) -> Option<u64> {
        // Relaxed: written under the lock that we hold.
        let seen = tail.wrapping_sub(self.seen_head.0.load(Ordering::Relaxed));
        if seen <= self.data_bytes && self.data_bytes - seen >= bytes {
            return Some(self.data_bytes - seen);
        }
        // Acquire pairs with the Release in `Popping::commit`: its consumer has done reading.
        let head = self.header().head.0.load(Ordering::Acquire);
        let used = self.used(head, tail)?;
        self.seen_head.0.store(head, Ordering::Relaxed);
        Some(self.data_bytes - used)
    }

    /// Writes a record at `position` and returns where the next one goes.
    #[inline]
    fn write_record(&self, position: u64, message: &[u8]) -> u64 {
        let length = message.len() as u64;
        self.span.store(position, record::pack(length, position));
        self.span.write(position.wrapping_add(record::WORD_BYTES), message);
        position.wrapping_add(record::record_bytes(length))
    }
}

/// Room in a ring for one message, to be written in place.
///
/// Dropping it without [`commit`](Reserved::commit) gives the room back; so does the death of
/// its process.
pub struct Reserved<'a, L: RingLock + 'a> {
    pushing: Pushing<'a, L>,
    length: usize,
}

impl<L: RingLock> fmt::Debug for Reserved<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").field("length", &self.length).finish_non_exhaustive()
    }
}

impl<'a, L: RingLock> Reserved<'a, L> {
    /// The length that was reserved, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    fn start(&self) -> u64 {
        self.pushing.tail.wrapping_add(record::WORD_BYTES)
    }

    /// Copies `bytes` into the message from byte `offset` on. What is never written is left over
    /// from older messages.
    ///
    /// # Panics
    ///
    /// If `offset + bytes.len()` exceeds the length.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.length);
        assert!(fits, "{} bytes at {offset} exceed a message of {}", bytes.len(), self.length);
        self.pushing.ring.span.write(self.start().wrapping_add(offset as u64), bytes);
    }

    /// The message's bytes in place: two parts, the second empty unless it wraps around the
    /// ring's end.
    ///
    /// # Safety
    ///
    /// - No other process writes the ring's bytes but through rings: no hostile one, that is.
    #[cfg(not(loom))]
    pub unsafe fn as_mut_slices(&mut self) -> (&mut [u8], &mut [u8]) {
        let [mut first, mut second] = self.pushing.ring.span.parts(self.start(), self.length);
        // SAFETY: in the ring's data, beyond `tail` where only the holder of the push lock reads
        // or writes; that nobody else does the caller promises.
        let first = unsafe { first.as_mut() };
        // SAFETY: as for the first part, from which it is disjoint.
        (first, unsafe { second.as_mut() })
    }

    /// Appends the message.
    pub fn commit(self) {
        let length = self.length;
        self.commit_first(length);
    }

    /// Appends the first `length` bytes of what was reserved as the message.
    ///
    /// # Panics
    ///
    /// If `length` exceeds what was reserved.
    pub fn commit_first(self, length: usize) {
        assert!(length <= self.length, "{length} bytes of a reservation of {}", self.length);
        let tail = self.pushing.tail;
        self.pushing.ring.span.store(tail, record::pack(length as u64, tail));
        self.pushing.commit(tail.wrapping_add(record::record_bytes(length as u64)), 1);
    }
}

#[cold]
fn full<L: RingLock>(ring: &Ring<L>) -> Error {
    let capacity = match ring.messages_max {
        u64::MAX => format!("{} bytes", ring.data_bytes),
        messages => format!("{messages} messages, {} bytes", ring.data_bytes),
    };
    Error::Full { what: "the ring", capacity }
}

#[cold]
fn timed_out(after: Duration) -> Error {
    Error::TimedOut { what: "room in the ring", after }
}
