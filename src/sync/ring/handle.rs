//! The ring as one process sees it.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;

use super::data::RingData;
use super::header::{self, CacheLine, LockKind, RingHeader, RingParts, check_header, write_header};
use super::lock::RingLock;
use super::record::{self, LENGTH_MAX, WORD_BYTES};
use super::spin_hint::SpinHint;
use crate::atomics::{AtomicU64, Ordering};
use crate::error::{Error, Result};
use crate::sync::directory::WordKind;
use crate::sync::eventcount::EventCount;
use crate::sync::lock::RobustLock;
use crate::sync::owner::Owner;
use crate::sync::timeout::Watch;

/// A ring as one process sees it: header and data in shared memory, geometry in private memory.
///
/// Threads may share it. Its lock is a [`RobustLock`] unless stated otherwise.
///
/// # Examples
///
/// ```
/// use brigade::sync::Timeout;
///
/// // A queue contains a ring; `Ring::create` makes one in any shared memory.
/// let queue = brigade::Queue::<()>::new(8)?;
/// let ring = queue.raw()?;
/// ring.push("first", Timeout::Never)?;
/// ring.push("second", Timeout::Never)?;
/// assert_eq!(ring.pop(Timeout::Never)?, b"first");
/// # Ok::<(), brigade::Error>(())
/// ```
pub struct Ring<L: RingLock = RobustLock> {
    header: NonNull<RingHeader>,
    pub(super) data: RingData,
    pub(super) data_bytes: u64,
    messages_max: u64,
    pub(super) watch: Watch,
    /// The producers of this process. `seen` is a `head`.
    pub(super) push: Side<L>,
    /// The consumers of this process. `seen` is a `tail`.
    pub(super) pop: Side<L>,
    /// How many messages were popped according to a producer's last load. The number may be higher.
    pub(super) seen_popped: CacheLine<AtomicU64>,
}

/// The private state of a process for one side of the ring.
#[repr(align(128))]
pub(super) struct Side<L> {
    pub(super) lock: L,
    /// The pause before the first look of its waits.
    pub(super) hint: SpinHint,
    /// The other side's position, when it was last loaded under `lock`. It may have advanced.
    pub(super) seen: AtomicU64,
}

impl<L> Side<L> {
    fn new(lock: L) -> Side<L> {
        Side { lock, hint: SpinHint::new(), seen: AtomicU64::new(0) }
    }
}

// SAFETY: header and data are atomics, valid wherever the ring goes by the contract of
// `from_parts`; the locks are `Send`.
unsafe impl<L: RingLock> Send for Ring<L> {}
// SAFETY: as for `Send`; the locks are `Sync`.
unsafe impl<L: RingLock> Sync for Ring<L> {}

