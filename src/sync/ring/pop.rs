//! The consumers' side: messages that are copied out.

use super::batch::MessageBatch;
use super::handle::Ring;
use super::header::{CLOSED, DRAINING};
use super::lock::RingLock;
use super::record::{self, WORD_BYTES};
use super::wait::{closed, start_of, timed_out};
use crate::atomics::Ordering;
use crate::error::{Error, Result};
use crate::sync::timeout::Timeout;

/// The pop lock, held, with a message of `length` bytes at `head` and records up to `tail`.
pub(super) struct PopGuard<'a, L: RingLock + 'a> {
    pub(super) ring: &'a Ring<L>,
    guard: L::Guard<'a>,
    head: u64,
    tail: u64,
    pub(super) length: usize,
}

impl<L: RingLock> PopGuard<'_, L> {
    /// The number of messages that were ever popped.
    #[inline]
    pub(super) fn popped(&self) -> u64 {
        self.ring.header().pop.0.count.count(self.head)
    }

    /// Frees everything up to `head`, which is `messages` messages, and releases the lock.
    #[inline]
    fn commit(self, head: u64, messages: u64) {
        let header = self.ring.header();
        header.pop.0.count.prepare(self.head, self.popped().wrapping_add(messages));
        // Release pairs with the Acquire in `Ring::room_at`: the reading is finished.
        header.head.0.store(head, Ordering::Release);
        drop(self.guard);
        self.ring.notify_unlocked(self.ring.drained());
    }

    /// The position of the message's first byte.
    #[inline]
    pub(super) fn start(&self) -> u64 {
        self.head.wrapping_add(WORD_BYTES)
    }

    /// Removes the message from the ring.
    #[inline]
    pub(super) fn consume(self) {
        let next = self.head.wrapping_add(record::record_bytes(self.length as u64));
        self.commit(next, 1);
    }

    /// Appends the message to `message` and removes it from the ring.
    #[inline]
    fn pop_onto(self, message: &mut Vec<u8>) {
        self.ring.data.append(self.start(), self.length, message);
        self.consume();
    }
}

