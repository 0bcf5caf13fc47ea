//! A message that is written in place, in the ring.
#![allow(unsafe_code)]

use std::fmt;

use super::handle::Ring;
use super::lock::RingLock;
use super::push::PushGuard;
use super::record::{self, WORD_BYTES};
use crate::error::Result;
use crate::sync::timeout::Timeout;

/// Room in a ring for one message, to be written in place.
///
/// It holds the producers' lock. If it is dropped without [`commit`](Reservation::commit), or its
/// process dies, the room is free again.
///
/// # Examples
///
/// ```
/// # let queue = brigade::Queue::<()>::new(8)?;
/// # let ring = queue.raw()?;
/// use brigade::sync::Timeout;
/// let room = ring.reserve(5, Timeout::Never)?;
/// assert_eq!(room.length(), 5);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Reservation<'a, L: RingLock + 'a> {
    guard: PushGuard<'a, L>,
    length: usize,
}

impl<L: RingLock> fmt::Debug for Reservation<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("length", &self.length).finish_non_exhaustive()
    }
}

impl<L: RingLock> Ring<L> {
    /// Reserves room for a message of `length` bytes, to be written in place; waits for room until
    /// the timeout. Other producers wait until the reservation is committed or dropped.
    ///
    /// # Errors
    ///
    /// As for [`push`](Ring::push).
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// let mut room = ring.reserve(5, Timeout::Never)?;
    /// room.write_at(0, b"salad");
    /// room.commit();
    /// assert_eq!(ring.pop(Timeout::Now)?, b"salad");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn reserve(
        &self,
        length: usize,
        timeout: impl Into<Timeout>,
    ) -> Result<Reservation<'_, L>> {
        let bytes = record::record_bytes(self.check_length(length)?);
        Ok(Reservation { guard: self.room(bytes, timeout.into())?, length })
    }
}

impl<L: RingLock> Reservation<'_, L> {
    /// The reserved length, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    fn start(&self) -> u64 {
        self.guard.tail.wrapping_add(WORD_BYTES)
    }

    /// Copies `bytes` into the message at byte `offset`. Bytes that are never written keep the
    /// values of older messages.
    ///
    /// # Panics
    ///
    /// If `offset + bytes.len()` exceeds the length.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// let mut room = ring.reserve(4, Timeout::Never)?;
    /// room.write_at(2, b"up");
    /// room.write_at(0, b"so");
    /// room.commit();
    /// assert_eq!(ring.pop(Timeout::Now)?, b"soup");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= self.length);
        assert!(fits, "{} bytes at {offset} exceed a message of {}", bytes.len(), self.length);
        self.guard.ring.data.write(self.start().wrapping_add(offset as u64), bytes);
    }

    /// The message's bytes in place: two parts, the second empty unless the message wraps around
    /// the ring's end.
    ///
    /// # Safety
    ///
    /// - The ring's memory is written only through rings while the slices exist.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// let mut room = ring.reserve(3, Timeout::Never)?;
    /// // SAFETY: only this example writes the queue's memory, and only through its ring.
    /// let (first, second) = unsafe { room.as_mut_slices() };
    /// for (byte, value) in first.iter_mut().chain(second).zip(*b"tea") {
    ///     *byte = value;
    /// }
    /// room.commit();
    /// assert_eq!(ring.pop(Timeout::Now)?, b"tea");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn as_mut_slices(&mut self) -> (&mut [u8], &mut [u8]) {
        let [mut first, mut second] = self.guard.ring.data.parts(self.start(), self.length);
        // SAFETY: initialised bytes of the ring's data (`from_parts`), after `tail`, where only the
        // holder of the push lock reads or writes. The lock excludes others (`from_parts`), and all
        // writers use rings, by the contract.
        let first = unsafe { first.as_mut() };
        // SAFETY: as for the first part, from which it is disjoint: `length` is at most the data's.
        (first, unsafe { second.as_mut() })
    }

    /// Appends the message.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// // A reservation that is not committed leaves nothing.
    /// drop(ring.reserve(3, Timeout::Never)?);
    /// assert!(ring.is_empty());
    /// ring.reserve(3, Timeout::Never)?.commit();
    /// assert_eq!(ring.len(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn commit(self) {
        let length = self.length;
        self.commit_first(length);
    }

    /// Appends the first `length` bytes of the reservation as the message.
    ///
    /// # Panics
    ///
    /// If `length` exceeds the reserved length.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// let mut room = ring.reserve(100, Timeout::Never)?;
    /// room.write_at(0, b"short");
    /// room.commit_first(5);
    /// assert_eq!(ring.pop(Timeout::Now)?, b"short");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn commit_first(self, length: usize) {
        assert!(length <= self.length, "{length} bytes of a reservation of {}", self.length);
        let (tail, length) = (self.guard.tail, length as u64);
        self.guard.ring.data.store(tail, record::pack(length, tail));
        self.guard.commit(tail.wrapping_add(record::record_bytes(length)), 1);
    }
}
