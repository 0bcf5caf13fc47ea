//! A word for sleeping until a condition may hold.
//!
//! The condition is stored elsewhere.
//!
//! | SLEEPERS (bit 31) | notifications (bits 30-0) | state                                      |
//! |-------------------|---------------------------|--------------------------------------------|
//! | 0                 | n                         | no sleeper                                 |
//! | 1                 | n                         | there are or will be sleepers              |
//!
//! 1. The sleeper sets SLEEPERS, executes a SeqCst fence, tests the condition again, and sleeps
//!    while the word has its value of step 1.
//! 2. The notifier makes the condition true, executes a SeqCst fence, and reads the word. If
//!    SLEEPERS is set, it clears it, increments the count, and wakes all.
//!
//! One of the two fences comes first: either the sleeper's test sees the condition true, or the
//! notifier's read sees SLEEPERS. A notification changes the count, so a sleeper that comes late
//! finds another word and does not sleep.
//!
//! Between making the condition true and step 2, a notifier may have done a read-modify-write of
//! another shared word. Then it needs no fence on x86-64: that is a locked instruction, which no
//! earlier store and no later load passes, whatever their addresses. The two sides of a ring end
//! their commits so, by unlocking. Elsewhere, and in models, they execute the fence.
//!
//! If a notifier dies after it made the condition true, the sweep does the rest of step 2. A
//! wake-up alone would not suffice: a sleeper that has tested the condition and not yet slept would
//! find the word unchanged. If the notifier dies between its change of the word and its wake-up,
//! the flag is cleared. Then a sleeper that sleeps already is woken by the sweep's second wake-up,
//! and one that does not sees the word changed. A sleeper that dies leaves SLEEPERS set, which
//! costs one system call.

use std::ptr::NonNull;
use std::time::Duration;

use super::directory::{Directory, WordKind};
use super::timeout::{Backoff, Timeout, Watch};
use crate::atomics::{AtomicU32, Ordering, fence};
use crate::error::Result;
use crate::sys::futex;

const SLEEPERS: u32 = 1 << 31;

/// The phase of a wait in which an attempt is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitPhase {
    /// The first attempt.
    First,
    /// The wait spins, and attempts often.
    Spinning,
    /// Before a sleep: time to look for the cause of the delay. Repeated after each slice.
    BeforeSleep,
}

/// The word, zero at first.
///
/// | field | written by             | read by  | guard            | if the writer dies       |
/// |-------|------------------------|----------|------------------|--------------------------|
/// | word  | sleepers and notifiers | the same | compare-and-swap | sweeps wake the sleepers |
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct EventCount(AtomicU32);

impl EventCount {
    pub(crate) fn new() -> EventCount {
        EventCount(AtomicU32::new(0))
    }

    /// Calls `attempt` until it returns something or `timeout` ends; sleeps between the calls until
    /// notified.
    #[inline]
    pub(crate) fn wait_for<T>(
        &self,
        timeout: Timeout,
        watch: Watch,
        mut attempt: impl FnMut(WaitPhase) -> Option<T>,
    ) -> Option<T> {
        let first = attempt(WaitPhase::First);
        if first.is_some() || matches!(timeout, Timeout::Now) {
            return first;
        }
        self.wait_for_slow(timeout, watch, attempt)
    }

    #[cold]
    fn wait_for_slow<T>(
        &self,
        mut timeout: Timeout,
        watch: Watch,
        mut attempt: impl FnMut(WaitPhase) -> Option<T>,
    ) -> Option<T> {
        let mut backoff = Backoff::default();
        loop {
            while backoff.pass() {
                if let Some(outcome) = attempt(WaitPhase::Spinning) {
                    return Some(outcome);
                }
            }
            let seen = self.announce();
            if let Some(outcome) = attempt(WaitPhase::BeforeSleep) {
                return Some(outcome);
            }
            let sleep = timeout.next_sleep(watch)?;
            self.sleep(seen, sleep);
        }
    }

    /// Adds the word to a table's directory, so that sweeps notify its sleepers.
    pub(super) fn register(&self, directory: &Directory) -> Result<()> {
        directory.register(WordKind::Count, NonNull::from(&self.0), 1)
    }

    /// The word itself, for sleeping on several.
    #[cfg(not(loom))]
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// First half of step 1. Returns the argument for [`sleep`](EventCount::sleep).
    pub(crate) fn announce(&self) -> u32 {
        // Relaxed: the fence orders it before the test of the condition.
        let seen = self.0.fetch_or(SLEEPERS, Ordering::Relaxed) | SLEEPERS;
        // SeqCst: pairs with the fence in `notify`; see the head of this file.
        fence(Ordering::SeqCst);
        seen
    }

    /// Sleeps, unless there was a notification since [`announce`](EventCount::announce).
    pub(crate) fn sleep(&self, seen: u32, timeout: Option<Duration>) {
        futex::wait(&self.0, seen, timeout);
    }

    /// Wakes the sleepers. Called after the condition was made true.
    #[inline]
    pub(crate) fn notify(&self) {
        notify(&self.0);
    }

    /// As [`notify`](EventCount::notify), but the caller has just done a read-modify-write of
    /// another shared word, after it made the condition true; see the head of this file.
    #[inline]
    pub(super) fn notify_after_swap(&self) {
        fence_after_swap();
        wake_sleepers(&self.0);
    }
}

/// A SeqCst fence, as far as the read-modify-write before it is not one.
#[inline]
fn fence_after_swap() {
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom))))]
    fence(Ordering::SeqCst);
}

/// Wakes the sleepers of an event count, directly or in a sweep.
#[inline]
pub(super) fn notify(word: &AtomicU32) {
    // SeqCst: pairs with the fence in `announce`; see the head of this file.
    fence(Ordering::SeqCst);
    wake_sleepers(word);
}

/// The rest of step 2, after the notifier's fence.
#[inline]
fn wake_sleepers(word: &AtomicU32) {
    if word.load(Ordering::Relaxed) & SLEEPERS != 0 {
        notify_sleepers(word);
    }
}

#[cold]
fn notify_sleepers(word: &AtomicU32) {
    let mut seen = word.load(Ordering::Relaxed);
    while seen & SLEEPERS != 0 {
        let counted = seen.wrapping_add(1) & !SLEEPERS;
        // Relaxed: the condition's own store publishes the data.
        match word.compare_exchange(seen, counted, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                // All: a single one might die before it acts.
                futex::wake(word, futex::ALL);
                return;
            }
            Err(now) => seen = now,
        }
    }
}
