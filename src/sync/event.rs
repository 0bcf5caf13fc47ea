//! An event word: set, reset, and wait until it is set.
//!
//! A manual-reset event stays set until [`reset`](RawEvent::reset). A [`set`](RawEvent::set)
//! releases all that wait at that time, even if a reset follows at once. An auto-reset event
//! releases one waiter for each `set`; two sets before a wait count as one.
//!
//! | WAITERS (bit 31) | sets (bits 30-2) | AUTO (bit 1) | SET (bit 0) | state |
//! |---|---|---|---|---|
//! | 0 | any | frozen | 0 | not set, no sleeper |
//! | 1 | any | frozen | 0 | not set, maybe sleepers |
//! | 0 | any | frozen | 1 | set; its setter wakes if it |
//! |  |  |  |  | found WAITERS |
//! | 1 | any | frozen | 1 | never written; taken as set |
//!
//! A sleeper sleeps only while the word is the one in which it set WAITERS, and each `set` changes
//! the word and clears WAITERS. So either the sleeper sees the change and does not sleep, or the
//! setter saw WAITERS and wakes it. An event has no owner. If a setter dies between its store and
//! its wake-up, the sweep wakes the sleepers, and each finds the event set.
#![allow(unsafe_code)]

use std::fmt;
use std::ptr::NonNull;

use super::directory::WordKind;
use super::owner::OwnerTable;
use super::timeout::{Backoff, Timeout, Watch};
use crate::atomics::{AtomicU32, Ordering};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::sys::futex;

const SET: u32 = 1;
const AUTO: u32 = 2;
const ONE_SET: u32 = 4;
const WAITERS: u32 = 1 << 31;
const SETS: u32 = !(SET | AUTO | WAITERS);

/// What resets an event.
///
/// # Examples
///
/// ```
/// use brigade::shared::Event;
/// use brigade::sync::Reset;
///
/// let name = format!("doc-reset-{}", std::process::id());
/// let event = Event::create(&name, Reset::Auto)?;
/// event.set()?;
/// assert!(event.try_wait()?);
/// assert!(!event.try_wait()?, "the first wait has reset it");
/// # Ok::<(), brigade::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// The release of one waiter.
    Auto,
    /// A call to [`RawEvent::reset`].
    Manual,
}

/// An event in shared memory: four bytes.
///
/// | field | written by | read by | guard | if the writer dies |
/// |---|---|---|---|---|
/// | word | setters, resetters, waiters | the same | compare-and-swap | sweeps wake sleepers |
///
/// # Examples
///
/// ```
/// use std::ptr::NonNull;
/// use brigade::sync::{EventWord, RawEvent, Reset, Watch};
///
/// let mut word = EventWord::new(Reset::Manual);
/// // SAFETY: the word outlives the handle.
/// let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
/// assert!(!event.is_set());
/// ```
#[repr(transparent)]
#[derive(Debug)]
pub struct EventWord(AtomicU32);

#[cfg(not(loom))]
const _: () = assert!(size_of::<EventWord>() == 4);

impl EventWord {
    /// An event that is not set.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{EventWord, RawEvent, Reset, Timeout, Watch};
    ///
    /// let mut word = EventWord::new(Reset::Auto);
    /// // SAFETY: the word outlives the handle.
    /// let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
    /// event.set();
    /// assert!(event.wait(Timeout::Now));
    /// assert!(!event.wait(Timeout::Now), "the first wait has reset it");
    /// ```
    #[must_use]
    pub fn new(reset: Reset) -> EventWord {
        EventWord(AtomicU32::new(match reset {
            Reset::Auto => AUTO,
            Reset::Manual => 0,
        }))
    }
}

/// An event as one process sees it.
///
/// # Examples
///
/// ```
/// use std::ptr::NonNull;
/// use brigade::sync::{EventWord, RawEvent, Reset, Timeout, Watch};
///
/// let mut word = EventWord::new(Reset::Auto);
/// // SAFETY: the word outlives the handle.
/// let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
/// event.set();
/// assert!(event.wait(Timeout::Never));
/// assert!(!event.is_set());
/// ```
#[derive(Clone)]
pub struct RawEvent {
    word: NonNull<EventWord>,
    watch: Watch,
}

