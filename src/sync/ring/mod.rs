//! A lock-protected ring of messages: many producers, many consumers.
//!
//! Messages are byte strings of any length up to the ring's capacity, and come out in the order
//! in which they went in. Producers exclude each other by one lock and consumers by another, so
//! the two sides never wait for each other but for room and for messages.
//!
//! Guarantees: a message is committed by one store. If a producer dies before it, the message
//! never was; after it, the message is there. If a consumer dies before it has stored the new
//! head, the next consumer gets the message; after it, the message is gone. So a ring needs no
//! repair after a death, only that its locks come free, which is what a sweep does. Whatever
//! somebody writes over its shared words, a call returns a message of the length it was pushed
//! with, or [`Error::Corrupt`], and neither crashes nor spins for ever.
//!
//! It does not tell what a dead consumer did with a message that it had taken, and a process that
//! overwrites shared words can of course make messages vanish or change their bytes.
//!
//! # Design
//!
//! `head` and `tail` count bytes ever consumed and produced, from 0 up, in multiples of 8. The
//! bytes `head..tail` (modulo the size) hold records: a word with the length, then the message,
//! padded to 8 (see `record.rs`). One may wrap around the end.
//!
//! 1. A producer takes the push lock, reads `tail`, and checks `tail - head` against the room it
//!    needs, by its private copy of `head` first: an old `head` only makes the ring look fuller.
//! 2. It writes the record beyond `tail`, where no consumer reads.
//! 3. It stores the new `tail` (Release): the commit.
//! 4. It unlocks, and notifies `filled` if consumers sleep.
//! 5. A consumer takes the pop lock, reads `head`, then `tail` (Acquire, pairs with 3) unless its
//!    private copy shows a message already. Position, word and length are checked against private
//!    geometry before the message is copied.
//! 6. It copies the message, then stores the new `head` (Release, pairs with 1): the room is free.
//! 7. It unlocks, and notifies `drained` if producers sleep.
//!
//! The first attempt of a push or a pop does all of this in registers, and gives up without a word
//! if anything stands against it (`room_now`, `message_now`); the next one, out of line, waits and
//! says what is wrong. The fence that a notification needs is the unlocking itself where that is
//! one, see `eventcount.rs`. How long a wait pauses before it looks, `pace.rs` decides.
//!
//! A death in 1-2 or 5-6 leaves a lock behind, in 3-4 or 6-7 perhaps a sleeper: the sweep frees
//! the one and wakes the other.
#![allow(unsafe_code)]

mod header;
mod lock;
mod pace;
mod pop;
mod push;
mod record;
#[cfg(not(loom))]
mod report;
mod span;
mod tally;
#[cfg(all(test, not(loom)))]
mod tests;

use std::fmt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use header::{CLOSED, DRAINING, Line, MAGIC, OPEN};
pub(super) use header::{LockKind, RingHeader};
#[cfg(all(feature = "raw-sync", not(loom)))]
pub(super) use header::{LockPlace, lock_places};
#[cfg(not(loom))]
pub(super) use header::{check_header, data_of, write_header};
pub use lock::RingLock;
use pace::Pace;
pub use pop::{Batch, Message};
pub use push::{BatchError, PushError, Reserved};
#[cfg(not(loom))]
pub(crate) use report::{LOOK_BYTES, RingReport, look};
use span::Span;

use super::directory::WordKind;
use super::eventcount::EventCount;
use super::lock::RobustLock;
use super::owner::Owner;
use super::timeout::{Timeout, Watch};
use crate::atomics::{AtomicU64, Ordering};
use crate::error::{Error, Result};

/// How long a `try_` call waits for a lock that somebody holds for the length of a copy. In a model
/// the clock must decide nothing.
const TRY_LOCK_TIME: Duration = Duration::from_millis(if cfg!(loom) { 3_600_000 } else { 10 });

