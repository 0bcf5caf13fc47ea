//! How a side waits that is faster than the other.
//!
//! A consumer that looks for each message as soon as it may be there takes the cache line of `tail`
//! away from the producer for each, and that of the message while the next is written into it: both
//! sides then go at the pace of those journeys. One that lets a few messages come together pays for
//! one journey and finds them all behind it. A producer and the room of a full ring are the same.
//! But who waits for an answer wants to look at once.
//!
//! The two are told apart by what the last waits came to:
//!
//! | pace | a wait ended | next |
//! |---|---|---|
//! | at once | within two looks | one more of these; after four in a row, in batches |
//! | at once | later, or in vain | none of these so far |
//! | in batches | at the first look, with several messages, or room for them | in batches |
//! | in batches | otherwise | at once |
//!
//! An answer takes longer than two looks, and comes alone. It only decides how long a wait pauses
//! before its first look, in private memory: whatever it says, every message is found.

use std::sync::atomic::{AtomicU32, Ordering};

/// Short waits in a row after which more are expected.
const SHORT_WAITS: u32 = 4;

/// Looks up to which a wait counts as short.
const SHORT_LOOKS: u32 = 2;

/// Pauses before the first look of who waits in batches: a third of a microsecond.
const PAUSES: u32 = if cfg!(loom) { 0 } else { 8 };

/// The number of short waits in a row, up to [`SHORT_WAITS`].
#[derive(Debug)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    pub(super) fn new() -> Pace {
        Pace(AtomicU32::new(0))
    }

    /// Before each look of a wait that passes the time, of which this is number `looks`, from 1 on.
    #[inline]
    pub(super) fn before_look(&self, looks: u32) {
        // Relaxed, here and below: a hint.
        if looks == 1 && self.0.load(Ordering::Relaxed) >= SHORT_WAITS {
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
    }

    /// After a wait of so many looks that was not in vain; whether there was enough for `several`.
    #[inline]
    pub(super) fn after_wait(&self, looks: u32, several: bool) {
        let short_waits = self.0.load(Ordering::Relaxed);
        let next = match (short_waits >= SHORT_WAITS, looks) {
            (true, ..=1) if several => SHORT_WAITS,
            (false, ..=SHORT_LOOKS) => short_waits + 1,
            _ => 0,
        };
        if next != short_waits {
            self.0.store(next, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_in_batches_until_a_message_comes_alone() {
        let pace = Pace::new();
        for _ in 0..SHORT_WAITS {
            assert_ne!(pace.0.load(Ordering::Relaxed), SHORT_WAITS);
            pace.after_wait(1, false);
        }
        pace.after_wait(1, true);
        assert_eq!(pace.0.load(Ordering::Relaxed), SHORT_WAITS);
        pace.after_wait(1, false);
        assert_eq!(pace.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_waits_for_answers_looks_at_once() {
        let pace = Pace::new();
        for _ in 0..100 {
            pace.after_wait(SHORT_LOOKS + 1, true);
            pace.after_wait(SHORT_LOOKS, false);
            assert!(pace.0.load(Ordering::Relaxed) < SHORT_WAITS);
        }
    }
}
