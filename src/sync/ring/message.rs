//! A message that is read in place, in the ring.
#![allow(unsafe_code)]

use std::fmt;

use super::handle::Ring;
use super::lock::RingLock;
use super::pop::PopGuard;
use crate::error::Result;
use crate::sync::timeout::Timeout;

/// A message in its place in the ring.
///
/// It holds the consumers' lock. If it is dropped without [`consume`](Message::consume), or its
/// process dies, the message stays in the ring.
///
/// # Examples
///
/// ```
/// # let queue = brigade::Queue::<()>::new(8)?;
/// # let ring = queue.raw()?;
/// use brigade::sync::Timeout;
/// ring.push("bread", Timeout::Never)?;
/// assert_eq!(ring.read(Timeout::Never)?.length(), 5);
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Message<'a, L: RingLock + 'a> {
    guard: PopGuard<'a, L>,
}

impl<L: RingLock> fmt::Debug for Message<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("length", &self.length()).finish_non_exhaustive()
    }
}

impl<L: RingLock> Ring<L> {
    /// Opens the oldest message to be read in place; waits for one until the timeout. Other
    /// consumers wait until it is consumed or dropped.
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
    /// ring.push("bread", Timeout::Never)?;
    /// let message = ring.read(Timeout::Never)?;
    /// let mut first = [0; 2];
    /// message.read_at(0, &mut first);
    /// assert_eq!(&first, b"br");
    /// // Dropped, not consumed: the message stays.
    /// drop(message);
    /// assert_eq!(ring.len(), 1);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn read(&self, timeout: impl Into<Timeout>) -> Result<Message<'_, L>> {
        Ok(Message { guard: self.oldest(timeout.into())? })
    }
}

impl<L: RingLock> Message<'_, L> {
    /// The message's length, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.guard.length
    }

    /// Copies `into.len()` bytes from `offset` on.
    ///
    /// # Panics
    ///
    /// If `offset + into.len()` exceeds the length.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push("bread", Timeout::Never)?;
    /// let mut end = [0; 4];
    /// ring.read(Timeout::Never)?.read_at(1, &mut end);
    /// assert_eq!(&end, b"read");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn read_at(&self, offset: usize, into: &mut [u8]) {
        let length = self.length();
        let fits = offset.checked_add(into.len()).is_some_and(|end| end <= length);
        assert!(fits, "{} bytes at {offset} exceed a message of {length}", into.len());
        self.guard.ring.data.read(self.guard.start().wrapping_add(offset as u64), into);
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
    /// ring.push("bread", Timeout::Never)?;
    /// let message = ring.read(Timeout::Never)?;
    /// // SAFETY: only this example writes the queue's memory, and only through its ring.
    /// let (first, second) = unsafe { message.as_slices() };
    /// assert_eq!([first, second].concat(), b"bread");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub unsafe fn as_slices(&self) -> (&[u8], &[u8]) {
        let [first, second] = self.guard.ring.data.parts(self.guard.start(), self.length());
        // SAFETY: initialised bytes of the ring's data (`from_parts`), between `head` and `tail`,
        // which are written only after `head` has moved. That takes the pop lock, which this
        // message holds, and which excludes others (`from_parts`); all writers use rings, by the
        // contract.
        let first = unsafe { first.as_ref() };
        // SAFETY: as for the first part.
        (first, unsafe { second.as_ref() })
    }

    /// The number of messages that were popped before this one.
    pub(crate) fn number(&self) -> u64 {
        self.guard.popped()
    }

    /// Removes the message from the ring.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push("bread", Timeout::Never)?;
    /// ring.read(Timeout::Never)?.consume();
    /// assert!(ring.is_empty());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn consume(self) {
        self.guard.consume();
    }
}
