//! The producers' side: messages that are copied in.

use super::error::{BatchError, PushError};
use super::handle::Ring;
use super::header::OPEN;
use super::lock::RingLock;
use super::record::{self, WORD_BYTES};
use super::wait::{closed, start_of, timed_out};
use crate::atomics::Ordering;
use crate::error::{Error, Result};
use crate::sync::timeout::Timeout;

/// The push lock, held, with room for a record at `tail`.
pub(super) struct PushGuard<'a, L: RingLock + 'a> {
    pub(super) ring: &'a Ring<L>,
    guard: L::Guard<'a>,
    pub(super) tail: u64,
    /// The number of messages that were ever pushed.
    pushed: u64,
}

impl<L: RingLock> PushGuard<'_, L> {
    /// Publishes everything up to `tail`, which is `messages` messages, and releases the lock.
    #[inline]
    pub(super) fn commit(self, tail: u64, messages: u64) {
        let header = self.ring.header();
        header.push.0.count.prepare(self.tail, self.pushed.wrapping_add(messages));
        // The commit. Release pairs with the Acquire in `Ring::tail_beyond`.
        header.tail.0.store(tail, Ordering::Release);
        drop(self.guard);
        self.ring.notify_unlocked(self.ring.filled());
    }

    /// Appends one message.
    #[inline]
    fn push(self, message: &[u8]) {
        let end = self.ring.write_record(self.tail, message);
        self.commit(end, 1);
    }
}

impl<L: RingLock> Ring<L> {
    /// Appends a message; waits for room until the timeout.
    ///
    /// With [`Timeout::Now`] it does not wait for room, and at most 10 ms for a lock that another
    /// producer holds.
    ///
    /// # Errors
    ///
    /// With the message: [`Error::TooLarge`] at once if it can never fit; [`Error::Closed`];
    /// [`Error::Full`] with [`Timeout::Now`]; [`Error::TimedOut`] at the timeout, or if the lock
    /// was held until then; [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push("first", Timeout::Never)?;
    /// assert_eq!(ring.pop(Timeout::Now)?, b"first");
    /// // A message that is not pushed comes back.
    /// let refused = ring.push(vec![0; 1 << 20], Timeout::Now).unwrap_err();
    /// assert_eq!(refused.value.len(), 1 << 20);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[inline]
    pub fn push<B: AsRef<[u8]>>(
        &self,
        message: B,
        timeout: impl Into<Timeout>,
    ) -> std::result::Result<(), PushError<B>> {
        match self.push_bytes(message.as_ref(), timeout.into()) {
            Ok(()) => Ok(()),
            Err(error) => Err(PushError { value: message, error }),
        }
    }

    #[inline]
    pub(crate) fn push_bytes(&self, message: &[u8], timeout: Timeout) -> Result<()> {
        let bytes = record::record_bytes(self.check_length(message.len())?);
        match self.room_fast(bytes) {
            Some(guard) => guard.push(message),
            None => return self.push_slow(message, bytes, timeout),
        }
        Ok(())
    }

    #[cold]
    fn push_slow(&self, message: &[u8], bytes: u64, timeout: Timeout) -> Result<()> {
        self.room(bytes, timeout)?.push(message);
        Ok(())
    }