/// A ring as one process sees it: header and data in shared memory, geometry in ours.
///
/// Threads may share it. Its lock is a [`RobustLock`] unless said otherwise.
pub struct Ring<L: RingLock = RobustLock> {
    header: NonNull<RingHeader>,
    span: Span,
    data_bytes: u64,
    messages_max: u64,
    watch: Watch,
    push_lock: L,
    pop_lock: L,
    /// A `head` that was read under the push lock. The real one may be further.
    seen_head: Line<AtomicU64>,
    /// A `tail` that was read under the pop lock. The real one may be further.
    seen_tail: Line<AtomicU64>,
    /// How the consumers of this process wait.
    pop_pace: Pace,
    /// How its producers do.
    push_pace: Pace,
    /// How many messages had been popped when somebody looked. It may be more.
    seen_popped: Line<AtomicU64>,
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
    /// The data is rounded up to a power of two, so a ring may take longer messages, or several.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `capacity_bytes` is 0 or above 2^31.
    pub fn size_bytes(capacity_bytes: usize) -> Result<usize> {
        if !(1..=1 << 31).contains(&capacity_bytes) {
            return Err(Error::invalid(
                "the capacity of a ring",
                capacity_bytes,
                "1 to 2^31 bytes",
            ));
        }
        let data_bytes = record::record_bytes(capacity_bytes as u64).next_power_of_two();
        let data_bytes = usize::try_from(data_bytes).map_err(|_| {
            Error::invalid("the capacity of a ring", capacity_bytes, "within the address space")
        })?;
        Ok(size_of::<RingHeader>() + data_bytes)
    }

    /// Writes a new ring at `place`, and enters its words into the directory of `owner`'s table.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if `capacity_bytes` is 0 or above 2^31, or if `place` is not in
    /// the table's region; [`Error::Full`] if the table's directory is.
    ///
    /// # Safety
    ///
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for [`Ring::size_bytes`]`(capacity_bytes)`
    ///   bytes, for as long as the ring is used;
    /// - nobody else uses those bytes until this returns, and afterwards only through rings.
    #[cfg(not(loom))]
    pub unsafe fn create(place: NonNull<u8>, capacity_bytes: usize, owner: &Owner) -> Result<Self> {
        // SAFETY: the caller's promise.
        unsafe { Ring::create_bounded(place, capacity_bytes, u64::MAX, owner) }
    }