impl<L: RingLock> fmt::Debug for Ring<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = self.positions();
        f.debug_struct("Ring")
            .field("capacity_bytes", &self.capacity_bytes())
            .field("len", &self.len())
            .field("head", &head)
            .field("tail", &tail)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Ring<RobustLock> {
    /// The alignment that a ring needs, in bytes.
    pub const ALIGN: usize = align_of::<RingHeader>();

    /// The size of a ring for messages of up to `capacity_bytes` bytes, in bytes.
    ///
    /// The data are rounded up to a power of two, so a ring may hold longer messages, or several.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `capacity_bytes` is 0 or above 2^31.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::sync::Ring;
    /// // A header of 640 bytes, and a power of two that holds a message and the 8 bytes before it.
    /// assert_eq!(Ring::size_bytes(100)?, 640 + 128);
    /// assert!(Ring::size_bytes(0).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn size_bytes(capacity_bytes: usize) -> Result<usize> {
        header::size_bytes(capacity_bytes)
    }

    /// Writes a new ring at `place`, and registers its words in the directory of `owner`'s table.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `capacity_bytes` is 0 or above 2^31, or if `place` is not in
    /// the table's region; [`Error::Full`] if the table's directory is.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for [`Ring::size_bytes`]`(capacity_bytes)`
    ///   initialised bytes, for as long as the ring is used;
    /// - no other process uses those bytes until this returns, and afterwards only through rings.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
    ///
    /// #[repr(C, align(128))]
    /// struct Region([u8; 4096]);
    /// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: the region is aligned, large enough, never freed, and used for nothing else.
    /// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// let owner = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: as above; the table takes less than 1024 bytes.
    /// let ring = unsafe { Ring::create(place.add(1024), 100, &owner) }?;
    /// ring.push("hello", Timeout::Never)?;
    /// assert_eq!(ring.pop(Timeout::Never)?, b"hello");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn create(place: NonNull<u8>, capacity_bytes: usize, owner: &Owner) -> Result<Self> {
        // SAFETY: the contract.
        unsafe { Ring::create_bounded(place, capacity_bytes, u64::MAX, owner) }
    }

    /// As [`create`](Ring::create), but the ring is also full when it holds `messages_max` messages
    /// of any size.
    ///
    /// # Errors
    ///
    /// As for [`create`](Ring::create), and [`Error::InvalidArgument`] if `messages_max` is 0.
    ///
    /// # Safety
    ///
    /// - As for [`create`](Ring::create).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
    ///
    /// #[repr(C, align(128))]
    /// struct Region([u8; 4096]);
    /// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: the region is aligned, large enough, never freed, and used for nothing else.
    /// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// let owner = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: as above; the table takes less than 1024 bytes.
    /// let ring = unsafe { Ring::create_bounded(place.add(1024), 100, 2, &owner) }?;
    /// ring.push_batch(&["one", "two"], Timeout::Now)?;
    /// assert!(ring.is_full());
    /// assert!(ring.push("three", Timeout::Now).is_err());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn create_bounded(
        place: NonNull<u8>,
        capacity_bytes: usize,
        messages_max: u64,
        owner: &Owner,
    ) -> Result<Self> {
        if messages_max == 0 {
            return Err(Error::invalid("the capacity of a ring", "0 messages", "at least 1"));
        }
        // SAFETY: the contract.
        let parts = unsafe { write_header(place, capacity_bytes, messages_max, LockKind::Robust) }?;
        // SAFETY: header and data lie at `place`; the words are registered next.
        let ring = unsafe { Ring::robust(parts, owner) };
        ring.register(owner)?;
        ring.publish();
        Ok(ring)
    }

    /// Uses the ring that another process created at `place`.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if there is no ring there, it does not fit into `place_bytes`, or it has
    /// locks of another kind.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for `place_bytes` initialised bytes, for
    ///   as long as the ring is used;
    /// - all other accesses to those bytes are atomic, through rings or by a hostile process;
    /// - `owner` belongs to the table that the creator of the ring used.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
    ///
    /// #[repr(C, align(128))]
    /// struct Region([u8; 4096]);
    /// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: the region is aligned, large enough, never freed, and used for nothing else.
    /// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// let owner = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: as above; the table takes less than 1024 bytes.
    /// let ring = unsafe { Ring::create(place.add(1024), 100, &owner) }?;
    /// // SAFETY: the same bytes; another process would use its own mapping and its own owner.
    /// let same = unsafe { Ring::attach(place.add(1024), 3072, &owner) }?;
    /// ring.push("hello", Timeout::Never)?;
    /// assert_eq!(same.pop(Timeout::Never)?, b"hello");
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub unsafe fn attach(place: NonNull<u8>, place_bytes: usize, owner: &Owner) -> Result<Self> {
        // SAFETY: the contract.
        let parts = unsafe { check_header(place, place_bytes, LockKind::Robust) }?;
        // SAFETY: checked above: header and data lie within `place_bytes`; `create` registered the
        // words before it published the ring.
        Ok(unsafe { Ring::robust(parts, owner) })
    }

    /// # Safety
    ///
    /// - As for `from_parts`;
    /// - the lock words are registered with the table of `owner` before the first locking.
    pub(in crate::sync) unsafe fn robust(parts: RingParts, owner: &Owner) -> Self {
        // SAFETY: valid, by the contract.
        let shared = unsafe { parts.0.as_ref() };
        let [push_lock, pop_lock] =
            [&shared.push.0.lock.word, &shared.pop.0.lock.word].map(|word| {
                // SAFETY: in the header, valid as long as the ring; registered: the contract.
                unsafe { RobustLock::new(NonNull::from(word), owner) }
            });
        // SAFETY: the contract.
        unsafe { Ring::from_parts(parts, owner.watch(), push_lock, pop_lock) }
    }

    pub(in crate::sync) fn register(&self, owner: &Owner) -> Result<()> {
        self.push.lock.register()?;
        self.pop.lock.register()?;
        owner.table().directory().register(WordKind::Count, NonNull::from(self.filled()).cast(), 2)
    }

    /// Removes the ring's words from the directory of `owner`'s table, before its memory is used
    /// for another purpose. Called once, when no other process uses the ring.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{Owner, OwnerTable, Ring, Timeout, Watch};
    ///
    /// #[repr(C, align(128))]
    /// struct Region([u8; 4096]);
    /// let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// // SAFETY: the region is aligned, large enough, never freed, and used for nothing else.
    /// let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// let owner = Owner::claim(&table, Watch::Waiters)?;
    /// for _ in 0..10 {
    ///     // The directory has eight entries, and a ring takes three.
    ///     // SAFETY: as above; the table takes less than 1024 bytes, and no other ring is there.
    ///     let ring = unsafe { Ring::create(place.add(1024), 100, &owner) }?;
    ///     ring.push("hello", Timeout::Never)?;
    ///     assert_eq!(ring.len(), 1);
    ///     ring.unregister(&owner);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn unregister(&self, owner: &Owner) {
        self.push.lock.unregister();
        self.pop.lock.unregister();
        owner.table().directory().unregister(
            WordKind::Count,
            NonNull::from(self.filled()).cast(),
            2,
        );
    }
}