    /// Appends messages in order, each time as many as fit, in one step; waits for room for the
    /// rest. The timeout applies to all of them together.
    ///
    /// # Errors
    ///
    /// As for [`push`](Ring::push), with the number of messages that were pushed. A message that
    /// can never fit is refused after all before it have been pushed.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push_batch(&["one", "two"], Timeout::Never)?;
    /// assert_eq!(ring.len(), 2);
    /// // The queue was made for eight messages.
    /// let error = ring.push_batch(&["more"; 9], Timeout::Now).unwrap_err();
    /// assert_eq!(error.pushed, 6);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn push_batch<B: AsRef<[u8]>>(
        &self,
        messages: &[B],
        timeout: impl Into<Timeout>,
    ) -> std::result::Result<(), BatchError> {
        let timeout = timeout.into();
        let mut pushed = 0;
        while pushed < messages.len() {
            match self.push_some(&messages[pushed..], timeout) {
                Ok(more) => pushed += more,
                Err(error) => return Err(BatchError { pushed, error }),
            }
        }
        Ok(())
    }

    /// Pushes the first of the messages, and all that fit after it, in one step.
    fn push_some<B: AsRef<[u8]>>(&self, messages: &[B], timeout: Timeout) -> Result<usize> {
        let length = self.check_length(messages[0].as_ref().len())?;
        let guard = self.room(record::record_bytes(length), timeout)?;
        let mut end = guard.tail;
        let mut pushed = 0;
        for message in messages {
            let message = message.as_ref();
            let Ok(length) = self.check_length(message.len()) else { break };
            let count = guard.pushed.wrapping_add(pushed as u64);
            if !self.has_room(end, record::record_bytes(length))? || !self.admits(count)? {
                break;
            }
            end = self.write_record(end, message);
            pushed += 1;
        }
        guard.commit(end, pushed as u64);
        Ok(pushed)
    }

    #[inline]
    pub(super) fn check_length(&self, length: usize) -> Result<u64> {
        let size_bytes = length as u64;
        let limit_bytes = self.capacity_bytes();
        if size_bytes > limit_bytes {
            return Err(Error::TooLarge { what: "the message", size_bytes, limit_bytes });
        }
        Ok(size_bytes)
    }

    /// The first attempt of a push: takes the push lock if there is room for a record of `bytes`
    /// and no error. Errors are left to the second attempt.
    ///
    /// No value may pass through memory here. A load of two words that were stored separately waits
    /// for all earlier stores, and thus until the other side's processor has released its cache
    /// lines.
    #[inline]
    fn room_fast(&self, bytes: u64) -> Option<PushGuard<'_, L>> {
        let guard = self.push.lock.acquire(Timeout::Now).ok()??;
        // Relaxed: written under the lock, which is held here.
        let tail = self.header().tail.0.load(Ordering::Relaxed);
        let pushed = self.header().push.0.count.count(tail);
        let is_free = self.state() == OPEN && self.room_at(tail, bytes)? >= bytes;
        (is_free && self.admits_fast(pushed)).then_some(PushGuard {
            ring: self,
            guard,
            tail,
            pushed,
        })
    }

    /// Takes the push lock when there is room for a record of `bytes`.
    pub(super) fn room(&self, bytes: u64, timeout: Timeout) -> Result<PushGuard<'_, L>> {
        let start = start_of(timeout);
        let attempt = |look_first| self.attempt_room(bytes, timeout, look_first);
        let several = |guard: &PushGuard<'_, L>| {
            let room = self.room_at(guard.tail, 2 * bytes).unwrap_or(0);
            room / 2 >= bytes && self.admits_fast(guard.pushed.wrapping_add(1))
        };
        let guard = self.wait(&self.push, self.drained(), timeout, attempt, several)?;
        guard.ok_or_else(|| timed_out(timeout, start, "room in the ring", || self.full()))
    }

    fn attempt_room(
        &self,
        bytes: u64,
        timeout: Timeout,
        look_first: bool,
    ) -> Result<Option<PushGuard<'_, L>>> {
        if look_first && self.state() == OPEN {
            let (head, tail) = self.positions();
            let is_full = self.messages_max() != u64::MAX && self.len() >= self.messages_max();
            if is_full || self.data_bytes.wrapping_sub(tail.wrapping_sub(head)) < bytes {
                return Ok(None);
            }
        }
        let guard = self.lock(&self.push, timeout)?;
        if self.state() != OPEN {
            return Err(closed());
        }
        // Relaxed: written under the lock, which is held here.
        let tail = self.header().tail.0.load(Ordering::Relaxed);
        let pushed = self.header().push.0.count.count(tail);
        let has_room = self.has_room(tail, bytes)? && self.admits(pushed)?;
        Ok(has_room.then_some(PushGuard { ring: self, guard, tail, pushed }))
    }

    /// As [`admits`](Ring::admits), without loading the consumers' words.
    #[inline]
    fn admits_fast(&self, pushed: u64) -> bool {
        // Relaxed: an old count only makes the ring look fuller.
        self.messages_max() == u64::MAX
            || pushed.wrapping_sub(self.seen_popped.0.load(Ordering::Relaxed)) < self.messages_max()
    }

    /// Whether the limit on messages admits one more after `pushed` messages. Requires the push
    /// lock.
    #[inline]
    fn admits(&self, pushed: u64) -> Result<bool> {
        if self.admits_fast(pushed) {
            return Ok(true);
        }
        let popped = self.popped();
        self.seen_popped.0.store(popped, Ordering::Relaxed);
        let held = pushed.wrapping_sub(popped);
        if held > self.data_bytes / WORD_BYTES {
            let found = format!("{pushed} messages pushed and {popped} popped");
            return Err(Error::Corrupt { what: "the ring", found });
        }
        Ok(held < self.messages_max())
    }

    /// Whether a record of `bytes` fits at `tail`. Requires the push lock.
    #[inline]
    fn has_room(&self, tail: u64, bytes: u64) -> Result<bool> {
        match self.room_at(tail, bytes) {
            Some(room) => Ok(room >= bytes),
            None => Err(self.corrupt_positions(self.positions().0, tail)),
        }
    }

    /// The bytes of room at `tail`. Loads `head` only if its last known value leaves less than
    /// `bytes`. `None` if the two cannot be positions of this ring. Requires the push lock.
    #[inline]
    fn room_at(&self, tail: u64, bytes: u64) -> Option<u64> {
        // Relaxed: written under the lock, which is held here.
        let seen = tail.wrapping_sub(self.push.seen.load(Ordering::Relaxed));
        if seen <= self.data_bytes && self.data_bytes - seen >= bytes {
            return Some(self.data_bytes - seen);
        }
        // Acquire pairs with the Release in `PopGuard::commit`: that consumer has finished reading.
        let head = self.header().head.0.load(Ordering::Acquire);
        let used = self.used(head, tail)?;
        self.push.seen.store(head, Ordering::Relaxed);
        Some(self.data_bytes - used)
    }

    /// Writes a record at `position` and returns the position after it.
    #[inline]
    fn write_record(&self, position: u64, message: &[u8]) -> u64 {
        let length = message.len() as u64;
        self.data.store(position, record::pack(length, position));
        self.data.write(position.wrapping_add(WORD_BYTES), message);
        position.wrapping_add(record::record_bytes(length))
    }

    #[cold]
    fn full(&self) -> Error {
        let capacity = match self.messages_max() {
            u64::MAX => format!("{} bytes", self.data_bytes),
            messages => format!("{messages} messages, {} bytes", self.data_bytes),
        };
        Error::Full { what: "the ring", capacity }
    }
}