    /// As [`create`](Ring::create), and the ring is full when it holds `messages_max` messages,
    /// whatever their size.
    ///
    /// # Errors
    ///
    /// As for [`create`](Ring::create), and [`Error::InvalidArgument`] if `messages_max` is 0.
    ///
    /// # Safety
    ///
    /// - As for [`create`](Ring::create).
    #[cfg(not(loom))]
    pub unsafe fn create_bounded(
        place: NonNull<u8>,
        capacity_bytes: usize,
        messages_max: u64,
        owner: &Owner,
    ) -> Result<Self> {
        if messages_max == 0 {
            return Err(Error::invalid("the capacity of a ring", "0 messages", "at least 1"));
        }
        // SAFETY: the caller's promise.
        let header = unsafe { write_header(place, capacity_bytes, LockKind::Robust) }?;
        // SAFETY: written above. Relaxed: published by the magic number.
        unsafe { header.as_ref() }.rare.0.messages_max.store(messages_max, Ordering::Relaxed);
        // SAFETY: written above; the data follows it, by the caller's promise.
        let ring = unsafe { Ring::robust(header, data_of(header), owner) };
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
    /// - `place` is aligned to [`Ring::ALIGN`] and valid for `place_bytes` bytes, for as long as
    ///   the ring is used;
    /// - whoever else uses those bytes does so by atomics: through rings, or hostile;
    /// - `owner` belongs to the table that the creator of the ring used.
    #[cfg(not(loom))]
    pub unsafe fn attach(place: NonNull<u8>, place_bytes: usize, owner: &Owner) -> Result<Self> {
        // SAFETY: the caller's promise.
        let header = unsafe { check_header(place, place_bytes, LockKind::Robust) }?;
        // SAFETY: checked above: header and data lie within `place_bytes`.
        Ok(unsafe { Ring::robust(header.0, (data_of(header.0).0, header.1), owner) })
    }

    /// # Safety
    ///
    /// As for `from_parts`.
    pub(super) unsafe fn robust(
        header: NonNull<RingHeader>,
        data: (NonNull<AtomicU64>, usize),
        owner: &Owner,
    ) -> Self {
        // SAFETY: valid, by the contract.
        let shared = unsafe { header.as_ref() };
        let [push_lock, pop_lock] =
            [&shared.push.0.lock.word, &shared.pop.0.lock.word].map(|word| {
                // SAFETY: in the header, valid as long as the ring is.
                unsafe { RobustLock::new(NonNull::from(word), owner) }
            });
        // SAFETY: the contract.
        unsafe { Ring::from_parts(header, data, owner.watch(), push_lock, pop_lock) }
    }

    pub(super) fn register(&self, owner: &Owner) -> Result<()> {
        self.push_lock.register()?;
        self.pop_lock.register()?;
        let words = NonNull::from(&self.header().rare.0.filled).cast();
        owner.table().register(WordKind::Count, words, 2)
    }

    /// Takes the ring's words out of the directory of `owner`'s table, before its memory serves
    /// something else. Once, when no other process uses the ring any more.
    pub fn unregister(&self, owner: &Owner) {
        self.push_lock.unregister();
        self.pop_lock.unregister();
        let words = NonNull::from(&self.header().rare.0.filled).cast();
        owner.table().unregister(WordKind::Count, words, 2);
    }
}

impl<L: RingLock> Ring<L> {
    /// # Safety
    ///
    /// - `header` points to an initialised header, `data` to so many initialised words, a power
    ///   of two and at least two; both stay valid while the ring is used, and are written by
    ///   atomics only.
    pub(super) unsafe fn from_parts(
        header: NonNull<RingHeader>,
        (data, words): (NonNull<AtomicU64>, usize),
        watch: Watch,
        push_lock: L,
        pop_lock: L,
    ) -> Self {
        // SAFETY: the contract.
        let span = unsafe { Span::new(data, words) };
        // SAFETY: the contract. Relaxed: written by its creator before it was published.
        let messages_max = unsafe { header.as_ref() }.rare.0.messages_max.load(Ordering::Relaxed);
        let seen = || Line(AtomicU64::new(0));
        Ring {
            header,
            span,
            data_bytes: words as u64 * record::WORD_BYTES,
            messages_max,
            watch,
            push_lock,
            pop_lock,
            seen_head: seen(),
            seen_tail: seen(),
            pop_pace: Pace::new(),
            push_pace: Pace::new(),
            seen_popped: seen(),
        }
    }

    pub(super) fn publish(&self) {
        // Release pairs with the Acquire in `check_header`.
        self.header().rare.0.magic.store(MAGIC, Ordering::Release);
    }

    #[inline]
    fn header(&self) -> &RingHeader {
        // SAFETY: valid and all atomics while `self` exists: contract of `from_parts`.
        unsafe { self.header.as_ref() }
    }

    /// The longest message that the ring takes, in bytes.
    #[must_use]
    pub fn capacity_bytes(&self) -> u64 {
        (self.data_bytes - record::WORD_BYTES).min(record::LENGTH_MAX)
    }

    /// How many messages the ring holds at most, whatever their size; `u64::MAX` if only their
    /// bytes count.
    #[must_use]
    pub fn messages_max(&self) -> u64 {
        self.messages_max
    }

    /// How many messages there are. More may have come or gone before the caller has looked at the
    /// answer.
    #[must_use]
    pub fn len(&self) -> u64 {
        // Popped first: what is taken meanwhile then only makes the answer larger.
        let popped = self.popped();
        let most = self.data_bytes / record::WORD_BYTES;
        let used = self.pushed().wrapping_sub(popped);
        if self.is_empty() { 0 } else { used.clamp(1, most) }
    }

    /// How many messages were ever pushed.
    pub(crate) fn pushed(&self) -> u64 {
        self.header().push.0.tally.read(&self.header().tail.0)
    }

    /// How many messages were ever popped.
    pub(crate) fn popped(&self) -> u64 {
        self.header().pop.0.tally.read(&self.header().head.0)
    }

    /// Whether a message of 8 bytes would have to wait for room. There may be some before the
    /// caller has looked at the answer.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (head, tail) = self.positions();
        let room = self.data_bytes.wrapping_sub(tail.wrapping_sub(head));
        room < record::record_bytes(8) || self.len() >= self.messages_max
    }