impl<L: RingLock> Ring<L> {
    /// Pops the oldest message; waits for one until the timeout.
    ///
    /// With [`Timeout::Now`] it does not wait for a message, and at most 10 ms for a lock that
    /// another consumer holds.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the ring is closed and (unless by [`close_now`](Ring::close_now))
    /// empty; [`Error::Empty`] with [`Timeout::Now`]; [`Error::TimedOut`] at the timeout, or if
    /// the lock was held until then; [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// use std::time::Duration;
    /// use brigade::Error;
    /// assert!(matches!(ring.pop(Timeout::Now), Err(Error::Empty { .. })));
    /// assert!(matches!(ring.pop(Duration::from_millis(1)), Err(Error::TimedOut { .. })));
    /// ring.push("menu", Timeout::Never)?;
    /// assert_eq!(ring.pop(Timeout::Never)?, b"menu");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pop(&self, timeout: impl Into<Timeout>) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        self.pop_into(&mut message, timeout)?;
        Ok(message)
    }

    /// As [`pop`](Ring::pop), into memory that can be reused: `message` is cleared first.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Ring::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// let mut message = Vec::new();
    /// for text in ["one", "two"] {
    ///     ring.push(text, Timeout::Never)?;
    ///     ring.pop_into(&mut message, Timeout::Never)?;
    ///     assert_eq!(message, text.as_bytes());
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn pop_into(&self, message: &mut Vec<u8>, timeout: impl Into<Timeout>) -> Result<()> {
        message.clear();
        match self.message_fast() {
            Some(guard) => guard.pop_onto(message),
            None => return self.pop_slow(message, timeout.into()),
        }
        Ok(())
    }

    #[cold]
    fn pop_slow(&self, message: &mut Vec<u8>, timeout: Timeout) -> Result<()> {
        self.oldest(timeout)?.pop_onto(message);
        Ok(())
    }

    /// Pops the oldest messages in one step, at most `messages_max`; waits for the first until the
    /// timeout. `batch` is cleared first.
    ///
    /// # Errors
    ///
    /// As for [`pop`](Ring::pop).
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// use brigade::sync::MessageBatch;
    /// ring.push_batch(&["one", "two", "three"], Timeout::Never)?;
    /// let mut batch = MessageBatch::new();
    /// ring.pop_batch(&mut batch, 2, Timeout::Never)?;
    /// assert!(batch.iter().eq(["one", "two"].map(str::as_bytes)));
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn pop_batch(
        &self,
        batch: &mut MessageBatch,
        messages_max: usize,
        timeout: impl Into<Timeout>,
    ) -> Result<()> {
        batch.clear();
        if messages_max == 0 {
            return Ok(());
        }
        let guard = self.oldest(timeout.into())?;
        let (mut head, mut tail, mut length) = (guard.head, guard.tail, guard.length);
        loop {
            batch.add(|bytes| self.data.append(head.wrapping_add(WORD_BYTES), length, bytes));
            head = head.wrapping_add(record::record_bytes(length as u64));
            if batch.len() == messages_max {
                break;
            }
            // An error here is left to the next call: the messages before it are valid.
            match self.next_length(head, &mut tail) {
                Ok(Some(next)) => length = next,
                Ok(None) | Err(_) => break,
            }
        }
        guard.commit(head, batch.len() as u64);
        Ok(())
    }

    /// The first attempt of a pop: takes the pop lock if there is a message and no error. Errors
    /// are left to the second attempt. As in `room_fast`, no value passes through memory, and no
    /// lock is taken if there is no message.
    #[inline]
    fn message_fast(&self) -> Option<PopGuard<'_, L>> {
        // The state first; see `attempt_message`.
        if self.state() >= CLOSED {
            return None;
        }
        // Relaxed, both: a hint.
        let hint = self.header().head.0.load(Ordering::Relaxed);
        if hint == self.pop.seen.load(Ordering::Relaxed) && self.is_empty() {
            return None;
        }
        let guard = self.pop.lock.acquire(Timeout::Now).ok()??;
        // Relaxed: written under the lock, which is held here.
        let head = self.header().head.0.load(Ordering::Relaxed);
        let tail = self.tail_beyond(head)?;
        let length =
            if head == tail { None } else { self.length_in(self.data.load(head), head, tail) };
        Some(PopGuard { ring: self, guard, head, tail, length: length? })
    }

    /// Takes the pop lock when there is a message.
    pub(super) fn oldest(&self, timeout: Timeout) -> Result<PopGuard<'_, L>> {
        let start = start_of(timeout);
        let attempt = |look_first| self.attempt_message(timeout, look_first);
        let several = |guard: &PopGuard<'_, L>| {
            let ahead = guard.tail.wrapping_sub(guard.head);
            ahead > record::record_bytes(guard.length as u64)
        };
        let guard = self.wait(&self.pop, self.filled(), timeout, attempt, several)?;
        guard.ok_or_else(|| timed_out(timeout, start, "a message in the ring", empty))
    }

    fn attempt_message(
        &self,
        timeout: Timeout,
        look_first: bool,
    ) -> Result<Option<PopGuard<'_, L>>> {
        // The state before the positions: if the ring is seen closed, every producer that pushed
        // before the closing has committed.
        let state = self.state();
        if state >= CLOSED {
            return Err(closed());
        }
        if look_first && state < DRAINING && self.is_empty() {
            return Ok(None);
        }
        let guard = self.lock(&self.pop, timeout)?;
        // Relaxed: written under the lock, which is held here.
        let head = self.header().head.0.load(Ordering::Relaxed);
        let tail = self.check_tail(head)?;
        if head == tail {
            return if state >= DRAINING { Err(closed()) } else { Ok(None) };
        }
        let length = self.length_at(head, tail)?;
        Ok(Some(PopGuard { ring: self, guard, head, tail, length }))
    }

    /// As [`tail_beyond`](Ring::tail_beyond), with an error.
    #[inline]
    fn check_tail(&self, head: u64) -> Result<u64> {
        self.tail_beyond(head).ok_or_else(|| self.corrupt_positions(head, self.positions().1))
    }

    /// A `tail` that shows a message at `head`: the last one that was loaded, or else the current
    /// one, which may equal `head`. `None` if the two cannot be positions of this ring. Requires
    /// the pop lock.
    #[inline]
    fn tail_beyond(&self, head: u64) -> Option<u64> {
        // Relaxed: written under the lock, which is held here.
        let seen = self.pop.seen.load(Ordering::Relaxed);
        let ahead = seen.wrapping_sub(head);
        if ahead != 0 && ahead <= self.data_bytes && head.is_multiple_of(WORD_BYTES) {
            return Some(seen);
        }
        // Acquire pairs with the Release in `PushGuard::commit`.
        let tail = self.header().tail.0.load(Ordering::Acquire);
        self.used(head, tail)?;
        self.pop.seen.store(tail, Ordering::Relaxed);
        Some(tail)
    }

    /// The length of the message at `head`, if there is one. Reloads `tail` if it equals `head`.
    #[inline]
    fn next_length(&self, head: u64, tail: &mut u64) -> Result<Option<usize>> {
        if head == *tail {
            *tail = self.check_tail(head)?;
            if head == *tail {
                return Ok(None);
            }
        }
        self.length_at(head, *tail).map(Some)
    }

    /// The length of the message at `head`, with records up to `tail`.
    #[inline]
    fn length_at(&self, head: u64, tail: u64) -> Result<usize> {
        let word = self.data.load(head);
        self.length_in(word, head, tail).ok_or_else(|| corrupt_record(word, head))
    }

    /// The length in `word`, if that is the first word of a record at `head` that ends by `tail`.
    #[inline]
    fn length_in(&self, word: u64, head: u64, tail: u64) -> Option<usize> {
        let length = record::unpack(word, head)
            .filter(|&length| record::record_bytes(length) <= tail.wrapping_sub(head))?;
        usize::try_from(length).ok()
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
