//! How long a waiting side pauses before its first look.
//!
//! A consumer that is faster than its producers can look for each message as soon as it may have
//! arrived. Each look then takes the cache line of `tail` away from the producer, and the line of
//! the message while the next one is written into it, so both sides run at the speed of cache
//! transfers. If the consumer pauses first, it finds several messages for one transfer. The same
//! holds for a producer that waits for room in a full ring. A consumer that waits for the answer
//! to a request, however, should look at once.
//!
//! The last waits distinguish the two cases:
//!
//! | state | a wait ended | next |
//! |---|---|---|
//! | eager | within two looks | count it; after four in a row: pausing |
//! | eager | later, or without success | eager, count 0 |
//! | pausing | at the first look, with several messages or room for several | pausing |
//! | pausing | otherwise | eager, count 0 |
//!
//! An answer takes longer than two looks, and comes alone. The hint only sets the pause before the
//! first look of a wait. It is in private memory, and no value of it can lose a message.

use std::sync::atomic::{AtomicU32, Ordering};

/// Short waits in a row after which more are expected.
const SHORT_WAITS: u32 = 4;

/// The most looks of a short wait.
const SHORT_LOOKS: u32 = 2;

/// Pauses before the first look in the pausing state: a third of a microsecond.
const PAUSES: u32 = if cfg!(loom) { 0 } else { 8 };

/// The number of short waits in a row, up to [`SHORT_WAITS`], which means pausing.
#[derive(Debug)]
pub(super) struct SpinHint(AtomicU32);

impl SpinHint {
    pub(super) fn new() -> SpinHint {
        SpinHint(AtomicU32::new(0))
    }

    /// Called before each look of a spinning wait; `looks` counts them from 1.
    #[inline]
    pub(super) fn before_look(&self, looks: u32) {
        // Relaxed, here and below: a hint.
        if looks == 1 && self.0.load(Ordering::Relaxed) >= SHORT_WAITS {
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
    }

    /// Called after a wait that succeeded at look number `looks`; `several` if it found more than
    /// one message, or room for more than one.
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
    fn a_stream_makes_a_side_pause_until_a_message_comes_alone() {
        let hint = SpinHint::new();
        for _ in 0..SHORT_WAITS {
            assert_ne!(hint.0.load(Ordering::Relaxed), SHORT_WAITS);
            hint.after_wait(1, false);
        }
        hint.after_wait(1, true);
        assert_eq!(hint.0.load(Ordering::Relaxed), SHORT_WAITS);
        hint.after_wait(1, false);
        assert_eq!(hint.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_side_that_waits_for_answers_looks_at_once() {
        let hint = SpinHint::new();
        for _ in 0..100 {
            hint.after_wait(SHORT_LOOKS + 1, true);
            hint.after_wait(SHORT_LOOKS, false);
            assert!(hint.0.load(Ordering::Relaxed) < SHORT_WAITS);
        }
    }
}