// SAFETY: the word is an atomic, valid wherever the event goes by the contract of `new`.
unsafe impl Send for RawEvent {}
// SAFETY: as for `Send`.
unsafe impl Sync for RawEvent {}

impl RawEvent {
    /// Makes a handle of the event at `word`.
    ///
    /// # Safety
    ///
    /// - `word` points to an initialised [`EventWord`] that stays valid while the handle or a
    ///   clone of it exists.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use brigade::sync::{EventWord, RawEvent, Reset, Watch};
    ///
    /// let mut word = EventWord::new(Reset::Manual);
    /// // SAFETY: the word outlives the handle.
    /// let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    #[must_use]
    pub unsafe fn new(word: NonNull<EventWord>, watch: Watch) -> RawEvent {
        RawEvent { word, watch }
    }

    /// Adds the event to a table's directory, so that sweeps wake its sleepers.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] if the directory is; [`Error::InvalidArgument`] if the word is not in the
    /// table's region.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RawEvent, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// // SAFETY: zeros after the table, within its region, are a manual-reset event.
    /// let event = unsafe { RawEvent::new(place.add(1024).cast(), Watch::Waiters) };
    /// event.register(&table)?;
    /// assert!(!event.is_set());
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn register(&self, table: &OwnerTable) -> Result<()> {
        table.directory().register(WordKind::Wait, self.word.cast(), 1)
    }

    /// Removes the event from the directory, before its memory is used for another purpose.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{Owner, OwnerTable, RawEvent, Watch};
    /// # #[repr(align(128))] struct Region([u8; 4096]);
    /// # let place = NonNull::from(Box::leak(Box::new(Region([0; 4096])))).cast::<u8>();
    /// # // SAFETY: aligned, large enough, never freed, and used for nothing else.
    /// # let table = unsafe { OwnerTable::create(place, 8, 8, place, 4096) }?;
    /// # let owner = Owner::claim(&table, Watch::Waiters)?;
    /// for _ in 0..10 {
    ///     // The directory has eight entries.
    ///     // SAFETY: zeros after the table, within its region, are a manual-reset event.
    ///     let event = unsafe { RawEvent::new(place.add(1024).cast(), Watch::Waiters) };
    ///     assert!(event.register(&table).is_ok());
    ///     event.unregister(&table);
    /// }
    /// # Ok::<(), brigade::Error>(())
    /// ```
    pub fn unregister(&self, table: &OwnerTable) {
        table.directory().unregister(WordKind::Wait, self.word.cast(), 1);
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: valid while `self` exists, by the contract of `new`.
        unsafe { &self.word.as_ref().0 }
    }

    /// Sets the event. What was written before is visible to the waiters that it releases.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{EventWord, RawEvent, Reset, Watch};
    /// # let mut word = EventWord::new(Reset::Manual);
    /// # // SAFETY: the word outlives the handle.
    /// # let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
    /// event.set();
    /// assert!(event.is_set());
    /// ```
    pub fn set(&self) {
        let word = self.word();
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let sets = seen.wrapping_add(ONE_SET) & SETS;
            let set = sets | (seen & AUTO) | SET;
            // Release pairs with the Acquire in `attempt`.
            match word.compare_exchange(seen, set, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        if seen & WAITERS != 0 {
            // All, though an auto-reset event releases one: that one might die before it acts.
            futex::wake(word, futex::ALL);
        }
    }

    /// Resets the event. Returns whether it was set.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{EventWord, RawEvent, Reset, Watch};
    /// # let mut word = EventWord::new(Reset::Manual);
    /// # // SAFETY: the word outlives the handle.
    /// # let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
    /// event.set();
    /// assert!(event.reset());
    /// assert!(!event.reset());
    /// ```
    pub fn reset(&self) -> bool {
        // Relaxed: an event that is not set publishes nothing.
        self.word().fetch_and(!SET, Ordering::Relaxed) & SET != 0
    }

    /// Whether the event is set. The answer may be outdated at once.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.word().load(Ordering::Acquire) & SET != 0
    }