    /// Whether a consumer would not have to wait: there is a message, or the ring is closed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        // Before the look at the positions, as in `attempt_message`.
        let state = self.state();
        state != OPEN || !self.is_empty()
    }

    /// Waits until there is a message or the ring is closed, at most for `timeout`; whether it is
    /// so. Another consumer may take the message first.
    #[must_use]
    pub fn poll(&self, timeout: Duration) -> bool {
        let attempt = |_| self.is_ready().then_some(());
        self.header().rare.0.filled.wait_for(Timeout::after(timeout), self.watch, attempt).is_some()
    }

    /// What consumers sleep on.
    #[cfg(not(loom))]
    pub(crate) fn filled(&self) -> &EventCount {
        &self.header().rare.0.filled
    }

    /// Whether there is no message. One may arrive before the caller has looked at the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let (head, tail) = self.positions();
        head == tail
    }

    /// Closes the ring for producers. What is in it can still be taken; then consumers get
    /// [`Error::Closed`] too. Every push that has returned will be taken.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`] if producers held their lock for a second, which a lock that is not
    /// robust may do for ever. Try again, or [`close_now`](Ring::close_now).
    pub fn close(&self) -> Result<()> {
        // Under the lock, so that no producer is between its look at `closed` and its commit.
        let deadline = Instant::now() + Duration::from_secs(1);
        let guard = self.push_lock.acquire(Some(deadline))?;
        self.close_as(DRAINING);
        drop(guard);
        self.notify_all();
        Ok(())
    }

    /// As [`close`](Ring::close), without waiting for producers: when there is none left.
    #[cfg(not(loom))]
    pub(crate) fn close_without_producers(&self) {
        self.close_as(DRAINING);
        self.notify_all();
    }

    /// Closes the ring for all, at once. Messages in it are lost.
    pub fn close_now(&self) {
        self.close_as(CLOSED);
        self.notify_all();
    }

    fn close_as(&self, state: u32) {
        // Release pairs with the Acquire in `state`.
        self.header().rare.0.closed.fetch_max(state, Ordering::Release);
    }

    /// Notifies right after a lock of ours was given up.
    #[inline]
    fn notify_unlocked(&self, count: &EventCount) {
        if L::UNLOCKS_BY_SWAP {
            count.notify_after_swap();
        } else {
            count.notify();
        }
    }

    fn notify_all(&self) {
        self.header().rare.0.filled.notify();
        self.header().rare.0.drained.notify();
    }

    /// Whether the ring was closed, in either way.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state() != OPEN
    }

    #[inline]
    fn state(&self) -> u32 {
        self.header().rare.0.closed.load(Ordering::Acquire)
    }

    fn positions(&self) -> (u64, u64) {
        let head = self.header().head.0.load(Ordering::Relaxed);
        (head, self.header().tail.0.load(Ordering::Relaxed))
    }

    /// The bytes between two positions, if they can be positions of this ring.
    #[inline]
    fn used(&self, head: u64, tail: u64) -> Option<u64> {
        let used = tail.wrapping_sub(head);
        let is_sound = used <= self.data_bytes && (head | tail).is_multiple_of(record::WORD_BYTES);
        is_sound.then_some(used)
    }

    #[cold]
    fn corrupt_positions(&self, head: u64, tail: u64) -> Error {
        let found = format!("head {head} and tail {tail} with {} bytes of data", self.data_bytes);
        Error::Corrupt { what: "the ring", found }
    }

    #[inline]
    fn acquire<'a>(&self, lock: &'a L, timeout: Timeout) -> Result<L::Guard<'a>> {
        match lock.try_acquire()? {
            Some(guard) => Ok(guard),
            None => lock.acquire(match timeout {
                Timeout::Now => Some(Instant::now() + TRY_LOCK_TIME),
                Timeout::At(end) => Some(end),
                Timeout::Never => None,
                // Who counts sleeps will sleep for this one too; its holder is gone by then.
                Timeout::Sleeps(_) => None,
            }),
        }
    }
}

#[cold]
fn closed() -> Error {
    Error::Closed { what: "the ring" }
}