impl<L: RingLock> Ring<L> {
    /// # Safety
    ///
    /// - `header` points to an initialised header, `data` to initialised words, their number a
    ///   power of two and at least two;
    /// - both stay valid while the ring is used, and all users write them by atomics;
    /// - `push_lock` and `pop_lock` exclude others as long as their words are not overwritten.
    pub(in crate::sync) unsafe fn from_parts(
        (header, data): RingParts,
        watch: Watch,
        push_lock: L,
        pop_lock: L,
    ) -> Self {
        // SAFETY: the contract. Relaxed: written by its creator before it was published.
        let messages_max = unsafe { header.as_ref() }.common.0.messages_max.load(Ordering::Relaxed);
        Ring {
            header,
            // SAFETY: the contract.
            data: unsafe { RingData::new(data) },
            data_bytes: data.len() as u64 * WORD_BYTES,
            messages_max,
            watch,
            push: Side::new(push_lock),
            pop: Side::new(pop_lock),
            seen_popped: CacheLine(AtomicU64::new(0)),
        }
    }

    pub(in crate::sync) fn publish(&self) {
        self.header().publish();
    }

    #[inline]
    pub(super) fn header(&self) -> &RingHeader {
        // SAFETY: valid and all atomics while `self` exists: contract of `from_parts`.
        unsafe { self.header.as_ref() }
    }

    /// The longest message that the ring takes, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        (self.data_bytes - WORD_BYTES).min(LENGTH_MAX)
    }

    /// The most messages that the ring holds, whatever their size; `u64::MAX` if only their bytes
    /// are limited.
    #[must_use]
    pub fn messages_max(&self) -> u64 {
        self.messages_max
    }

    /// The number of messages. It may be outdated at once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push_batch(&["one", "two"], Timeout::Never)?;
    /// assert_eq!(ring.len(), 2);
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        // Popped first: messages that are popped between the two loads only make the result larger.
        let popped = self.popped();
        let used = self.pushed().wrapping_sub(popped);
        if self.is_empty() { 0 } else { used.clamp(1, self.data_bytes / WORD_BYTES) }
    }

    /// The number of messages that were ever pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.header().pushed()
    }

    /// The number of messages that were ever popped.
    pub(crate) fn popped(&self) -> u64 {
        self.header().popped()
    }

    /// Whether a message of 8 bytes would have to wait for room. The answer may be outdated at
    /// once.
    ///
    /// # Examples
    ///
    /// ```
    /// # let queue = brigade::Queue::<()>::new(8)?;
    /// # let ring = queue.raw()?;
    /// use brigade::sync::Timeout;
    /// ring.push_batch(&["a"; 8], Timeout::Never)?;
    /// assert!(ring.is_full());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (head, tail) = self.positions();
        let room = self.data_bytes.wrapping_sub(tail.wrapping_sub(head));
        room < record::record_bytes(8) || self.len() >= self.messages_max
    }

    /// Whether there is no message. The answer may be outdated at once.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (head, tail) = self.positions();
        head == tail
    }

    /// The event count on which consumers sleep.
    #[inline]
    pub(crate) fn filled(&self) -> &EventCount {
        &self.header().common.0.filled
    }

    /// The event count on which producers sleep.
    #[inline]
    pub(super) fn drained(&self) -> &EventCount {
        &self.header().common.0.drained
    }

    /// `head` and `tail`, which may be outdated at once.
    pub(super) fn positions(&self) -> (u64, u64) {
        // Relaxed, both: no data are read at these positions.
        let head = self.header().head.0.load(Ordering::Relaxed);
        (head, self.header().tail.0.load(Ordering::Relaxed))
    }

    /// The bytes between two positions, if they can be positions of this ring.
    #[inline]
    pub(super) fn used(&self, head: u64, tail: u64) -> Option<u64> {
        let used = tail.wrapping_sub(head);
        let is_sound = used <= self.data_bytes && (head | tail).is_multiple_of(WORD_BYTES);
        is_sound.then_some(used)
    }
}