    /// Waits for the event until `timeout`. Returns whether it was set in that time. An auto-reset
    /// event is reset by that.
    ///
    /// # Examples
    ///
    /// ```
    /// # use std::ptr::NonNull;
    /// # use brigade::sync::{EventWord, RawEvent, Reset, Timeout, Watch};
    /// # let mut word = EventWord::new(Reset::Auto);
    /// # // SAFETY: the word outlives the handle.
    /// # let event = unsafe { RawEvent::new(NonNull::from(&mut word), Watch::Waiters) };
    /// assert!(!event.wait(Timeout::Now));
    /// event.set();
    /// assert!(event.wait(Timeout::Never));
    /// ```
    pub fn wait(&self, mut timeout: Timeout) -> bool {
        let word = self.word();
        let mut backoff = Backoff::default();
        let sets_at_entry = word.load(Ordering::Acquire) & SETS;
        loop {
            let seen = match self.attempt(sets_at_entry) {
                Ok(()) => return true,
                Err(seen) => seen,
            };
            if !matches!(timeout, Timeout::Now) && seen & WAITERS == 0 && backoff.pass() {
                continue;
            }
            let Some(sleep) = timeout.next_sleep(self.watch) else { return false };
            let waiting = seen | WAITERS;
            // Relaxed: setting the bit publishes nothing.
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            if seen != waiting && word.compare_exchange(seen, waiting, success, failure).is_err() {
                continue;
            }
            futex::wait(word, waiting, sleep);
        }
    }

    /// Succeeds if the event is set, or (manual reset) was set since the wait began; resets an
    /// auto-reset event.
    fn attempt(&self, sets_at_entry: u32) -> std::result::Result<(), u32> {
        let mut seen = self.word().load(Ordering::Acquire);
        loop {
            if seen & AUTO == 0 {
                let released = seen & SET != 0 || seen & SETS != sets_at_entry;
                return if released { Ok(()) } else { Err(seen) };
            }
            if seen & SET == 0 {
                return Err(seen);
            }
            // Acquire pairs with the Release in `set`.
            let (success, failure) = (Ordering::Acquire, Ordering::Acquire);
            match self.word().compare_exchange(seen, seen & !SET, success, failure) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
    }
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word().load(Ordering::Relaxed);
        f.debug_struct("RawEvent")
            .field("set", &(word & SET != 0))
            .field("auto_reset", &(word & AUTO != 0))
            .field("waiters", &(word & WAITERS != 0))
            .finish()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;

    fn with_event(reset: Reset, test: impl FnOnce(&RawEvent)) {
        let word = EventWord::new(reset);
        // SAFETY: the word outlives the handle.
        test(&unsafe { RawEvent::new(NonNull::from(&word), Watch::Supervisor) });
    }

    #[test]
    fn a_manual_event_stays_set_until_it_is_reset() {
        with_event(Reset::Manual, |event| {
            assert!(!event.wait(Timeout::Now));
            event.set();
            assert!(event.wait(Timeout::Now) && event.wait(Timeout::Now) && event.is_set());
            assert!(event.reset());
            assert!(!event.reset() && !event.wait(Timeout::Now));
        });
    }

    #[test]
    fn an_auto_event_releases_one_waiter_a_set() {
        with_event(Reset::Auto, |event| {
            event.set();
            event.set();
            assert!(event.wait(Timeout::Now));
            assert!(!event.wait(Timeout::Now));
        });
    }

    #[test]
    fn a_wait_for_an_event_that_is_not_set_times_out() {
        with_event(Reset::Auto, |event| {
            assert!(!event.wait(Timeout::after(Duration::from_millis(1))));
            event.set();
            assert!(event.wait(Timeout::Now));
        });
    }

    #[test]
    fn a_pulse_releases_the_present_waiters() {
        with_event(Reset::Manual, |event| {
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| event.wait(Timeout::Never));
                while event.word().load(Ordering::Relaxed) & WAITERS == 0 {
                    std::thread::yield_now();
                }
                event.set();
                event.reset();
                waiter.join().unwrap();
            });
        });
    }

    #[test]
    fn two_threads_hand_a_turn_back_and_forth() {
        with_event(Reset::Auto, |ping| {
            with_event(Reset::Auto, |pong| {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        for _ in 0..2000 {
                            ping.wait(Timeout::Never);
                            pong.set();
                        }
                    });
                    for _ in 0..2000 {
                        ping.set();
                        pong.wait(Timeout::Never);
                    }
                });
            });
        });
    }
}
